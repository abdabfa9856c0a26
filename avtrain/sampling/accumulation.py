"""How planned batches make updates: `accumulate` batches of one epoch each, an epoch's last update those left. Pure."""

from __future__ import annotations

from dataclasses import dataclass


def updates_per_epoch(batches_per_epoch: int, accumulate: int) -> int:
    """Updates that an epoch makes: batches of two epochs are never in one."""
    return -(-batches_per_epoch // accumulate)


@dataclass(frozen=True)
class Position:
    """Where a batch is in its update: whether it is the first, whether the last, of how many."""

    begins: bool
    ends: bool
    batches: int


def position_of(step: int, batches_per_epoch: int, accumulate: int) -> Position:
    """The position of an epoch's batch `step`, from 0."""
    first = step - step % accumulate
    batches = min(accumulate, batches_per_epoch - first)
    return Position(step == first, step == first + batches - 1, batches)
