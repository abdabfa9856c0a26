"""avprep: labelled clips in, class-indexed audio-visual WebDataset shards out (the offline half).

The names below are imported when first used. None of them is the name of a submodule, such as `verify` or `inspect`:
importing a submodule would replace a function of its name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from avprep.shared import __version__

if TYPE_CHECKING:
    from avprep.api.datasets import build_shards, finalize, inspect_dataset, verify_dataset, write_preview
    from avprep.api.growth import append, merge
    from avprep.api.labels import add_labels, add_labels_of, add_noise, exclude, pseudo_label, relabel, split_folds
    from avprep.api.manifests import (
        manifest_of_archives,
        manifest_of_dataset,
        manifest_of_folder,
        manifest_of_table,
    )
    from avprep.api.quality import duplicates, measure_quality, select
    from avprep.api.share import publish, write_card
    from avprep.config import AudioSpec, BuildConfig, Limits, ShardSpec, VideoSpec
    from avprep.dataset import Dataset
    from avprep.errors import Interrupted, ManifestError, UserError

_HOMES = {
    "avprep.api.datasets": ["build_shards", "finalize", "inspect_dataset", "verify_dataset", "write_preview"],
    "avprep.api.growth": ["append", "merge"],
    "avprep.api.labels": [
        "add_labels",
        "add_labels_of",
        "add_noise",
        "exclude",
        "pseudo_label",
        "relabel",
        "split_folds",
    ],
    "avprep.api.manifests": [
        "manifest_of_archives",
        "manifest_of_dataset",
        "manifest_of_folder",
        "manifest_of_table",
    ],
    "avprep.api.quality": ["duplicates", "measure_quality", "select"],
    "avprep.api.share": ["publish", "write_card"],
    "avprep.config": ["AudioSpec", "BuildConfig", "Limits", "ShardSpec", "VideoSpec"],
    "avprep.dataset": ["Dataset"],
    "avprep.errors": ["Interrupted", "ManifestError", "UserError"],
}

__all__ = [  # noqa: RUF022 - in the order of use
    "manifest_of_folder",
    "manifest_of_table",
    "manifest_of_archives",
    "manifest_of_dataset",
    "build_shards",
    "finalize",
    "verify_dataset",
    "inspect_dataset",
    "write_preview",
    "append",
    "merge",
    "add_labels",
    "add_labels_of",
    "add_noise",
    "pseudo_label",
    "relabel",
    "split_folds",
    "exclude",
    "measure_quality",
    "duplicates",
    "select",
    "write_card",
    "publish",
    "Dataset",
    "BuildConfig",
    "VideoSpec",
    "AudioSpec",
    "ShardSpec",
    "Limits",
    "UserError",
    "ManifestError",
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
