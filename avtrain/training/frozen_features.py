"""Features of a frozen encoder, computed once and kept in the run's folder: `avtrain pretrain --frozen-windows`.

RUN/frozen/SIDE-DIGEST.npy holds float32 [clips, windows, features] of the training clips. The digest is that of all
that the features depend on, so a file that is there is right, and a run that resumes reads it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from avprep.shared import configs, store
from avprep.shared.commands import Progress
from avprep.shared.errors import Interrupted
from avtrain.config import PretrainConfig
from avtrain.data.augment import Normalise
from avtrain.data.batches import Recipe
from avtrain.data.clips import read_pictures, read_windows
from avtrain.data.frozen_features import FrozenFeatures
from avtrain.data.reader import Reader
from avtrain.distributed import Ranks, any_rank, by_first
from avtrain.evaluation.finite import check_finite
from avtrain.runs.folder import FROZEN
from avtrain.sampling.windows import aligned_windows
from avtrain.training.setup import Ready

WINDOWS_AT_ONCE = 64

log = logging.getLogger(__name__)


def use_frozen_features(
    run: Path,
    ready: Ready,
    config: PretrainConfig,
    *,
    device: str,
    ranks: Ranks,
    stopping: Callable[[], bool],
    quiet: bool = False,
) -> None:
    """Have the loader of a run with `frozen_windows` read features in place of media; else nothing.

    The first rank computes those that are not there, with the weights that the model has; the others wait. Errors:
    Interrupted once `stopping()` there; UserError where features are not finite or the disk is full.
    """
    if not config.frozen_windows:
        return
    recipe, stopped = ready.loader.recipe, []
    path = run / FROZEN / f"{config.freeze}-{_digest(ready, config)[:16]}.npy"

    def make() -> None:
        if path.exists():
            return
        path.parent.mkdir(exist_ok=True)
        for other in path.parent.glob("*.npy"):
            other.unlink()
        log.info(
            "features of the frozen %s encoder: %d windows a clip, kept in %s", config.freeze, recipe.positions, path
        )
        try:
            _write(path, ready, config, device, stopping, quiet)
        except _StopError:
            stopped.append(True)

    by_first(make, ranks)
    if any_rank(bool(stopped), ranks):
        raise Interrupted("the features of the frozen encoder are not all computed; the same command begins them again")
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    features = FrozenFeatures(config.freeze, recipe.table.rows, values)
    ready.loader.recipe = dataclasses.replace(recipe, features=features)


class _StopError(Exception):
    """The process was asked to stop."""


def _write(
    path: Path, ready: Ready, config: PretrainConfig, device: str, stopping: Callable[[], bool], quiet: bool
) -> None:
    """Write the features of all training clips to `path`."""
    recipe, encoder = ready.loader.recipe, ready.model.get_submodule(config.freeze)
    rows, positions = recipe.table.rows, recipe.positions
    dataset = recipe.dataset
    normalise = Normalise(dataset.logmel_mean, dataset.logmel_std, config.crop_size).to(device)
    precision = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=config.precision == "bf16")
    shape = len(rows), positions, int(encoder.num_features)  # type: ignore[arg-type]
    blocks = np.array_split(np.arange(len(rows)), -(-len(rows) * positions // WINDOWS_AT_ONCE))
    with (
        store.atomic_path(path) as temporary,
        Reader(dataset, ready.loader.threads, ready.loader.cache) as reader,
        Progress(len(rows), "clips", "features", quiet) as progress,
    ):
        values = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        for block in blocks:
            if stopping():
                raise _StopError
            repeated = np.repeat(rows[block], positions)
            with torch.no_grad(), precision:
                features = encoder(_media(recipe, reader, normalise, config.freeze, repeated, len(block))).float()
            check_finite(features, dataset, repeated)
            values[block] = features.cpu().numpy().reshape(len(block), positions, -1)
            progress.advance(len(block))
        values.flush()


def _media(
    recipe: Recipe, reader: Reader, normalise: Normalise, side: str, rows: np.ndarray, clips: int
) -> torch.Tensor:
    """The encoder's input for all windows of `clips` clips, whose `rows` are repeated for each window."""
    dataset, spec = recipe.dataset, recipe.spec
    through = np.tile((np.arange(recipe.positions) + 0.5) / recipe.positions, clips)
    windows = aligned_windows(recipe.lengths[rows], through, spec, dataset.mel_rates_hz[rows])
    device = normalise.video_mean.device
    if side == "audio":
        sounds = read_windows(dataset, reader, rows, windows.mel_frame, spec.num_mel_frames)
        return normalise.audio(torch.from_numpy(sounds).to(device))
    pictures = read_pictures(dataset, reader, rows, windows.frame, spec.num_frames, spec.frame_stride)
    return normalise.video(torch.from_numpy(pictures).to(device))


def _digest(ready: Ready, config: PretrainConfig) -> str:
    """Hex sha256 of what the features depend on."""
    recipe, encoder = ready.loader.recipe, ready.model.get_submodule(config.freeze)
    weights = {name: tensor.cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    rows = recipe.table.rows.astype(np.int64)
    return configs.digest(
        {
            "dataset": ready.dataset.digest,
            "rows": hashlib.sha256(rows.tobytes()).hexdigest(),
            "weights": hashlib.sha256(save(weights)).hexdigest(),
            "encoder": [config.model_size, config.video_model, config.video_pool, config.audio_model],
            "window": dataclasses.asdict(recipe.spec),
            "positions": recipe.positions,
            "crop_size": config.crop_size,
            "precision": config.precision,
        }
    )
