"""Checkpoints: run/step_N/{model,optim}.safetensors + meta.json, whole or not there at all. No pickle.

ema.safetensors is there too where the run keeps a moving average of its weights, under the names of model.safetensors.
A step_N folder is written under another name, flushed and renamed. The last `keep` stay, and the best: the one that
`best` in the newest meta.json names by its step, with its score.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from avprep.shared import store
from avprep.shared.errors import UserError, first_line
from avprep.shared.values import finite, speaking_of, texts, whole_number
from avtrain.config import HEAD_SETTINGS, MODEL_SETTINGS, MODEL_SIZES, MOST_WIDTH, PROJECTIONS

FORMAT = "avtrain-checkpoint/1"
MODEL, AVERAGE, OPTIMISER, META = "model.safetensors", "ema.safetensors", "optim.safetensors", "meta.json"
IMPORTED, AVERAGED = "imported", "averaged"
LOADER = ("epoch", "step")
MOST_UPDATES, MOST_MEL_BANDS, MOST_PIXELS, MOST_WINDOW = 2**40, 512, 2**16, 10_000
STEP = re.compile(r"step_[0-9]{8,18}")


def save(
    run: Path,
    step: int,
    model: nn.Module,
    optimiser: torch.optim.Optimizer | None,
    meta: dict[str, Any],
    keep: int = 2,
    average: nn.Module | None = None,
) -> Path:
    """Write run/step_N and remove all but the last `keep` and the one of step meta["best"]["step"]; returns the folder.

    `average` is the model with the moving average of the weights, where there is one. Where step_N is there already, of
    the same run, only its meta.json is written anew. Errors: UserError where the disk is full or the run may not be
    written; what was begun is removed.
    """
    final = run / f"step_{step:08d}"
    for left in run.glob(".step_*.tmp"):  # by a kill
        shutil.rmtree(left, ignore_errors=True)
    meta = {"format": FORMAT, "step": step, **meta}
    if final in checkpoints(run):
        store.write_json(final / META, meta)
    else:
        parts = {MODEL: _weights(model)}
        if average is not None:
            parts[AVERAGE] = _weights(average)
        if optimiser is not None:
            parts[OPTIMISER] = _optimiser_tensors(optimiser)
        write(final, parts, meta)
    best = (meta.get("best") or {}).get("step")
    for old in checkpoints(run)[:-keep]:
        if step_of(old) != best and not old.is_symlink():
            shutil.rmtree(old)
    return final


def write(final: Path, parts: Mapping[str, dict[str, torch.Tensor]], meta: dict[str, Any]) -> None:
    """Write the folder `final` of a checkpoint: the tensors of each file, then meta.json. Errors: as `save`."""
    temporary = final.with_name(f".{final.name}.tmp")
    with store.refusals_reported(final):
        try:
            _write(final, temporary, parts, {"format": FORMAT, **meta})
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _write(final: Path, temporary: Path, parts: Mapping[str, dict[str, torch.Tensor]], meta: dict[str, Any]) -> None:
    temporary.mkdir(parents=True)
    for name, tensors in parts.items():
        _write_tensors(tensors, temporary / name)
    for path in temporary.iterdir():
        with open(path, "rb") as written:
            os.fsync(written.fileno())
    store.write_json(temporary / META, meta)
    if final.exists():  # without meta.json: half removed
        shutil.rmtree(final)
    os.replace(temporary, final)
    store.sync_folder(final.parent)


def _write_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a safetensors file. Errors: OSError, which safetensors raises as an error of its own."""
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from None


def checkpoints(run: Path) -> list[Path]:
    """The run's whole checkpoints, oldest first; folders of other names are not ours."""
    folders = (path for path in run.glob("step_*") if STEP.fullmatch(path.name))
    return sorted((path for path in folders if is_checkpoint(path)), key=step_of)


def latest(run: Path) -> Path | None:
    """The newest whole checkpoint, None where there is none."""
    folders = checkpoints(run)
    return folders[-1] if folders else None


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is a whole checkpoint itself."""
    return (folder / META).exists()


def step_of(folder: Path) -> int:
    """Updates made when a checkpoint was written, by the name of its folder."""
    return int(folder.name.removeprefix("step_"))


def read_meta(folder: Path, *needed: str) -> dict[str, Any]:
    """meta.json of a checkpoint. Errors: UserError where it is of another format or has no `needed` ("config.seed")."""
    meta = store.read_json(folder / META)
    kind = meta.get("format") if isinstance(meta, dict) else None
    if kind != FORMAT:
        raise UserError(f"{folder} is a checkpoint of format {kind!r}; this version reads {FORMAT}.")
    for name in needed:
        values: Any = meta
        for part in name.split("."):
            if not isinstance(values, Mapping) or part not in values:
                raise UserError(
                    f"{folder / META} has no {name!r}, so it was altered; remove {folder}, and the checkpoint before "
                    "it counts."
                )
            values = values[part]
    _check_meta(meta, folder / META)
    return meta


def _check_meta(meta: Mapping[str, Any], source: Path) -> None:
    """Raise UserError where meta.json holds what no run writes there: counts, names of models, statistics."""
    config, data = meta.get("config", {}), meta.get("data", {})
    with speaking_of(source):
        counts = [(meta, "step"), (meta.get("best") or {}, "step"), *((meta.get("loader", {}), n) for n in LOADER)]
        for holder, name in counts:
            whole_number(holder.get(name, 0), name, MOST_UPDATES)
        texts([config[name] for name in MODEL_SETTINGS if name in config], "config")
        for name in HEAD_SETTINGS[1:]:
            whole_number(config.get(name, 1), name, MOST_WIDTH)
        if config.get("projection", "linear") not in PROJECTIONS:
            raise ValueError(f"projection is {ascii(config['projection'])[:80]}")
        finite([config.get("ema", 0.0)], "ema", 1)
        if config.get("model_size", "full") not in MODEL_SIZES:
            raise ValueError(f"model_size is {ascii(config['model_size'])[:80]}")
        whole_number(config.get("crop_size", 0), "crop_size", MOST_PIXELS)
        bands = whole_number(data.get("audio", {}).get("num_mel_bands", 128), "num_mel_bands", MOST_MEL_BANDS)
        for name in ("logmel_mean", "logmel_std"):
            if name in data:
                finite(data[name], name, bands)
        texts([data.get("name", ""), *data.get("class_names", [])], "class_names")
        for name, size in data.get("window", {}).items():
            if not whole_number(size, name, MOST_WINDOW):
                raise ValueError(f"{name} is 0")
        unlogged = list(meta.get("unlogged", {}).values())
        finite(unlogged, "unlogged", len(unlogged))


def read_weights(folder: Path, prefix: str = "", file: str = MODEL) -> dict[str, torch.Tensor]:
    """The checkpoint's weights below `prefix`, by the rest of their names; UserError where the file is damaged."""
    tensors = _read_tensors(folder / file)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def digest(folder: Path, file: str = MODEL) -> str:
    """Hex sha256 of a file of the checkpoint's weights; UserError where it is missing."""
    try:
        return store.sha256(folder / file)
    except OSError as error:
        raise _damaged(folder / file, error) from None


def load_model(folder: Path, model: nn.Module, prefix: str = "", file: str = MODEL) -> None:
    """Copy the checkpoint's weights (those below `prefix`) into `model`; UserError where they do not fit."""
    weights = read_weights(folder, prefix, file)
    wrong = misfit(weights, model.state_dict())
    if wrong:
        raise UserError(f"{folder} does not fit the model: {wrong}.")
    model.load_state_dict(weights)


def misfit(weights: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> str:
    """The first thing in which `weights` are not tensors of the names and shapes of `wanted`; empty if none."""
    for name, tensor in wanted.items():
        if name not in weights:
            return f"{name} is missing there"
        if weights[name].shape != tensor.shape:
            return f"{name} is {list(weights[name].shape)} there, {list(tensor.shape)} here"
    return next((f"{name} is there and not here" for name in weights if name not in wanted), "")


def load_optimiser(folder: Path, optimiser: torch.optim.Optimizer) -> None:
    """Copy the checkpoint's optimiser state into `optimiser`."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    groups = optimiser.state_dict()["param_groups"]
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    try:
        for name, tensor in _read_tensors(folder / OPTIMISER).items():
            number, key = name.split(".", 1)
            if key != "step" and tensor.shape != parameters[int(number)].shape:
                raise ValueError(f"{name} is {list(tensor.shape)}")
            if key != "step":
                tensor = _ordered(tensor, parameters[int(number)])
            state.setdefault(int(number), {})[key] = tensor
        optimiser.load_state_dict({"state": state, "param_groups": groups})
    except (ValueError, IndexError) as error:
        raise _damaged(folder / OPTIMISER, error) from None


def _ordered(tensor: torch.Tensor, parameter: torch.nn.Parameter) -> torch.Tensor:
    """The tensor in the memory order of its weights, which fused optimisers require."""
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is missing or damaged ({first_line(error)}); remove {path.parent}, and the checkpoint before "
        "it counts."
    )


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The state of each parameter as tensors named NUMBER.KEY (learning rates come from the config)."""
    return {
        f"{number}.{key}": torch.as_tensor(value).contiguous()
        for number, values in optimiser.state_dict()["state"].items()
        for key, value in values.items()
    }
