"""What a checkpoint records of the data that it was trained on, and whether a dataset has data of other settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avprep.dataset import Dataset
from avprep.dataset.joined import JoinedDataset
from avprep.schema import named_downmix
from avprep.shared import configs
from avprep.shared.errors import UserError
from avtrain.data.augment import Normalise
from avtrain.data.window_sizes import window_of
from avtrain.sampling.windows import WindowSpec

DATA = "data"  # in meta.json, by data_described
WINDOW = "window"  # in that
DATASETS = "datasets"  # in that, and in config.json, of a run on several datasets
WINDOW_SIZES = ("num_frames", "frame_stride", "num_mel_frames")
PICTURE_SETTINGS = ("frame_size", "frame_rate_hz", "resize")  # how pictures are stored does not matter


def data_described(dataset: Dataset, window: WindowSpec) -> dict[str, Any]:
    """What a checkpoint records of its data: feature specs, windows, log-mel statistics, name, clips, classes."""
    return {
        "audio": dataset.info["audio"],
        "video": dataset.info["video"],
        WINDOW: {name: getattr(window, name) for name in WINDOW_SIZES},
        "logmel_mean": dataset.logmel_mean.tolist(),
        "logmel_std": dataset.logmel_std.tolist(),
        "name": dataset.name,
        "train_clips": int((dataset.split == dataset.splits.index("train")).sum()) if "train" in dataset.splits else 0,
        "class_names": dataset.class_names,
        **datasets_recorded(dataset),
    }


def datasets_recorded(dataset: Dataset) -> dict[str, Any]:
    """`datasets` of a run on several: name, digest and weight of each; nothing for one dataset."""
    return {DATASETS: dataset.records} if isinstance(dataset, JoinedDataset) else {}


def names_of(datasets: Any) -> str:
    """The datasets of a record as they are given, such as `a + b:0.5`; `one dataset` where there is no record."""
    if not datasets:
        return "one dataset"
    return " + ".join(one["name"] if one["weight"] == 1 else f"{one['name']}:{one['weight']:g}" for one in datasets)


def num_mel_bands_of(meta: Mapping[str, Any]) -> int:
    """Bands of the log-mel that a checkpoint's encoder was trained on; 128 where it has no record of them."""
    return int(meta.get(DATA, {}).get("audio", {}).get("num_mel_bands", 128))


def crop_size_of(meta: Mapping[str, Any]) -> int:
    """Side in px of the part of each picture that a checkpoint's encoder was trained on; 0: the whole picture."""
    return int(meta.get("config", {}).get("crop_size", 0))


def window_known(meta: Mapping[str, Any], dataset: Dataset) -> WindowSpec:
    """The windows that a checkpoint was trained on, on `dataset`; the paper's where it has no record of them."""
    known = meta.get(DATA, {}).get(WINDOW)
    if known is None:
        return window_of(dataset)
    return WindowSpec(frame_rate_hz=dataset.frame_rate_hz, **{name: int(known[name]) for name in WINDOW_SIZES})


def check_sounds(folder: Path, meta: Mapping[str, Any], dataset: Dataset) -> None:
    """UserError with the differences where the checkpoint in `folder` knows log-mel of other settings.

    A checkpoint without that record passes.
    """
    known = meta.get(DATA, {}).get("audio", {})
    if known:
        _check(folder, named_downmix(known), named_downmix(dataset.info["audio"]), "log-mel", dataset)


def check_pictures(folder: Path, meta: Mapping[str, Any], dataset: Dataset) -> None:
    """As `check_sounds`, of the size, rate and shape of pictures; those of the size of its crops fit as well."""
    known = meta.get(DATA, {}).get("video", {})
    if dataset.frame_size == crop_size_of(meta):
        known = {name: value for name, value in known.items() if name != "frame_size"}
    known = {name: known[name] for name in PICTURE_SETTINGS if name in known}
    _check(folder, known, dataset.info["video"], "pictures", dataset)


def normaliser(dataset: Dataset, norm: str, folder: Path | None, meta: Mapping[str, Any]) -> Normalise:
    """What makes media the encoder's input: log-mel by the dataset's train statistics or the encoder's own; crops.

    `norm` is one of config.NORMS; the encoder's statistics and the size of its crops are those in the `meta` of its
    checkpoint in `folder`. Errors: UserError where there are no statistics.
    """
    if norm == "dataset":
        return Normalise(dataset.logmel_mean, dataset.logmel_std, crop_size_of(meta))
    if folder is None:
        raise UserError("--norm encoder takes the statistics that a run was trained with; give --run.")
    data = meta.get(DATA, {})
    if "logmel_mean" not in data:
        raise UserError(
            f"{folder} holds no log-mel statistics (it is an import, or of an earlier version); leave --norm out."
        )
    return Normalise(np.array(data["logmel_mean"]), np.array(data["logmel_std"]), crop_size_of(meta))


def _check(folder: Path, known: Mapping[str, Any], given: Mapping[str, Any], what: str, dataset: Dataset) -> None:
    both = known.keys() & given.keys()  # versions differ in what they write down
    changed = configs.differences({name: known[name] for name in both}, {name: given[name] for name in both})
    if changed:
        listed = "\n  ".join(changed)
        raise UserError(
            f"{folder} was trained on other {what} than {dataset.folder} holds; build that dataset with the same "
            f"settings:\n  {listed}"
        )
