"""avtrain embed: features of the clips of a dataset, or of plain media files, as a Parquet table.

The one part of avtrain, beside evaluation and reproduce, that calls avprep: for the log-mel of files, made as the
encoder's own training data was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep import audio_features
from avprep.shared import store
from avprep.shared.commands import Progress
from avprep.shared.errors import UserError
from avprep.shared.side_by_side import SideBySide
from avtrain.embed.clips import choose
from avtrain.embed.parts import made_by_parts
from avtrain.embed.rows import joined, made_of, numbers_of, schema_of
from avtrain.inference.encoder import AudioEncoder, load_encoder
from avtrain.inference.video_encoder import VideoEncoder, load_video_encoder

__all__ = ["Embedded", "embed", "embed_file", "embed_file_frames", "load_encoder", "load_video_encoder"]

ROWS_AT_ONCE = 1024
NUMBERS_AT_ONCE = 1 << 24
ALONE = SideBySide()


@dataclass(frozen=True)
class Embedded:
    """What became of the clips: rows written, clips in them, and one entry a clip that was left out."""

    rows: int
    clips: int
    failures: list[dict[str, str]]


def embed_file(encoder: AudioEncoder, path: Path | str) -> np.ndarray:
    """Features float32 [num_features] of the whole sound of a media file. Errors: UserError where it has none."""
    return encoder.encode(audio_features.log_mel_of(path, encoder.description.audio)[None])[0]


def embed_file_frames(encoder: AudioEncoder, path: Path | str) -> tuple[np.ndarray, float]:
    """(features over time float32 [T, D], hop in seconds) of the sound of a media file: as AudioEncoder.encode_frames.

    Frame k is centred k hops after the beginning. Errors: UserError where the file has no sound, or the encoder gives
    one vector a sound.
    """
    spec = audio_features.as_spec(encoder.description.audio)
    sound = audio_features.sound_of(path, spec)
    hop = encoder.hop_mel_frames
    assert sound.logmel is not None
    features = encoder.encode_frames(sound.logmel[None])[0][: -(-sound.num_mel_frames // hop)]
    return features, hop / audio_features.mel_rate_hz(spec, sound.num_mel_frames, sound.seconds)


def embed(
    encoder: AudioEncoder | VideoEncoder,
    sources: Sequence[Path | str],
    out: Path,
    *,
    splits: Sequence[str] = (),
    window_seconds: float | None = None,
    frame_level: bool = False,
    workers: int | None = None,
    how: SideBySide = ALONE,
    device: str = "cpu",
    threads: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Embedded:
    """Write a row for each clip of a dataset, or of files, folders and manifests, to `out`, in their order.

    Columns: clip_id; path (of a file); label and split where they are known; start_seconds, end_seconds; embedding, a
    list of num_features float32. With `window_seconds`, a row for each window of that length, one after the other; the
    last ends with the clip, a shorter clip is one window. With `frame_level`, the embedding of a clip is a list of T
    such lists, frame k at k times hop_seconds, a column more (AudioEncoder.encode_frames). Clips that cannot be used
    are in OUT's name with the ending .failures.jsonl.

    Several processes have a copy of the encoder each, on `device` (on CUDA, a GPU of its own), with `threads`; the
    bytes of `out` stay the same. Errors: UserError (nothing to embed, media of another kind, files for an encoder of
    pictures); Interrupted once `stopping()`.
    """
    _check_frame_level(encoder, frame_level, window_seconds)
    failures: list[dict[str, str]] = []
    clips = rows = 0
    chosen, schema = choose(encoder.description, sources, splits), schema_of(encoder, frame_level)
    pending: list[pa.Table] = []
    numbers = 0
    with Progress(len(chosen), "clips", "embed") as progress, store.atomic_path(out) as temporary:
        if how.alone:
            made = made_of(encoder, chosen.clips(encoder.description, workers), window_seconds, frame_level, stopping)
        else:
            made = made_by_parts(
                encoder,
                chosen,
                out,
                how,
                device=device,
                threads=threads,
                window_seconds=window_seconds,
                frame_level=frame_level,
                workers=workers,
                stopping=stopping,
            )
        with contextlib.closing(made), pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for one in made:
                if isinstance(one, dict):
                    failures.append(one)
                else:
                    clips, rows = clips + 1, rows + len(one)
                    pending.append(one)
                    numbers += numbers_of(one)
                if sum(map(len, pending)) >= ROWS_AT_ONCE or numbers >= NUMBERS_AT_ONCE:
                    writer.write_table(joined(pending, schema))
                    pending, numbers = [], 0
                progress.advance()
            writer.write_table(joined(pending, schema))
        store.write_json_lines(failures_path(out), failures)
        if not clips:
            one = failures[0]
            raise UserError(
                f"Not one of {len(chosen)} clips could be embedded; the first, {one['clip_id']}: {one['reason']}: "
                f"{one['detail']}; {failures_path(out)} has all."
            )
    return Embedded(rows, clips, failures)


def failures_path(out: Path) -> Path:
    """The file that lists the clips that were left out of `out`."""
    return out.with_suffix(".failures.jsonl")


def _check_frame_level(encoder: AudioEncoder | VideoEncoder, frame_level: bool, window_seconds: float | None) -> None:
    """UserError where features over time are asked for that there are not."""
    if not frame_level:
        return
    if isinstance(encoder, VideoEncoder):
        raise UserError("--frame-level gives features of the sound over time; leave it out with --side video.")
    if encoder.head is not None:
        raise UserError("The projection is of whole clips; leave --projection or --frame-level out.")
    if window_seconds is not None:
        raise UserError("--frame-level gives features of the whole clip over time; leave --window-seconds out.")
    _ = encoder.hop_mel_frames
