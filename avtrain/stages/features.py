"""Features of a dataset's clips by the encoders of a run, of length 1, one array a side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import nn

from avprep.dataset import Dataset
from avprep.shared.commands import Progress
from avprep.shared.errors import Interrupted, UserError
from avtrain.config import StageConfig
from avtrain.data.reader import Reader
from avtrain.evaluation.features import Source, window_features
from avtrain.evaluation.sides import takes_any_length
from avtrain.models.encoder import place
from avtrain.runs.data_spec import check_pictures, check_sounds, normaliser, window_known
from avtrain.runs.load import check_has_pictures, load_audio_encoder, load_two_tower, load_video_encoder
from avtrain.stages.log_mel import log_mel_features
from avtrain.stages.opened import Opened

CLIPS_AT_ONCE = 64
LEAST_DEVIATION = 1e-6
LEAST_CLIPS = 10  # of a group that is standardised by itself

Features = dict[str, np.ndarray]
"""float32 [clips, D] by side"""


def sides_of(by: str) -> tuple[str, ...]:
    """The sides whose features `by` needs."""
    return {"audio": ("audio",), "log-mel": ("audio",), "video": ("video",)}.get(by, ("audio", "video"))


def check_media(dataset: Dataset, opened: Opened | None, rows: np.ndarray, sides: tuple[str, ...]) -> None:
    """UserError where the clips of `rows` have no pictures, or other media than the run, if any, was trained on."""
    if opened is None:
        return
    if "audio" in sides:
        check_sounds(opened.folder, opened.meta, dataset)
    if "video" in sides:
        check_has_pictures(opened.folder, opened.meta)
        check_pictures(opened.folder, opened.meta, dataset)
        check_has_picture(dataset, rows, "take --by audio")


def check_has_picture(dataset: Dataset, rows: np.ndarray, advice: str) -> None:
    """UserError with `advice` where clips of `rows` have no picture."""
    blind = rows[dataset.num_frames[rows] == 0]
    if len(blind):
        raise UserError(
            f"{dataset.folder} has {len(blind)} clips without picture, such as {dataset.clip_ids[blind[0]]}; "
            f"{advice}, or take them out with 'avprep exclude'."
        )


def features_of(
    dataset: Dataset,
    opened: Opened | None,
    rows: np.ndarray,
    config: StageConfig,
    sides: tuple[str, ...],
    *,
    fitted: np.ndarray | None = None,
    device: str = "cpu",
    stopping: Callable[[], bool] = lambda: False,
) -> Features:
    """Features float32 [rows, D] of each side, of length 1: means over windows, the encoders in eval mode.

    Without a run they are `log_mel_features` of the sounds. All but those of the common space are standardised by
    mean and deviation over the clips `fitted` (bool [rows]; None: all), with `per_group` over all of a group. Memory:
    4 D bytes a clip and side. Errors: UserError where features are not finite, or a group has too few clips;
    Interrupted once `stopping()`.
    """
    group = group_of(dataset, rows) if config.per_group else None
    if opened is None:
        return {"audio": unit(standardised(log_mel_features(dataset, rows, config.segments, stopping), fitted, group))}
    made = {}
    for side in sides:
        encoder = place(_encoder(dataset, opened, side, config.projection), device)
        means = _means(encoder, dataset, opened, rows, side, config.windows_per_clip, device, stopping)
        made[side] = unit(means if config.projection else standardised(means, fitted, group))
    return made


def _encoder(dataset: Dataset, opened: Opened, side: str, projection: bool) -> nn.Module:
    folder, meta, size, weights = opened.folder, opened.meta, dataset.frame_size, opened.weights
    if projection:
        tower = load_two_tower(folder, meta, size, weights)
        return nn.Sequential(tower.get_submodule(side), tower.get_submodule(f"{side}_head")).eval()
    return (
        load_audio_encoder(folder, meta, weights)
        if side == "audio"
        else load_video_encoder(folder, meta, size, weights)
    )


def _means(
    encoder: nn.Module,
    dataset: Dataset,
    opened: Opened,
    rows: np.ndarray,
    side: str,
    windows: int,
    device: str,
    stopping: Callable[[], bool],
) -> np.ndarray:
    """float32 [rows, D]: the mean features of evenly spread windows of each clip."""
    normalise = normaliser(dataset, "dataset", opened.folder, opened.meta).to(device)
    spec = window_known(opened.meta, dataset)
    parts = []
    with Reader(dataset) as reader, Progress(len(rows), "clips", f"{side} features") as progress:
        source = Source(
            dataset,
            reader,
            normalise,
            device,
            spec.num_mel_frames,
            side=side,
            spec=spec,
            whole_pictures=takes_any_length(opened.meta),
        )
        for begin in range(0, len(rows), CLIPS_AT_ONCE):
            if stopping():
                raise Interrupted("nothing was written; the same command starts again")
            some = rows[begin : begin + CLIPS_AT_ONCE]
            features, _ = window_features(encoder, source, some, windows)
            parts.append(features.float().view(len(some), -1, features.shape[1]).mean(dim=1).cpu().numpy())
            progress.advance(len(some))
    return np.concatenate(parts)


def standardised(features: np.ndarray, fitted: np.ndarray | None = None, group: np.ndarray | None = None) -> np.ndarray:
    """Features float32 [N, D] less their mean, by their deviation, over the clips `fitted`; constant ones become 0.

    `group` int [N]: over all of the clip's own group instead.
    """
    if group is not None:
        made = np.empty_like(features, np.float32)
        for one in np.unique(group):
            of_group = group == one
            made[of_group] = standardised(features[of_group])
        return made
    base = features if fitted is None else features[fitted]
    mean, deviation = base.mean(axis=0, dtype=np.float64), base.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > LEAST_DEVIATION, 1 / np.maximum(deviation, LEAST_DEVIATION), 0)
    return ((features - mean) * scale).astype(np.float32)


def group_of(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """int64 [rows]: the number of each clip's group. Errors: UserError where one has too few clips."""
    names, group = np.unique(dataset.group_names[rows], return_inverse=True)
    sizes = np.bincount(group)
    if sizes.min() < LEAST_CLIPS:
        raise UserError(
            f"Group {str(names[sizes.argmin()])!r} of {dataset.folder} has {sizes.min()} clips here, too few to "
            f"standardise features by (at least {LEAST_CLIPS}); leave out --per-group."
        )
    return group


def unit(features: np.ndarray) -> np.ndarray:
    """Features float32 [N, D] made of length 1; a row of zeros stays."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(length, np.float32(1e-12))
