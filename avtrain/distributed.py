"""Training on several processes: who this process is, its slice of a batch, gathering of rows, the wrapped model.

The one reader of torchrun's RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE. Gradients: every rank computes the
whole loss L of the global batch on gathered embeddings, and DistributedDataParallel averages gradients over W ranks.
`gather_rows` gives a rank's own rows W times their gradient of L and the other ranks' rows none, so the average is
dL/d(weights) as one process has it. A weight used after the gather (a learnt temperature) has the whole gradient on
each rank, and the average leaves it so. The backward pass of `gather_rows` sends nothing; it is right only if all ranks
compute one L.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from avprep.shared.errors import UserError
from avtrain.devices import device_for

Result = TypeVar("Result")
NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
SENTENCE_BYTES = 4096
SECONDS_BETWEEN_MEETINGS = 0.5


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Which process of how many this is."""

    rank: int = 0
    """0 writes"""
    world_size: int = 1
    """processes that share each batch"""
    local_rank: int = 0
    """number of the device on this machine"""
    local_world_size: int = field(default=1, compare=False)
    """processes on this machine, which share its cores"""
    launched: bool = field(default=False, compare=False)
    """torchrun started this process, and hides its exit code"""

    def slice_of(self, total: int) -> slice:
        """This rank's rows of a global batch, contiguous, as numpy's array_split: the first total % W have one more.

        Errors: UserError where a rank would have none.
        """
        if total < self.world_size:
            raise UserError(
                f"A batch of {total} leaves some of {self.world_size} processes empty; start fewer processes."
            )
        size, more = divmod(total, self.world_size)
        start = self.rank * size + min(self.rank, more)
        return slice(start, start + size + (self.rank < more))


ALONE = Ranks()


def read_ranks(environ: Mapping[str, str]) -> Ranks:
    """The ranks that torchrun put into `environ`; one process without it. Errors: UserError where it is incomplete."""
    given = [name for name in NAMES if name in environ]
    if not given:
        return ALONE
    try:
        rank, world_size, local_rank = (int(environ[name]) for name in NAMES)
        if not (0 <= rank < world_size and 0 <= local_rank < world_size):
            raise ValueError
    except (KeyError, ValueError):
        variables = ", ".join(f"{name}={environ[name]}" for name in given)
        raise UserError(
            f"The environment has {variables}, which is no rank; start with torchrun, or unset these."
        ) from None
    beside = environ.get("LOCAL_WORLD_SIZE", "")
    return Ranks(
        rank=rank,
        world_size=world_size,
        local_rank=local_rank,
        local_world_size=int(beside) if beside.isdecimal() and 0 < int(beside) <= world_size else 1,
        launched=True,
    )


@contextmanager
def process_group(ranks: Ranks, device: str, timeout_seconds: float = 600.0) -> Iterator[str]:
    """The device of this rank, `cpu` or `cuda:LOCAL_RANK`, in a group of all ranks that ends with it.

    `device` is a name as `device_for` has it. One process needs no group. Tensors on the CPU travel by gloo, on CUDA by
    nccl. A collective that a rank never joins fails after `timeout_seconds`. Errors: UserError, on all ranks, where one
    has no such device or its kind differs.
    """
    if ranks.world_size == 1:
        yield device_for(device)
        return
    cuda = torch.cuda.is_available() and device != "cpu"
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            rank=ranks.rank,
            world_size=ranks.world_size,
            timeout=timedelta(seconds=timeout_seconds),
        )
    except ValueError as error:  # without the address of the others
        raise UserError(f"The processes cannot meet ({error}); start them with torchrun.") from None
    try:
        device = by_all(lambda: device_for(device, ranks.local_rank), ranks)
        if not one_value(device.startswith("cuda"), ranks):
            raise UserError("Some processes have a GPU and others none; use --device cpu, or machines of one kind.")
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        yield device
    finally:
        dist.destroy_process_group()


def parallel(model: nn.Module, ranks: Ranks, device: str, some_unused: bool = False) -> nn.Module:
    """`model` with gradients averaged over all ranks, and on CUDA batch statistics over all; one process: as it is.

    `some_unused`: some of its weights may have no part in a batch, as in a model of the user's own, and then have no
    gradient; whatever of the model has a part in the loss must come out of its forward pass.
    The CPU has no synchronised batch norm: each rank normalises by its own slice, and keeps rank 0's statistics.
    The averaging ends with the wrapper: keep it until the backward pass is over.
    """
    if ranks.world_size == 1:
        return model
    if device.startswith("cuda"):
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return nn.parallel.DistributedDataParallel(
            model, device_ids=[ranks.local_rank], find_unused_parameters=some_unused
        )
    return nn.parallel.DistributedDataParallel(model, find_unused_parameters=some_unused)


def unsynchronised(wrapped: nn.Module, more: bool) -> AbstractContextManager[None]:
    """Within it, forward and backward pass: where `more` batches of an update follow, ranks do not average yet."""
    return wrapped.no_sync() if more and isinstance(wrapped, nn.parallel.DistributedDataParallel) else nullcontext()


def first_rank_buffers(model: nn.Module, ranks: Ranks) -> None:
    """Copy rank 0's buffers, such as batch statistics, to all ranks."""
    if ranks.world_size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def sum_ranks(values: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    """The sum over all ranks of a tensor on the CPU, there too."""
    if ranks.world_size == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def gather_rows(rows: torch.Tensor, total: int, ranks: Ranks) -> torch.Tensor:
    """Rows [total, ...] of all ranks in the order of the global batch, from this rank's `slice_of(total)`.

    Slices may be uneven: they travel padded to the longest and are trimmed. The gradient: see the module.
    Errors: ValueError where `rows` are not as many as this rank's slice.
    """
    parts = [Ranks(rank=rank, world_size=ranks.world_size).slice_of(total) for rank in range(ranks.world_size)]
    own = parts[ranks.rank]
    if len(rows) != own.stop - own.start:
        raise ValueError(f"rank {ranks.rank} has {len(rows)} rows of {total}, not {own.stop - own.start}")
    return rows if ranks.world_size == 1 else _Gather.apply(rows, parts, ranks.rank)


def any_rank(flag: bool, ranks: Ranks) -> bool:
    """Whether `flag` is set on any rank, the same answer on all: so that all stop at the same step."""
    if ranks.world_size == 1:
        return flag
    flags = torch.tensor(int(flag))
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags.item())


def by_first(work: Callable[[], object], ranks: Ranks) -> None:
    """Do `work()` on rank 0 while the others wait, for as long as it takes; a UserError there is raised on all.

    It runs in a thread, while all ranks meet every SECONDS_BETWEEN_MEETINGS: an upload may last longer than the
    time that a collective waits for a rank.
    """
    if ranks.world_size == 1:
        work()
        return
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work) if ranks.rank == 0 else None
        while any_rank(done is not None and not _ended(done), ranks):
            pass
    by_all(lambda: done.result() if done is not None else None, ranks)


def _ended(done: Future[object]) -> bool:
    """Whether the work has ended, one way or the other, after a short wait."""
    wait([done], SECONDS_BETWEEN_MEETINGS)
    return done.done()


def by_all(work: Callable[[], Result], ranks: Ranks) -> Result:
    """What `work()` gives this rank, once all ranks have done it; a UserError on any is raised on all, the first's."""
    if ranks.world_size == 1:
        return work()
    message = torch.zeros(1, SENTENCE_BYTES, dtype=torch.uint8)
    try:
        result = work()
    except UserError as error:
        sentence = str(error).encode()[:SENTENCE_BYTES]
        message[0, : len(sentence)] = torch.tensor(list(sentence), dtype=torch.uint8)
    for sentence in gather_rows(message, ranks.world_size, ranks):
        if sentence.any():
            raise UserError(bytes(sentence.tolist()).rstrip(b"\0").decode(errors="ignore"))
    return result


def one_value(value: int, ranks: Ranks) -> bool:
    """Whether `value` is the same on all ranks."""
    values = gather_rows(torch.tensor([value]), ranks.world_size, ranks)
    return bool((values == value).all())


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, parts: list[slice], rank: int) -> torch.Tensor:
        ctx.own, ctx.world_size = parts[rank], len(parts)
        sizes = [part.stop - part.start for part in parts]
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        received = [torch.empty_like(padded) for _ in parts]
        dist.all_gather(received, padded)
        return torch.cat([rows[:size] for rows, size in zip(received, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradients[0][ctx.own] * ctx.world_size, None, None
