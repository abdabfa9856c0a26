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

from avprep.shared import configs
from avprep.shared.commands import Progress
from avprep.shared.errors import Interrupted, UserError
from avtrain.config import PretrainConfig
from avtrain.data.batches import Batch
from avtrain.distributed import Ranks, any_rank, by_all, by_first, one_value
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from avtrain.runs.data_spec import data_described
from avtrain.runs.environment import environment
from avtrain.runs.load import has_average
from avtrain.runs.loggers import open_loggers
from avtrain.sampling.accumulation import Position, position_of, updates_per_epoch
from avtrain.training.course import Course, updates_of
from avtrain.training.ema import average_of, follow
from avtrain.training.frozen_features import use_frozen_features
from avtrain.training.gradient import Gradient, Part
from avtrain.training.non_finite import culprits_of
from avtrain.training.optimizer import learning_rate_at, optimiser_of
from avtrain.training.setup import Ready
from avtrain.training.throughput import Throughput
from avtrain.training.unlogged import Unlogged
from avtrain.training.validation import Validation


@dataclass(frozen=True)
class PretrainResult:
    """How a run ended: updates made, mean loss of the last epoch's, speed, share of time, the best in validation."""

    steps: int
    last_loss: float
    pairs_per_second: float
    waited_share: float
    best: dict[str, Any] | None


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
    unlogged: Unlogged = field(init=False, default_factory=Unlogged)
    """of the updates since the last line of metrics"""
    metrics: run_folder.Metrics | None = field(init=False, default=None)
    """of the first rank"""

    def __post_init__(self) -> None:
        config, loader = self.config, self.ready.loader
        self.gradient = Gradient(config=config, ready=self.ready, device=self.device, ranks=self.ranks)
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
        self.gradient.wrap_model()
        self.throughput = Throughput()
        with self._progress() as progress, self._open_metrics():
            self._validate()
            for batch in self.ready.loader if self.step < self.total else ():
                position = position_of(batch.step, self.ready.loader.steps_per_epoch, self.config.accumulate)
                self._add_to_gradient(batch, position)
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
        step, self.unlogged = int(meta["step"]), Unlogged.of(meta)
        self.ready.loader.load_state_dict(self.course.loader_at(step, meta["loader"]))
        return step

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

    def _add_to_gradient(self, batch: Batch, position: Position) -> None:
        if position.begins:
            self.optimiser.zero_grad(set_to_none=True)
            self.parts.clear()
        self.parts.append(self.gradient.add(batch, position))
        self.throughput.add(batch)

    def _update(self) -> float:
        """Make the update of the gradient at hand, and write a line of metrics where due; the mean loss of its batches.

        Numbers leave the device here, once an update, and are checked before the weights change.
        """
        config = self.config
        norm = torch.nn.utils.clip_grad_norm_(self.ready.model.parameters(), config.grad_clip_norm or math.inf)
        scalars = [*(part.loss for part in self.parts), norm, self.parts[-1].temperature]
        *losses, gradient_norm, temperature = _numbers(scalars)
        self._check_finite(losses, gradient_norm)
        learning_rate = learning_rate_at(self.step, self.total, config)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        if self.average is not None:
            follow(self.average, self.ready.model, config.ema, self.step + 1)
        loss = sum(losses) / len(losses)
        self.unlogged.add(
            loss=loss,
            gradient_norm=gradient_norm,
            pairs=sum(part.batch.global_size for part in self.parts),
            waited_seconds=sum(part.batch.waited_seconds for part in self.parts),
        )
        if (self.step + 1) % config.log_every == 0 or self.step + 1 == self.total:
            self._write_line(learning_rate, temperature)
        self.step += 1
        return loss

    def _write_line(self, learning_rate: float, temperature: float) -> None:
        if self.metrics is not None:
            self.metrics.write(
                step=self.step,
                epoch=self.parts[-1].batch.epoch,
                **self.unlogged.as_line(),
                learning_rate=learning_rate,
                temperature=temperature,
                seconds=round(self.throughput.seconds, 3),
            )
        self.unlogged = Unlogged()

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
            "data": data_described(self.ready.dataset, self.ready.loader.recipe.spec),
            **self.unlogged.as_meta(),
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
        lines = [line for line in run_folder.read_metrics(self.run) if line["step"] >= self.step - self.per_epoch]
        losses, updates = ([line.get(name, 1) for line in lines] for name in ("loss", "updates"))
        return PretrainResult(
            self.step,
            float(np.average(losses, weights=updates)) if losses else math.nan,
            self.throughput.pairs_per_second,
            self.throughput.waited_share,
            run_folder.best_validation(self.run),
        )


def _numbers(values: list[float | torch.Tensor]) -> list[float]:
    """Scalars, on a device or not, as Python's floats; one transfer for all."""
    device = next(value.device for value in values if isinstance(value, torch.Tensor))
    with torch.no_grad():
        return torch.stack([torch.as_tensor(value, dtype=torch.float64, device=device) for value in values]).tolist()
