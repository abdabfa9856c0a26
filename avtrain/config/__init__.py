"""Settings of pretraining, plans and evaluation: frozen, validated, every field documented; the paper's by default."""

from __future__ import annotations

from avtrain.config.choices import (
    BALANCES,
    CACHE_BYTES,
    CHECKPOINTS,
    FREEZES,
    HEAD_SETTINGS,
    LOSSES,
    MODEL_SETTINGS,
    MODEL_SIZES,
    MOST_WIDTH,
    MOST_WINDOW_FRAMES,
    NORMS,
    OPTIMIZERS,
    PRECISIONS,
    PROBES,
    PROJECTIONS,
    PROTOCOLS,
    READ_THREADS,
    SCHEDULES,
    SIDES,
    SOUNDS_ALONE,
    SPLITS,
    WEIGHTS,
)
from avtrain.config.evaluate import EvaluateConfig
from avtrain.config.plan import PlanConfig
from avtrain.config.pretrain import PretrainConfig
from avtrain.config.shared import WindowSettings, check_windows

__all__ = [
    "BALANCES",
    "CACHE_BYTES",
    "CHECKPOINTS",
    "FREEZES",
    "HEAD_SETTINGS",
    "LOSSES",
    "MODEL_SETTINGS",
    "MODEL_SIZES",
    "MOST_WIDTH",
    "MOST_WINDOW_FRAMES",
    "NORMS",
    "OPTIMIZERS",
    "PRECISIONS",
    "PROBES",
    "PROJECTIONS",
    "PROTOCOLS",
    "READ_THREADS",
    "SCHEDULES",
    "SIDES",
    "SOUNDS_ALONE",
    "SPLITS",
    "WEIGHTS",
    "EvaluateConfig",
    "PlanConfig",
    "PretrainConfig",
    "WindowSettings",
    "check_windows",
]
