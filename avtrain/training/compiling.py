"""torch.compile, with one sentence where this machine cannot."""

from __future__ import annotations

import torch
from torch import nn

from avprep.shared.errors import UserError, first_line


def compile_in_place(module: nn.Module, device: str, backend: str = "inductor") -> None:
    """Let torch compile `module` at its first call, names of weights unchanged. Errors: UserError where it cannot.

    A sum is compiled first: the compilers of the machine (C++ on a CPU, Triton on a GPU) fail there, with their reason.
    """
    try:
        torch.compile(_double, backend=backend)(torch.ones(16, device=device))
    except Exception as error:  # of many kinds: inductor's, dynamo's, the compiler's own
        raise UserError(
            f"--compile cannot be used here ({first_line(error)}); install a C++ compiler or leave it out."
        ) from None
    module.compile(backend=backend)


def _double(values: torch.Tensor) -> torch.Tensor:
    return values * 2 + 1
