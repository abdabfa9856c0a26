"""One decoded clip as members of a shard: tar headers, npy headers, pictures, log-mel, what is known of the clip."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from avprep import schema
from avprep.config import VideoSpec
from avprep.manifest.clips import Clip
from avprep.shared import jpeg, store

if TYPE_CHECKING:
    from avprep.media.clip import DecodedClip
    from avprep.quality.measures import Measured

WRITE_BYTES = 1 << 20
"""of one call: ext4 takes five times as long over 6 MB in one piece (Linux 6.18)"""


@dataclass(frozen=True)
class ClipRecord:
    """What has been written of a clip: index values, where its members end in the tar, float64 sums [M] of its stored
    log-mel, the bytes of each frame uint32 [T] (jpeg; none for raw), and its measures where they were asked for."""

    index: dict[str, Any]
    end_offset: int
    logmel_sum: list[float]
    logmel_sum_of_squares: list[float]
    frame_sizes: np.ndarray
    measured: Measured | None = None


def moved(record: ClipRecord, by_bytes: int) -> ClipRecord:
    """The record of the same members, copied from the start of a file to so many bytes further on."""
    index = dict(record.index)
    for name in ("frames_offset", "logmel_offset"):
        index[name] += by_bytes if index[name] >= 0 else 0
    return dataclasses.replace(record, index=index, end_offset=record.end_offset + by_bytes)


class _Members:
    """Members queued for one write at `offset` of a tar."""

    def __init__(self, key: str, offset: int) -> None:
        self.key, self.offset = key, offset
        self.parts: list[Any] = []

    def add(self, suffix: str, data: Any, header: bytes = b"") -> int:
        """Queue a member of `header` and `data`; returns the offset of `data` in the tar."""
        size = len(header) + memoryview(data).nbytes
        begin = self.offset + schema.TAR_BLOCK_BYTES + len(header)
        padding = schema.tar_padding(size)
        self.parts.extend([schema.tar_header(self.key + suffix, size), header, data, padding])
        self.offset += schema.TAR_BLOCK_BYTES + size + len(padding)
        return begin

    def add_array(self, suffix: str, array: np.ndarray) -> int:
        """Queue an array as npy; returns the offset of its data."""
        return self.add(suffix, array.data, schema.npy_header(array.dtype, array.shape))


def write_clip(clip: Clip, decoded: DecodedClip, spec: VideoSpec, tar_path: str, tar_offset: int) -> ClipRecord:
    """Write the members of `decoded` at `tar_offset` of the file; nothing is copied. Errors: OSError."""
    members = _Members(schema.clip_key(clip.clip_id), tar_offset)
    frames, logmel = decoded.frames, decoded.logmel
    index: dict[str, Any] = {
        "clip_id": clip.clip_id,
        "key": members.key,
        "frames_offset": -1,
        "frames_bytes": 0,
        "num_frames": 0,
        "num_mel_frames": len(logmel),
        "duration_seconds": float(decoded.span.duration),
        "av_offset_seconds": decoded.av_offset_seconds,
    }
    sizes = np.zeros(0, np.uint32)
    if frames is not None and spec.frame_codec == "jpeg":
        data, sizes = jpeg.encode(frames, spec.jpeg_quality)
        index["frames_offset"] = members.add(schema.JPEG_SUFFIX, data)
        index["frames_bytes"], index["num_frames"] = len(data), len(frames)
    elif frames is not None:
        index["frames_offset"] = members.add_array(schema.FRAMES_SUFFIX, frames)
        index["frames_bytes"], index["num_frames"] = frames.nbytes, len(frames)
    index["logmel_offset"] = members.add_array(schema.LOGMEL_SUFFIX, logmel)
    meta = {
        "clip_id": clip.clip_id,
        "label": clip.label,
        "split": clip.split,
        "group": clip.group,
        "video_path": clip.video_path,
        "audio_path": clip.audio_path,
        "span_seconds": [float(decoded.span.start), float(decoded.span.end)],
        "av_offset_seconds": decoded.av_offset_seconds,
        "decoder": decoded.decoder,
    }
    members.add(schema.META_SUFFIX, store.json_text(meta, sort_keys=True).encode())
    with open(tar_path, "r+b", buffering=0) as tar:
        _write_all(tar.fileno(), [memoryview(part).cast("B") for part in members.parts if len(part)], tar_offset)
    values = logmel.astype(np.float64)
    return ClipRecord(index, members.offset, values.sum(0).tolist(), np.square(values).sum(0).tolist(), sizes)


def _write_all(handle: int, parts: list[memoryview], offset: int) -> None:
    for part in parts:
        begin = 0
        while begin < len(part):
            begin += os.pwrite(handle, part[begin : begin + WRITE_BYTES], offset + begin)
        offset += len(part)
