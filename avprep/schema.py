"""The dataset folder's contract, format avshards/1: names, dtypes, shapes, tar members, index columns.

    DIR/plan/manifest.parquet, build.json      what was asked for, written first
    DIR/shards/SPLIT/CCCC-slug/NNNNNN.tar      one class a shard; whole once NNNNNN.json is beside it
    DIR/shards/SPLIT/CCCC-slug/NNNNNN.sizes.npy  jpeg only: bytes of each frame, uint32, in the order of the tar
    DIR/index.parquet, dataset.json            one row a clip; class names, statistics, digests
    DIR/labels/NAME.parquet                    another label a clip: clip_id, label (int32, -1 none); names in metadata;
                                               or several: clip_id, labels (a list of names, null: not known)
    DIR/quality.parquet                        measures and hashes of each clip, where they have been asked for
    DIR/quality/SPLIT/CCCC-slug/NNNNNN.parquet those of one shard
    DIR/failures.jsonl                         one line a clip left out
    DIR/excluded.jsonl                         one line a clip taken out on request: clip_id, reason, date
    DIR/history.jsonl                          one line a change: date, command, clips, digest before and after
    DIR/append/                                an append under way: its plan, shards, and at last its tables

Members of clip KEY: KEY.frames.npy uint8 [T, H, W, 3] RGB, or KEY.frames.mjpg T concatenated JPEGs; KEY.logmel.npy
float16 [F, M] dB, time-major; KEY.json.
Only numpy and pyarrow are needed to read any of it.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

FORMAT = "avshards/1"

PLAN_MANIFEST = "plan/manifest.parquet"
PLAN_BUILD = "plan/build.json"
INDEX = "index.parquet"
DATASET = "dataset.json"
FAILURES = "failures.jsonl"
EXCLUDED = "excluded.jsonl"
QUALITY = "quality.parquet"
HISTORY = "history.jsonl"
APPEND = "append"

APPENDING = f"{FORMAT} with an append under way"
"""format of dataset.json while the tables lie in APPEND: versions that look for them elsewhere refuse it"""
TABLES = "tables"  # of that dataset.json: the folder of the tables

FIRST_DOWNMIX = "swresample"  # of AudioSpec.downmix: that of every dataset whose settings do not name one
FRAMES_SUFFIX = ".frames.npy"
JPEG_SUFFIX = ".frames.mjpg"
LOGMEL_SUFFIX = ".logmel.npy"
META_SUFFIX = ".json"
FRAMES_DTYPE = np.dtype(np.uint8)
LOGMEL_DTYPE = np.dtype("<f2")
SIZES_DTYPE = np.dtype("<u4")
SIZES_HEADER_BYTES = 128  # of npy_header, for an array of any one length
MEL_FRAMES_PER_SECOND = 100
TRAINING_RATE_STEP_HZ = 4  # windows of training begin on a quarter of a second: a multiple of this is a whole frame

TAR_BLOCK_BYTES = 512
TAR_RECORD_BYTES = 10_240
KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,80}")
SHARD_PATTERN = re.compile(r"shards/[a-z0-9][a-z0-9_]{0,30}/[0-9]{4,10}-[a-z0-9-]{1,40}/[0-9]{6,12}\.tar")
LABEL_NAME_PATTERN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,79}")  # of a label column

_short = pa.dictionary(pa.int32(), pa.string())
INDEX_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("key", pa.string()),
        ("split", _short),
        ("label", pa.int32()),
        ("shard", _short),
        ("frames_offset", pa.int64()),
        ("frames_bytes", pa.int64()),
        ("num_frames", pa.int32()),
        ("sizes_position", pa.int64()),
        ("logmel_offset", pa.int64()),
        ("num_mel_frames", pa.int32()),
        ("duration_seconds", pa.float64()),
        ("av_offset_seconds", pa.float64()),
    ]
)


# the first columns of a label column's file; others, such as class_name and probability, may follow
LABELS_SCHEMA = pa.schema([("clip_id", pa.string()), ("label", pa.int32())])
LABEL_LISTS_SCHEMA = pa.schema([("clip_id", pa.string()), ("labels", pa.list_(pa.string()))])  # multi-label columns
MANIFEST_LABELS = "labels"  # the multi-label column of a manifest in which clips may have several labels
LABEL_NAMES_KEY = b"class_names"  # of the Parquet metadata: a JSON list, names by label
LABEL_ORIGIN_KEY = b"origin"  # of the Parquet metadata: a JSON object, how the column was made
QUALITY_ORIGIN_KEY = b"origin"  # of the Parquet metadata: a JSON object, of which bytes the measures are


def named_downmix(audio: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of sound with their `downmix`, which datasets and encoders before that setting do not name."""
    return {"downmix": FIRST_DOWNMIX, **audio}


def slug(text: str, length: int = 40) -> str:
    """`text` in lower-case ASCII letters, digits and dashes, never empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:length].strip("-") or "x"


def clip_key(clip_id: str) -> str:
    """The tar key of a clip: its id where that is a legal key, else a slug of it and 10 digits of its sha256."""
    if KEY_PATTERN.fullmatch(clip_id):
        return clip_id
    return f"{slug(clip_id, 64)}-{hashlib.sha256(clip_id.encode()).hexdigest()[:10]}"


def shard_path(split: str, class_id: int, class_name: str, number: int) -> str:
    """Path of a shard inside the dataset folder."""
    return f"shards/{split}/{class_id:04d}-{slug(class_name)}/{number:06d}.tar"


def labels_path(name: str) -> str:
    """Path of the label column `name` inside the dataset folder."""
    return f"labels/{name}.parquet"


def quality_path(shard: str) -> str:
    """Path of the measures of a shard's clips inside the dataset folder."""
    return f"quality/{shard.removeprefix('shards/').removesuffix('.tar')}.parquet"


def repair_command(folder: object) -> str:
    """What builds the damaged or missing shards of a dataset folder again, from its own plan."""
    plan = f"{folder}/{PLAN_BUILD}"
    return f"avprep build-shards {folder}/{PLAN_MANIFEST} --out {folder} --config {plan} --root CLIPS"


def marker_path(shard: str) -> str:
    """Path of a shard's done-marker inside the dataset folder."""
    return shard.removesuffix(".tar") + ".json"


def sizes_path(shard: str) -> str:
    """Path of the frame sizes of a jpeg shard inside the dataset folder."""
    return shard.removesuffix(".tar") + ".sizes.npy"


def tar_header(name: str, size: int) -> bytes:
    """The one 512-byte USTAR block before a member: no owner, no time, the same on every machine."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(format=tarfile.USTAR_FORMAT)


def tar_padding(size: int, block: int = TAR_BLOCK_BYTES) -> bytes:
    """Zeros from `size` to the next multiple of `block`."""
    return bytes(-size % block)


def tar_ending(size: int) -> bytes:
    """Two zero blocks and the fill-up to a whole record, after `size` bytes of members."""
    return bytes(2 * TAR_BLOCK_BYTES) + tar_padding(size + 2 * TAR_BLOCK_BYTES, TAR_RECORD_BYTES)


def npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The npy (version 1.0) header of a C-ordered array; its length is a multiple of 64."""
    text = repr({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    fill = -(10 + len(text) + 1) % 64
    body = (text + " " * fill + "\n").encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body
