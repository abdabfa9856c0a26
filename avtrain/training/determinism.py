"""Whether torch may use kernels whose results differ from run to run, and try which are the fastest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextlib.contextmanager
def determinism(wanted: bool | None, device: str) -> Iterator[None]:
    """Within it, the kernels of a CUDA device are deterministic where `wanted`; torch's settings are put back after.

    None: not wanted. Where it is wanted, cuDNN picks no algorithm by trying, cuBLAS gets a workspace of fixed size, and
    torch warns of an operation that has no deterministic kernel; else cuDNN tries its algorithms on each new size. On a
    CPU nothing is changed: one thread count has one result there.
    """
    if not device.startswith("cuda"):
        yield
        return
    cudnn, workspace = torch.backends.cudnn, os.environ.get(WORKSPACE)
    flags = cudnn.deterministic, cudnn.benchmark
    mode = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        cudnn.benchmark = not wanted
        if wanted:
            os.environ.setdefault(WORKSPACE, ":4096:8")
            cudnn.deterministic = True
            torch.use_deterministic_algorithms(True, warn_only=True)
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = flags
        torch.use_deterministic_algorithms(mode[0], warn_only=mode[1])
        if workspace is None:
            os.environ.pop(WORKSPACE, None)
