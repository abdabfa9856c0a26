"""Reads a shard once: each byte is hashed and, in the same pass, compared with what must come next by its done-marker.

A member's headers are compared whole with the ones that avprep writes: name, order, size, owner and time of the tar
header; dtype and shape of the npy header.
"""

from __future__ import annotations

import hashlib
import json
import math
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from typing import Any

import numpy as np

from avprep import schema
from avprep.build.parts import digests_of, parts_of
from avprep.build.shards import PlannedShard
from avprep.manifest.clips import Clip, Clips
from avprep.shared import jpeg

BLOCK_BYTES = 1 << 20
SPAN_TOLERANCE_SECONDS = 1e-6
META_OF_CLIP = ("clip_id", "label", "split", "group", "video_path", "audio_path")
JPEG_START, JPEG_END = np.array([0xFF, 0xD8], np.uint8), np.array([0xFF, 0xD9], np.uint8)


class DamageError(Exception):
    """What is wrong with a file, as the words that follow its name."""


@dataclass(frozen=True)
class Context:
    """What is common to the shards of one dataset: plan/build.json, manifest, whether pictures are decoded as well."""

    plan: Mapping[str, Any]
    clips: Clips
    decode: bool = False

    def digest_of(self, planned: PlannedShard) -> str:
        """The digest that the marker of a planned shard must bear."""
        return digests_of(parts_of(self.plan, ()))(planned)

    @property
    def frame_codec(self) -> str:
        """`raw` or `jpeg`."""
        return str(self.plan["config"]["video"]["frame_codec"])

    @property
    def frame_size(self) -> int:
        """Height and width of a frame, in pixels."""
        return int(self.plan["config"]["video"]["frame_size"])

    @property
    def num_mel_bands(self) -> int:
        """Bands of a log-mel frame."""
        return int(self.plan["config"]["audio"]["num_mel_bands"])


class Stream:
    """A file read once from its start, hashed as it is read. Errors: DamageError where it ends too early."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._block = memoryview(bytearray(BLOCK_BYTES))
        self._size = file.seek(0, 2)
        file.seek(0)
        self.digest = hashlib.sha256()
        self.offset = 0

    @property
    def remaining(self) -> int:
        """Bytes that are still to come."""
        return self._size - self.offset

    def take(self, count: int, what: str) -> memoryview:
        """The next `count` bytes."""
        self._must_hold(count, what)
        data = memoryview(bytearray(count))
        self._fill(data)
        return data

    def skip(self, count: int, what: str) -> None:
        """Hash the next `count` bytes."""
        self._must_hold(count, what)
        while count:
            part = self._block[: min(count, BLOCK_BYTES)]
            self._fill(part)
            count -= len(part)

    def drain(self) -> None:
        """Hash what is left."""
        self.skip(self.remaining, "the end")

    def _must_hold(self, count: int, what: str) -> None:
        if not 0 <= count <= self.remaining:
            raise DamageError(f"ends at byte {self._size}, inside {what}")

    def _fill(self, part: memoryview) -> None:
        filled = 0
        while filled < len(part):
            read = self._file.readinto(part[filled:])
            if not read:
                raise DamageError(f"ended at byte {self.offset + filled} while it was read")
            filled += read
        self.digest.update(part)
        self.offset += len(part)


def walk(
    stream: Stream, marker: Mapping[str, Any], context: Context, sizes: np.ndarray | None, starts: list[int]
) -> None:
    """All members, up to the tar's ending; fills `starts` with where each clip begins.

    `sizes` are the bytes of each JPEG of the shard. Errors: DamageError at the first that the marker belies.
    """
    bands = context.num_mel_bands
    total, squares = np.zeros(bands), np.zeros(bands)
    position = 0
    for entry in marker["clips"]:
        starts.append(stream.offset)
        if sizes is not None:
            _pictures(stream, entry, context, sizes[position : position + entry["num_frames"]])
            position += entry["num_frames"]
        elif entry["num_frames"]:
            _frames(stream, entry, context)
        shape = (entry["num_mel_frames"], bands)
        member = _array(stream, entry["key"] + schema.LOGMEL_SUFFIX, entry["logmel_offset"], schema.LOGMEL_DTYPE, shape)
        data = stream.take(member.bytes, member.name)
        stream.skip(member.padding, member.name)
        values = np.frombuffer(data, schema.LOGMEL_DTYPE).reshape(shape).astype(np.float64)
        total += values.sum(0)
        squares += np.square(values).sum(0)
        _meta(stream, entry, context.clips[entry["row"]])
    if sizes is not None and position != len(sizes):
        raise DamageError(f"has {position} pictures where {len(sizes)} frame sizes are beside it")
    ending = schema.tar_ending(stream.offset)
    if stream.remaining != len(ending) or stream.take(len(ending), "the end") != ending:
        raise DamageError(f"does not end after the last clip of its marker, at byte {stream.offset}")
    frames = sum(entry["num_mel_frames"] for entry in marker["clips"])
    recorded = marker["logmel"]
    sums = ((recorded["sum"], total), (recorded["sum_of_squares"], squares))
    if recorded["frames"] != frames or not all(np.array_equal(*pair, equal_nan=True) for pair in sums):
        raise DamageError("holds other log-mel values than the sums in its marker give")


@dataclass(frozen=True)
class _Member:
    """A member whose headers have been read: its name, bytes of data and of padding still to come."""

    name: str
    bytes: int
    padding: int


def _frames(stream: Stream, entry: Mapping[str, Any], context: Context) -> None:
    shape = (entry["num_frames"], context.frame_size, context.frame_size, 3)
    member = _array(stream, entry["key"] + schema.FRAMES_SUFFIX, entry["frames_offset"], schema.FRAMES_DTYPE, shape)
    if member.bytes != entry["frames_bytes"]:
        raise DamageError(f"holds {member.bytes} bytes of {member.name}, its marker has {entry['frames_bytes']}")
    stream.skip(member.bytes + member.padding, member.name)


def _pictures(stream: Stream, entry: Mapping[str, Any], context: Context, sizes: np.ndarray) -> None:
    if not entry["num_frames"]:
        return
    name = entry["key"] + schema.JPEG_SUFFIX
    size = _header(stream, name)
    if (stream.offset, size) != (entry["frames_offset"], entry["frames_bytes"]):
        raise DamageError(f"has {size} bytes of {name} at byte {stream.offset}, its marker differs")
    data = stream.take(size, name)
    stream.skip(len(schema.tar_padding(size)), name)
    if len(sizes) != entry["num_frames"] or int(sizes.sum(dtype=np.int64)) != size or sizes.min() < 4:
        raise DamageError(f"has {size} bytes of {name}, other than its frame sizes add up to")
    values, ends = np.frombuffer(data, np.uint8), np.cumsum(sizes, dtype=np.int64)
    begins = ends - sizes
    starting = (values[begins[:, None] + [0, 1]] == JPEG_START).all(1)
    whole = starting & (values[ends[:, None] + [-2, -1]] == JPEG_END).all(1)
    if not whole.all():
        raise DamageError(f"has {name} with no JPEG as picture {int(np.argmin(whole))}")
    if context.decode:
        try:
            jpeg.decode(data, sizes, np.empty((len(sizes), context.frame_size, context.frame_size, 3), np.uint8))
        except ValueError as error:
            raise DamageError(f"has {name} with a picture that cannot be decoded ({error})") from None


def _array(stream: Stream, name: str, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> _Member:
    """Read both headers of an array that must come now, with its data at `offset`."""
    header = schema.npy_header(dtype, shape)
    size = len(header) + math.prod(shape) * dtype.itemsize
    held = _header(stream, name)
    if held != size:
        raise DamageError(f"has {name} with {held} bytes, {dtype} {list(shape)} needs {size}")
    if stream.take(len(header), name) != header:
        raise DamageError(f"has {name} with an npy header that is not of {dtype} {list(shape)}")
    if stream.offset != offset:
        raise DamageError(f"has the data of {name} at byte {stream.offset}, its marker has {offset}")
    return _Member(name, size - len(header), len(schema.tar_padding(size)))


def _meta(stream: Stream, entry: Mapping[str, Any], clip: Clip) -> None:
    name = entry["key"] + schema.META_SUFFIX
    size = _header(stream, name)
    meta = json.loads(bytes(stream.take(size, name)))
    stream.skip(len(schema.tar_padding(size)), name)
    known = {key: getattr(clip, key) for key in META_OF_CLIP} | {"av_offset_seconds": entry["av_offset_seconds"]}
    for key, value in known.items():
        if meta[key] != value:
            raise DamageError(f"has {name} with {key} {meta[key]!r} where {value!r} was planned")
    start, end = meta["span_seconds"]
    if abs(end - start - entry["duration_seconds"]) > SPAN_TOLERANCE_SECONDS:
        raise DamageError(f"has {name} with a span of {end - start} s, its marker has {entry['duration_seconds']} s")


def _header(stream: Stream, name: str) -> int:
    """Read the tar header of the member that must come now; its size."""
    where = stream.offset
    if stream.remaining < schema.TAR_BLOCK_BYTES:
        raise DamageError(f"ends at byte {where}, before {name}")
    block = bytes(stream.take(schema.TAR_BLOCK_BYTES, name))
    if not any(block):
        raise DamageError(f"ends its members at byte {where}, before {name}")
    try:
        read = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        raise DamageError(f"has no readable tar header at byte {where}, where {name} is due") from None
    if read.name != name:
        raise DamageError(f"has {read.name} at byte {where}, where {name} is due")
    if block != schema.tar_header(name, read.size):
        raise DamageError(f"has {name} under a tar header that avprep does not write (owner, time, mode or kind)")
    return read.size
