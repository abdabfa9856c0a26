"""Which device a name means on this machine."""

from __future__ import annotations

import os

import torch

from avprep.shared.errors import UserError, first_line
from avprep.shared.side_by_side import SideBySide

KINDS = ("cpu", "cuda")
MOST_READ_THREADS = 32
"""by default; more are given with --read-threads"""


def device_for(name: str, local_rank: int | None = None) -> str:
    """The device that `name` (auto, cpu, cuda or cuda:N) means; with `local_rank`, on CUDA, the GPU of that number.

    Errors: UserError where there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.split(":")[0] not in KINDS:
        raise UserError(f"Device {name!r} cannot be used here: choose auto, cpu, cuda or cuda:N.")
    if local_rank is not None and name.startswith("cuda") and torch.cuda.is_available():
        name = own_gpu(local_rank, torch.cuda.device_count())
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"Device {name!r} cannot be used here: {first_line(error)}") from None
    return name


def devices_for(name: str, how: SideBySide) -> tuple[str, str]:
    """(the device of this process, that of each process of `how`); where those do the work, this one has the CPU.

    Errors: UserError where there is no such device, or not one for each.
    """
    if how.alone:
        device = device_for(name)
        return device, device
    return "cpu", how.device_of(name, torch.cuda.device_count())


def own_gpu(local_rank: int, count: int) -> str:
    """`cuda:LOCAL_RANK` of `count` GPUs. Errors: UserError where there are fewer."""
    if local_rank >= count:
        raise UserError(
            f"Process {local_rank} of this machine (LOCAL_RANK, from 0) finds no GPU of its own among {count}; "
            f"use --nproc-per-node {count} at most, or --device cpu."
        )
    return f"cuda:{local_rank}"


def read_threads_of(given: int | None, local_world_size: int = 1) -> int:
    """How many threads read and decode: as given, else its share of the cores that this process may run on.

    `local_world_size` processes share them. They are at least one, at most MOST_READ_THREADS.
    """
    if given is not None:
        return given
    return max(1, min(usable_cores() // local_world_size, MOST_READ_THREADS))


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(threads: int | None) -> None:
    """Give torch so many CPU threads; None leaves its choice."""
    if threads is not None:
        torch.set_num_threads(threads)
