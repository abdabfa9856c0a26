"""Dataset folders of random arrays in milliseconds: tars by tarfile and numpy alone, tables by avprep's finalize."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from avprep import schema
from avprep.build.finalize import finalize
from avprep.config import LOGMEL_PRESETS, AudioSpec, VideoSpec
from avprep.manifest.read_write import Clip, write_manifest
from avprep.shared import store

FRAME_SIZE, MEL_BANDS = 8, 6


@dataclasses.dataclass(frozen=True)
class Forged:
    """What one clip shall be; `level` in dB is added to its random log-mel, without `pictures` it is sound alone."""

    label: str
    split: str = "train"
    seconds: float = 2.0
    group: str = ""
    level: float = 0.0
    pictures: bool = True
    labels: str = ""
    """all labels in the manifest, ; between them"""


def forge_dataset(
    folder: Path,
    clips: list[Forged],
    clips_per_shard: int = 4,
    codec: str = "raw",
    frame_size: int = 8,
    mel_bands: int = 6,
    preset: str = "paper",
) -> Path:
    """A finished dataset folder of `clips`, whose ids are c0, c1 ...; returns `folder`."""
    names = sorted({clip.label for clip in clips})
    rows: dict[tuple[str, int], list[int]] = {}
    for row, clip in enumerate(clips):
        rows.setdefault((clip.split, names.index(clip.label)), []).append(row)
    video = VideoSpec(frame_size=frame_size, frame_codec=codec)
    audio = dataclasses.replace(LOGMEL_PRESETS[preset], num_mel_bands=mel_bands)
    shards = []
    for (split, label), members in sorted(rows.items()):
        for number in range(0, len(members), clips_per_shard):
            path = schema.shard_path(split, label, names[label], number // clips_per_shard)
            of_shard = members[number : number + clips_per_shard]
            shards.append({"path": path, "split": split, "class_id": label, "rows": of_shard})
            _write_shard(folder, path, clips, of_shard, video, audio)
    (folder / schema.PLAN_MANIFEST).parent.mkdir()
    write_manifest(folder / schema.PLAN_MANIFEST, [_manifest_row(row, clip) for row, clip in enumerate(clips)])
    config = {"video": dataclasses.asdict(video), "audio": dataclasses.asdict(audio)}
    plan = {"class_names": names, "shards": shards, "config": config, "config_digest": "forged", "versions": {}}
    store.write_json(folder / schema.PLAN_BUILD, plan)
    finalize(folder)
    return folder


def arrays(
    row: int, clip: Forged, frame_size: int = FRAME_SIZE, mel_bands: int = MEL_BANDS
) -> tuple[np.ndarray, np.ndarray]:
    """(frames uint8 [T, 8, 8, 3], log-mel float16 [F, 6]) of a clip, by its place in the list."""
    draw = np.random.default_rng(row)
    frames = draw.integers(0, 256, (int(16 * clip.seconds), frame_size, frame_size, 3)).astype(np.uint8)
    logmel = draw.uniform(-60, 0, (1 + int(100 * clip.seconds), mel_bands)) + clip.level
    return frames, logmel.astype(schema.LOGMEL_DTYPE)


def _manifest_row(row: int, clip: Forged) -> Clip:
    path = {"video_path": f"{row}.mp4"} if clip.pictures else {"audio_path": f"{row}.wav"}
    return Clip(f"c{row}", clip.label, clip.split, **path, group=clip.group or f"g{row}", labels=clip.labels)


def jpegs(frames: np.ndarray) -> list[bytes]:
    """Each of frames uint8 [T, 8, 8, 3] as a JPEG, written by another library than the one under test."""
    streams = [io.BytesIO() for _ in frames]
    for frame, stream in zip(frames, streams, strict=True):
        Image.fromarray(frame).save(stream, "JPEG", quality=90)
    return [stream.getvalue() for stream in streams]


def _member(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _write_shard(
    folder: Path, path: str, clips: list[Forged], rows: list[int], video: VideoSpec, audio: AudioSpec
) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    records, sums, sizes = [], np.zeros((2, audio.num_mel_bands)), []
    with tarfile.open(folder / path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row in rows:
            frames, logmel = arrays(row, clips[row], video.frame_size, audio.num_mel_bands)
            record = {"row": row, "clip_id": f"c{row}", "key": f"c{row}", "av_offset_seconds": 0.0}
            record |= {"num_frames": len(frames), "num_mel_frames": len(logmel), "frames_bytes": frames.nbytes}
            record["duration_seconds"] = clips[row].seconds
            members = [
                ("frames", "npy", _member(frames), frames.nbytes),
                ("logmel", "npy", _member(logmel), logmel.nbytes),
            ]
            if video.frame_codec == "jpeg":
                pictures = jpegs(frames)
                sizes += [len(picture) for picture in pictures]
                record["frames_bytes"] = sum(len(picture) for picture in pictures)
                members[0] = ("frames", "mjpg", b"".join(pictures), record["frames_bytes"])
            if not clips[row].pictures:
                record |= {"num_frames": 0, "frames_bytes": 0, "frames_offset": -1}
                members = members[1:]
            for name, kind, data, data_bytes in members:
                record[f"{name}_offset"] = tar.offset + schema.TAR_BLOCK_BYTES + len(data) - data_bytes
                _add(tar, f"c{row}.{name}.{kind}", data)
            _add(tar, f"c{row}.json", json.dumps({"clip_id": f"c{row}", "label": clips[row].label}).encode())
            records.append(record)
            sums += [logmel.sum(0, dtype=float), np.square(logmel.astype(float)).sum(0)]
    marker = {
        "config_digest": "forged",
        "shard": path,
        "bytes": (folder / path).stat().st_size,
        "sha256": store.sha256(folder / path),
        "clips": records,
        "failures": [],
        "logmel": {
            "frames": sum(record["num_mel_frames"] for record in records),
            "sum": sums[0].tolist(),
            "sum_of_squares": sums[1].tolist(),
        },
    }
    if video.frame_codec == "jpeg":
        np.save(folder / schema.sizes_path(path), np.array(sizes, schema.SIZES_DTYPE))
        marker["sizes_bytes"] = (folder / schema.sizes_path(path)).stat().st_size
        marker["sizes_sha256"] = store.sha256(folder / schema.sizes_path(path))
    store.write_json(folder / schema.marker_path(path), marker)


def forge_index(folder: Path, labels: np.ndarray, clips_per_shard: int = 64, seconds: float = 10.0) -> Path:
    """A dataset folder with an index of paper-sized training clips and nothing behind it; returns `folder`.

    Clip i has labels[i], id ci; labels are class ids, `c0`, `c1` ... their names.
    """
    frame_bytes, mel_bands = 112 * 112 * 3, 128
    num_frames, num_mel_frames = int(16 * seconds), 1 + int(100 * seconds)
    clip_bytes = num_frames * frame_bytes + 2 * num_mel_frames * mel_bands
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    place = np.empty(len(labels), np.int64)
    place[order] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    number, first = place // clips_per_shard, np.cumsum(np.r_[0, -(-sizes // clips_per_shard)])
    names = [
        schema.shard_path("train", label, f"c{label}", shard)
        for label, count in enumerate(np.diff(first).tolist())
        for shard in range(count)
    ]
    offset = schema.TAR_BLOCK_BYTES + (place % clips_per_shard) * clip_bytes
    count = len(labels)
    ids = pc.binary_join_element_wise("c", pa.array(np.arange(count)).cast(pa.string()), "")
    columns = {
        "clip_id": ids,
        "key": ids,
        "split": pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), ["train"]),
        "label": labels.astype(np.int32),
        "shard": pa.DictionaryArray.from_arrays((first[labels] + number).astype(np.int32), names),
        "frames_offset": offset,
        "frames_bytes": np.full(count, num_frames * frame_bytes),
        "num_frames": np.full(count, num_frames, np.int32),
        "sizes_position": np.full(count, -1),
        "logmel_offset": offset + num_frames * frame_bytes,
        "num_mel_frames": np.full(count, num_mel_frames, np.int32),
        "duration_seconds": np.full(count, seconds),
        "av_offset_seconds": np.zeros(count),
    }
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns, schema.INDEX_SCHEMA), folder / schema.INDEX)
    info = {
        "format": schema.FORMAT,
        "index_sha256": "forged",
        "shards": {name: {"bytes": clips_per_shard * clip_bytes + 512, "sha256": "0" * 64} for name in names},
        "video": dataclasses.asdict(VideoSpec()),
        "audio": dataclasses.asdict(AudioSpec()),
        "class_names": [f"c{label}" for label in range(len(sizes))],
    }
    store.write_json(folder / schema.DATASET, info)
    return folder


def write_label_lists(folder: Path, name: str, lists: dict[str, list[str] | None]) -> None:
    """The multi-label column labels/NAME.parquet of a dataset folder: names by clip id, None for not known."""
    path = folder / schema.labels_path(name)
    path.parent.mkdir(exist_ok=True)
    columns = {"clip_id": list(lists), "labels": list(lists.values())}
    pq.write_table(pa.table(columns, schema.LABEL_LISTS_SCHEMA), path)


def write_labels(folder: Path, name: str, labels: dict[str, int], class_names: list[str]) -> None:
    """The label column labels/NAME.parquet of a dataset folder: labels by clip id."""
    path = folder / schema.labels_path(name)
    path.parent.mkdir(exist_ok=True)
    columns = {"clip_id": list(labels), "label": list(labels.values())}
    table = pa.table(columns, schema.LABELS_SCHEMA)
    pq.write_table(table.replace_schema_metadata({schema.LABEL_NAMES_KEY: json.dumps(class_names)}), path)
