"""What a run needs before its first update; all that it can be refused for is checked here, and nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from avprep.dataset import Dataset
from avprep.shared import configs
from avprep.shared.errors import UserError
from avtrain.config import MODEL_SIZES, READ_THREADS, SOUNDS_ALONE, PretrainConfig
from avtrain.data.augment import torchaudio_functions
from avtrain.data.cache import CacheConfig
from avtrain.data.device_copies import copies_to
from avtrain.data.encoded import check_decoder
from avtrain.data.folds import folded
from avtrain.data.loader import Loader
from avtrain.data.own_strategy import OwnStrategy
from avtrain.data.plans import strategy_of, training_table
from avtrain.data.several import Given, dataset_of
from avtrain.data.splits import clips_to_validate_on, set_aside
from avtrain.data.window_sizes import window_of
from avtrain.distributed import ALONE, Ranks
from avtrain.models.encoder import place
from avtrain.models.two_tower import TwoTower, tower_of
from avtrain.runs import folder as run_folder
from avtrain.runs.data_spec import datasets_recorded
from avtrain.sampling import ClipTable, Strategy, digest
from avtrain.training.chosen_loss import loss_of
from avtrain.training.init_from import begin_from
from avtrain.training.losses import Loss
from avtrain.training.video_weights import load_video_weights


@dataclass(frozen=True)
class Ready:
    """Dataset, batches, clips to validate on, model with its first weights, and what config.json of the run records."""

    dataset: Dataset
    loader: Loader
    unseen: ClipTable
    """clips that are not trained on and validate"""
    model: TwoTower
    loss: Loss
    classes: int
    """of the label column"""
    identity: dict[str, Any]


def make_ready(
    given: Given,
    run: Path,
    config: PretrainConfig,
    *,
    device: str = "cpu",
    ranks: Ranks = ALONE,
    cache: CacheConfig | None = None,
    read_threads: int = READ_THREADS,
) -> Ready:
    """What a run of this config on the dataset or datasets `given` begins with, in the folder `run`.

    Errors: UserError, but for those of the folder.
    """
    dataset = folded(dataset_of(given), config.fold_column, config.fold)
    if config.crop_size > dataset.frame_size:
        raise UserError(
            f"--crop-size {config.crop_size} is larger than the {dataset.frame_size} px of the pictures in "
            f"{dataset.folder}; choose {dataset.frame_size} or less, or build it with a larger --frame-size."
        )
    check_decoder(config.jpeg_decoder, dataset, device)
    if config.spec_augment:
        torchaudio_functions()
    table = training_table(
        dataset, config.labels, sounds_alone=config.loss == SOUNDS_ALONE, confidence=config.label_confidence
    )
    table, aside = set_aside(dataset, table, config.labels, config.val_share, config.seed)
    strategy = strategy_of(config.strategy, dataset, table)
    loss = loss_of(config.loss, dataset, table)
    unseen = clips_to_validate_on(dataset, aside, strategy, config)
    loader = Loader(
        dataset,
        table,
        strategy,
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        background=config.sound_mixup > 0,
        positions=config.frozen_windows,
        window=window_of(dataset, config.window_frames, config.frame_stride, config.audio_seconds),
        rank=ranks.rank,
        world_size=ranks.world_size,
        threads=read_threads,
        pinned=device.startswith("cuda"),
        cache=cache,
        copies=copies_to(device),
        encoded=config.jpeg_decoder == "device",
    )
    torch.manual_seed(config.seed)
    model = tower_of(configs.to_dict(config), dataset.frame_size, dataset.num_mel_bands)
    begun = begin_from(config.init_from, model, run, dataset)
    if not config.init_from:
        name = config.video_model or MODEL_SIZES[config.model_size][0]
        begun = load_video_weights(config.video_weights, name, model, run)
    identity = {
        "config": configs.to_dict(config),
        "dataset_digest": dataset.digest,
        **datasets_recorded(dataset),
        "plan_digest": digest(strategy, table),
        **_of_own(strategy, table, config),
        **loss.identity,
        **begun,
    }
    classes = len(dataset.labels(config.labels).class_names)
    return Ready(dataset, loader, unseen, place(model, device).train(), loss.function, classes, identity)


def _of_own(strategy: Strategy, table: ClipTable, config: PretrainConfig) -> dict[str, str]:
    """What config.json records of a strategy of the user's own: the digests of its code and of its first plans."""
    if not isinstance(strategy, OwnStrategy):
        return {}
    return {
        "strategy_code": strategy.code.digest,
        run_folder.PLANS: strategy.plans_digest(table, config.batch_size, config.seed),
    }
