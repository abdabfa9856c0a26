"""A run's folder: config.json, env.json, metrics.jsonl, step_N/ checkpoints, exit.json, eval/, tensorboard/.

metrics.jsonl has a line for each update, and one with the `step` of the last update for each validation after it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avtrain.config import PretrainConfig
from avtrain.runs.environment import environment
from avtrain.runs.loggers import Logger

CONFIG, ENVIRONMENT, METRICS, EXIT = "config.json", "env.json", "metrics.jsonl", "exit.json"
FROZEN = "frozen"  # folder of the features of a frozen encoder, which any machine can compute again
SEED = re.compile(r"seed-\d+")
DEFAULTS = configs.to_dict(PretrainConfig())  # what a run of a version that did not know a setting had
CODE = {
    "strategy_code": "the code of the strategy",
    "loss_code": "the code of the loss",
    "targets_digest": "the file of targets",
}
"""keys of config.json for what is the user's own, and what they are the digest of"""
PLANS = "strategy_plans"
"""key of config.json for the digest of the first plans of a strategy of the user's own"""
BEGUN = ("init_checkpoint", "init_digest", "init_revision", "video_weights_digest")
VALIDATION_SCORE = "val_class_recall_at_1"


def open_run(run: Path, identity: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> None:
    """Create the folder and write its config, or check that it holds the same config; UserError with the difference.

    `identity` is all that makes the run: its config, the dataset's digest, that of the labels and pairs that the plans
    are made from (their files may change under one name), and what its weights began from. `facts` go to env.json of a
    new run, beside versions and machine.
    """
    with contextlib.suppress(OSError):  # claim raises the error
        if {entry.name for entry in run.iterdir()} <= {EXIT, store.LOCK}:
            clear_exit(run)  # of calls that were refused before there was a run
    configs.claim(run / CONFIG, identity, "run", DEFAULTS)
    if not (run / ENVIRONMENT).exists():
        store.write_json(run / ENVIRONMENT, {**environment(), **(facts or {})})


def check_folder(run: Path, identity: Mapping[str, Any]) -> None:
    """Raise the UserError that `open_run` would of a folder that is no run, and write nothing."""
    if not (run / CONFIG).exists():
        configs.claimed(run / CONFIG, identity, "run", DEFAULTS)


def begun_from(run: Path) -> dict[str, str]:
    """What config.json of a run records of the checkpoint that it began from; empty if nothing."""
    saved = store.read_json(run / CONFIG)
    return {name: saved[name] for name in BEGUN if name in saved}


def code_of(run: Path) -> dict[str, str]:
    """What config.json of a run records of code and targets of the user's own; empty if nothing."""
    saved = store.read_json(run / CONFIG)
    return {name: saved[name] for name in CODE if name in saved}


def write_exit(run: Path, status: str, code: int, sentence: str = "") -> None:
    """Write how the run's training ended (`done`, `interrupted`, `user-error`, `failed`), its last process's exit code.

    They differ where the last process was refused before it trained: a run that is done stays so.
    """
    store.write_json(run / EXIT, {"status": status, "code": code, "sentence": sentence})


def exit_stamp(run: Path) -> tuple[int, int] | None:
    """What differs whenever exit.json has been written anew; None where there is none."""
    try:
        about = (run / EXIT).stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns


def exit_status(run: Path) -> str | None:
    """`status` in exit.json, None where it has none."""
    try:
        return str(json.loads((run / EXIT).read_bytes())["status"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def may_hold_exit(run: Path, new: bool) -> bool:
    """Whether exit.json in this folder is ours.

    It is in a run, and, where `new`, in a folder that is not there yet or holds no more than runs of several seeds.
    """
    if (run / CONFIG).exists():
        return True
    return new and (
        not run.is_dir()
        or all(entry.name in (EXIT, store.LOCK) or SEED.fullmatch(entry.name) for entry in run.iterdir())
    )


def clear_exit(run: Path) -> None:
    """Remove what an earlier process wrote, once nothing keeps this one from training."""
    try:
        if may_hold_exit(run, new=True) and run.is_dir():
            (run / EXIT).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{run / EXIT} cannot be removed ({error.strerror}); choose another folder.") from None


class Metrics:
    """Appends one JSON object a line to metrics.jsonl; on opening, lines from `first_step` on are cut away.

    The same numbers go to `loggers`, which it closes. Errors of all methods: UserError where the disk is full.
    """

    def __init__(self, run: Path, first_step: int, loggers: Sequence[Logger] = ()) -> None:
        self._path = run / METRICS
        kept = [line for line in read_lines(run) if line["step"] < first_step]
        store.write_json_lines(self._path, kept)
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
        self._loggers = loggers

    def write(self, **values: Any) -> None:
        """Append a line; it must hold `step`."""
        with store.refusals_reported(self._path):
            self._file.write(store.json_text(values) + "\n")
        for logger in self._loggers:
            logger.write(values)

    def flush(self) -> None:
        """Hand all lines to the system and the disk, before the checkpoint that they precede."""
        with store.refusals_reported(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        for logger in self._loggers:
            logger.flush()

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._file.close()
        for logger in self._loggers:
            logger.close()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The whole lines of updates in metrics.jsonl; a line cut off by a kill is left out."""
    return [line for line in read_lines(run) if "loss" in line]


def losses_by_epoch(run: Path) -> list[float]:
    """The mean loss of each epoch that metrics.jsonl has lines of."""
    epochs: dict[int, list[float]] = {}
    for line in read_metrics(run):
        epochs.setdefault(line["epoch"], []).append(line["loss"])
    return [sum(losses) / len(losses) for losses in epochs.values()]


def read_validation(run: Path) -> list[dict[str, Any]]:
    """The whole lines of validation in metrics.jsonl, whose `step` is that of the update before."""
    return [line for line in read_lines(run) if VALIDATION_SCORE in line]


def is_validated(run: Path, step: int) -> bool:
    """Whether there is a line of validation after `step` updates."""
    return any(line["step"] == step - 1 for line in read_validation(run))


def best_validation(run: Path) -> dict[str, Any] | None:
    """{"step": updates made, "epoch", "class_recall_at_1"} of the first best line of validation; None without any."""
    lines = read_validation(run)
    if not lines:
        return None
    best = max(lines, key=lambda line: line[VALIDATION_SCORE])
    return {"step": best["step"] + 1, "epoch": best["epoch"], "class_recall_at_1": best[VALIDATION_SCORE]}


def read_lines(run: Path) -> list[dict[str, Any]]:
    """All whole lines of metrics.jsonl; one cut off by a kill, and what follows it, is left out."""
    path = run / METRICS
    if not path.exists():
        return []
    lines = []
    for line in path.read_bytes().split(b"\n"):
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
