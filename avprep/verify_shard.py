"""One shard against its done-marker: every byte is read once, and hashed and walked in that same pass.

The walk knows from the marker what must come next, so a member's headers are compared whole with the ones that avprep
writes: name, order, size, owner and time of the tar header; dtype and shape of the npy header.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from avprep import schema
from avprep.errors import REASONS, UserError
from avprep.manifest import Clip
from avprep.shared import store

BLOCK_BYTES = 1 << 20
SPAN_TOLERANCE_SECONDS = 1e-6
META_OF_CLIP = ("clip_id", "label", "split", "group", "video_path", "audio_path")


class DamageError(Exception):
    """What is wrong with a file, as the words that follow its name."""


@dataclass(frozen=True)
class Context:
    """What is common to the shards of one dataset: its plan/build.json, its manifest, sizes of frames and bands."""

    plan: Mapping[str, Any]
    clips: list[Clip]

    @property
    def frame_size(self) -> int:
        """Height and width of a frame, in pixels."""
        return int(self.plan["config"]["video"]["frame_size"])

    @property
    def num_mel_bands(self) -> int:
        """Bands of a log-mel frame."""
        return int(self.plan["config"]["audio"]["num_mel_bands"])


@dataclass
class ShardCheck:
    """What a shard came to: its size, its marker (None where unreadable), and all that is wrong, `path: words`."""

    path: str
    bytes: int = 0
    marker: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """where the members of each clip of the marker begin, as far as the tar is sound"""


@contextlib.contextmanager
def noting(problems: list[str], path: str) -> Iterator[None]:
    """Whatever a damaged file makes the block raise, as a problem of `path`."""
    try:
        yield
    except DamageError as damage:
        problems.append(f"{path}: {damage}")
    except FileNotFoundError:
        problems.append(f"{path}: is missing")
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror or error})")
    except UserError as error:
        problems.append(f"{path}: {error}")
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
        pa.ArrowException,
    ) as error:
        problems.append(f"{path}: is not what avprep writes ({type(error).__name__}: {error})")


def read_canonical(path: Path) -> Any:
    """The JSON value of a file that avprep wrote. Errors: DamageError where its bytes are not those of that value."""
    data = path.read_bytes()
    value = json.loads(data)
    if store.json_bytes(value) != data:
        raise DamageError("was altered: avprep writes the same values otherwise")
    return value


def check_shard(
    folder: Path,
    path: str,
    listed: Mapping[str, Any] | None,
    planned: Mapping[str, Any] | None,
    context: Context | None,
) -> ShardCheck:
    """Check one shard of `folder` against its marker, what dataset.json says of it, and the plan (each where known)."""
    check = ShardCheck(path)
    name = schema.marker_path(path)
    with noting(check.problems, name):
        check.marker = read_canonical(folder / name)
    walked = None
    if check.marker is not None and planned is not None and context is not None:
        with noting(check.problems, name):
            _check_marker(check.marker, planned, context)
            walked = check.marker
    with noting(check.problems, path), open(folder / path, "rb", buffering=0) as file:
        stream = _Stream(file)
        belied: list[str] = []
        if walked is not None and context is not None:
            with noting(belied, path):
                _walk(stream, walked, context, check.starts)
        stream.drain()
        check.bytes = stream.offset
        if listed is not None and listed.get("sha256") == stream.digest.hexdigest():
            fault = f"{path}: does not fit its marker, though all digests fit: "
            belied = [fault + line.removeprefix(f"{path}: ") for line in belied]
        check.problems += belied
        with noting(check.problems, path):
            check.problems += _disagreements(stream, path, {name: check.marker, schema.DATASET: listed})
    return check


def _disagreements(stream: _Stream, path: str, told: Mapping[str, Mapping[str, Any] | None]) -> list[str]:
    """Problems where the files of `told` give the shard other bytes than it has: its fault if all of them do."""
    has = {"bytes": stream.offset, "sha256": stream.digest.hexdigest()}
    sayings = {who: {key: said[key] for key in has} for who, said in told.items() if said is not None}
    wrong = [who for who, said in sayings.items() if said != has]
    if wrong and len(wrong) == len(sayings):
        size = sayings[wrong[0]]["bytes"]
        how = f"{has['bytes']} bytes, not {size}" if has["bytes"] != size else "another sha256: bytes were altered"
        return [f"{path}: has {how} (by {' and '.join(wrong)})"]
    return [f"{who}: gives {path} a size or sha256 that it does not have" for who in wrong]


def _check_marker(marker: Mapping[str, Any], planned: Mapping[str, Any], context: Context) -> None:
    """The marker against plan and manifest. Errors: DamageError."""
    wanted = {"format": schema.FORMAT, "shard": planned["path"], "config_digest": context.plan["config_digest"]}
    for field_name, value in wanted.items():
        if marker[field_name] != value:
            raise DamageError(f"says {field_name} {marker[field_name]!r}, the plan says {value!r}")
    good, failed = ([entry["row"] for entry in marker[kind]] for kind in ("clips", "failures"))
    if sorted(good + failed) != sorted(planned["rows"]) or good != sorted(good):
        raise DamageError("accounts for other manifest rows than were planned for this shard")
    for entry in marker["clips"]:
        clip = context.clips[entry["row"]]
        if (entry["clip_id"], entry["key"]) != (clip.clip_id, schema.clip_key(clip.clip_id)):
            raise DamageError(f"calls row {entry['row']} {entry['clip_id']!r}, the manifest {clip.clip_id!r}")
    for entry in marker["failures"]:
        clip = context.clips[entry["row"]]
        if (entry["clip_id"], entry["path"]) != (clip.clip_id, clip.source) or entry["reason"] not in REASONS:
            raise DamageError(f"describes the failure of row {entry['row']} as of another clip or reason")


class _Stream:
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


def _walk(stream: _Stream, marker: Mapping[str, Any], context: Context, starts: list[int]) -> None:
    """All members, up to the tar's ending; fills `starts`. Errors: DamageError at the first that the marker belies."""
    bands = context.num_mel_bands
    total, squares = np.zeros(bands), np.zeros(bands)
    for entry in marker["clips"]:
        starts.append(stream.offset)
        if entry["num_frames"]:
            _frames(stream, entry, context)
        shape = (entry["num_mel_frames"], bands)
        data = _array(stream, entry["key"] + schema.LOGMEL_SUFFIX, entry["logmel_offset"], schema.LOGMEL_DTYPE, shape)
        values = (
            np.frombuffer(stream.take(data.bytes, data.name), schema.LOGMEL_DTYPE).reshape(shape).astype(np.float64)
        )
        stream.skip(data.padding, data.name)
        total += values.sum(0)
        squares += np.square(values).sum(0)
        _meta(stream, entry, context.clips[entry["row"]])
    ending = schema.tar_ending(stream.offset)
    if stream.remaining != len(ending) or stream.take(len(ending), "the end") != ending:
        raise DamageError(f"does not end after the last clip of its marker, at byte {stream.offset}")
    frames = sum(entry["num_mel_frames"] for entry in marker["clips"])
    if marker["logmel"] != {"frames": frames, "sum": total.tolist(), "sum_of_squares": squares.tolist()}:
        raise DamageError("holds other log-mel values than the sums in its marker tell")


@dataclass(frozen=True)
class _Member:
    """A member whose headers have been read: its name, bytes of data and of padding still to come."""

    name: str
    bytes: int
    padding: int


def _frames(stream: _Stream, entry: Mapping[str, Any], context: Context) -> None:
    shape = (entry["num_frames"], context.frame_size, context.frame_size, 3)
    member = _array(stream, entry["key"] + schema.FRAMES_SUFFIX, entry["frames_offset"], schema.FRAMES_DTYPE, shape)
    if member.bytes != entry["frames_bytes"]:
        raise DamageError(f"holds {member.bytes} bytes of {member.name}, its marker says {entry['frames_bytes']}")
    stream.skip(member.bytes + member.padding, member.name)


def _array(stream: _Stream, name: str, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> _Member:
    """Read both headers of an array that must come now, with its data at `offset`."""
    header = schema.npy_header(dtype, shape)
    size = len(header) + math.prod(shape) * dtype.itemsize
    found = _header(stream, name)
    if found != size:
        raise DamageError(f"has {name} with {found} bytes, {dtype} {list(shape)} needs {size}")
    if stream.take(len(header), name) != header:
        raise DamageError(f"has {name} with an npy header that is not of {dtype} {list(shape)}")
    if stream.offset != offset:
        raise DamageError(f"has the data of {name} at byte {stream.offset}, its marker says {offset}")
    return _Member(name, size - len(header), len(schema.tar_padding(size)))


def _meta(stream: _Stream, entry: Mapping[str, Any], clip: Clip) -> None:
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
        raise DamageError(f"has {name} with a span of {end - start} s, its marker says {entry['duration_seconds']} s")


def _header(stream: _Stream, name: str) -> int:
    """Read the tar header of the member that must come now; its size."""
    where = stream.offset
    if stream.remaining < schema.TAR_BLOCK_BYTES:
        raise DamageError(f"ends at byte {where}, before {name}")
    block = bytes(stream.take(schema.TAR_BLOCK_BYTES, name))
    if not any(block):
        raise DamageError(f"ends its members at byte {where}, before {name}")
    try:
        found = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        raise DamageError(f"has no readable tar header at byte {where}, where {name} is due") from None
    if found.name != name:
        raise DamageError(f"has {found.name} at byte {where}, where {name} is due")
    if block != schema.tar_header(name, found.size):
        raise DamageError(f"has {name} under a tar header that avprep does not write (owner, time, mode or kind)")
    return found.size
