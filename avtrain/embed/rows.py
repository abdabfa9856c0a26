"""Rows of the table of embeddings: of whole clips, of windows one after the other, or of frames over time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from avprep import audio_features
from avprep.shared import store
from avprep.shared.errors import Interrupted, UserError
from avtrain.embed.clips import Clip, Clips
from avtrain.inference.encoder import WHOLE_FRAMES, AudioEncoder
from avtrain.inference.video_encoder import VideoEncoder

METADATA_KEY = b"encoder"
WINDOWS_AT_ONCE = 64
PICTURES_AT_ONCE = 512

Made: TypeAlias = pa.Table | dict[str, str]
"""of a clip: its rows, a table of `schema_of`; or the entry of one that is left out"""


@dataclass(frozen=True)
class Row:
    """A row: the clip, its span, features float32 [D]; of frames [T, D], with the hop from one to the next."""

    clip: Clip
    start_seconds: float
    end_seconds: float
    features: np.ndarray
    hop_seconds: float | None = None


def rows_of(
    encoder: AudioEncoder | VideoEncoder, clip: Clip, window_seconds: float | None, frame_level: bool
) -> list[Row] | tuple[str, str]:
    """The rows of a clip, or (reason, detail) why it has none."""
    media = clip.media
    assert media is not None
    hop_seconds = None
    try:
        if frame_level:
            assert isinstance(encoder, AudioEncoder)
            hop = encoder.hop_mel_frames
            frames = encoder.encode_frames(media[None])[:, : -(-clip.num_frames // hop)]
            spans, features, hop_seconds = [(0.0, clip.seconds)], frames, hop / _rate_hz(encoder, clip)
        elif window_seconds is None:
            spans, features = [(0.0, clip.seconds)], encoder.encode(media[None])
        else:
            spans, features = _windows(encoder, clip, media, window_seconds)
    except UserError as error:
        return "too-long", str(error)
    if not np.isfinite(features).all():
        return "not-finite", "the encoder's features of it are not finite"
    return [Row(clip, *span, one, hop_seconds) for span, one in zip(spans, features, strict=True)]


def _rate_hz(encoder: AudioEncoder | VideoEncoder, clip: Clip) -> float:
    """Log-mel frames or pictures a second of a clip."""
    if isinstance(encoder, VideoEncoder):
        return float(encoder.frame_rate_hz)
    return audio_features.mel_rate_hz(audio_features.as_spec(encoder.description.audio), clip.num_frames, clip.seconds)


def _windows(
    encoder: AudioEncoder | VideoEncoder, clip: Clip, media: np.ndarray, window_seconds: float
) -> tuple[list[tuple[float, float]], np.ndarray]:
    """(start and end in seconds, features [W, D]) of the windows of a clip, without its padding."""
    rate, count = _rate_hz(encoder, clip), clip.num_frames
    length = max(round(window_seconds * rate), 1)
    if length >= count:
        return [(0.0, clip.seconds)], encoder.encode(media[None])
    starts = np.arange(0, count - length + 1, length)
    if starts[-1] + length < count - 1:  # a clip of D seconds has one frame of log-mel more than D * rate
        starts = np.append(starts, count - length)
    if isinstance(encoder, AudioEncoder):
        at_once = min(max(WHOLE_FRAMES // length, 1), WINDOWS_AT_ONCE)
    else:
        at_once = max(PICTURES_AT_ONCE // length, 1)
    features = [
        encoder.encode(np.stack([_padded(encoder, media[start : start + length]) for start in some]))
        for some in np.array_split(starts, -(-len(starts) // at_once))
    ]
    return [(float(start / rate), float((start + length) / rate)) for start in starts], np.concatenate(features)


def _padded(encoder: AudioEncoder | VideoEncoder, media: np.ndarray) -> np.ndarray:
    return audio_features.padded(media) if isinstance(encoder, AudioEncoder) else media


def made_of(
    encoder: AudioEncoder | VideoEncoder,
    clips: Clips,
    window_seconds: float | None,
    frame_level: bool,
    stopping: Callable[[], bool] = lambda: False,
) -> Generator[Made, None, None]:
    """What is made of each clip, in order. Errors: UserError; Interrupted once `stopping()`."""
    schema = schema_of(encoder, frame_level)
    with contextlib.closing(clips):
        for clip in clips:
            if stopping():
                raise Interrupted("nothing was written; the same command starts again")
            made = clip.failure or rows_of(encoder, clip, window_seconds, frame_level)
            if isinstance(made, tuple):
                reason, detail = made
                yield {"clip_id": clip.clip_id, "path": clip.path or "", "reason": reason, "detail": detail}
            else:
                yield table_of(made, schema)


def joined(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    """The rows of tables as one that has each column in one piece, as `table_of` makes it."""
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()


def numbers_of(table: pa.Table) -> int:
    """How many numbers the embeddings of a clip are."""
    embedding = table.column("embedding").combine_chunks()
    while not pa.types.is_floating(embedding.type):
        embedding = embedding.flatten()
    return len(embedding)


def schema_of(encoder: AudioEncoder | VideoEncoder, frame_level: bool) -> pa.Schema:
    """The columns of the table, with what the encoder is as metadata."""
    names = ("side", "projection", "model", "audio", "training") + (("video",) if encoder.description.video else ())
    about = {name: getattr(encoder.description, name) for name in names}
    if frame_level:
        about["hop_mel_frames"] = encoder.hop_mel_frames
    vector = pa.list_(pa.float32(), encoder.num_features)
    return pa.schema(
        [
            ("clip_id", pa.string()),
            ("path", pa.string()),
            ("label", pa.string()),
            ("split", pa.string()),
            ("start_seconds", pa.float64()),
            ("end_seconds", pa.float64()),
            *([("hop_seconds", pa.float64())] if frame_level else []),
            ("embedding", pa.list_(vector) if frame_level else vector),
        ],
        metadata={METADATA_KEY: store.json_text(about)},
    )


def table_of(rows: list[Row], schema: pa.Schema) -> pa.Table:
    """The rows as a table of `schema_of`."""
    columns: dict[str, Any] = {
        "clip_id": [row.clip.clip_id for row in rows],
        "path": [row.clip.path for row in rows],
        "label": [row.clip.label for row in rows],
        "split": [row.clip.split for row in rows],
        "start_seconds": [row.start_seconds for row in rows],
        "end_seconds": [row.end_seconds for row in rows],
        "hop_seconds": [row.hop_seconds for row in rows],
    }
    kind = schema.field("embedding").type
    of_frames = not pa.types.is_fixed_size_list(kind)
    vector = kind.value_type if of_frames else kind
    flat = np.concatenate([row.features.reshape(-1) for row in rows]) if rows else np.zeros(0, np.float32)
    embedding: pa.Array = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), vector.list_size)
    if of_frames:
        ends = np.cumsum([0, *(len(row.features) for row in rows)])
        embedding = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), embedding)
    others = [pa.array(columns[field.name], field.type) for field in schema if field.name != "embedding"]
    return pa.table([*others, embedding], schema=schema)
