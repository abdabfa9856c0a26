"""Checks of dataset.json and index before they are used: names of the format, numbers its shards can hold.

A dataset may come from anybody. Every number that becomes an offset, a length or an array's size is held here against
the bytes of the shard that it speaks of, and that shard's size against its file (data/local.py, data/remote.py) before
memory is taken. Errors of all functions: UserError naming the file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avprep import schema
from avprep.config import AudioSpec, VideoSpec
from avprep.shared import names
from avprep.shared.errors import UserError
from avprep.shared.values import ALTERED, speaking_of, texts, whole_number

LEAST_JPEG_BYTES = 4
NEEDED = {  # of every version
    VideoSpec: ("frame_size", "frame_rate_hz", "frame_codec", "resize", "resize_filter"),
    AudioSpec: ("sample_rate_hz", "window_samples", "hop_samples", "num_mel_bands", "top_db"),
}
NUMBERS = ("label", "frames_offset", "frames_bytes", "num_frames", "logmel_offset", "num_mel_frames")


def specs(values: Mapping[str, Any]) -> tuple[VideoSpec, AudioSpec]:
    """The feature specs of dataset.json or of a plan's config, as far as this version knows them."""
    return (_known(VideoSpec, values["video"]), _known(AudioSpec, values["audio"]))


def _known(kind: Any, values: Mapping[str, Any]) -> Any:
    known = {field.name: field for field in dataclasses.fields(kind)}
    missing = [name for name in NEEDED[kind] if name not in values]
    if missing:
        raise KeyError(missing[0])
    for name in known.keys() & values.keys():
        if type(values[name]) is not type(known[name].default) and known[name].type != "float":
            raise TypeError(f"{name} is {str(values[name])[:40]}")
    try:
        return kind(**{name: value for name, value in values.items() if name in known})
    except UserError as error:
        raise ValueError(str(error)) from None


def shard_facts(facts: Any, codec: str) -> dict[str, Any]:
    """A shard's facts in dataset.json: bytes, sha256, with JPEGs also of frame sizes. Errors: ValueError, TypeError."""
    for prefix in ("", "sizes_") if codec == "jpeg" else ("",):
        whole_number(facts[f"{prefix}bytes"], f"{prefix}bytes")
        digest = facts[f"{prefix}sha256"]
        if not isinstance(digest, str) or not names.DIGEST.fullmatch(digest):
            raise ValueError(f"{prefix}sha256 is {ascii(digest)[:40]}, no digest")
    return facts


def check_info(info: Mapping[str, Any], source: object) -> None:
    """Raise where dataset.json cannot be used: specs, class names, names and facts of shards."""
    with speaking_of(source):
        video, _ = specs(info)
        texts(info["class_names"], "class_names")
        texts([info["index_sha256"], *dict(info.get("versions", {})).values()], "index_sha256")
        if "logmel" in info:
            texts([info["logmel"]["split"]], "split")
            whole_number(info["logmel"]["frames"], "frames")
        for shard, facts in info["shards"].items():
            names.checked(shard, source, schema.SHARD_PATTERN)
            shard_facts(facts, video.frame_codec)


def check_index(
    columns: Mapping[str, np.ndarray], shards: Sequence[str], shard: np.ndarray, info: Mapping[str, Any], source: object
) -> None:
    """Raise where a row speaks of bytes that its shard does not have, of no class, or of no sound.

    `columns`: numbers of the index by name, [rows] each; `shard`: which of `shards` a row is of.
    """
    with speaking_of(source):
        video, audio = specs(info)
        for path in shards:
            names.checked(path, source, schema.SHARD_PATTERN)
        sizes = np.array([info["shards"][path]["bytes"] for path in shards], np.int64)
    held = sizes[shard]
    label, frames, mel = (columns[name].astype(np.int64) for name in ("label", "num_frames", "num_mel_frames"))
    data, pictures = columns["frames_bytes"], frames > 0
    per_frame = video.frame_size**2 * 3
    fits = data == frames * per_frame if video.frame_codec == "raw" else data >= frames * LEAST_JPEG_BYTES
    tests = {
        "label": (label >= 0) & (label < len(info["class_names"])),
        "num_frames": (frames >= 0) & (pictures | (data == 0)),
        "frames_bytes": ~pictures | fits,
        "frames_offset": ~pictures | _within(columns["frames_offset"], data, held),
        "num_mel_frames": mel > 0,
        "logmel_offset": _within(
            columns["logmel_offset"], mel * audio.num_mel_bands * schema.LOGMEL_DTYPE.itemsize, held
        ),
    }
    for name, good in tests.items():
        for row in np.flatnonzero(~good)[:1].tolist():
            raise UserError(
                f"{source} gives {name} {columns[name][row]} of row {row}, which {shards[shard[row]]} of {held[row]} "
                f"bytes cannot hold, {ALTERED}"
            )


def _within(offset: np.ndarray, length: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Whether a member's data lie between its header and the end of its shard, bool [rows]; no sum can overflow."""
    return (offset >= schema.TAR_BLOCK_BYTES) & (length >= 0) & (length <= size) & (offset <= size - length)
