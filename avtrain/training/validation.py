"""Validation while a run trains: does the sound of a clip that is not trained on find a picture of its label?

Which clips those are, splits.set_aside chooses. Scores are those of `retrieve`, by the run's label column.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from avprep.dataset import Dataset
from avtrain.config import READ_THREADS, SOUNDS_ALONE, PretrainConfig
from avtrain.data.augment import Normalise
from avtrain.data.cache import CacheConfig
from avtrain.data.reader import Reader
from avtrain.distributed import Ranks, any_rank, first_rank_buffers, sum_ranks
from avtrain.evaluation.retrieval import blocks_of, class_labels, embed_clips, summary
from avtrain.models.two_tower import TwoTower
from avtrain.sampling import ClipTable
from avtrain.sampling.windows import WindowSpec

SCORES = ("class_recall_at_1", "recall_at_1", "recall_at_5", "class_chance_at_1")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The measurement of one run: on which clips, after which updates."""

    dataset: Dataset
    clips: ClipTable
    window: WindowSpec
    config: PretrainConfig
    device: str
    ranks: Ranks
    cache: CacheConfig | None = None
    read_threads: int = READ_THREADS

    @property
    def classes(self) -> int:
        """How many classes the labels are of, those that no clip here has among them."""
        lists = self.clips.lists
        return int((self.clips.labels if lists is None else lists.values).max(initial=-1)) + 1

    def due(self, step: int, total: int, updates_per_epoch: int) -> bool:
        """Whether to measure after `step` updates of `total`: every `val_every` epochs and at the end of the run."""
        return step > 0 and (step == total or step % (self.config.val_every * updates_per_epoch) == 0)

    def measure(self, model: TwoTower, stopping: Callable[[], bool]) -> dict[str, float] | None:
        """`val_` scores of the model in eval mode, the same on all ranks; None once `stopping()` on any of them.

        Ranks take turns at blocks of clips that do not depend on their number, and have rank 0's batch statistics.
        """
        begin = time.perf_counter()
        first_rank_buffers(model, self.ranks)
        training = model.training
        model.eval()
        embedded = self._embedded(model, stopping)
        model.train(training)
        if embedded is None:
            return None
        audio, video = embedded.unbind(1)
        scores = summary(audio.numpy(), video.numpy(), class_labels(self.clips, self.classes))
        scores["class_chance_at_1"] = scores["chance"]["class"]["recall_at_1"]
        values = {f"val_{name}": float(scores[name]) for name in SCORES}
        return {**values, "val_clips": len(self.clips), "val_seconds": round(time.perf_counter() - begin, 3)}

    def _embedded(self, model: TwoTower, stopping: Callable[[], bool]) -> torch.Tensor | None:
        """(sound, picture) [clips, 2, D] of all clips on every rank; None once a rank is to stop."""
        normalise = Normalise(self.dataset.logmel_mean, self.dataset.logmel_std, self.config.crop_size)
        normalise = normalise.to(self.device)
        blocks = blocks_of(len(self.clips), self.window)
        embedded = torch.zeros(len(self.clips), 2, model.embedding_dim)
        precision = torch.autocast(
            torch.device(self.device).type, torch.bfloat16, enabled=self.config.precision == "bf16"
        )
        with Reader(self.dataset, self.read_threads, self.cache) as reader, precision:
            for first in range(0, len(blocks), self.ranks.world_size):
                for block in blocks[first + self.ranks.rank :][: first + self.ranks.rank < len(blocks)]:
                    sides = embed_clips(model, self.dataset, reader, normalise, self.clips.rows[block], self.window)
                    embedded[block] = torch.stack(sides, dim=1)
                if any_rank(stopping(), self.ranks):
                    return None
        return sum_ranks(embedded, self.ranks)


def description_of(validation: Validation | None, config: PretrainConfig) -> str:
    """A line on which clips a run is validated on, and when."""
    if not config.val_every:
        return "no validation"
    if config.loss == SOUNDS_ALONE:
        return f"no validation: {SOUNDS_ALONE} trains no picture encoder, so that no sound could find its picture"
    if validation is None:
        return "no validation: the dataset has no val split of use here, and no --val-share of the clips was set aside"
    clips, dataset = validation.clips, validation.dataset
    origin = "of the val split" if "val" in dataset.splits else "of the train split, not trained on"
    when = "every epoch" if config.val_every == 1 else f"every {config.val_every} epochs"
    return f"validation on {len(clips):,} clips {origin}, {when}"
