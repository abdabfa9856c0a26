"""The pictures and sounds that encoders were trained on: what their checkpoint says of them, and who has others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avprep.dataset import Dataset
from avprep.shared import configs
from avprep.shared.errors import UserError

DATA = "data"  # in meta.json, by encoder.data_described
PICTURE_SETTINGS = ("frame_size", "frame_rate_hz", "resize")  # how pictures are stored is no matter


def num_mel_bands_of(meta: Mapping[str, Any]) -> int:
    """Bands of the log-mel that a checkpoint's encoder was trained on; 128 where it does not say."""
    return int(meta.get(DATA, {}).get("audio", {}).get("num_mel_bands", 128))


def check_sounds(folder: Path, meta: Mapping[str, Any], dataset: Dataset) -> None:
    """UserError with the differences where the checkpoint in `folder` knows log-mel of other settings.

    One that does not say what it was trained on passes.
    """
    known = meta.get(DATA, {}).get("audio", {})
    _check(folder, known, dataset.info["audio"], "log-mel", dataset)


def check_pictures(folder: Path, meta: Mapping[str, Any], dataset: Dataset) -> None:
    """As `check_sounds`, of the size, rate and shape of pictures."""
    known = meta.get(DATA, {}).get("video", {})
    known = {name: known[name] for name in PICTURE_SETTINGS if name in known}
    _check(folder, known, dataset.info["video"], "pictures", dataset)


def _check(folder: Path, known: Mapping[str, Any], given: Mapping[str, Any], what: str, dataset: Dataset) -> None:
    both = known.keys() & given.keys()  # versions differ in what they write down
    changed = configs.differences({name: known[name] for name in both}, {name: given[name] for name in both})
    if changed:
        listed = "\n  ".join(changed)
        raise UserError(
            f"{folder} was trained on other {what} than {dataset.folder} holds; build that dataset with the same "
            f"settings:\n  {listed}"
        )
