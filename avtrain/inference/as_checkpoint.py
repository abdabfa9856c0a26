"""An encoder of the hub, or an export on this machine, as a checkpoint that measurements read.

It is the run's checkpoint with both encoders where that was published; else a temporary one of the one encoder.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.shared import store
from avprep.shared.errors import UserError
from avprep.shared.mirror import named_as
from avprep.shared.urls import is_hub
from avprep.shared.values import speaking_of, whole_number
from avtrain.inference.contents import digests_of
from avtrain.inference.description import DESCRIPTION, Description, read_description
from avtrain.inference.encoder import load_encoder
from avtrain.inference.fetched import fetched_export
from avtrain.inference.video_encoder import load_video_encoder
from avtrain.runs import checkpoint
from avtrain.runs.data_spec import DATA, WINDOW
from avtrain.runs.load import FILES, identity_of, weights_of
from avtrain.sampling.windows import MEL_FRAMES_PER_SECOND

BOTH = "both"


@dataclass(frozen=True)
class Published:
    """An export to measure."""

    checkpoint: Path
    """folder of the checkpoint"""
    side: str
    """`audio` or `video` where it has that encoder alone, else `both`"""
    weights: str
    """those that it was exported with: `raw` or `ema`"""
    identity: dict[str, Any]
    """as load.identity_of, whose run is the address; of the hub also `revision`, the commit"""


def is_export(source: Path | str) -> bool:
    """Whether a source is one of the hub, or the folder of an export without its run's checkpoint."""
    if isinstance(source, str):
        return is_hub(source)
    has_run = checkpoint.is_checkpoint(source) or checkpoint.latest(source) is not None
    return (source / DESCRIPTION).exists() and not has_run


@contextlib.contextmanager
def as_checkpoint(source: Path | str) -> Iterator[Published]:
    """What `is_export` names as a checkpoint, while the block runs. Errors: UserError, also for altered files."""
    if isinstance(source, Path):
        description = read_description(source)
        assert description is not None, source
        digests = digests_of(store.read_json(source / DESCRIPTION), source / DESCRIPTION)
        with _alone(source, description, {"run": description.training["run"]}, digests) as published:
            yield published
        return
    folder, commit, description, digests = fetched_export(source)
    name = source.partition("@")[0].rstrip("/")
    of_hub = {"run": name, "revision": commit}
    with named_as(f"{name}@{commit}", folder):
        newest = checkpoint.latest(folder)
        if newest is not None:
            meta = checkpoint.read_meta(newest, "step")
            weights = weights_of(newest, meta, str(description.training.get("weights", "auto")))
            identity = identity_of(newest, meta, weights)
            yield Published(newest, BOTH, weights, identity | of_hub)
            return
        with _alone(folder, description, of_hub, digests) as published:
            yield published


def check_fits(published: Published, source: Path | str, side: str, weights: str) -> None:
    """UserError where an export has no such encoder (`side`: audio, video or both) or weights (of config.WEIGHTS)."""
    if published.side == BOTH:
        return
    if published.side != side:
        raise UserError(
            f"{source} has its {published.side} encoder alone; measure it by --side {published.side} and a protocol "
            "other than retrieval, or name one that was published with its checkpoint."
        )
    if weights not in ("auto", published.weights):
        raise UserError(f"{source} is an exported encoder, which has one set of weights; leave --weights out.")


@contextlib.contextmanager
def _alone(
    folder: Path, description: Description, named: dict[str, Any], digests: dict[str, str]
) -> Iterator[Published]:
    """A checkpoint of the one encoder of the export in `folder`, in a temporary folder."""
    if description.projection:
        raise UserError(
            f"{folder} was exported with its projection, whose vectors are not the features that are measured; export "
            "the run without --projection."
        )
    load = load_encoder if description.side == "audio" else load_video_encoder
    network, training = load(folder).network, description.training
    tensors = {f"{description.side}.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}
    with speaking_of(folder / DESCRIPTION):
        meta, file, weights = _meta(description), FILES[training["weights"]], str(training["weights"])
        folder_name = f"step_{whole_number(training['step'], 'step', checkpoint.MOST_UPDATES):08d}"
        sha256 = digests.get(description.file("safetensors"), "")
    with tempfile.TemporaryDirectory(prefix="avtrain-") as scratch:
        one = Path(scratch) / folder_name
        checkpoint.write(one, {file: tensors}, meta)
        with named_as(str(folder), one):
            yield Published(one, description.side, weights, {**named, "step": meta["step"], "model_sha256": sha256})


def _meta(description: Description) -> dict[str, Any]:
    """meta.json of the checkpoint that an export was made of, as far as it is known."""
    training, dataset = description.training, description.training["dataset"]
    data = {
        "audio": description.audio,
        "logmel_mean": description.logmel_mean,
        "logmel_std": description.logmel_std,
        **{name: dataset[name] for name in ("name", "train_clips", "class_names")},
    }
    if description.video:
        config = training["config"]
        data["video"] = description.video
        data[WINDOW] = {
            "num_frames": config.get("window_frames", 0) or description.video["frame_rate_hz"] // 2,
            "frame_stride": config.get("frame_stride", 1),
            "num_mel_frames": round(MEL_FRAMES_PER_SECOND * config.get("audio_seconds", 0)) or MEL_FRAMES_PER_SECOND,
        }
    return {"step": training["step"], "config": training["config"], "dataset_digest": dataset["digest"], DATA: data}
