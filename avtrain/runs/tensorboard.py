"""RUN/tensorboard: the numbers of metrics.jsonl as TensorBoard's events."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avprep.shared.errors import UserError

FOLDER = "tensorboard"
POSITION = ("step", "epoch")  # of a line, not scores


def check_tensorboard() -> None:
    """UserError where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError(
            "--tensorboard needs a package that is not here; pip install 'avprep-avtrain[tensorboard]' or leave it out."
        )


class Board:
    """Writes events of a run; on opening, those of `first_step` and later are declared void, as TensorBoard does it."""

    def __init__(self, run: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run / FOLDER), purge_step=first_step)

    def write(self, values: Mapping[str, Any]) -> None:
        """One scalar for each number of a line but its step and epoch, at that step."""
        for name, value in values.items():
            if name not in POSITION:
                self._writer.add_scalar(name, value, values["step"])

    def flush(self) -> None:
        """Hand all events to the system."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()
