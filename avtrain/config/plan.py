"""Settings of `avtrain plan`."""

from __future__ import annotations

from dataclasses import dataclass

from avprep.shared.configs import check
from avtrain.config.pretrain import PretrainConfig
from avtrain.config.shared import check_batches, check_folds, check_windows


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """What `avtrain plan` shall look at: the settings of a pretraining run that decide its batches."""

    strategy: str = PretrainConfig.strategy
    """as in PretrainConfig"""
    labels: str = PretrainConfig.labels
    """as in PretrainConfig"""
    label_confidence: bool = PretrainConfig.label_confidence
    """as in PretrainConfig"""
    fold_column: str = PretrainConfig.fold_column
    """as in PretrainConfig"""
    fold: str = PretrainConfig.fold
    """as in PretrainConfig"""
    split: str = "train"
    """split whose clips are paired"""
    batch_size: int = PretrainConfig.batch_size
    """pairs in a global batch"""
    window_frames: int = PretrainConfig.window_frames
    """as in PretrainConfig"""
    frame_stride: int = PretrainConfig.frame_stride
    """as in PretrainConfig"""
    audio_seconds: float = PretrainConfig.audio_seconds
    """as in PretrainConfig"""
    accumulate: int = PretrainConfig.accumulate
    """batches of an update"""
    epochs: int = PretrainConfig.epochs
    """passes over the split"""
    val_share: float = PretrainConfig.val_share
    """as in PretrainConfig"""
    seed: int = PretrainConfig.seed
    """of plans, windows and the clips of val_share"""
    world_size: int = 1
    """ranks that share a batch"""

    def __post_init__(self) -> None:
        check(self.batch_size >= 2, f"batch_size must be 2 or more, not {self.batch_size}.")
        check(self.epochs >= 1 and self.world_size >= 1, "epochs and world_size must be 1 or more.")
        check_batches(self)
        check_folds(self)
        check_windows(self)
        check(self.seed >= 0, f"seed must be 0 or more, not {self.seed}.")
