"""An encoder measured by any protocol: where runs and results lie, on this machine or at a URL, and what is refused."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avprep import schema
from avprep.shared.errors import UserError
from avtrain.config import EvaluateConfig
from avtrain.evaluation.evaluate import RESULT, evaluate
from avtrain.evaluation.retrieval import Among, retrieve
from avtrain.inference.as_checkpoint import BOTH, as_checkpoint, check_fits, is_export
from avtrain.runs.checkpoint import OPTIMISER, is_checkpoint
from avtrain.runs.load import checkpoint_of
from avtrain.runs.remote import at_hand

RETRIEVAL = "retrieval"
MODELS = ("model_size", "audio_model")
"""settings of an encoder without a run"""


def measure(
    dataset: Path | str, run: Path | str | None, out: Path | str | None, settings: Mapping[str, Any], *, device: str
) -> tuple[dict[str, Any], str | None]:
    """(the scores, the file that has them) of the encoder of `run`, or of one without a run.

    `settings` are those of EvaluateConfig, whose protocol may also be `retrieval`; MODELS among them must be those of
    the run. Without `out`, results go to RUN/eval. `run` may also be an export, or one at hf://ORG/NAME[@REVISION],
    whose results record the commit as `revision`. Errors: UserError; TypeError for a setting that EvaluateConfig does
    not have.
    """
    protocol = settings.get("protocol", EvaluateConfig.protocol)
    config = EvaluateConfig(**{**settings, "protocol": EvaluateConfig.protocol if protocol == RETRIEVAL else protocol})
    with contextlib.ExitStack() as held:
        published = None
        if run is not None and is_export(run):
            if out is None:
                raise UserError(
                    f"{run} is an exported encoder, whose results need a folder of their own; give --out OUT."
                )
            published = held.enter_context(as_checkpoint(run))
            check_fits(published, run, BOTH if protocol == RETRIEVAL else config.side, config.weights)
            if config.weights == EvaluateConfig.weights:
                config = dataclasses.replace(config, weights=published.weights)
            run = published.checkpoint
        hands = [
            None if given is None else held.enter_context(at_hand(given, without=OPTIMISER)) for given in (run, out)
        ]
        of_run, results = (None if hand is None else hand.folder for hand in hands)
        identity = None if published is None else published.identity
        if results is None and of_run is not None:
            results = default_folder(dataset, of_run, protocol, config)
        _check(protocol, config, of_run, results)
        if of_run is not None:
            _check_models(of_run, config.checkpoint, settings)
        if protocol == RETRIEVAL:
            assert of_run is not None
            among = Among(config.ids, config.per_class, config.seed)
            scores = retrieve(
                dataset,
                of_run,
                device=device,
                which=config.checkpoint,
                out=results,
                labels=config.labels,
                among=among,
                weights=config.weights,
                folds=(config.fold_column, config.fold),
                identity=identity,
            )
        else:
            scores = evaluate(dataset, config, run=of_run, out=results, device=device, identity=identity)
        hand = hands[0] if out is None else hands[1]
        return scores, None if results is None or hand is None else hand.shown(results / RESULT)


def default_folder(dataset: Path | str, run: Path, protocol: str, config: EvaluateConfig) -> Path:
    """RUN/eval/DATASET-PROTOCOL-sSEED[-LABELS][-FOLDS-FOLD][-SIDE][-IDS][-per-class-N][-best][-WEIGHTS][-CHECKPOINT].

    CHECKPOINT is the name of a single checkpoint.
    """
    name = dataset.resolve().name if isinstance(dataset, Path) else dataset.rstrip("/").rsplit("/", 1)[-1]
    best = "-best" if config.checkpoint == "best" else ""
    weights = f"-{config.weights}" if config.weights != EvaluateConfig.weights else ""
    column = "" if config.labels == EvaluateConfig.labels else f"-{config.labels}"
    fold = f"-{config.fold_column}-{schema.slug(config.fold)}" if config.fold_column else ""
    side = "" if config.side == EvaluateConfig.side else f"-{config.side}"
    among = (f"-{Path(config.ids).stem}" if config.ids else "") + (
        f"-per-class-{config.per_class}" if config.per_class else ""
    )
    home, one = (run.resolve().parent, f"-{run.resolve().name}") if is_checkpoint(run) else (run, "")
    return home / "eval" / f"{name}-{protocol}-s{config.seed}{column}{fold}{side}{among}{best}{weights}{one}"


def _check_models(run: Path, which: str, settings: Mapping[str, Any]) -> None:
    """UserError where settings ask for another encoder than that of the run."""
    own = checkpoint_of(run, which)[1]["config"]
    for name in MODELS:
        if name in settings and settings[name] != own.get(name, ""):
            option = f"--{name.replace('_', '-')}"
            raise UserError(
                f"{run} has an encoder of its own ({name} {own.get(name, '')!r}), which {option} {settings[name]} "
                f"cannot change; leave {option} out, or --run to measure an untrained one."
            )


def _check(protocol: str, config: EvaluateConfig, run: Path | None, out: Path | None) -> None:
    """UserError where protocol, settings and run do not go together."""
    if run is None and config.checkpoint != EvaluateConfig.checkpoint:
        raise UserError("--checkpoint is of a run; give --run.")
    if run is None and config.weights != EvaluateConfig.weights:
        raise UserError("--weights chooses among those of a run; give --run.")
    if protocol in (RETRIEVAL, "finetune") and run is None:
        raise UserError(f"{protocol.capitalize()} starts from a run; give --run.")
    if protocol == RETRIEVAL and config.audible != EvaluateConfig.audible:
        raise UserError("Retrieval does not use labels, nor which of them are audible; leave --audible out.")
    if protocol == RETRIEVAL and config.norm != EvaluateConfig.norm:
        raise UserError("Retrieval uses the dataset's statistics; leave --norm out.")
    if protocol == RETRIEVAL and config.side != EvaluateConfig.side:
        raise UserError("Retrieval uses both encoders, sound to picture and back; leave --side out.")
    if protocol != RETRIEVAL and (config.ids or config.per_class):
        option = "--ids" if config.ids else "--per-class"
        raise UserError(f"{option} chooses the clips of --protocol retrieval; {protocol} tests the whole test split.")
    if protocol == "supervised" and run is not None:
        raise UserError("Supervised training starts from scratch; leave --run out and give --out.")
    if protocol == "supervised" and out is None:
        raise UserError("Supervised training starts from scratch, without a run folder; give --out OUT.")
    if run is None and out is None:
        raise UserError(
            f"Without a run, {protocol} measures an untrained encoder; give --run RUN to measure a trained one, or "
            "--out OUT to keep the result of an untrained one."
        )
