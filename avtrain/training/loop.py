"""The training loop: batches to losses, gradients, updates; metrics, validation and checkpoints between them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import nn

from avprep.shared import configs
from avprep.shared.commands import Progress
from avprep.shared.errors import Interrupted, UserError
from avtrain.config import PretrainConfig
from avtrain.data.augment import Augment
from avtrain.data.batches import Batch
from avtrain.distributed import Ranks, any_rank, by_all, by_first, gather_rows, one_value, parallel, unsynchronised
from avtrain.models.two_tower import WithTemperature
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from avtrain.runs.data_spec import data_described
from avtrain.runs.environment import environment
from avtrain.runs.load import has_average
from avtrain.runs.loggers import open_loggers
from avtrain.sampling.accumulation import Position, position_of, updates_per_epoch
from avtrain.sampling.base import Stream
from avtrain.training.compiling import compile_in_place
from avtrain.training.ema import average_of, follow
from avtrain.training.frozen_features import use_frozen_features
from avtrain.training.grad_cache import Embedded, backward_in_chunks, chunks_of
from avtrain.training.non_finite import culprits_of, media_sums
from avtrain.training.optimizer import learning_rate_at, optimiser_of
from avtrain.training.resume import Course, updates_of
from avtrain.training.setup import Ready
from avtrain.training.targets import PairBatch
from avtrain.training.throughput import Throughput
from avtrain.training.validation import Validation


@dataclass(frozen=True)
class PretrainResult:
    """How a run ended: updates made, mean loss of the last epoch's, speed, share of time, the best in validation."""

    steps: int
    last_loss: float
    pairs_per_second: float
    waited_share: float
    best: dict[str, Any] | None


@dataclass(frozen=True)
class Part:
    """What an update keeps of one of its batches; tensors stay on the device."""

    batch: Batch
    """for its numbers and plan: the memory of its media has a later batch by then"""
    loss: torch.Tensor
    sums: torch.Tensor
    """media_sums"""


@dataclass(kw_only=True)
class Trainer:
    """A run while it trains: what it was given, and how far it is."""

    run: Path
    config: PretrainConfig
    ready: Ready
    course: Course
    validation: Validation | None
    device: str
    ranks: Ranks
    stopping: Callable[[], bool]
    saved: Callable[[], None]
    log: Sequence[str] = ()
    """names of loggers"""
    quiet: bool = False

    step: int = field(init=False, default=0)
    """updates made"""
    saved_step: int = field(init=False, default=-1)
    """updates made when the last checkpoint was saved by this process"""
    parts: list[Part] = field(init=False, default_factory=list)
    """the batches of the update that is being made"""
    temperature: float | torch.Tensor = field(init=False)
    """of the last batch"""
    metrics: run_folder.Metrics | None = field(init=False, default=None)
    """of the first rank"""

    def __post_init__(self) -> None:
        config, loader = self.config, self.ready.loader
        self.augment = Augment.of(self.ready.dataset, config).to(self.device)
        self.labels = _labels_by_row(self.ready, config.seed).to(self.device)
        self.encoders = WithTemperature(self.ready.model)
        self.model: nn.Module = self.encoders
        self.optimiser = optimiser_of(self.ready.model, config)
        self.average = average_of(self.ready.model) if config.ema else None
        self.per_epoch = updates_per_epoch(loader.steps_per_epoch, config.accumulate)
        self.total = updates_of(config, self.per_epoch, self.course.offset)

    def train(self) -> PretrainResult:
        """Make all updates that are missing, from the newest checkpoint to the last.

        Errors: Interrupted once `stopping()` on any rank, after a checkpoint; FloatingPointError before an update whose
        loss or gradient is not finite; UserError where the checkpoint or the disk is at fault.
        """
        first = self.step = self._resume()
        use_frozen_features(
            self.run,
            self.ready,
            self.config,
            device=self.device,
            ranks=self.ranks,
            stopping=self.stopping,
            quiet=self.quiet or self.ranks.rank > 0,
        )
        self._prepare_model()
        self.throughput = Throughput()
        with self._progress() as progress, self._open_metrics():
            self._validate()
            for batch in self.ready.loader if self.step < self.total else ():
                position = position_of(batch.step, self.ready.loader.steps_per_epoch, self.config.accumulate)
                self._backward(batch, position)
                if not position.ends:
                    continue
                loss = self._update()
                progress.advance(note=f"loss {loss:.3f}, {self.throughput}")
                if self.step >= self.total:
                    break
                self._stop_if_asked()
                self._validate()
                if self.step % self.config.checkpoint_every_steps == 0:
                    self._save()
            if self.step > first:
                self._validate()
                self._save()
        return self._result()

    def _resume(self) -> int:
        """Load the newest checkpoint, if any, and set the loader to the batch after it; the updates made so far."""
        step = by_all(self._load, self.ranks)
        if not one_value(step, self.ranks):
            raise UserError(
                f"Not all processes find the same checkpoint in {self.run}; it must be a folder that all share."
            )
        return step

    def _load(self) -> int:
        folder = checkpoint.latest(self.run)
        if folder is None:
            return 0
        meta = checkpoint.read_meta(folder, "loader.epoch", "loader.step", "step")
        checkpoint.load_model(folder, self.ready.model)
        if self.average is not None:  # of a run that has only now begun to keep one, it begins with the weights
            file = checkpoint.AVERAGE if has_average(meta) else checkpoint.MODEL
            checkpoint.load_model(folder, self.average, file=file)
        checkpoint.load_optimiser(folder, self.optimiser)
        step = int(meta["step"])
        self.ready.loader.load_state_dict(self.course.loader_at(step, meta["loader"]))
        return step

    def _prepare_model(self) -> None:
        """Wrap the model so that ranks average gradients, for as long as this object lives; compile it if wanted."""
        own = any(":" in name for name in (self.config.video_model, self.config.audio_model))
        self.model = parallel(self.encoders, self.ranks, self.device, some_unused=own)
        if self.config.compile:
            compile_in_place(self.ready.model, self.device)

    def _progress(self) -> Progress:
        return Progress(self.total - self.step, "steps", self.run.name, self.quiet or self.ranks.rank > 0)

    @contextlib.contextmanager
    def _open_metrics(self) -> Iterator[None]:
        """Within it, the first rank appends to metrics.jsonl, and to what else is asked for."""
        first = self.ranks.rank == 0
        config = configs.to_dict(self.config)
        loggers = by_all(lambda: open_loggers(self.log if first else (), self.run, self.step, config), self.ranks)
        if not first:
            yield
            return
        with contextlib.closing(run_folder.Metrics(self.run, self.step, loggers)) as self.metrics:
            yield

    def _backward(self, batch: Batch, position: Position) -> None:
        """Add the gradient of a batch to that of its update."""
        if position.begins:
            self.optimiser.zero_grad(set_to_none=True)
            self.parts.clear()
        torch.manual_seed(_layer_seed(self.config.seed, batch, self.ranks.rank))
        pictures, sounds = self.augment(batch)
        if self.config.chunk_size:
            loss = self._backward_in_chunks(batch, pictures, sounds, position)
        else:
            with unsynchronised(self.model, more=not position.ends):
                loss = self._loss(batch, *self._embed(self.model, pictures, sounds))
                (loss / position.batches).backward()
        self.parts.append(Part(batch, loss.detach(), media_sums(pictures, sounds)))
        self.throughput.add(batch)

    def _backward_in_chunks(
        self, batch: Batch, pictures: torch.Tensor, sounds: torch.Tensor, position: Position
    ) -> torch.Tensor:
        """As `_backward`, of a batch that is encoded chunk by chunk; its loss."""

        def embed(model: nn.Module, chunk: slice) -> Embedded:
            torch.manual_seed(_layer_seed(self.config.seed, batch, batch.first_item + chunk.start))
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
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=bf16):
            return model(pictures, sounds)

    def _loss(
        self, batch: Batch, own_video: torch.Tensor, own_audio: torch.Tensor, learnt: torch.Tensor | None
    ) -> torch.Tensor:
        """The loss of a whole batch, from this rank's embeddings of it."""
        total = batch.global_size
        video, audio = (gather_rows(rows, total, self.ranks) for rows in (own_video, own_audio))
        self.temperature = self.config.temperature if learnt is None else learnt
        return self.ready.loss(video, audio, self._pairs(batch), self.temperature)

    def _pairs(self, batch: Batch) -> PairBatch:
        """What the loss may know of the pairs of all ranks."""
        rows = gather_rows(torch.from_numpy(batch.plan).to(self.device), batch.global_size, self.ranks)
        weights = batch.weights
        if weights is not None:
            weights = gather_rows(weights.to(self.device), batch.global_size, self.ranks)
        return PairBatch(self.labels[rows], rows, weights)

    def _update(self) -> float:
        """Make the update of the gradient at hand, and write its line of metrics; the mean loss of its batches.

        Numbers leave the device here, once an update, and are checked before the weights change.
        """
        config = self.config
        norm = torch.nn.utils.clip_grad_norm_(self.ready.model.parameters(), config.grad_clip_norm or math.inf)
        *losses, gradient_norm, temperature = _numbers([*(part.loss for part in self.parts), norm, self.temperature])
        self._check_finite(losses, gradient_norm)
        learning_rate = learning_rate_at(self.step, self.total, config)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        if self.average is not None:
            follow(self.average, self.ready.model, config.ema, self.step + 1)
        loss = sum(losses) / len(losses)
        if self.metrics is not None:
            self.metrics.write(
                step=self.step,
                epoch=self.parts[-1].batch.epoch,
                loss=loss,
                pairs=sum(part.batch.global_size for part in self.parts),
                gradient_norm=gradient_norm,
                learning_rate=learning_rate,
                temperature=temperature,
                waited_seconds=round(sum(part.batch.waited_seconds for part in self.parts), 6),
                seconds=round(self.throughput.seconds, 3),
            )
        self.step += 1
        return loss

    def _check_finite(self, losses: list[float], gradient_norm: float) -> None:
        """Raise FloatingPointError with clips of the first batch whose loss is not finite, or of the last batch."""
        wrong = [number for number, loss in enumerate(losses) if not math.isfinite(loss)]
        if not wrong and math.isfinite(gradient_norm):
            return
        number = wrong[0] if wrong else -1
        part = self.parts[number]
        culprits = culprits_of(self.ready.dataset, part.batch, part.sums, self.ranks)
        raise FloatingPointError(
            f"loss {losses[number]} at step {self.step}, epoch {part.batch.epoch}, gradient {gradient_norm}: {culprits}"
        )

    def _stop_if_asked(self) -> None:
        if any_rank(self.stopping(), self.ranks):
            self._stop()

    def _stop(self) -> NoReturn:
        self._save()
        raise Interrupted(f"checkpoint at step {self.step} of {self.total}; the same command goes on from there")

    def _validate(self) -> None:
        """Measure where it is due and not yet done, as after a stop; save at once where no other score was as good."""
        offset = self.course.offset
        if self.validation is None or not self.validation.due(self.step - offset, self.total - offset, self.per_epoch):
            return
        first = self.metrics is not None
        if not any_rank(first and run_folder.is_validated(self.run, self.step), self.ranks):
            with self.throughput.apart():
                scores = self.validation.measure(self.average or self.ready.model, self.stopping)
            if scores is None:
                self._stop()
            if self.metrics is not None:
                epoch = (self.step - 1 - offset) // self.per_epoch
                self.metrics.write(step=self.step - 1, epoch=epoch, **scores)
                self.metrics.flush()
        best = run_folder.best_validation(self.run) if first else None
        if any_rank(best is not None and best["step"] == self.step, self.ranks):
            self._save()

    def _save(self) -> None:
        """Save a checkpoint of this step unless this process has; no rank goes on, or leaves, before it is written."""
        if self.saved_step < self.step:
            by_first(self._write_checkpoint, self.ranks)
        self.saved_step = self.step

    def _write_checkpoint(self) -> None:
        if self.metrics is None:
            return
        self.metrics.flush()
        meta = {
            "loader": self.ready.loader.state_dict(),
            "dataset_digest": self.ready.dataset.digest,
            "config": configs.to_dict(self.config),
            "data": data_described(self.ready.dataset),
            **run_folder.begun_from(self.run),
            **run_folder.code_of(self.run),
            **({"changes": self.course.changes} if self.course.changes else {}),
            "best": run_folder.best_validation(self.run),
            "environment": environment(),
        }
        keep = self.config.keep_checkpoints
        checkpoint.save(self.run, self.step, self.ready.model, self.optimiser, meta, keep, self.average)
        self.saved()

    def _result(self) -> PretrainResult:
        losses = [line["loss"] for line in run_folder.read_metrics(self.run)][-self.per_epoch :]
        return PretrainResult(
            self.step,
            float(np.mean(losses)) if losses else math.nan,
            self.throughput.pairs_per_second,
            self.throughput.waited_share,
            run_folder.best_validation(self.run),
        )


def _numbers(values: list[float | torch.Tensor]) -> list[float]:
    """Scalars, on a device or not, as Python's floats; one transfer for all."""
    device = next(value.device for value in values if isinstance(value, torch.Tensor))
    with torch.no_grad():
        return torch.stack([torch.as_tensor(value, dtype=torch.float64, device=device) for value in values]).tolist()


def _labels_by_row(ready: Ready, seed: int) -> torch.Tensor:
    """The label of each row of the dataset in the run's column that the loss may use.

    -1 for none, for one that the strategy withholds, and for rows that are not trained on.
    """
    recipe = ready.loader.recipe
    labels = torch.full((len(ready.dataset.label),), -1)
    known = recipe.strategy.known_labels(recipe.table, seed)
    labels[torch.from_numpy(recipe.table.rows)] = torch.from_numpy(known).long()
    return labels


def _layer_seed(seed: int, batch: Batch, part: int) -> int:
    """Seed of what layers draw in a step, such as dropout: a run that resumes draws the same.

    `part` is the rank, or the first item of a chunk in the global batch.
    """
    state = np.random.SeedSequence([seed, batch.epoch, Stream.LAYERS, batch.step + 1, part])
    return int(state.generate_state(1, np.uint64)[0])
