"""Forward pass, loss and gradients of both encoders on the device against the CPU in float64.

Networks have their first weights and inputs are noise. In train mode batch norm divides by the small differences of few
clips, so that a gradient in bf16 is mostly rounding, on a CPU too: it has a bound in eval mode alone.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from avtrain.models.encoder import place
from avtrain.models.two_tower import TwoTower, build_two_tower
from avtrain.training.losses import info_nce
from avtrain.training.targets import PairBatch
from tests.gpu.bench import MEL_BANDS, Bench
from tests.gpu.rows import LEFT_OUT, Row, at_most, measured

BOUNDS = {"fp32": (1e-4, 1e-4, 5e-3), "tf32": (3e-2, 1e-2, 1.5e-1), "bf16": (1e-1, 5e-2, 5e-1)}
"""train mode: largest difference of unit vectors, share of the loss; eval mode: share of the gradient's length"""


@dataclass(frozen=True)
class Outcome:
    """What a model makes of a batch, on the CPU in float64."""

    embeddings: torch.Tensor
    loss: float
    gradient: torch.Tensor
    """of all weights, one after the other"""


def parity(bench: Bench) -> Iterator[Row]:
    """Four rows for each precision."""
    torch.manual_seed(0)
    size = bench.size
    model = build_two_tower(size.model_size, frame_size=size.frame_size, num_mel_bands=MEL_BANDS)
    video = torch.randn(size.parity_pairs, 3, 8, size.frame_size, size.frame_size)
    audio = torch.randn(size.parity_pairs, 1, 101, MEL_BANDS)
    wanted = [_outcome(_moded(model, mode).double(), video.double(), audio.double(), "cpu") for mode in (True, False)]
    for name, bounds in BOUNDS.items():
        if name == "tf32" and not bench.cuda:
            yield Row("parity tf32", LEFT_OUT, "a CPU has none")
            continue
        with _products(tf32=name == "tf32"):
            made = [
                _outcome(place(_moded(model, mode), bench.device), video, audio, bench.device, bf16=name == "bf16")
                for mode in (True, False)
            ]
        apart = [
            ((one.gradient - other.gradient).norm() / other.gradient.norm()).item()
            for one, other in zip(made, wanted, strict=True)
        ]
        difference = (made[0].embeddings - wanted[0].embeddings).abs().max().item()
        yield at_most(f"parity {name}: embeddings", difference, bounds[0])
        yield at_most(f"parity {name}: loss", abs(made[0].loss - wanted[0].loss) / wanted[0].loss, bounds[1])
        yield at_most(f"parity {name}: gradients, eval mode", apart[1], bounds[2])
        yield measured(f"parity {name}: gradients, train mode", f"{apart[0]:.2e}", share=apart[0])


def _moded(model: TwoTower, training: bool) -> TwoTower:
    """A copy, in train or eval mode."""
    return copy.deepcopy(model).train(training)


def _outcome(model: TwoTower, video: torch.Tensor, audio: torch.Tensor, device: str, bf16: bool = False) -> Outcome:
    """Forward and backward pass as the trainer has them: encoders under autocast, the loss outside."""
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
        sides = model(video.to(device), audio.to(device))
    rows = torch.arange(len(video), device=device)[:, None].expand(-1, 2)
    loss = info_nce(*sides, PairBatch(rows, rows), 0.07)
    loss.backward()
    gradients = [weights.grad.flatten() for weights in model.parameters() if weights.grad is not None]
    embeddings, gradient = (torch.cat(parts).detach().double().cpu() for parts in (sides, gradients))
    return Outcome(embeddings, loss.item(), gradient)


@contextlib.contextmanager
def _products(*, tf32: bool) -> Iterator[None]:
    """Within it, CUDA multiplies in TF32 or not; torch's defaults are that convolutions do and matrices do not."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = tf32
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
