"""What metrics.jsonl has no line of yet: the updates since the last line, where a line is of several (`log_every`).

A checkpoint keeps it, so that a run that resumes writes the lines of one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

UNLOGGED = "unlogged"  # in meta.json


@dataclass
class Unlogged:
    """Sums over the updates since the last line."""

    updates: int = 0
    loss: float = 0.0
    gradient_norm: float = 0.0
    pairs: int = 0
    waited_seconds: float = 0.0

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Unlogged:
        """What a checkpoint's meta.json has of it."""
        saved = meta.get(UNLOGGED, {})
        return cls(**{field.name: saved[field.name] for field in fields(cls) if field.name in saved})

    def as_meta(self) -> dict[str, Any]:
        """What meta.json shall have of it: nothing where there is nothing."""
        return {UNLOGGED: asdict(self)} if self.updates else {}

    def add(self, *, loss: float, gradient_norm: float, pairs: int, waited_seconds: float) -> None:
        """Count an update."""
        self.updates += 1
        self.loss += loss
        self.gradient_norm += gradient_norm
        self.pairs += pairs
        self.waited_seconds += waited_seconds

    def as_line(self) -> dict[str, Any]:
        """Values of a line: mean loss and gradient norm, all pairs and waiting, and, where of several, the updates."""
        return {
            "loss": self.loss / self.updates,
            "pairs": self.pairs,
            "gradient_norm": self.gradient_norm / self.updates,
            "waited_seconds": round(self.waited_seconds, 6),
            **({"updates": self.updates} if self.updates > 1 else {}),
        }
