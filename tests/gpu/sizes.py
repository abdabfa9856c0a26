"""How large everything is: on a card, and at toy size on a CPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Size:
    """The sizes of all checks."""

    model_size: str
    frame_size: int
    """px"""
    clips: int
    """to train on, of the raw dataset"""
    jpeg_clips: int
    test_clips: int
    parity_pairs: int
    """of the batch that the CPU computes in float64"""
    batch_size: int
    """of the steps that are timed; halved until it fits"""
    warm: int
    """updates before the clock starts"""
    updates: int
    """that are timed"""
    compiled: bool
    """time a compiled model too, which takes a minute"""
    product: int
    """rows and columns of the large matrices that are multiplied"""
    equal_batch: int
    equal_steps: int
    evaluation_batch: int
    chunked_batch: int
    """of GradCache"""
    chunk_size: int
    delay_seconds: float
    """by which a copy comes late"""


FULL = Size(
    model_size="full",
    frame_size=112,
    clips=2304,
    jpeg_clips=640,
    test_clips=96,
    parity_pairs=8,
    batch_size=309,
    warm=3,
    updates=10,
    compiled=True,
    product=8192,
    equal_batch=32,
    equal_steps=12,
    evaluation_batch=512,
    chunked_batch=2048,
    chunk_size=256,
    delay_seconds=0.05,
)
TOY = Size(
    model_size="tiny",
    frame_size=32,
    clips=16,
    jpeg_clips=8,
    test_clips=4,
    parity_pairs=3,
    batch_size=4,
    warm=1,
    updates=1,
    compiled=False,
    product=64,
    equal_batch=4,
    equal_steps=4,
    evaluation_batch=4,
    chunked_batch=8,
    chunk_size=4,
    delay_seconds=0.02,
)
SIZES = {"full": FULL, "toy": TOY}
