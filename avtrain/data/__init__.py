"""From plans to tensors: byte_ranges (which bytes), reader (fetch them), loader (batches), augment (on the device).

The names below are the public interface, for a model and a training loop of your own; the README shows ten lines.
They are imported when first used, so that planning needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avprep.dataset import Dataset
    from avtrain.data.augment import Augment, Normalise, SpecAugment
    from avtrain.data.batches import Batch, Recipe
    from avtrain.data.cache import CacheConfig
    from avtrain.data.loader import Loader
    from avtrain.data.picture_augment import PictureAugment
    from avtrain.data.planned_batches import PlannedBatches
    from avtrain.data.plans import strategy_of, training_table
    from avtrain.data.reader import Reader
    from avtrain.data.sound_augment import SoundAugment
    from avtrain.sampling import ClipTable
    from avtrain.sampling.windows import WindowSpec

_HOMES = {
    "avprep.dataset": ["Dataset"],
    "avtrain.data.augment": ["Augment", "Normalise", "SpecAugment"],
    "avtrain.data.picture_augment": ["PictureAugment"],
    "avtrain.data.sound_augment": ["SoundAugment"],
    "avtrain.data.batches": ["Batch", "Recipe"],
    "avtrain.data.cache": ["CacheConfig"],
    "avtrain.data.loader": ["Loader"],
    "avtrain.data.planned_batches": ["PlannedBatches"],
    "avtrain.data.reader": ["Reader"],
    "avtrain.sampling": ["ClipTable"],
    "avtrain.sampling.windows": ["WindowSpec"],
    "avtrain.data.plans": ["strategy_of", "training_table"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 - in the order of use
    "Dataset",
    "training_table",
    "ClipTable",
    "strategy_of",
    "WindowSpec",
    "Recipe",
    "Loader",
    "PlannedBatches",
    "Batch",
    "Augment",
    "Normalise",
    "SpecAugment",
    "PictureAugment",
    "SoundAugment",
    "Reader",
    "CacheConfig",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
