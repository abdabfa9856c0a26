"""avtrain plan: what the batches of a run will be, from the index alone. No media is read and no torch is needed.

The batches of a strategy are alike, so shares and means come from the first EXAMINED_BATCHES; coverage comes from whole
epochs, up to EXAMINED_PAIRS. What was looked at is part of the answer.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avprep.dataset import Dataset
from avprep.schema import LOGMEL_DTYPE
from avprep.shared import configs
from avtrain.config import PlanConfig
from avtrain.data.byte_ranges import pictures_there
from avtrain.data.folds import folded
from avtrain.data.plans import steps_of, strategy_of, training_table
from avtrain.data.several import described
from avtrain.data.splits import set_aside
from avtrain.data.window_sizes import check_window, shorter_clips, window_of
from avtrain.sampling import ClipTable, LabelLists, Strategy, pair_weights
from avtrain.sampling.accumulation import updates_per_epoch
from avtrain.sampling.windows import WindowSpec

EXAMINED_BATCHES = 1_000
EXAMINED_PAIRS = 10_000_000


def survey(dataset: Dataset, config: PlanConfig) -> dict[str, Any]:
    """What a run of these settings would draw, as plain JSON values; `printed` makes lines of it.

    Errors: UserError as from pretraining: no such split or column; a strategy, batch or window that cannot be.
    """
    dataset = folded(dataset, config.fold_column, config.fold)
    table = training_table(dataset, config.labels, config.split, confidence=config.label_confidence)
    if config.split == "train":
        table, _ = set_aside(dataset, table, config.labels, config.val_share, config.seed)
    strategy = strategy_of(config.strategy, dataset, table)
    steps = steps_of(strategy, table, config.batch_size, config.world_size)
    column = dataset.labels(config.labels)
    window = window_of(dataset, config.window_frames, config.frame_stride, config.audio_seconds)
    check_window(dataset, table.rows, window)
    sums = _examine(dataset, table, strategy, config, window, len(column.class_names))
    pairs_per_epoch = sums.planned_pairs // sums.epochs
    smallest = strategy.smallest_batch(table, config.batch_size)
    soft = sums.pairs - sums.exact - sums.fallback
    return {
        "dataset": str(dataset.folder),
        "dataset_digest": dataset.digest,
        **described(dataset, table),
        "config": configs.to_dict(config),
        "clips": len(table),
        "labels": _labels(strategy.known_table(table, config.seed), column.class_names),
        "steps_per_epoch": steps,
        "batches": steps * config.epochs,
        "updates": updates_per_epoch(steps, config.accumulate) * config.epochs,
        "pairs_per_epoch": pairs_per_epoch,
        "pairs_per_batch": {"smallest": smallest, "mean": pairs_per_epoch / steps, "largest": sums.largest_batch},
        "pairs_per_rank": {
            "smallest": smallest // config.world_size,
            "largest": -(-sums.largest_batch // config.world_size),
        },
        "pair_shares": {
            "exact": sums.exact / sums.pairs,
            "soft": soft / sums.pairs,
            "fallback": sums.fallback / sums.pairs,
        },
        "pair_weights": _weights(sums.weights),
        "same_class_negatives_per_anchor": sums.same_class_negatives / sums.pairs,
        "soft_pairs_of_one_true_class": sums.soft_of_one_class / soft if soft else None,
        "several_labels": sums.several(soft) if table.lists is not None else None,
        "shards": len(np.unique(dataset.shard[table.rows])),
        "shards_per_batch": {"mean": float(np.mean(sums.shards)), "largest": max(sums.shards)},
        "windows": {**dataclasses.asdict(window), "shorter_clips": shorter_clips(dataset, table.rows, window)},
        "bytes_per_pair": sums.bytes / sums.pairs,
        "bytes_per_epoch": round(sums.bytes / sums.pairs * pairs_per_epoch),
        "heard": sums.audio.as_dict(),
        "seen": sums.video.as_dict(),
        "examined": {"batches": len(sums.shards), "coverage_epochs": sums.epochs},
    }


@dataclass
class _Coverage:
    """Which dataset rows have come so far, of the `clips` that shall; `counts` after each whole epoch."""

    clips: int
    came: np.ndarray
    counts: list[int] = field(default_factory=list)

    def end_epoch(self) -> None:
        self.counts.append(int(np.count_nonzero(self.came)))

    @property
    def whole(self) -> bool:
        return self.counts[-1] == self.clips

    def as_dict(self) -> dict[str, Any]:
        """Clips that came in the first epoch, clips that never came, epochs until all had come (None: not in these)."""
        return {
            "in_first_epoch": self.counts[0],
            "never": self.clips - self.counts[-1],
            "epochs_until_all": self.counts.index(self.clips) + 1 if self.whole else None,
        }


@dataclass
class _Sums:
    """Sums over the examined batches, then over all planned epochs."""

    audio: _Coverage
    video: _Coverage
    pairs: int = 0
    exact: int = 0
    fallback: int = 0
    soft_of_one_class: int = 0
    same_class_negatives: int = 0
    common_label_negatives: int = 0
    soft_overlap: float = 0.0
    bytes: float = 0.0
    shards: list[int] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    planned_pairs: int = 0
    largest_batch: int = 0
    epochs: int = 0

    def several(self, soft: int) -> dict[str, Any]:
        """Of a multi-label column: negatives with a common label for each sound, mean Jaccard index of soft pairs."""
        return {
            "common_label_negatives_per_anchor": self.common_label_negatives / self.pairs,
            "soft_pairs_overlap": self.soft_overlap / soft if soft else None,
        }


def _examine(
    dataset: Dataset, table: ClipTable, strategy: Strategy, config: PlanConfig, window: WindowSpec, classes: int
) -> _Sums:
    """Plan epoch after epoch until all is known, all epochs are planned, or EXAMINED_PAIRS are."""
    audio, video = (_Coverage(len(table), np.zeros(len(dataset), bool)) for _ in range(2))
    sums = _Sums(audio, video)
    for epoch in range(config.epochs):
        plans = strategy.plan(table, batch_size=config.batch_size, seed=config.seed, epoch=epoch)
        for step, plan in enumerate(plans):
            if len(sums.shards) < EXAMINED_BATCHES:
                _add(sums, dataset, plan, strategy.fallbacks(table, plan, seed=config.seed, epoch=epoch, step=step))
                if table.lists is not None:
                    _add_lists(sums, table, table.lists, plan, classes)
                sums.bytes += _bytes_of(dataset, plan, window)
                weights = pair_weights(strategy, table, plan, seed=config.seed, epoch=epoch, step=step)
                sums.weights += [] if weights is None else [weights]
            audio.came[plan[:, 0]] = True
            video.came[plan[:, 1]] = True
            sums.planned_pairs += len(plan)
            sums.largest_batch = max(sums.largest_batch, len(plan))
        sums.epochs += 1
        audio.end_epoch()
        video.end_epoch()
        known = audio.whole and video.whole and len(sums.shards) >= EXAMINED_BATCHES
        if known or sums.planned_pairs >= EXAMINED_PAIRS:
            break
    return sums


def _add(sums: _Sums, dataset: Dataset, plan: np.ndarray, fallbacks: np.ndarray) -> None:
    """Count one batch: kinds of pairs, classes that meet, shards."""
    audio, video = plan.T
    own, other = dataset.label[audio], dataset.label[video]
    alike, kept = own == other, audio == video
    sums.pairs += len(plan)
    sums.fallback += int(fallbacks.sum())
    sums.exact += int((kept & ~fallbacks).sum())
    sums.soft_of_one_class += int((alike & ~kept).sum())
    pictures = np.bincount(other, minlength=int(own.max()) + 1)
    sums.same_class_negatives += int(pictures[own].sum() - alike.sum())
    sums.shards.append(len(np.unique(dataset.shard[plan])))


def _add_lists(sums: _Sums, table: ClipTable, lists: LabelLists, plan: np.ndarray, classes: int) -> None:
    """Count labels that the sounds and pictures of one batch have in common."""
    audio, video = (lists.take(np.searchsorted(table.rows, side)).matrix(classes) for side in plan.T)
    common = audio.astype(np.float32) @ video.T.astype(np.float32)
    own = common.diagonal()
    sums.common_label_negatives += int((common > 0).sum() - (own > 0).sum())
    either = np.maximum((audio | video).sum(axis=1), 1)
    sums.soft_overlap += float((own / either)[plan[:, 0] != plan[:, 1]].sum())


def _bytes_of(dataset: Dataset, plan: np.ndarray, window: WindowSpec) -> float:
    """Bytes that a batch reads: a window is whole wherever it begins, unless its clip is shorter than that.

    The sizes of JPEGs lie beside the shards; here each counts as the mean of its clip, as do those between pictures.
    """
    audio, video = plan.T
    stride = window.frame_stride if dataset.frame_codec == "raw" else 1
    most = window.num_frames if dataset.frame_codec == "raw" else window.picture_frames
    pictures = pictures_there(dataset, video, np.zeros(len(video), np.int64), most, stride)
    sound = np.minimum(window.num_mel_frames, dataset.num_mel_frames[audio])
    of_pictures = (pictures * dataset.frames_bytes[video] / dataset.num_frames[video]).sum()
    return float(of_pictures + sound.sum() * dataset.num_mel_bands * LOGMEL_DTYPE.itemsize)


def _weights(of_batches: list[np.ndarray]) -> dict[str, float] | None:
    """How pairs count in the loss: extremes, and the effective share of the N pairs, (sum w)^2 / sum w^2 / N."""
    if not of_batches:
        return None
    weights = np.concatenate(of_batches).astype(np.float64)
    squares = float(np.square(weights).sum())
    return {
        "smallest": float(weights.min()),
        "largest": float(weights.max()),
        "effective_share": float(weights.sum()) ** 2 / squares / len(weights) if squares else 0.0,
    }


def _labels(table: ClipTable, names: list[str]) -> dict[str, Any]:
    """How the clips lie over the labels that the strategy goes by."""
    groups = table.groups
    without = int(np.count_nonzero(table.labels < 0))
    return {
        "count": len(groups),
        "smallest": int(groups.sizes.min(initial=len(table))) if len(groups) else 0,
        "median": float(np.median(groups.sizes)) if len(groups) else 0.0,
        "largest": int(groups.sizes.max(initial=0)),
        "of_one_clip": int((groups.sizes == 1).sum()),
        "clips_without": without,
        "per_clip": len(groups.order) / max(len(table) - without, 1),
        "clips": [
            {"label": label, "name": names[label], "clips": size}
            for label, size in zip(groups.labels.tolist(), groups.sizes.tolist(), strict=True)
        ],
    }
