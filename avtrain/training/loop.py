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
from avtrain.training.books import Books, Made, guard_of
from avtrain.training.course import Course, updates_of
from avtrain.training.ema import average_of, follow
from avtrain.training.frozen_features import use_frozen_features
from avtrain.training.gradient import Gradient, Part
from avtrain.training.optimizer import learning_rate_at, optimiser_of
from avtrain.training.profiling import Profiler, Unprofiled
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
    profile: int = 0
    """updates that are timed, and traced, on the first rank; 0: none"""

    step: int = field(init=False, default=0)
    """updates made"""
    saved_step: int = field(init=False, default=-1)
    """updates made when the last checkpoint was saved by this process"""
    parts: list[Part] = field(init=False, default_factory=list)
    """the batches of the update that is being made"""
    profiler: Unprofiled = field(init=False, default_factory=Unprofiled)
    metrics: run_folder.Metrics | None = field(init=False, default=None)
    """of the first rank"""

    def __post_init__(self) -> None:
        config, loader = self.config, self.ready.loader
        self.gradient = Gradient(config=config, ready=self.ready, device=self.device, ranks=self.ranks)
        self.optimiser = optimiser_of(self.ready.model, config)
        self.average = average_of(self.ready.model) if config.ema else None
        self.per_epoch = updates_per_epoch(loader.steps_per_epoch, config.accumulate)
        self.total = updates_of(config, self.per_epoch, self.course.offset)
        self.books = Books(
            log_every=config.log_every,
            total=self.total,
            dataset=self.ready.dataset,
            ranks=self.ranks,
            guard=guard_of(self.optimiser, self.device),
        )

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
        if self.profile and self.ranks.rank == 0:
            self.profiler = self.gradient.profiler = Profiler(self.profile, self.run, first, self.device)
        self.throughput = self.books.throughput = Throughput()
        with self._progress() as progress, self._open_metrics(), contextlib.closing(self.profiler):
            self._validate()
            for batch in self.profiler.batches(self.ready.loader) if self.step < self.total else ():
                position = position_of(batch.step, self.ready.loader.steps_per_epoch, self.config.accumulate)
                self._add_to_gradient(batch, position)
                if not position.ends:
                    continue
                self._update()
                progress.advance(note=f"loss {self.books.last_loss:.3f}, {self.throughput}")
                if self.step >= self.total:
                    self.profiler.updated()
                    break
                self._stop_if_asked()
                self._validate()
                if self.step % self.config.checkpoint_every_steps == 0:
                    self._save()
                self.profiler.updated()
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
        step, self.books.unlogged = int(meta["step"]), Unlogged.of(meta)
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
            self.books.metrics = self.metrics
            yield

    def _add_to_gradient(self, batch: Batch, position: Position) -> None:
        if position.begins:
            self.optimiser.zero_grad(set_to_none=True)
            self.parts = []
        self.parts.append(self.gradient.add(batch, position))
        self.throughput.add(batch)

    def _update(self) -> None:
        """Make the update of the gradient at hand, and write a line of metrics where due.

        Numbers are looked at before the weights change, or, under a guard, once a line is due.
        """
        config = self.config
        with self.profiler.part("gradient norm"):
            norm = torch.nn.utils.clip_grad_norm_(self.ready.model.parameters(), config.grad_clip_norm or math.inf)
        learning_rate = learning_rate_at(self.step, self.total, config)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.books.begin(Made(self.step, self.parts, norm, learning_rate))
        with self.profiler.part("optimiser"):
            self.optimiser.step()
            if self.average is not None:
                follow(self.average, self.ready.model, config.ema, self.step + 1)
        with self.profiler.part("numbers"):
            self.books.end(self.step)
        self.step += 1

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
        self.books.settle()
        first = self.metrics is not None
        if not any_rank(first and run_folder.is_validated(self.run, self.step), self.ranks):
            with self.throughput.apart(), self.profiler.part("validation"):
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
        self.books.settle()
        if self.saved_step < self.step:
            with self.profiler.part("checkpoint"):
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
            **self.books.unlogged.as_meta(),
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
