"""Which audio meets which video: pure planners. Standard library and numpy only; no files, no clock, no torch.

A plan is an int64 array [batch, 2] of dataset rows: audio_row, video_row. It is a function of table, strategy, batch
size, seed and epoch alone; ranks take slices of it, and a run that resumes takes its tail.
"""

from __future__ import annotations

from avtrain.sampling.base import (
    ClipTable,
    Strategy,
    Stream,
    digest,
    exact_pairs,
    generator,
    pair_weights,
    whole_batches,
)
from avtrain.sampling.class_balanced import ClassBalanced
from avtrain.sampling.easy_negative import EasyNegative
from avtrain.sampling.hard_negative import HardNegative
from avtrain.sampling.label_lists import LabelLists
from avtrain.sampling.pairs import Pairs
from avtrain.sampling.random import Random, permuted_batches
from avtrain.sampling.settings import settings_of
from avtrain.sampling.several import Shares
from avtrain.sampling.soft_positive import SoftPositive

__all__ = [
    "STRATEGIES",
    "ClassBalanced",
    "ClipTable",
    "EasyNegative",
    "HardNegative",
    "LabelLists",
    "Pairs",
    "Random",
    "Shares",
    "SoftPositive",
    "Strategy",
    "Stream",
    "digest",
    "exact_pairs",
    "generator",
    "pair_weights",
    "parse_strategy",
    "permuted_batches",
    "whole_batches",
]

STRATEGIES: dict[str, type[Strategy]] = {
    "random": Random,
    "easy-negative": EasyNegative,
    "hard-negative": HardNegative,
    "soft-positive": SoftPositive,
    "class-balanced": ClassBalanced,
}


def parse_strategy(text: str) -> Strategy:
    """The strategy that `NAME` or `NAME:field=value,field=value` names, as in `soft-positive:p=0.5`.

    (`pairs:FILE` needs a file and `package:Class` an import, so they are made elsewhere.) Errors: ValueError with one
    sentence.
    """
    name, _, settings = text.partition(":")
    if name not in STRATEGIES:
        raise ValueError(
            f"There is no strategy {name!r}; choose from {', '.join(STRATEGIES)}, pairs:FILE, or your own "
            "package:Class."
        )
    return STRATEGIES[name](**settings_of(STRATEGIES[name], name, settings))
