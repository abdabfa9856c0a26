"""An encoder measured by any protocol: where runs and results lie, on this machine or at a URL, and what is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avprep.shared.errors import UserError
from avtrain.config import EvaluateConfig
from avtrain.evaluation.evaluate import RESULT, evaluate
from avtrain.evaluation.retrieval import retrieve
from avtrain.runs.checkpoint import OPTIMISER, is_checkpoint
from avtrain.runs.remote import at_hand

RETRIEVAL = "retrieval"


def measure(
    dataset: Path | str, run: Path | str | None, out: Path | str | None, settings: Mapping[str, Any], *, device: str
) -> tuple[dict[str, Any], str | None]:
    """(the scores, the file that has them) of the encoder of `run`, or of one without a run.

    `settings` are those of EvaluateConfig, whose protocol may also be `retrieval`. Without `out`, results go to
    RUN/eval. Errors: UserError; TypeError for a setting that EvaluateConfig does not have.
    """
    protocol = settings.get("protocol", EvaluateConfig.protocol)
    config = EvaluateConfig(**{**settings, "protocol": EvaluateConfig.protocol if protocol == RETRIEVAL else protocol})
    with contextlib.ExitStack() as held:
        hands = [
            None if given is None else held.enter_context(at_hand(given, without=OPTIMISER)) for given in (run, out)
        ]
        of_run, results = (None if hand is None else hand.folder for hand in hands)
        if results is None and of_run is not None:
            results = default_folder(dataset, of_run, protocol, config)
        _check(protocol, config, of_run, results)
        if protocol == RETRIEVAL:
            assert of_run is not None
            scores = retrieve(
                dataset, of_run, device=device, which=config.checkpoint, out=results, labels=config.labels
            )
        else:
            scores = evaluate(dataset, config, run=of_run, out=results, device=device)
        hand = hands[0] if out is None else hands[1]
        return scores, None if results is None or hand is None else hand.shown(results / RESULT)


def default_folder(dataset: Path | str, run: Path, protocol: str, config: EvaluateConfig) -> Path:
    """RUN/eval/DATASET-PROTOCOL-sSEED[-LABELS][-best], with the name of a single checkpoint at its end."""
    name = dataset.resolve().name if isinstance(dataset, Path) else dataset.rstrip("/").rsplit("/", 1)[-1]
    best = "-best" if config.checkpoint == "best" else ""
    column = "" if config.labels == EvaluateConfig.labels else f"-{config.labels}"
    home, one = (run.resolve().parent, f"-{run.resolve().name}") if is_checkpoint(run) else (run, "")
    return home / "eval" / f"{name}-{protocol}-s{config.seed}{column}{best}{one}"


def _check(protocol: str, config: EvaluateConfig, run: Path | None, out: Path | None) -> None:
    """UserError where protocol, settings and run do not go together."""
    if run is None and config.checkpoint != EvaluateConfig.checkpoint:
        raise UserError("--checkpoint is of a run; give --run.")
    if protocol in (RETRIEVAL, "finetune") and run is None:
        raise UserError(f"{protocol.capitalize()} starts from a run; give --run.")
    if protocol == RETRIEVAL and config.audible != EvaluateConfig.audible:
        raise UserError("Retrieval does not use labels, nor which of them are audible; leave --audible out.")
    if protocol == RETRIEVAL and config.norm != EvaluateConfig.norm:
        raise UserError("Retrieval uses the dataset's statistics; leave --norm out.")
    if protocol == "supervised" and run is not None:
        raise UserError("Supervised training starts from scratch; leave --run out and give --out.")
    if protocol == "supervised" and out is None:
        raise UserError("Supervised training starts from scratch, without a run folder; give --out OUT.")
    if run is None and out is None:
        raise UserError(
            f"Without a run, {protocol} measures an untrained encoder; give --run RUN to measure a trained one, or "
            "--out OUT to keep the result of an untrained one."
        )
