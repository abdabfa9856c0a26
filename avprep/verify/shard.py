"""One shard against its done-marker, and the marker against the plan."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from avprep import schema
from avprep.build.shards import PlannedShard
from avprep.errors import REASONS, UserError
from avprep.shared import names, store
from avprep.verify.tar import Context, DamageError, Stream, walk


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
        RecursionError,
        TypeError,
        ValueError,
        pa.ArrowException,
    ) as error:
        problems.append(f"{path}: is not what avprep writes ({type(error).__name__}: {error})")


def read_canonical(
    path: Path,
    object_hook: Callable[[dict[str, Any]], Any] | None = None,
    default: Callable[[Any], Any] | None = None,
) -> Any:
    """The JSON value of a file that avprep wrote. Errors: DamageError where its bytes are not those of that value.

    `object_hook` and `default` are those of json.loads and json.dumps.
    """
    text = path.read_bytes().decode()
    value = json.loads(text, object_hook=object_hook)
    position = 0
    for piece in store.json_pieces(value, default, allow_nan=True):
        if not text.startswith(piece, position):
            break
        position += len(piece)
    else:
        if position == len(text):
            return value
    raise DamageError("was altered: avprep writes the same values otherwise")


def check_shard(
    folder: Path,
    path: str,
    listed: Mapping[str, Any] | None,
    planned: PlannedShard | None,
    context: Context | None,
) -> ShardCheck:
    """Check one shard of `folder` against its marker, its record in dataset.json, and the plan (each where known)."""
    check = ShardCheck(path)
    name = schema.marker_path(path)
    with noting(check.problems, name):
        check.marker = read_canonical(names.inside(folder, name))
    records = {who: record for who, record in ((name, check.marker), (schema.DATASET, listed)) if record is not None}
    sound = False
    if check.marker is not None and planned is not None and context is not None:
        with noting(check.problems, name):
            _check_marker(check.marker, planned, context)
            sound = True
    sizes = None
    if context is not None and context.frame_codec == "jpeg":
        sizes = _frame_sizes(folder, schema.sizes_path(path), records, check.problems)
        sound = sound and sizes is not None
    with noting(check.problems, path), open(names.inside(folder, path), "rb", buffering=0) as file:
        stream = Stream(file)
        belied: list[str] = []
        if sound and context is not None and check.marker is not None:
            with noting(belied, path):
                walk(stream, check.marker, context, sizes, check.starts)
        stream.drain()
        check.bytes = stream.offset
        digest = stream.digest.hexdigest()
        if listed is not None and listed.get("sha256") == digest:
            fault = f"{path}: does not fit its marker, though all digests fit: "
            belied = [fault + line.removeprefix(f"{path}: ") for line in belied]
        check.problems += belied
        check.problems += _disagreements(path, {"bytes": check.bytes, "sha256": digest}, records)
    return check


def _frame_sizes(
    folder: Path, path: str, records: Mapping[str, Mapping[str, Any]], problems: list[str]
) -> np.ndarray | None:
    """The bytes of each JPEG of a shard, uint32; None where they cannot be read."""
    with noting(problems, path):
        data = names.inside(folder, path).read_bytes()
        has = {"sizes_bytes": len(data), "sizes_sha256": hashlib.sha256(data).hexdigest()}
        problems += _disagreements(path, has, records)
        count = (len(data) - schema.SIZES_HEADER_BYTES) // schema.SIZES_DTYPE.itemsize
        header = schema.npy_header(schema.SIZES_DTYPE, (max(count, 0),))
        if data[: len(header)] != header:
            raise DamageError(f"has an npy header that is not of {schema.SIZES_DTYPE} [{count}]")
        return np.frombuffer(data, schema.SIZES_DTYPE, count, len(header))
    return None


def _disagreements(path: str, has: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Problems where the `records` of a file, by where they are, differ from what it `has`: its fault if all do."""
    wrong = [who for who, record in records.items() if any(record.get(key) != value for key, value in has.items())]
    if wrong and len(wrong) == len(records):
        size = next(key for key in has if key.endswith("bytes"))
        length = records[wrong[0]].get(size)
        how = f"{has[size]} bytes, not {length}" if has[size] != length else "another sha256: bytes were altered"
        return [f"{path}: has {how} (by {' and '.join(wrong)})"]
    return [f"{who}: gives {path} a size or sha256 that it does not have" for who in wrong]


def _check_marker(marker: Mapping[str, Any], planned: PlannedShard, context: Context) -> None:
    """The marker against plan and manifest. Errors: DamageError."""
    wanted = {"format": schema.FORMAT, "shard": planned.path, "config_digest": context.digest_of(planned)}
    for field_name, value in wanted.items():
        if marker[field_name] != value:
            raise DamageError(f"has {field_name} {marker[field_name]!r}, the plan has {value!r}")
    good, failed = ([entry["row"] for entry in marker[kind]] for kind in ("clips", "failures"))
    if sorted(good + failed) != sorted(planned.rows) or good != sorted(good):
        raise DamageError("accounts for other manifest rows than were planned for this shard")
    for entry in marker["clips"]:
        clip = context.clips[entry["row"]]
        if (entry["clip_id"], entry["key"]) != (clip.clip_id, schema.clip_key(clip.clip_id)):
            raise DamageError(f"calls row {entry['row']} {entry['clip_id']!r}, the manifest {clip.clip_id!r}")
    for entry in marker["failures"]:
        clip = context.clips[entry["row"]]
        if (entry["clip_id"], entry["path"]) != (clip.clip_id, clip.source) or entry["reason"] not in REASONS:
            raise DamageError(f"describes the failure of row {entry['row']} as of another clip or reason")
