"""Pretraining. For a loss of your own: what is known of a batch, targets, and the one loss underneath all.

The names below are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avtrain.training.losses import similarities, weighted_cross_entropy
    from avtrain.training.targets import PairBatch, alike, overlap, same, with_partners

_HOMES = {
    "avtrain.training.losses": ["similarities", "weighted_cross_entropy"],
    "avtrain.training.targets": ["PairBatch", "alike", "overlap", "same", "with_partners"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 - in the order of use
    "PairBatch",
    "similarities",
    "weighted_cross_entropy",
    "same",
    "overlap",
    "alike",
    "with_partners",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
