"""Encoders of sound and pictures, the projection heads on them, and the learnt temperature.

The names below are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avtrain.models.audio import build_audio
    from avtrain.models.encoder import Encoder
    from avtrain.models.temperature import Temperature
    from avtrain.models.two_tower import TwoTower, build_two_tower
    from avtrain.models.video import build_video

_HOME = {
    "build_two_tower": "avtrain.models.two_tower",
    "TwoTower": "avtrain.models.two_tower",
    "build_audio": "avtrain.models.audio",
    "build_video": "avtrain.models.video",
    "Encoder": "avtrain.models.encoder",
    "Temperature": "avtrain.models.temperature",
}

__all__ = [  # noqa: RUF022 - in the order of use
    "build_two_tower",
    "TwoTower",
    "build_audio",
    "build_video",
    "Encoder",
    "Temperature",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
