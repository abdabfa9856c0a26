"""Settings that pretraining, plans and benchmarks share, checked."""

from __future__ import annotations

from typing import Protocol

from avprep.shared.configs import check
from avtrain.config.choices import MOST_WINDOW_FRAMES


class BatchSettings(Protocol):
    """Settings that decide batches, fields of several configs."""

    @property
    def strategy(self) -> str: ...
    @property
    def accumulate(self) -> int: ...
    @property
    def val_share(self) -> float: ...


def check_batches(config: BatchSettings) -> None:
    """UserError where accumulate or val_share cannot be."""
    check(config.accumulate >= 1, f"accumulate must be 1 or more, not {config.accumulate}.")
    check(0 <= config.val_share < 1, f"val_share must be 0 or more and below 1, not {config.val_share}.")
    check(
        config.val_share == 0 or not config.strategy.startswith("pairs:"),
        "A file of pairs names the clips to train on; val_share cannot hold some back. Use a val split.",
    )


class FoldSettings(Protocol):
    """Settings that choose a turn of a cross-validation, fields of several configs."""

    @property
    def fold_column(self) -> str: ...
    @property
    def fold(self) -> str: ...


def check_folds(config: FoldSettings) -> None:
    """UserError where one of them is given without the other."""
    check(bool(config.fold_column) == bool(config.fold), "fold_column and fold go together; give both, or none.")


class WindowSettings(Protocol):
    """Settings that choose the sizes of windows, fields of several configs."""

    @property
    def window_frames(self) -> int: ...
    @property
    def frame_stride(self) -> int: ...
    @property
    def audio_seconds(self) -> float: ...


def check_windows(config: WindowSettings) -> None:
    """UserError where sizes of windows cannot be."""
    check(
        0 <= config.window_frames <= MOST_WINDOW_FRAMES,
        f"window_frames must be 0, for the paper's, to {MOST_WINDOW_FRAMES}, not {config.window_frames}.",
    )
    check(
        1 <= config.frame_stride <= MOST_WINDOW_FRAMES,
        f"frame_stride must be 1 to {MOST_WINDOW_FRAMES}, not {config.frame_stride}.",
    )
    check(
        config.audio_seconds == 0 or 0.1 <= config.audio_seconds <= 60,
        f"audio_seconds must be 0, for the paper's, or 0.1 to 60, not {config.audio_seconds}.",
    )
