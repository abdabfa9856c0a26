"""avtrain embed: features of the clips of a dataset, or of plain media files, as a Parquet table.

The one module of avtrain, beside demo and reproduce, that calls avprep: for the log-mel of files, made as the
encoder's own training data was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep import audio_features
from avprep.dataset import Dataset
from avprep.schema import DATASET, LOGMEL_DTYPE
from avprep.shared import configs, store
from avprep.shared.commands import Progress
from avprep.shared.errors import Interrupted, UserError
from avtrain.data.reader import Reader
from avtrain.inference.encoder import WHOLE_FRAMES, AudioEncoder, load_encoder

__all__ = ["Embedded", "embed", "embed_file", "load_encoder"]

METADATA_KEY = b"encoder"
ROWS_AT_ONCE = 1024
WINDOWS_AT_ONCE = 64


@dataclass(frozen=True)
class Embedded:
    """What became of the clips: rows written, clips in them, and one entry a clip that was left out."""

    rows: int
    clips: int
    failures: list[dict[str, str]]


@dataclass(frozen=True)
class _Sound:
    """A clip: log-mel [F, M], its frames but for padding, the seconds they cover; or `failure`: (reason, detail)."""

    clip_id: str
    path: str | None
    label: str | None
    split: str | None
    logmel: np.ndarray | None
    num_mel_frames: int
    seconds: float
    failure: tuple[str, str] | None = None


Sounds = Generator[_Sound, None, None]


def embed_file(encoder: AudioEncoder, path: Path | str) -> np.ndarray:
    """Features float32 [num_features] of the whole sound of a media file. Errors: UserError where it has none."""
    return encoder.encode(audio_features.log_mel_of(path, encoder.description.audio)[None])[0]


def embed(
    encoder: AudioEncoder,
    sources: Sequence[Path | str],
    out: Path,
    *,
    splits: Sequence[str] = (),
    window_seconds: float | None = None,
    workers: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Embedded:
    """Write a row for each clip of a dataset, or of files, folders and manifests, to `out`, in their order.

    Columns: clip_id; path (of a file); label and split where they are known; start_seconds, end_seconds; embedding, a
    list of num_features float32. With `window_seconds`, a row for each window of that length, one after the other; the
    last ends with the clip, a shorter clip is one window. Clips that cannot be used stand in OUT's name with the ending
    .failures.jsonl. Errors: UserError (nothing to embed, log-mel of another kind); Interrupted once `stopping()`.
    """
    failures: list[dict[str, str]] = []
    clips = rows = 0
    total, sounds = _sounds(encoder, sources, splits, workers)
    pending: list[tuple[Any, ...]] = []
    schema = _schema(encoder)
    with contextlib.closing(sounds), Progress(total, "clips", "embed") as progress, store.atomic_path(out) as temporary:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for sound in sounds:
                if stopping():
                    raise Interrupted("nothing was written; the same command starts again")
                found = sound.failure or _rows(encoder, sound, window_seconds)
                if isinstance(found, tuple):
                    place = {"clip_id": sound.clip_id, "path": sound.path or ""}
                    failures.append({**place, "reason": found[0], "detail": found[1]})
                else:
                    clips, rows = clips + 1, rows + len(found)
                    pending += found
                if len(pending) >= ROWS_AT_ONCE:
                    writer.write_table(_table(pending, schema))
                    pending.clear()
                progress.advance()
            writer.write_table(_table(pending, schema))
        store.write_json_lines(failures_path(out), failures)
        if not clips:
            one = failures[0]
            raise UserError(
                f"Not one of {total} clips could be embedded; the first, {one['clip_id']}: {one['reason']}: "
                f"{one['detail']}; {failures_path(out)} has all."
            )
    return Embedded(rows, clips, failures)


def failures_path(out: Path) -> Path:
    """Where the clips that were left out of `out` stand."""
    return out.with_suffix(".failures.jsonl")


def _sounds(
    encoder: AudioEncoder, sources: Sequence[Path | str], splits: Sequence[str], workers: int | None
) -> tuple[int, Sounds]:
    """(how many, each) sound of a dataset, or of the files, folders and manifests given."""
    datasets = [source for source in sources if _is_dataset(source)]
    if datasets and len(sources) > 1:
        raise UserError(f"{datasets[0]} is a dataset; embed it alone, each dataset into a file of its own.")
    if datasets:
        dataset = Dataset(datasets[0])
        rows = np.concatenate([dataset.rows_of(split) for split in dict.fromkeys(splits or dataset.splits)])
        return len(rows), _of_dataset(encoder, dataset, np.sort(rows))
    unique = {
        (str(sound.root), sound.clip.clip_id): sound
        for source in sources
        for sound in audio_features.soundings(Path(source))
        if not splits or sound.clip.split in splits
    }
    if not unique:
        raise UserError(f"Nothing in {', '.join(map(str, sources))} is of split {', '.join(splits)}.")
    return len(unique), _of_files(encoder, list(unique.values()), workers)


def _is_dataset(source: Path | str) -> bool:
    return "://" in str(source) or (Path(source) / DATASET).exists()


def _of_dataset(encoder: AudioEncoder, dataset: Dataset, rows: np.ndarray) -> Sounds:
    own, other = (
        configs.to_dict(audio_features.as_spec(spec)) for spec in (encoder.description.audio, dataset.info["audio"])
    )
    changed = configs.differences(own, other)
    if changed:
        listed = "\n  ".join(changed)
        raise UserError(
            f"{dataset.folder} has log-mel of another kind than the encoder was trained on; embed its files, or build "
            f"it with the encoder's options:\n  {listed}"
        )
    with Reader(dataset) as reader:
        for row in rows:
            reader.check_shards(np.array([row]))
            length = max(int(dataset.num_mel_frames[row]), audio_features.SHORTEST_FRAMES)
            logmel = np.empty((1, length, dataset.num_mel_bands), LOGMEL_DTYPE)
            reader.read_logmel(np.array([row]), np.zeros(1, np.int64), logmel)
            yield _Sound(
                clip_id=dataset.clip_ids[row],
                path=None,
                label=dataset.class_names[dataset.label[row]],
                split=dataset.splits[dataset.split[row]],
                logmel=logmel[0],
                num_mel_frames=int(dataset.num_mel_frames[row]),
                seconds=float(dataset.duration_seconds[row]),
            )


def _of_files(encoder: AudioEncoder, found: list[audio_features.Sounding], workers: int | None) -> Sounds:
    spec = audio_features.as_spec(encoder.description.audio)
    with contextlib.closing(audio_features.log_mels(found, spec, workers=workers)) as heard:
        for answer in heard:
            clip, failed = answer.sound.clip, answer.failure
            yield _Sound(
                clip_id=clip.clip_id,
                path=clip.audio_path or clip.video_path,
                label=clip.label or None,
                split=clip.split or None,
                logmel=answer.logmel,
                num_mel_frames=answer.num_mel_frames,
                seconds=answer.seconds,
                failure=(failed.reason, failed.detail) if failed else None,
            )


def _rows(
    encoder: AudioEncoder, sound: _Sound, window_seconds: float | None
) -> list[tuple[Any, ...]] | tuple[str, str]:
    """The table's rows of a clip, or (reason, detail) why it has none."""
    known = sound.clip_id, sound.path, sound.label, sound.split
    logmel, seconds = sound.logmel, sound.seconds
    assert logmel is not None
    try:
        if window_seconds is None:
            spans, features = [(0.0, seconds)], encoder.encode(logmel[None])
        else:
            spans, features = _windows(encoder, logmel, sound.num_mel_frames, seconds, window_seconds)
    except UserError as error:
        return "too-long", str(error)
    if not np.isfinite(features).all():
        return "not-finite", "the encoder gives no number for it"
    return [(*known, *span, feature) for span, feature in zip(spans, features, strict=True)]


def _windows(
    encoder: AudioEncoder, logmel: np.ndarray, num_mel_frames: int, seconds: float, window_seconds: float
) -> tuple[list[tuple[float, float]], np.ndarray]:
    """(start and end in seconds, features [W, D]) of the windows of a clip of `num_mel_frames` before any padding."""
    rate = audio_features.mel_rate_hz(audio_features.as_spec(encoder.description.audio), num_mel_frames, seconds)
    length = max(round(window_seconds * rate), 1)
    if length >= num_mel_frames:
        return [(0.0, seconds)], encoder.encode(logmel[None])
    starts = np.arange(0, num_mel_frames - length + 1, length)
    if starts[-1] + length < num_mel_frames - 1:  # a clip of D seconds has one frame more than D * rate
        starts = np.append(starts, num_mel_frames - length)
    at_once = min(max(WHOLE_FRAMES // length, 1), WINDOWS_AT_ONCE)
    features = [
        encoder.encode(np.stack([audio_features.padded(logmel[start : start + length]) for start in some]))
        for some in np.array_split(starts, -(-len(starts) // at_once))
    ]
    return [(float(start / rate), float((start + length) / rate)) for start in starts], np.concatenate(features)


def _schema(encoder: AudioEncoder) -> pa.Schema:
    about = {
        "model": encoder.description.model,
        "audio": encoder.description.audio,
        "training": encoder.description.training,
    }
    return pa.schema(
        [
            ("clip_id", pa.string()),
            ("path", pa.string()),
            ("label", pa.string()),
            ("split", pa.string()),
            ("start_seconds", pa.float64()),
            ("end_seconds", pa.float64()),
            ("embedding", pa.list_(pa.float32(), encoder.num_features)),
        ],
        metadata={METADATA_KEY: store.json_text(about)},
    )


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    *known, features = zip(*rows, strict=True) if rows else [()] * len(schema)
    width = schema.field("embedding").type.list_size
    flat = np.concatenate(features) if rows else np.zeros(0, np.float32)
    columns = [pa.array(column, field.type) for column, field in zip(known, schema, strict=False)]
    return pa.table([*columns, pa.FixedSizeListArray.from_arrays(pa.array(flat), width)], schema=schema)
