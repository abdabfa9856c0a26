"""The numbers of updates on their way to metrics.jsonl, and what keeps weights from harm until they are looked at.

On a CPU the numbers of an update are looked at before its weights change. On a GPU a look waits for the device, so
there is one for each line of metrics and before anything is saved or measured; until then an update whose loss or
gradient is not finite, and all after it, change no weight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from avprep.dataset import Dataset
from avtrain.distributed import Ranks
from avtrain.runs import folder as run_folder
from avtrain.training.gradient import Part
from avtrain.training.non_finite import culprits_of
from avtrain.training.throughput import Throughput
from avtrain.training.unlogged import Unlogged


@dataclass(frozen=True)
class Made:
    """An update whose numbers are where it was made."""

    step: int
    parts: list[Part]
    """its batches, without media"""
    gradient_norm: torch.Tensor
    learning_rate: float

    @property
    def numbers(self) -> list[float | torch.Tensor]:
        """Losses of its batches, gradient norm and temperature."""
        return [*(part.loss for part in self.parts), self.gradient_norm, self.parts[-1].temperature]


@dataclass(frozen=True)
class Seen:
    """An update and its numbers."""

    made: Made
    loss: float
    """mean of its batches"""
    gradient_norm: float
    temperature: float


def seen(made: Made, numbers: list[float], dataset: Dataset, ranks: Ranks) -> Seen:
    """The update and its `numbers`.

    Errors: FloatingPointError where one is not finite, with clips of the first batch whose loss is not, or of the last.
    """
    *losses, gradient_norm, temperature = numbers
    wrong = [number for number, loss in enumerate(losses) if not math.isfinite(loss)]
    if wrong or not math.isfinite(gradient_norm):
        number = wrong[0] if wrong else -1
        part = made.parts[number]
        culprits = culprits_of(dataset, part.batch, part.sums, ranks)
        raise FloatingPointError(
            f"loss {losses[number]} at step {made.step}, epoch {part.batch.epoch}, gradient {gradient_norm}: {culprits}"
        )
    return Seen(made, sum(losses) / len(losses), gradient_norm, temperature)


class Guard:
    """Lets a fused optimiser change nothing from the first update on whose loss or gradient is not finite."""

    def __init__(self, optimiser: torch.optim.Optimizer, device: str) -> None:
        self._bad = torch.zeros((), device=device)
        optimiser.found_inf = self._bad  # type: ignore[attr-defined]  # what torch.amp.GradScaler sets, for fused kernels

    def add(self, made: Made) -> None:
        """Look at an update that is about to be made, on its device."""
        scalars = torch.stack([part.loss.float() for part in made.parts] + [made.gradient_norm.float()])
        self._bad.logical_or_(~scalars.isfinite().all())


def guard_of(optimiser: torch.optim.Optimizer, device: str) -> Guard | None:
    """A guard where the optimiser is fused; None where numbers are looked at before each update."""
    return Guard(optimiser, device) if optimiser.defaults.get("fused") else None


@dataclass(kw_only=True)
class Books:
    """What has been made, what was looked at, and what metrics.jsonl has a line of."""

    log_every: int
    total: int
    """the last update has a line in any case"""
    dataset: Dataset
    ranks: Ranks
    guard: Guard | None
    throughput: Throughput = field(default_factory=Throughput)
    metrics: run_folder.Metrics | None = None
    """of the first rank"""
    unlogged: Unlogged = field(default_factory=Unlogged)
    """of the updates since the last line of metrics"""
    last_loss: float = math.nan
    """of the last update that was looked at"""
    _made: list[Made] = field(default_factory=list)
    _seen: list[Seen] = field(default_factory=list)

    def begin(self, update: Made) -> None:
        """Enter an update before its weights change. Errors, without a guard: FloatingPointError."""
        self._made.append(update)
        if self.guard is None:
            self._seen += self._look()
        else:
            self.guard.add(update)

    def end(self, step: int) -> None:
        """Count update `step`, which has been made, and write a line where it is due. Errors: as `settle`."""
        if self.guard is None or self._is_due(step):
            self.settle()

    def settle(self) -> None:
        """Look at all updates that nobody has looked at. Errors: FloatingPointError where one is not finite."""
        self._seen += self._look()
        for update in self._seen:
            self._count(update)
        self._seen = []

    def _is_due(self, step: int) -> bool:
        return (step + 1) % self.log_every == 0 or step + 1 == self.total

    def _look(self) -> list[Seen]:
        """By one transfer from the device."""
        made, self._made = self._made, []
        numbers = iter(numbers_of([value for update in made for value in update.numbers]) if made else [])
        return [seen(update, [next(numbers) for _ in update.numbers], self.dataset, self.ranks) for update in made]

    def _count(self, update: Seen) -> None:
        batches = [part.batch for part in update.made.parts]
        self.unlogged.add(
            loss=update.loss,
            gradient_norm=update.gradient_norm,
            pairs=sum(batch.global_size for batch in batches),
            waited_seconds=sum(batch.waited_seconds for batch in batches),
        )
        self.last_loss = update.loss
        if not self._is_due(update.made.step):
            return
        if self.metrics is not None:
            self.metrics.write(
                step=update.made.step,
                epoch=batches[-1].epoch,
                **self.unlogged.as_line(),
                learning_rate=update.made.learning_rate,
                temperature=update.temperature,
                seconds=round(self.throughput.seconds, 3),
            )
        self.unlogged = Unlogged()


def numbers_of(values: list[float | torch.Tensor]) -> list[float]:
    """Scalars, on a device or not, as Python's floats; one transfer for all."""
    device = next(value.device for value in values if isinstance(value, torch.Tensor))
    with torch.no_grad():
        return torch.stack([torch.as_tensor(value, dtype=torch.float64, device=device) for value in values]).tolist()
