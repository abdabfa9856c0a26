"""avtrain: class-indexed shards in, audio-visual encoders and their scores out (the online half).

The names below are imported when first used. None of them is the name of a submodule, such as `embed` or `report`:
importing a submodule would replace a function of its name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from avprep.shared import __version__

if TYPE_CHECKING:
    from avprep.dataset import Dataset
    from avprep.shared.errors import Interrupted, UserError
    from avtrain.api.measuring import compare, compare_groups, evaluate, write_report
    from avtrain.api.sharing import export, write_embeddings
    from avtrain.api.training import plan, pretrain
    from avtrain.config import (
        CleanConfig,
        ClusterConfig,
        EvaluateConfig,
        NeighboursConfig,
        PlanConfig,
        PretrainConfig,
        PropagateConfig,
    )
    from avtrain.report.errors import write_errors
    from avtrain.stages import clean_labels, cluster_clips, hide_labels, propagate_labels, write_neighbours

_HOMES = {
    "avprep.dataset": ["Dataset"],
    "avprep.shared.errors": ["Interrupted", "UserError"],
    "avtrain.api.measuring": ["compare", "compare_groups", "evaluate", "write_report"],
    "avtrain.api.sharing": ["export", "write_embeddings"],
    "avtrain.api.training": ["plan", "pretrain"],
    "avtrain.config": [
        "CleanConfig",
        "ClusterConfig",
        "EvaluateConfig",
        "NeighboursConfig",
        "PlanConfig",
        "PretrainConfig",
        "PropagateConfig",
    ],
    "avtrain.report.errors": ["write_errors"],
    "avtrain.stages": ["clean_labels", "cluster_clips", "hide_labels", "propagate_labels", "write_neighbours"],
}

__all__ = [  # noqa: RUF022 - in the order of use
    "plan",
    "pretrain",
    "evaluate",
    "compare",
    "compare_groups",
    "write_report",
    "write_errors",
    "write_embeddings",
    "export",
    "clean_labels",
    "propagate_labels",
    "hide_labels",
    "write_neighbours",
    "cluster_clips",
    "PlanConfig",
    "PretrainConfig",
    "EvaluateConfig",
    "CleanConfig",
    "PropagateConfig",
    "NeighboursConfig",
    "ClusterConfig",
    "Dataset",
    "UserError",
    "Interrupted",
    "__version__",
]

_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
