"""Checkpoints: run/step_N/{model,optim}.safetensors + meta.json, whole or not there at all. No pickle.

A step_N folder is written under another name, flushed and renamed. The last `keep` stay, and the best: the one that
`best` in the newest meta.json names by its step, with its score.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from avprep.shared import store
from avprep.shared.errors import UserError

FORMAT = "avtrain-checkpoint/1"


def save(
    run: Path, step: int, model: nn.Module, optimiser: torch.optim.Optimizer, meta: dict[str, Any], keep: int = 2
) -> Path:
    """Write run/step_N and remove all but the last `keep` and the one of step meta["best"]["step"]; returns the folder.

    Where step_N is there already, of the same run, only its meta.json is written anew.
    """
    final, temporary = run / f"step_{step:08d}", run / f".step_{step:08d}.tmp"
    for left in run.glob(".step_*.tmp"):  # by a kill
        shutil.rmtree(left, ignore_errors=True)
    meta = {"format": FORMAT, "step": step, **meta}
    if final in checkpoints(run):
        store.write_json(final / "meta.json", meta)
    else:
        _write(final, temporary, model, optimiser, meta)
    best = (meta.get("best") or {}).get("step")
    for old in checkpoints(run)[:-keep]:
        if _step_of(old) != best:
            shutil.rmtree(old)
    return final


def _write(
    final: Path, temporary: Path, model: nn.Module, optimiser: torch.optim.Optimizer, meta: dict[str, Any]
) -> None:
    temporary.mkdir(parents=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, temporary / "model.safetensors"
    )
    save_file(_optimiser_tensors(optimiser), temporary / "optim.safetensors")
    for path in temporary.iterdir():
        with open(path, "rb") as written:
            os.fsync(written.fileno())
    store.write_json(temporary / "meta.json", meta)
    if final.exists():  # without meta.json: half removed
        shutil.rmtree(final)
    os.replace(temporary, final)
    store.sync_folder(final.parent)


def checkpoints(run: Path) -> list[Path]:
    """The run's whole checkpoints, oldest first."""
    return sorted(path for path in run.glob("step_*") if (path / "meta.json").exists())


def latest(run: Path) -> Path | None:
    """The newest whole checkpoint, None where there is none."""
    found = checkpoints(run)
    return found[-1] if found else None


def chosen(run: Path, which: str = "newest") -> Path:
    """The run's `newest` checkpoint, or the `best` in its validation. Errors: UserError where there is none."""
    newest = latest(run)
    if newest is None:
        raise UserError(f"{run} holds no checkpoint; 'avtrain pretrain' writes one.")
    if which == "newest":
        return newest
    best = read_meta(newest).get("best")
    if best is None:
        raise UserError(f"{run} was not validated, so none of its checkpoints is the best; take the newest.")
    for folder in checkpoints(run):
        if _step_of(folder) == best["step"]:
            return folder
    raise UserError(f"{run} lacks its best checkpoint, of step {best['step']}; take the newest.")


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))


def read_meta(folder: Path) -> dict[str, Any]:
    """meta.json of a checkpoint; UserError where it is of another format."""
    meta = store.read_json(folder / "meta.json")
    if meta.get("format") != FORMAT:
        raise UserError(f"{folder} is a checkpoint of format {meta.get('format')!r}; this version reads {FORMAT}.")
    return meta


def load_model(folder: Path, model: nn.Module, prefix: str = "") -> None:
    """Copy the checkpoint's weights (those below `prefix`) into `model`; UserError where they do not fit."""
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
        if name.startswith(prefix)
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{folder} does not fit the model: {str(error).splitlines()[-1].strip()}") from None


def load_optimiser(folder: Path, optimiser: torch.optim.Optimizer) -> None:
    """Copy the checkpoint's optimiser state into `optimiser`."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in load_file(folder / "optim.safetensors").items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The state of each parameter as tensors named NUMBER.KEY (learning rates come from the config)."""
    return {
        f"{number}.{key}": torch.as_tensor(value).contiguous()
        for number, values in optimiser.state_dict()["state"].items()
        for key, value in values.items()
    }
