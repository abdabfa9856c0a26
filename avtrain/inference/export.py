"""avtrain export: an encoder as safetensors and ONNX, described within, held against each other, with a card."""

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
from avprep.shared.waiting import waiting
from avtrain.inference.contents import digests_of, sealed
from avtrain.inference.description import DESCRIPTION, FORMAT, read_description
from avtrain.inference.encoder import AudioEncoder, load_encoder
from avtrain.inference.fetched import encoder_folder
from avtrain.inference.model_card import ModelCardConfig
from avtrain.inference.packing import copy_checkpoint, write_card
from avtrain.inference.results import results_of
from avtrain.inference.video_encoder import VideoEncoder, load_video_encoder

if TYPE_CHECKING:
    import onnx

log = logging.getLogger(__name__)

OPSET = 18
TOLERANCE = 1e-4  # of the largest feature
CHECKED_SOUNDS = {"1 s": (1, 101), "10 s": (1, 1001), "3 of 2.4 s": (3, 241)}  # sounds, log-mel frames
CHECKED_CLIPS = {"1 window": (1, 1), "4 windows": (1, 4), "3 of 2 windows": (3, 2)}  # clips, windows of training
METADATA_KEY = "avtrain"
INPUTS, OUTPUT = {"audio": "logmel", "video": "frames"}, "embedding"
MEDIA = {"audio": "sounds", "video": "pictures"}

Exported = AudioEncoder | VideoEncoder


def export(
    run: Path | str,
    out: Path,
    weights: str = "auto",
    *,
    side: str | None = None,
    projection: bool | None = None,
    card: ModelCardConfig | None = None,
    with_checkpoint: bool = False,
    again: bool = False,
) -> dict[str, Any]:
    """Write an encoder of a run, checkpoint or earlier export to the new folder `out`, whole or not at all.

    `weights` are as in `load_encoder`.

    audio_encoder.onnx maps `logmel` float32 [batch, frames, bands], dB as stored, to `embedding` [batch, features];
    video_encoder.onnx maps `frames` uint8 [batch, pictures, height, width, 3]. Normalisation is inside, batch and
    frames or pictures are free. The .safetensors has the same weights for `load_encoder` and `load_video_encoder`.
    Both hold encoder.json in their metadata; README.md is the model card, which states `card`; encoder.json lists the
    sha256 of the others. `with_checkpoint` adds the run's checkpoint with both encoders. `side` and `projection` None:
    of the sound and without, or as an earlier export has it. With `again`, `out` may be an export of the same weights:
    what is missing is added. Returns what `check` returns. Errors: UserError; where ONNX and torch differ by more than
    TOLERANCE nothing is written.
    """
    _check_packages()
    taken = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    if taken and not again:
        raise UserError(f"{out} is there already; choose another folder.")
    source = encoder_folder(run)
    encoder = _load(source, weights, side, projection)
    files = encoder.description.file
    description = {"format": FORMAT, **configs.to_dict(encoder.description)}
    if taken:
        if not _is_same(out, encoder):
            raise UserError(f"{out} holds no encoder of the weights of {run}; choose another folder.")
        with store.refusals_reported(out):
            return _complete(out, encoder, store.read_json(out / DESCRIPTION)["onnx"], source, card, with_checkpoint)
    metadata = {METADATA_KEY: store.json_text(description, sort_keys=True)}
    log.info("making the ONNX graph of %s, which takes a minute for the full model", encoder.description.model)
    with waiting("export: ONNX graph"):
        graph = _graph(encoder, metadata)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
            folder = Path(scratch) / out.name
            folder.mkdir()
            tensors = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
            (folder / files("safetensors")).write_bytes(save(tensors, metadata))
            (folder / files("onnx")).write_bytes(graph.SerializeToString(deterministic=True))
            store.write_json(folder / DESCRIPTION, description)
            with waiting("export: ONNX against torch"):
                checked = check(folder)
            _complete(folder, encoder, checked, source, card, with_checkpoint)
            for path in folder.iterdir():
                if path.is_file():
                    with open(path, "rb") as written:
                        os.fsync(written.fileno())
            os.rename(folder, out)
        store.sync_folder(out.parent)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}); make room or permission there.") from None
    return checked


def _complete(
    folder: Path,
    encoder: Exported,
    checked: dict[str, Any],
    source: Path,
    card: ModelCardConfig | None,
    with_checkpoint: bool,
) -> dict[str, Any]:
    """Write what goes around the weights: the checkpoint, digests, the card. Returns `checked`. Errors: UserError."""
    description = encoder.description
    names = [description.file("safetensors"), description.file("onnx")]
    if with_checkpoint:
        names += copy_checkpoint(source, folder)
    path = folder / DESCRIPTION
    earlier = [name for name in digests_of(store.read_json(path), path) if (folder / name).exists()]
    values = {"format": FORMAT, **configs.to_dict(description), "onnx": checked}
    store.write_json(path, sealed(values, folder, {*names, *earlier}))
    write_card(folder, encoder, checked, results_of(source, description), card)
    return checked


def _is_same(out: Path, encoder: Exported) -> bool:
    """Whether `out` is an export with the description and weights of `encoder`. Errors: UserError where altered."""
    try:
        description = read_description(out)
    except UserError as error:
        raise UserError(f"{first_line(error).rstrip('.')}, or choose another folder.") from None
    if description != encoder.description or not (out / description.file("onnx")).is_file():
        return False
    there, wanted = _load(out, "auto", None, None).state_dict(), encoder.state_dict()
    return there.keys() == wanted.keys() and all(torch.equal(there[name], wanted[name]) for name in wanted)


def check(folder: Path) -> dict[str, Any]:
    """How far the ONNX of an exported folder is from its safetensors, each run on noise like its log-mel or pictures.

    Differences are the largest of all features, as a share of the largest feature.
    Errors: UserError where that is more than TOLERANCE for an input, or where features are not finite.
    """
    import onnxruntime

    encoder = _load(folder, "auto", None, None)
    description = encoder.description
    session = onnxruntime.InferenceSession(str(folder / description.file("onnx")), providers=["CPUExecutionProvider"])
    media = MEDIA[description.side]
    differences = {}
    for name, values in _noise(encoder).items():
        wanted = encoder.encode(values)
        if not np.isfinite(wanted).all():
            raise UserError(f"The encoder gives no finite features of {name} of {media}; choose an earlier checkpoint.")
        try:
            (output,) = session.run(None, {INPUTS[description.side]: values})
        except Exception as error:  # onnxruntime's own classes
            raise UserError(f"onnxruntime cannot run the encoder on {name} of {media}: {_line(error)}.") from None
        largest = float(np.abs(wanted).max())
        same_shape = output.shape == wanted.shape
        differences[name] = float(np.abs(output - wanted).max()) / max(largest, 1e-12) if same_shape else float("inf")
        if not differences[name] <= TOLERANCE:
            raise UserError(
                f"ONNX and torch differ by {differences[name]:.1e} of the largest feature on {name} of {media} (limit "
                f"{TOLERANCE:g}); nothing was written. An encoder's path must not depend on the values of its input."
            )
    return {
        "opset": OPSET,
        "num_features": encoder.num_features,
        "tolerance": TOLERANCE,
        "differences": differences,
    }


def _load(folder: Path, weights: str, side: str | None, projection: bool | None) -> Exported:
    """The encoder to export; `side` None: that of an earlier export, of a run that of its sound."""
    if side is None:
        earlier = read_description(folder)
        side = "audio" if earlier is None else earlier.side
    if side == "audio":
        return load_encoder(folder, weights=weights, projection=projection)
    return load_video_encoder(folder, weights=weights, projection=projection)


def _noise(encoder: Exported) -> dict[str, np.ndarray]:
    """Inputs by their names: log-mel as in its training data, or pictures of any colours."""
    draw = np.random.default_rng(0)
    if isinstance(encoder, AudioEncoder):
        mean, std = encoder.mean.numpy(), encoder.std.numpy()
        return {
            name: (mean + std * draw.standard_normal((count, frames, len(mean)))).astype(np.float32)
            for name, (count, frames) in CHECKED_SOUNDS.items()
        }
    size, window, stride = encoder.frame_size, encoder.window_pictures, encoder.frame_stride
    own = ":" in encoder.description.model  # known to take a window of training
    return {
        name: draw.integers(0, 256, (count, (window * windows - 1) * stride + 1, size, size, 3), np.uint8)
        for name, (count, windows) in CHECKED_CLIPS.items()
        if windows == 1 or not own
    }


def _example(encoder: Exported) -> tuple[torch.Tensor, dict[int, Any]]:
    """An input, and which of its axes are free."""
    batch = torch.export.Dim("batch")
    if isinstance(encoder, AudioEncoder):
        return torch.zeros(2, 101, len(encoder.mean)), {0: batch, 1: torch.export.Dim("frames")}
    size = encoder.frame_size
    free = {0: batch} if ":" in encoder.description.model else {0: batch, 1: torch.export.Dim("pictures")}
    pictures = (encoder.window_pictures - 1) * encoder.frame_stride + 1
    return torch.zeros(2, pictures, size, size, 3, dtype=torch.uint8), free


def _graph(encoder: Exported, metadata: dict[str, str]) -> onnx.ModelProto:
    """The ONNX model of an encoder. Errors: UserError where torch cannot export it."""
    import onnx

    name = INPUTS[encoder.description.side]
    example, free = _example(encoder)
    loggers = logging.getLogger("torch.onnx"), logging.getLogger("onnxscript")
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                encoder,
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[name],
                output_names=[OUTPUT],
                dynamic_shapes={name: free},
            )
    except Exception as error:  # whatever a network of the user's own makes the exporter raise
        media = MEDIA[encoder.description.side]
        raise UserError(
            f"{encoder.description.model} cannot be exported for {media} of any number and length: {_line(error)}."
        ) from None
    finally:
        for logger, level in zip(loggers, before, strict=True):
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
