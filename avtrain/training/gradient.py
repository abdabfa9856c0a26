"""What a batch adds to the gradient of its update: its media are augmented and encoded, its loss is over all ranks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from avtrain.config import PretrainConfig
from avtrain.data.augment import Augment
from avtrain.data.batches import Batch
from avtrain.distributed import Ranks, gather_rows, parallel, unsynchronised
from avtrain.models.two_tower import WithTemperature
from avtrain.sampling.accumulation import Position
from avtrain.sampling.base import Stream
from avtrain.training.compiling import compile_in_place
from avtrain.training.grad_cache import Embedded, backward_in_chunks, chunks_of
from avtrain.training.non_finite import media_sums
from avtrain.training.profiling import Unprofiled
from avtrain.training.row_labels import RowLabels
from avtrain.training.setup import Ready
from avtrain.training.targets import PairBatch


@dataclass(frozen=True)
class Part:
    """What an update keeps of one of its batches; tensors stay on the device."""

    batch: Batch
    """for its numbers and plan, without media"""
    loss: torch.Tensor
    temperature: float | torch.Tensor
    sums: torch.Tensor
    """media_sums"""


@dataclass(kw_only=True)
class Gradient:
    """The model of a run, and what leads from a batch to its gradient."""

    config: PretrainConfig
    ready: Ready
    device: str
    ranks: Ranks
    profiler: Unprofiled = field(default_factory=Unprofiled)
    model: nn.Module = field(init=False)
    """what averages gradients over ranks; `encoders` in it do not"""
    temperature: float | torch.Tensor = field(init=False)
    """of the last batch"""

    def __post_init__(self) -> None:
        self.augment = Augment.of(self.ready.dataset, self.config).to(self.device)
        recipe = self.ready.loader.recipe
        known = recipe.strategy.known_table(recipe.table, self.config.seed)
        self.labels = RowLabels(known, len(self.ready.dataset), self.ready.classes, self.device)
        self.model = self.encoders = WithTemperature(self.ready.model)

    def wrap_model(self) -> None:
        """Wrap the model so that ranks average gradients, for as long as this object lives; compile it if wanted."""
        own = any(":" in name for name in (self.config.video_model, self.config.audio_model))
        self.model = parallel(self.encoders, self.ranks, self.device, some_unused=own)
        if self.config.compile:
            compile_in_place(self.ready.model, self.device)

    def add(self, batch: Batch, position: Position) -> Part:
        """Add the gradient of a batch to that of its update, where it is at `position`; what to keep of it."""
        _seed_layers(_layer_seed(self.config.seed, batch, self.ranks.rank), self.device)
        with self.profiler.part("copy and augmentation"):
            pictures, sounds = self.augment(batch)
            sums = media_sums(pictures if batch.video.is_floating_point() else None, sounds)
        if self.config.chunk_size:
            with self.profiler.part("backward pass"):
                loss = self._add_in_chunks(batch, pictures, sounds, position)
        else:
            with unsynchronised(self.model, more=not position.ends):
                loss = self._loss(batch, *self._embed(self.model, pictures, sounds))
                with self.profiler.part("backward pass"):
                    (loss / position.batches).backward()
        temperature = self.temperature
        if isinstance(temperature, torch.Tensor):  # which an update changes
            temperature = temperature.detach().clone()
        return Part(batch.without_media(), loss.detach(), temperature, sums)

    def _add_in_chunks(
        self, batch: Batch, pictures: torch.Tensor, sounds: torch.Tensor, position: Position
    ) -> torch.Tensor:
        """As `add`, of a batch that is encoded chunk by chunk; its loss."""

        def embed(model: nn.Module, chunk: slice) -> Embedded:
            _seed_layers(_layer_seed(self.config.seed, batch, batch.first_item + chunk.start), self.device)
            return self._embed(model, pictures[chunk], sounds[chunk])

        return backward_in_chunks(
            self.model,
            self.encoders,
            embed,
            lambda *embedded: self._loss(batch, *embedded),
            chunks_of(batch.global_size, self.config.chunk_size, self.ranks),
            batches=position.batches,
            more=not position.ends,
        )

    def _embed(self, model: nn.Module, pictures: torch.Tensor, sounds: torch.Tensor) -> Embedded:
        """Embeddings of this rank's pairs, and the temperature where it is learnt, by `model`, as wrapped or not."""
        bf16 = self.config.precision == "bf16"
        with (
            self.profiler.part("encoders"),
            torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=bf16),
        ):
            return model(pictures, sounds)

    def _loss(
        self, batch: Batch, own_video: torch.Tensor, own_audio: torch.Tensor, learnt: torch.Tensor | None
    ) -> torch.Tensor:
        """The loss of a whole batch, from this rank's embeddings of it."""
        total = batch.global_size
        with self.profiler.part("loss over all ranks"):
            video, audio = (gather_rows(rows, total, self.ranks) for rows in (own_video, own_audio))
            self.temperature = self.config.temperature if learnt is None else learnt
            return self.ready.loss(video, audio, self._pairs(batch), self.temperature)

    def _pairs(self, batch: Batch) -> PairBatch:
        """What the loss may know of the pairs of all ranks."""
        rows = gather_rows(torch.from_numpy(batch.plan).to(self.device), batch.global_size, self.ranks)
        weights = batch.weights
        if weights is not None:
            weights = gather_rows(weights.to(self.device), batch.global_size, self.ranks)
        return PairBatch(self.labels(rows), rows, weights)


def _seed_layers(seed: int, device: str) -> None:
    """Seed what layers on a device draw from: torch.manual_seed formats a stack trace for each kind of device."""
    if torch.device(device).type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _layer_seed(seed: int, batch: Batch, part: int) -> int:
    """Seed of what layers draw in a step, such as dropout: a run that resumes draws the same.

    `part` is the rank, or the first item of a chunk in the global batch.
    """
    state = np.random.SeedSequence([seed, batch.epoch, Stream.LAYERS, batch.step + 1, part])
    return int(state.generate_state(1, np.uint64)[0])
