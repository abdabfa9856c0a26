"""avtrain pretrain: plans -> batches -> a contrastive loss -> checkpoints. Reads from top to bottom; resumes by itself.

On a CPU with one thread count, a run that was killed and started again ends with the same weights, bit for bit: every
draw is a function of (seed, epoch, step), and a checkpoint holds all that changes. (Not yet run on a GPU.) Under
torchrun each rank encodes its slice of the global batch, all compute the loss of the whole; rank 0 alone writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avprep.dataset import Dataset
from avprep.shared import configs, store
from avprep.shared.commands import Progress
from avprep.shared.errors import Interrupted, UserError
from avtrain import checkpoint, rundir
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
)
from avtrain.encoder import data_described
from avtrain.losses import contrastive
from avtrain.models.two_tower import TwoTower
from avtrain.optimiser import learning_rate_at, optimiser_of
from avtrain.outcome import failure_told, outcome
from avtrain.ready import make_ready
from avtrain.sampling.base import LAYERS

SHOWN_CLIPS = 5


@dataclass(frozen=True)
class PretrainResult:
    """How a run ended: updates made, mean loss of the last epoch's steps, shares of time, speed."""

    steps: int
    last_loss: float
    pairs_per_second: float
    waited_share: float


def pretrain(
    dataset_dir: Path | str,
    run: Path,
    config: PretrainConfig,
    *,
    device: str = "cpu",
    ranks: Ranks = ALONE,
    cache: CacheConfig | None = None,
    stopping: Callable[[], bool] = lambda: False,
    quiet: bool = False,
) -> PretrainResult:
    """Train both encoders on the train split of a dataset (a folder or a URL); the run folder says all.

    Errors: UserError (no such dataset or model, a strategy or batch that it cannot serve, a run of other settings);
    Interrupted once `stopping()` on any rank, after a checkpoint; FloatingPointError where a loss or gradient is not
    finite.
    """
    if ranks.world_size == 1:  # of several, one may have failed already, and said why
        rundir.clear_exit(run)
    with (
        failure_told(run, ranks),
        process_group(ranks, device) as device,
        outcome(run, ranks),
        ExitStack() as held,
    ):
        ready = by_all(lambda: make_ready(dataset_dir, run, config, device=device, ranks=ranks, cache=cache), ranks)

        def open_run() -> None:
            rundir.open_run(run, ready.identity)
            held.enter_context(store.folder_lock(run, "training in"))

        by_first(open_run, ranks)
        return _train(ready.dataset, ready.loader, ready.model, run, config, device, ranks, stopping, quiet)


def _train(
    dataset: Dataset,
    loader: Loader,
    model: TwoTower,
    run: Path,
    config: PretrainConfig,
    device: str,
    ranks: Ranks,
    stopping: Callable[[], bool],
    quiet: bool,
) -> PretrainResult:
    """The training loop, from the newest checkpoint to the last update."""
    if device.startswith("cuda"):
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    masks = SpecAugment() if config.spec_augment else None
    augment = Augment(dataset, spec_augment=masks, seed=config.seed).to(device)
    labels = _labels_by_row(dataset, loader)
    optimiser = optimiser_of(model, config)
    total = config.epochs * loader.steps_per_epoch
    total = min(total, config.max_steps) if config.max_steps else total
    step = first = by_all(lambda: _resume(run, model, optimiser, loader), ranks)
    if not one_value(step, ranks):
        raise UserError(f"Not all processes find the same checkpoint in {run}; it must be a folder that all share.")
    wrapped = parallel(model, ranks, device)  # averages gradients as long as it lives
    metrics = rundir.Metrics(run, step) if ranks.rank == 0 else None
    waited, begin = 0.0, time.perf_counter()

    def save() -> None:
        if metrics is not None:
            metrics.flush()
            meta = {"loader": loader.state_dict(), "dataset_digest": dataset.digest, "config": configs.to_dict(config)}
            meta |= {"data": data_described(dataset), **rundir.begun_from(run)}
            checkpoint.save(run, step, model, optimiser, meta, config.keep_checkpoints)
        any_rank(False, ranks)  # none goes on, or leaves, before it is written

    writing = nullcontext() if metrics is None else closing(metrics)
    with Progress(total - step, "steps", run.name, quiet or ranks.rank > 0) as progress, writing:
        for batch in loader if step < total else ():
            torch.manual_seed(_layer_seed(config.seed, batch, ranks))
            pictures, sounds = augment(batch)
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=config.precision == "bf16"):
                embedded = wrapped(pictures, sounds)
            seen, heard = (gather_rows(rows, batch.global_size, ranks) for rows in embedded)
            own_labels = labels[torch.from_numpy(batch.plan[:, 0])].to(device)
            anchors = gather_rows(own_labels, batch.global_size, ranks)
            temperature = config.temperature if model.temperature is None else model.temperature()
            loss = contrastive(config.loss, seen, heard, anchors, temperature)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip_norm or math.inf).item()
            value = loss.item()
            if not (math.isfinite(value) and math.isfinite(norm)):
                culprits = _culprits(dataset, batch, pictures, sounds, ranks)
                raise FloatingPointError(
                    f"loss {value} at step {step}, epoch {batch.epoch}, gradient {norm}: {culprits}"
                )
            for group in optimiser.param_groups:
                group["lr"] = learning_rate_at(step, total, config)
            optimiser.step()
            if metrics is not None:
                metrics.write(
                    step=step,
                    epoch=batch.epoch,
                    loss=value,
                    gradient_norm=norm,
                    learning_rate=optimiser.param_groups[0]["lr"],
                    temperature=torch.as_tensor(temperature, dtype=torch.float64).item(),
                    waited_seconds=round(batch.waited_seconds, 6),
                    seconds=round(time.perf_counter() - begin, 3),
                )
            waited += batch.waited_seconds
            step += 1
            progress.advance(note=f"loss {value:.3f}")
            if step >= total:
                break
            if any_rank(stopping(), ranks):
                save()
                raise Interrupted(f"checkpoint at step {step} of {total}; the same command goes on from there")
            if step % config.checkpoint_every_steps == 0:
                save()
        if step > first:
            save()
    seconds = max(time.perf_counter() - begin, 1e-9)
    last = [line["loss"] for line in rundir.read_metrics(run)][-loader.steps_per_epoch :]
    return PretrainResult(step, float(np.mean(last)), (step - first) * config.batch_size / seconds, waited / seconds)


def _resume(run: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, loader: Loader) -> int:
    """Load the newest checkpoint, if any; the number of updates made so far."""
    folder = checkpoint.latest(run)
    if folder is None:
        return 0
    meta = checkpoint.read_meta(folder)
    checkpoint.load_model(folder, model)
    checkpoint.load_optimiser(folder, optimiser)
    loader.load_state_dict(meta["loader"])
    return int(meta["step"])


def _labels_by_row(dataset: Dataset, loader: Loader) -> torch.Tensor:
    """The label of each row of the dataset in the run's column, -1 for none and for rows that are not trained on."""
    table = loader.recipe.table
    labels = torch.full((len(dataset.label),), -1)
    labels[torch.from_numpy(table.rows)] = torch.from_numpy(table.labels).long()
    return labels


def _layer_seed(seed: int, batch: Batch, ranks: Ranks) -> int:
    """Of what layers draw in a step, such as dropout: a run that resumes draws the same."""
    state = np.random.SeedSequence([seed, batch.epoch, LAYERS, batch.step + 1, ranks.rank])
    return int(state.generate_state(1, np.uint64)[0])


def _culprits(dataset: Dataset, batch: Batch, pictures: torch.Tensor, sounds: torch.Tensor, ranks: Ranks) -> str:
    """Whose pictures or sounds, in the whole batch, are not finite; where all are, some clips of the batch."""
    device = pictures.device
    bad = torch.stack([~media.flatten(1).isfinite().all(dim=1) for media in (sounds, pictures)], dim=1).int()
    plan = gather_rows(torch.from_numpy(batch.plan).to(device), batch.global_size, ranks)
    clips = [dataset.clip_ids[row] for row in plan[gather_rows(bad, batch.global_size, ranks).bool()].tolist()]
    if clips:
        return f"the media of {', '.join(clips[:SHOWN_CLIPS])} are not finite ({len(clips)} in the batch)"
    clips = [dataset.clip_ids[row] for row in plan[:, 0].tolist()]
    return f"all media are finite, so the update before may have gone too far; sounds {', '.join(clips[:SHOWN_CLIPS])}"
