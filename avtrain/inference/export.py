"""avtrain export: the audio encoder as safetensors and ONNX, described within, held against each other, with a card."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save

from avprep.shared import configs, store
from avprep.shared.errors import UserError, first_line
from avtrain.inference.encoder import DESCRIPTION, FORMAT, GRAPH, WEIGHTS, AudioEncoder, load_encoder
from avtrain.inference.model_card import model_card

if TYPE_CHECKING:
    import onnx

OPSET = 18
TOLERANCE = 1e-4  # of the largest feature
CHECKED_SHAPES = {"1 s": (1, 101), "10 s": (1, 1001), "3 of 2.4 s": (3, 241)}  # sounds, log-mel frames
METADATA_KEY = "avtrain"
INPUT, OUTPUT = "logmel", "embedding"


def export(run: Path, out: Path, weights: str = "auto") -> dict[str, Any]:
    """Write the audio encoder of a run, checkpoint or earlier export to the new folder `out`, whole or not at all.

    `weights` are as in `load_encoder`.

    audio_encoder.onnx maps `logmel` float32 [batch, frames, bands], dB as stored, to `embedding` [batch, features];
    normalisation is inside, batch and frames are free. audio_encoder.safetensors has the same weights for
    `load_encoder`. Both hold encoder.json in their metadata; README.md is the model card. Returns what
    `check` says of the files. Errors: UserError; where ONNX and torch differ by more than TOLERANCE nothing is written.
    """
    _check_packages()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} is there already; choose another folder.")
    encoder = load_encoder(run, weights=weights)
    description = {"format": FORMAT, **configs.to_dict(encoder.description)}
    metadata = {METADATA_KEY: store.json_text(description, sort_keys=True)}
    graph = _graph(encoder, metadata)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
            folder = Path(scratch) / out.name
            folder.mkdir()
            tensors = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
            (folder / WEIGHTS).write_bytes(save(tensors, metadata))
            (folder / GRAPH).write_bytes(graph.SerializeToString(deterministic=True))
            store.write_json(folder / DESCRIPTION, description)
            checked = check(folder)
            store.write_json(folder / DESCRIPTION, {**description, "onnx": checked})
            store.write_bytes(folder / "README.md", model_card(encoder, checked, run).encode())
            for path in folder.iterdir():
                with open(path, "rb") as written:
                    os.fsync(written.fileno())
            os.rename(folder, out)
        store.sync_folder(out.parent)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}); make room or permission there.") from None
    return checked


def check(folder: Path) -> dict[str, Any]:
    """How far the ONNX of an exported folder is from its safetensors, each run on noise like its log-mel.

    Differences are the largest of all features, as a share of the largest feature.
    Errors: UserError where that is more than TOLERANCE for an input, or where features are no numbers.
    """
    import onnxruntime

    encoder = load_encoder(folder)
    session = onnxruntime.InferenceSession(str(folder / GRAPH), providers=["CPUExecutionProvider"])
    draw = np.random.default_rng(0)
    mean, std = encoder.mean.numpy(), encoder.std.numpy()
    differences = {}
    for name, (count, frames) in CHECKED_SHAPES.items():
        logmel = (mean + std * draw.standard_normal((count, frames, len(mean)))).astype(np.float32)
        wanted = encoder.encode(logmel)
        if not np.isfinite(wanted).all():
            raise UserError(f"The encoder gives no numbers for {name} of sound; choose an earlier checkpoint.")
        try:
            (found,) = session.run(None, {INPUT: logmel})
        except Exception as error:  # onnxruntime's own classes
            raise UserError(f"onnxruntime cannot run the encoder on {name} of sound: {_line(error)}.") from None
        largest = float(np.abs(wanted).max())
        same_shape = found.shape == wanted.shape
        differences[name] = float(np.abs(found - wanted).max()) / max(largest, 1e-12) if same_shape else float("inf")
        if not differences[name] <= TOLERANCE:
            raise UserError(
                f"ONNX and torch differ by {differences[name]:.1e} of the largest feature on {name} of sound (limit "
                f"{TOLERANCE:g}); nothing was written. An encoder's path must not depend on the values of its input."
            )
    return {
        "opset": OPSET,
        "num_features": encoder.num_features,
        "tolerance": TOLERANCE,
        "differences": differences,
    }


def _graph(encoder: AudioEncoder, metadata: dict[str, str]) -> onnx.ModelProto:
    """The ONNX model of an encoder. Errors: UserError where torch cannot export it."""
    import onnx

    example = torch.zeros(2, 101, len(encoder.mean))
    shapes = {"logmel": {0: torch.export.Dim("batch"), 1: torch.export.Dim("frames")}}
    told = logging.getLogger("torch.onnx"), logging.getLogger("onnxscript")
    before = [logger.level for logger in told]
    try:
        for logger in told:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                encoder,
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=shapes,
            )
    except Exception as error:  # whatever a network of the user's own makes the exporter raise
        raise UserError(
            f"{encoder.description.model} cannot be exported for sounds of any number and length: {_line(error)}."
        ) from None
    finally:
        for logger, level in zip(told, before, strict=True):
            logger.setLevel(level)
    assert program is not None
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del part.metadata_props[:]  # the exporter's notes, paths on this machine among them
        part.doc_string = ""
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return model


def _check_packages() -> None:
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise UserError(f"Export needs {error.name}: pip install 'avprep-avtrain[export]'.") from None
    assert onnx, (onnxruntime, onnxscript)


def _line(error: Exception) -> str:
    return first_line(error)[:200].rstrip(".")
