"""Beginning a run with the weights of another: `avtrain pretrain --init-from`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avprep.shared.mirror import named_as
from avprep.shared.urls import is_hub
from avtrain.config import HEAD_SETTINGS, MODEL_SETTINGS, PretrainConfig
from avtrain.inference.fetched import fetched_checkpoint
from avtrain.models.two_tower import TwoTower
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from avtrain.runs.data_spec import check_sounds
from avtrain.runs.load import checkpoint_at

log = logging.getLogger(__name__)


def begin_from(source: str, model: TwoTower, run: Path, dataset: Dataset) -> dict[str, str]:
    """Load the weights at `source` into `model`; returns what the run records of it.

    `source` is a run, a checkpoint folder or hf://ORG/NAME[@REVISION]. The checkpoint must have both encoders, with the
    model's names and shapes, and both projection heads unless it was imported without them. A learnt temperature is
    loaded where both have one. Nothing is loaded where `source` is empty or the run has a checkpoint of its own.
    Errors: UserError naming the part that is missing or does not fit, or where `dataset` has log-mel of other settings
    than the checkpoint was trained on.
    """
    if not source:
        return {}
    if checkpoint.latest(run) is not None:
        return run_folder.begun_from(run)
    if not is_hub(source):
        folder = checkpoint_at(Path(source))
        _load(folder, model, dataset)
        return _record_of(folder)
    folder, commit = fetched_checkpoint(source)
    with named_as(f"{source} ({folder.name})", folder):
        _load(folder, model, dataset)
    return {**_record_of(folder), "init_revision": commit}


def _record_of(folder: Path) -> dict[str, str]:
    return {"init_checkpoint": folder.name, "init_digest": checkpoint.digest(folder)}


def _load(folder: Path, model: TwoTower, dataset: Dataset) -> None:
    """Load the parts of a checkpoint into those of `model`. Errors: UserError."""
    meta, weights = checkpoint.read_meta(folder), checkpoint.read_weights(folder)
    check_sounds(folder, meta, dataset)
    for part, module in model.named_children():
        given = {name.split(".", 1)[1]: tensor for name, tensor in weights.items() if name.split(".", 1)[0] == part}
        if not given and (part == "temperature" or (part.endswith("_head") and checkpoint.IMPORTED in meta)):
            log.info("%s has no %s; it begins anew", folder, part)
            continue
        if not given:
            raise UserError(f"{folder} has no part {part!r} to begin with; name another checkpoint.")
        wrong = checkpoint.misfit(given, module.state_dict())
        if wrong:
            raise UserError(f"{folder} does not fit in part {part!r}: {wrong}; it was trained with {_models(meta)}.")
        module.load_state_dict(given)


def _models(meta: Mapping[str, Any]) -> str:
    """The options that name a checkpoint's models."""
    config = meta.get("config", {})
    usual = {**dict.fromkeys(MODEL_SETTINGS, "auto"), **{name: getattr(PretrainConfig, name) for name in HEAD_SETTINGS}}
    named = {name: config.get(name, value) for name, value in usual.items()}
    return " ".join(
        f"--{name.replace('_', '-')} {value}" for name, value in named.items() if value not in ("", usual[name])
    )
