"""Settings of pretraining, plans and evaluation: frozen, validated, every field documented; the paper's by default."""

from __future__ import annotations

from avtrain.config.choices import (
    BALANCES,
    CACHE_BYTES,
    CHECKPOINTS,
    FREEZES,
    HEAD_SETTINGS,
    LOSS_NAMES,
    METHODS,
    MODEL_SETTINGS,
    MODEL_SIZES,
    MOST_WIDTH,
    MOST_WINDOW_FRAMES,
    NEIGHBOURS_KEY,
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
    VOTERS,
    WEIGHTS,
)
from avtrain.config.evaluate import EvaluateConfig
from avtrain.config.plan import PlanConfig
from avtrain.config.pretrain import PretrainConfig
from avtrain.config.shared import WindowSettings, check_windows
from avtrain.config.stages import CleanConfig, ClusterConfig, NeighboursConfig, PropagateConfig, StageConfig

__all__ = [
    "BALANCES",
    "CACHE_BYTES",
    "CHECKPOINTS",
    "FREEZES",
    "HEAD_SETTINGS",
    "LOSS_NAMES",
    "METHODS",
    "MODEL_SETTINGS",
    "MODEL_SIZES",
    "MOST_WIDTH",
    "MOST_WINDOW_FRAMES",
    "NEIGHBOURS_KEY",
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
    "VOTERS",
    "WEIGHTS",
    "CleanConfig",
    "ClusterConfig",
    "EvaluateConfig",
    "NeighboursConfig",
    "PlanConfig",
    "PretrainConfig",
    "PropagateConfig",
    "StageConfig",
    "WindowSettings",
    "check_windows",
]
