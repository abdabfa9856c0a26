"""What an encoder has learnt: protocols, scores, intervals, comparisons. For an evaluation of your own: its files.

The names below are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avtrain.evaluation.metrics import classification_scores
    from avtrain.evaluation.predictions import Predictions, predictions_of, read_predictions, write_predictions

_HOMES = {
    "avtrain.evaluation.metrics": ["classification_scores"],
    "avtrain.evaluation.predictions": ["Predictions", "predictions_of", "read_predictions", "write_predictions"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 - in the order of use
    "Predictions",
    "predictions_of",
    "write_predictions",
    "read_predictions",
    "classification_scores",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
