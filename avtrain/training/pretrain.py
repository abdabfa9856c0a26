"""avtrain pretrain: plans -> batches -> a contrastive loss -> checkpoints. Reads from top to bottom; resumes by itself.

On a CPU with one thread count, a run that was killed and started again ends with the same weights, bit for bit: every
draw is a function of (seed, epoch, step), and a checkpoint holds all that changes. (Not yet run on a GPU.) Under
torchrun each rank encodes its slice of the global batch, all compute the loss of the whole; rank 0 alone writes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from avprep.dataset import Dataset
from avprep.shared import configs, store
from avprep.shared.commands import Progress
from avprep.shared.errors import Interrupted, UserError
from avtrain.config import PretrainConfig
from avtrain.data.augment import Augment, SpecAugment
from avtrain.data.batches import Batch
from avtrain.data.cache import CacheConfig
from avtrain.data.loader import Loader
from avtrain.distributed import (
    ALONE,
    Ranks,
    any_rank,
    by_all,
    by_first,
    gather_rows,
    one_value,
    parallel,
    process_group,
    unsynchronised,
)
from avtrain.models.two_tower import WithTemperature
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from avtrain.runs.changes import record
from avtrain.runs.data_spec import data_described
from avtrain.runs.environment import environment
from avtrain.runs.exit_status import outcome_recorded
from avtrain.runs.tensorboard import check_tensorboard
from avtrain.runs.trained_on import write_record
from avtrain.sampling.accumulation import place_of, updates_per_epoch
from avtrain.sampling.base import Stream
from avtrain.training.compiling import compile_in_place
from avtrain.training.losses import contrastive
from avtrain.training.non_finite import culprits_of
from avtrain.training.optimizer import learning_rate_at, optimiser_of
from avtrain.training.resume import Course, course_of, log_new, updates_of
from avtrain.training.setup import Ready, make_ready
from avtrain.training.throughput import Pace
from avtrain.training.validation import Validation, said_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PretrainResult:
    """How a run ended: updates made, mean loss of the last epoch's, speed, share of time, the best in validation."""

    steps: int
    last_loss: float
    pairs_per_second: float
    waited_share: float
    best: dict[str, Any] | None


def pretrain(
    dataset_dir: Path | str,
    run: Path,
    config: PretrainConfig,
    *,
    device: str = "cpu",
    ranks: Ranks = ALONE,
    cache: CacheConfig | None = None,
    stopping: Callable[[], bool] = lambda: False,
    saved: Callable[[], None] = lambda: None,
    tensorboard: bool = False,
    quiet: bool = False,
    change: bool = False,
) -> PretrainResult:
    """Train both encoders on the train split of a dataset (a folder or a URL); the run folder says all.

    `saved` is called on the first rank when nothing keeps it from training, and after each checkpoint. A run that is
    there goes on; with more epochs or updates, or, with `change`, other settings (course.course_of).

    Errors: UserError (no such dataset or model, a strategy or batch that it cannot serve, a run of other settings);
    Interrupted once `stopping()` on any rank, after a checkpoint; FloatingPointError where a loss or gradient is not
    finite.
    """
    with process_group(ranks, device) as device, ExitStack() as held:
        if tensorboard:
            check_tensorboard()
        ready = by_all(lambda: make_ready(dataset_dir, run, config, device=device, ranks=ranks, cache=cache), ranks)
        course = by_all(lambda: course_of(run, ready, config, change), ranks)

        def open_run() -> None:
            if not course.new:
                run_folder.open_run(run, ready.identity)
            held.enter_context(store.folder_lock(run, "training in"))
            if course.new:
                record(run, course.changes, ready.identity)
            write_record(run, ready.dataset, ready.loader.recipe.table.rows, config.init_from)
            run_folder.clear_exit(run)
            saved()

        by_first(open_run, ranks)
        held.enter_context(outcome_recorded(run, ranks))
        validation = None
        if config.val_every and len(ready.unseen):
            validation = Validation(
                dataset=ready.dataset, clips=ready.unseen, config=config, device=device, ranks=ranks, cache=cache
            )
        if ranks.rank == 0 and not quiet:
            log.info("%s", said_of(validation, config))
            log_new(run, course, config)
        return _train(ready, course, validation, run, config, device, ranks, stopping, saved, tensorboard, quiet)


def _train(
    ready: Ready,
    course: Course,
    validation: Validation | None,
    run: Path,
    config: PretrainConfig,
    device: str,
    ranks: Ranks,
    stopping: Callable[[], bool],
    saved: Callable[[], None],
    tensorboard: bool,
    quiet: bool,
) -> PretrainResult:
    """The training loop, from the newest checkpoint to the last update."""
    dataset, loader, model = ready.dataset, ready.loader, ready.model
    if device.startswith("cuda"):
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    masks = SpecAugment() if config.spec_augment else None
    augment = Augment(dataset, spec_augment=masks, seed=config.seed).to(device)
    labels = _labels_by_row(dataset, loader, config.seed)
    optimiser = optimiser_of(model, config)
    per_epoch = updates_per_epoch(loader.steps_per_epoch, config.accumulate)
    offset = course.offset
    total = updates_of(config, per_epoch, offset)
    step = first = by_all(lambda: _resume(run, model, optimiser, loader, course), ranks)
    if not one_value(step, ranks):
        raise UserError(f"Not all processes find the same checkpoint in {run}; it must be a folder that all share.")
    own = any(":" in name for name in (config.video_model, config.audio_model))
    wrapped = parallel(WithTemperature(model), ranks, device, some_unused=own)  # averages gradients as long as it lives
    if config.compile:
        compile_in_place(model, device)
    metrics = run_folder.Metrics(run, step, tensorboard) if ranks.rank == 0 else None
    pace, newest = Pace(), -1

    def save() -> None:
        nonlocal newest
        if newest < step:
            by_first(write, ranks)  # none goes on, or leaves, before it is written
        newest = step

    def write() -> None:
        if metrics is not None:
            metrics.flush()
            meta = {
                "loader": loader.state_dict(),
                "dataset_digest": dataset.digest,
                "config": configs.to_dict(config),
                "data": data_described(dataset),
                **run_folder.begun_from(run),
                **({"changes": course.changes} if course.changes else {}),
                "best": run_folder.best_validation(run),
                "environment": environment(),
            }
            checkpoint.save(run, step, model, optimiser, meta, config.keep_checkpoints)
            saved()

    def stop() -> NoReturn:
        save()
        raise Interrupted(f"checkpoint at step {step} of {total}; the same command goes on from there")

    def validate() -> None:
        """Where it is due and not yet done, as after a stop; a score that no other reached is kept at once."""
        if validation is None or not validation.due(step - offset, total - offset, per_epoch):
            return
        if not any_rank(metrics is not None and run_folder.is_validated(run, step), ranks):
            with pace.apart():
                scores = validation.measure(model, stopping)
            if scores is None:
                stop()
            if metrics is not None:
                metrics.write(step=step - 1, epoch=(step - 1 - offset) // per_epoch, **scores)
                metrics.flush()
        best = run_folder.best_validation(run) if metrics is not None else None
        if any_rank(best is not None and best["step"] == step, ranks):
            save()

    losses: list[float] = []  # of the batches of an update
    waits: list[float] = []
    pairs = 0
    writing = nullcontext() if metrics is None else closing(metrics)
    with Progress(total - step, "steps", run.name, quiet or ranks.rank > 0) as progress, writing:
        validate()
        for batch in loader if step < total else ():
            place_in_update = place_of(batch.step, loader.steps_per_epoch, config.accumulate)
            torch.manual_seed(_layer_seed(config.seed, batch, ranks))
            pictures, sounds = augment(batch)
            with unsynchronised(wrapped, more=not place_in_update.ends):
                with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=config.precision == "bf16"):
                    *embedded, learnt = wrapped(pictures, sounds)
                seen, heard = (gather_rows(rows, batch.global_size, ranks) for rows in embedded)
                own_labels = labels[torch.from_numpy(batch.plan)].to(device)  # [b, 2]: of sounds and of pictures
                both_labels = gather_rows(own_labels, batch.global_size, ranks)
                temperature = config.temperature if learnt is None else learnt
                loss = contrastive(config.loss, seen, heard, both_labels, temperature)
                if place_in_update.begins:
                    optimiser.zero_grad(set_to_none=True)
                    losses, waits, pairs = [], [], 0
                (loss / place_in_update.batches).backward()
            losses.append(loss.item())
            waits.append(batch.waited_seconds)
            pairs += batch.global_size
            pace.add(batch)
            norm = 0.0
            if place_in_update.ends:
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip_norm or math.inf).item()
            if not (math.isfinite(losses[-1]) and math.isfinite(norm)):
                culprits = culprits_of(dataset, batch, pictures, sounds, ranks)
                raise FloatingPointError(
                    f"loss {losses[-1]} at step {step}, epoch {batch.epoch}, gradient {norm}: {culprits}"
                )
            if not place_in_update.ends:
                continue
            for group in optimiser.param_groups:
                group["lr"] = learning_rate_at(step, total, config)
            optimiser.step()
            value = sum(losses) / len(losses)
            if metrics is not None:
                metrics.write(
                    step=step,
                    epoch=batch.epoch,
                    loss=value,
                    pairs=pairs,
                    gradient_norm=norm,
                    learning_rate=optimiser.param_groups[0]["lr"],
                    temperature=torch.as_tensor(temperature, dtype=torch.float64).item(),
                    waited_seconds=round(sum(waits), 6),
                    seconds=round(pace.seconds, 3),
                )
            step += 1
            progress.advance(note=f"loss {value:.3f}, {pace}")
            if step >= total:
                break
            if any_rank(stopping(), ranks):
                stop()
            validate()
            if step % config.checkpoint_every_steps == 0:
                save()
        if step > first:
            validate()
            save()
    last = [line["loss"] for line in run_folder.read_metrics(run)][-per_epoch:]
    return PretrainResult(
        step,
        float(np.mean(last)) if last else math.nan,
        pace.pairs_per_second,
        pace.waited_share,
        run_folder.best_validation(run),
    )


def _resume(run: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, loader: Loader, course: Course) -> int:
    """Load the newest checkpoint, if any; the number of updates made so far."""
    folder = checkpoint.latest(run)
    if folder is None:
        return 0
    meta = checkpoint.read_meta(folder, "loader.epoch", "loader.step", "step")
    checkpoint.load_model(folder, model)
    checkpoint.load_optimiser(folder, optimiser)
    step = int(meta["step"])
    loader.load_state_dict(course.loader_at(step, meta["loader"]))
    return step


def _labels_by_row(dataset: Dataset, loader: Loader, seed: int) -> torch.Tensor:
    """The label of each row of the dataset in the run's column that the loss may see.

    -1 for none, for one that the strategy withholds, and for rows that are not trained on.
    """
    table = loader.recipe.table
    labels = torch.full((len(dataset.label),), -1)
    labels[torch.from_numpy(table.rows)] = torch.from_numpy(loader.recipe.strategy.known_labels(table, seed)).long()
    return labels


def _layer_seed(seed: int, batch: Batch, ranks: Ranks) -> int:
    """Of what layers draw in a step, such as dropout: a run that resumes draws the same."""
    state = np.random.SeedSequence([seed, batch.epoch, Stream.LAYERS, batch.step + 1, ranks.rank])
    return int(state.generate_state(1, np.uint64)[0])
