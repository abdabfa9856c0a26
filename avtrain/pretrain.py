"""avtrain pretrain: plans -> batches -> InfoNCE -> checkpoints. Reads from top to bottom; resumes by itself.

On a CPU with one thread count, a run that was killed and started again ends with the same weights, bit for bit: every
draw is a function of (seed, epoch, step), and a checkpoint holds all that changes. (Not yet run on a GPU.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avprep.dataset import Dataset
from avprep.shared import configs, store
from avprep.shared.commands import Progress
from avprep.shared.errors import Interrupted
from avtrain import checkpoint, rundir
from avtrain.config import PretrainConfig
from avtrain.data.augment import Augment, SpecAugment
from avtrain.data.cache import CacheConfig
from avtrain.data.loader import Loader
from avtrain.losses import info_nce
from avtrain.models import place
from avtrain.models.two_tower import two_tower
from avtrain.sampling import digest
from avtrain.strategies import strategy_of, training_table


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
    cache: CacheConfig | None = None,
    stopping: Callable[[], bool] = lambda: False,
    quiet: bool = False,
) -> PretrainResult:
    """Train both encoders on the train split of a dataset (a folder or a URL); the run folder says all.

    Errors: UserError (no such dataset, a strategy or batch that it cannot serve, a run of other settings);
    Interrupted once `stopping()`, after a checkpoint; FloatingPointError where the loss is not finite.
    """
    dataset = Dataset(dataset_dir)
    table = training_table(dataset, config.labels)
    strategy = strategy_of(config.strategy, dataset, table)
    loader = Loader(
        dataset,
        table,
        strategy,
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        pinned=device.startswith("cuda"),
        cache=cache,
    )
    rundir.open_run(run, configs.to_dict(config), dataset.digest, digest(strategy, table))
    with store.folder_lock(run, "training in"):
        return _train(dataset, loader, run, config, device, stopping, quiet)


def _train(
    dataset: Dataset,
    loader: Loader,
    run: Path,
    config: PretrainConfig,
    device: str,
    stopping: Callable[[], bool],
    quiet: bool,
) -> PretrainResult:
    """The training loop, from the newest checkpoint to the last update."""
    if device.startswith("cuda"):
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.manual_seed(config.seed)
    model = place(two_tower(config.model_size), device).train()
    masks = SpecAugment() if config.spec_augment else None
    augment = Augment(dataset, spec_augment=masks, seed=config.seed).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    total = config.epochs * loader.steps_per_epoch
    total = min(total, config.max_steps) if config.max_steps else total
    step = _resume(run, model, optimiser, loader)
    metrics = rundir.Metrics(run, step)
    losses: list[float] = []
    waited, begin = 0.0, time.perf_counter()
    first = step

    def save() -> None:
        metrics.flush()
        meta = {"loader": loader.state_dict(), "dataset_digest": dataset.digest, "config": configs.to_dict(config)}
        checkpoint.save(run, step, model, optimiser, meta, config.keep_checkpoints)

    with Progress(total - step, "steps", run.name, quiet) as progress:
        for batch in loader if step < total else ():
            seen, heard = model(*augment(batch))
            loss = info_nce(seen, heard, config.temperature)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            value = loss.item()
            if not np.isfinite(value):
                raise FloatingPointError(
                    f"loss {value} at step {step}, epoch {batch.epoch}, plan {batch.plan.tolist()}"
                )
            metrics.write(
                step=step,
                epoch=batch.epoch,
                loss=value,
                waited_seconds=round(batch.waited_seconds, 6),
                seconds=round(time.perf_counter() - begin, 3),
            )
            losses.append(value)
            waited += batch.waited_seconds
            step += 1
            progress.advance(note=f"loss {value:.3f}")
            if step >= total:
                break
            if stopping():
                save()
                metrics.close()
                raise Interrupted(f"checkpoint at step {step} of {total}; the same command goes on from there")
            if step % config.checkpoint_every_steps == 0:
                save()
    if step > first:
        save()
    metrics.close()
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
