"""Several processes: NCCL with one rank, with two where there are two cards; gloo on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn

from avtrain.models.two_tower import WithTemperature, build_two_tower
from avtrain.runs import folder as run_folder
from tests.gpu.bench import MEL_BANDS, Bench
from tests.gpu.commands import MAIN, Command
from tests.gpu.rows import LEFT_OUT, Row, at_most, holds
from tests.ports import free_port

MOST_APART, MOST_LOSS_APART, STEPS = 1e-3, 5e-2, 3


def ranks(bench: Bench) -> Iterator[Row]:
    """Rows of collectives and gradients of one rank, and of a run of two."""
    backend = "nccl" if bench.cuda else "gloo"
    with _group(bench, backend):
        yield _collectives(bench, backend)
        yield at_most(f"{backend}, one rank: gradients apart from those without", _gradients(bench), MOST_APART)
    yield _two(bench, backend)


@contextmanager
def _group(bench: Bench, backend: str) -> Iterator[None]:
    meeting = bench.fresh("meeting")
    dist.init_process_group(backend, init_method=f"file://{meeting.absolute()}", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _collectives(bench: Bench, backend: str) -> Row:
    """What the trainer uses: all_gather, all_reduce, broadcast."""
    values = torch.arange(1000.0, device=bench.device)
    (gathered,), total, sent = [torch.empty_like(values)], values.clone(), values.clone()
    dist.all_gather([gathered], values)
    dist.all_reduce(total)
    dist.broadcast(sent, 0)
    fine = all(torch.equal(each, values) for each in (gathered, total, sent))
    return holds(f"{backend}, one rank: all_gather, all_reduce, broadcast", fine, "as sent" if fine else "changed")


def _gradients(bench: Bench) -> float:
    """How far the gradient of the wrapped model is from that of the model, as a share of its length."""
    torch.manual_seed(0)
    size, kind = bench.size, bench.size.model_size
    model = WithTemperature(build_two_tower(kind, frame_size=size.frame_size, num_mel_bands=MEL_BANDS))
    model = model.to(bench.device).eval()
    video = torch.randn(2, 3, 8, size.frame_size, size.frame_size, device=bench.device)
    audio = torch.randn(2, 1, 101, MEL_BANDS, device=bench.device)
    inner = copy.deepcopy(model)
    if bench.cuda:
        inner = nn.SyncBatchNorm.convert_sync_batchnorm(inner)
    wrapped = nn.parallel.DistributedDataParallel(inner, device_ids=[0] if bench.cuda else None)
    made, wanted = (_gradient(one, video, audio) for one in (wrapped, model))
    return ((made - wanted).norm() / wanted.norm()).item()


def _gradient(model: nn.Module, video: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    one, other, _ = model(video, audio)
    (one * other).sum().backward()
    return torch.cat([weights.grad.flatten().double() for weights in model.parameters() if weights.grad is not None])


def _two(bench: Bench, backend: str) -> Row:
    """A run of two ranks against the same by one; on a CPU each rank has batch statistics of its own."""
    what = f"{backend}, two ranks"
    if bench.cuda and torch.cuda.device_count() < 2:
        return Row(what, LEFT_OUT, "needs two cards")
    size = bench.size
    kind = "cuda" if bench.cuda else "cpu"
    alone, shared = bench.fresh("alone"), bench.fresh("shared")
    options = [f"--model-size={size.model_size}", f"--batch-size={size.equal_batch}", f"--max-steps={STEPS}"]
    options += [f"--device={kind}", "--quiet", *([] if bench.cuda else ["--threads=1"])]
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    arguments = ["pretrain", str(bench.raw), *options, "--run"]
    commands = [
        Command(bench, MAIN, [*arguments, str(shared)], {**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    commands.append(Command(bench, MAIN, [*arguments, str(alone)]))
    for command in commands:
        command.finish()
    losses = [[line["loss"] for line in run_folder.read_metrics(run)] for run in (shared, alone)]
    apart = max(abs(one - other) / other for one, other in zip(*losses, strict=True))
    if bench.cuda:
        return at_most(f"{what}: losses apart from those of one", apart, MOST_LOSS_APART)
    return holds(what, len(losses[0]) == STEPS, f"{STEPS} updates, losses within {apart:.1e} of those of one")
