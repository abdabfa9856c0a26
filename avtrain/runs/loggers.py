"""Where the numbers of metrics.jsonl go besides: TensorBoard, Weights & Biases, trackio. One small interface for all.

A logger is opened when a process begins to train a run, and again when the run is resumed: what it gets then follows
what it had, under the same id. Its library is imported then and not before.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from avprep.shared import store
from avprep.shared.errors import UserError, first_line

TENSORBOARD, IDS, PROJECT = "tensorboard", "loggers.json", "avtrain"
POSITION = ("step", "epoch")  # of a line, not scores


class Logger(Protocol):
    """What takes the lines of metrics.jsonl, of updates and of validations, as they are written."""

    def write(self, values: Mapping[str, Any]) -> None:
        """Take the numbers of a line, which holds `step`."""

    def flush(self) -> None:
        """Hand on all that was taken, before a checkpoint."""

    def close(self) -> None:
        """Flush and end."""


class TensorBoard:
    """RUN/tensorboard; on opening, events of `first_step` and later are declared void, as TensorBoard does it."""

    def __init__(self, run: Path, first_step: int, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run / TENSORBOARD), purge_step=first_step)

    def write(self, values: Mapping[str, Any]) -> None:
        for name, value in scores_of(values).items():
            self._writer.add_scalar(name, value, values["step"])

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A run of Weights & Biases, whose id RUN/loggers.json keeps; files of WANDB_MODE=offline are in RUN/wandb.

    A step that was sent before a kill is not taken again: on a CPU it has the same numbers.
    """

    def __init__(self, run: Path, first_step: int, config: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name_of(run),
            id=id_of(run, "wandb"),
            resume="allow",
            config=dict(config),
            dir=str(run),
        )

    def write(self, values: Mapping[str, Any]) -> None:
        self._run.log({**scores_of(values), "epoch": values["epoch"]}, step=values["step"])

    def flush(self) -> None:
        pass  # its own process sends as it can

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """A run of trackio, which knows it by its name; RUN/loggers.json keeps that. Its files are in TRACKIO_DIR.

    Steps from `first_step` on that were taken before a kill are there twice, on a CPU with the same numbers.
    """

    def __init__(self, run: Path, first_step: int, config: Mapping[str, Any]) -> None:
        import trackio

        name = f"{name_of(run)}-{id_of(run, 'trackio')}"
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        self._run = trackio.init(project=project, name=name, resume="allow", config=dict(config))

    def write(self, values: Mapping[str, Any]) -> None:
        self._run.log({**scores_of(values), "epoch": values["epoch"]}, step=values["step"])

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._run.finish()


LOGGERS: dict[str, Callable[[Path, int, Mapping[str, Any]], Logger]] = {
    TENSORBOARD: TensorBoard,
    "wandb": WandB,
    "trackio": Trackio,
}
"""Loggers by the name of their package, which is that of the extra that installs it."""

HELP = {
    TENSORBOARD: f"make room or permission for RUN/{TENSORBOARD}",
    "wandb": "run 'wandb login', set WANDB_MODE=offline",
    "trackio": "check its settings",
}
"""What to do where one cannot begin."""


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """The names of loggers, each once. Errors: UserError where one is not known or its package is not installed."""
    names = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    for name in names:
        if name not in LOGGERS:
            raise UserError(f"--log {name} is not known; choose among {', '.join(LOGGERS)}, with commas between them.")
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"--log {name} needs a package that is not here; pip install 'avprep-avtrain[{name}]' or leave it out."
            )
    return names


def open_loggers(names: Sequence[str], run: Path, first_step: int, config: Mapping[str, Any]) -> list[Logger]:
    """The loggers of these names for a run of a config, which goes on at `first_step`.

    Errors: UserError where one cannot begin, such as for want of a login.
    """
    loggers: list[Logger] = []
    for name in names:
        try:
            loggers.append(LOGGERS[name](run, first_step, config))
        except Exception as error:  # of each library's own kinds
            raise UserError(
                f"--log {name} cannot begin ({first_line(error)}); {HELP[name]}, or leave it out."
            ) from None
    return loggers


def scores_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a line without its position."""
    return {name: value for name, value in values.items() if name not in POSITION}


def name_of(run: Path) -> str:
    """How a run is called elsewhere: its folder, and of runs of several seeds the folder that holds them too."""
    whole = run.resolve()
    return f"{whole.parent.name}-{whole.name}" if whole.name.startswith("seed-") else whole.name


def id_of(run: Path, logger: str) -> str:
    """The id of a run in a logger: drawn when first asked for, then that of RUN/loggers.json."""
    path = run / IDS
    known = store.read_json(path) if path.exists() else {}
    if logger not in known:
        known = {**known, logger: secrets.token_hex(4)}
        store.write_json(path, known)
    return str(known[logger])
