"""The log-mel of a file of any length, by way of the disk: memory does not grow with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from avprep import schema
from avprep.config import AudioSpec, Limits
from avprep.errors import ClipError, UserError
from avprep.media import timing
from avprep.media.audio import Wanted, keep_audio
from avprep.media.clip import check_end, decoder_errors
from avprep.media.logmel import decibel_blocks, raised
from avprep.media.with_pyav import open_sound
from avprep.shared.store import REFUSALS

FRAMES_AT_ONCE = 1024
SAMPLE = np.dtype(np.float32)


@dataclass(frozen=True)
class SoundRecord:
    """Frames of a log-mel and the seconds of sound that they are of."""

    num_mel_frames: int
    duration_seconds: float


def write_log_mel(
    path: Path, start_seconds: float | None, end_seconds: float | None, spec: AudioSpec, limits: Limits, out: Path
) -> SoundRecord:
    """Write the log-mel of a file's sound to `out` as npy, float16 [F, M]; bit for bit that of a sound-only clip.

    `start_seconds` and `end_seconds` count from the start of its sound. Samples and decibels lie beside `out`
    until it ends, 4 bytes each: 0.9 GB for an hour at 48 kHz. Errors: ClipError; UserError where the disk is full.
    """
    rate_hz = spec.sample_rate_hz if spec.resample else None
    longest = limits.max_clip_seconds + (start_seconds or 0.0)
    wanted = Wanted(limit_seconds=longest, start_seconds=start_seconds, end_seconds=end_seconds)
    with _scratch(out, "samples") as kept, _scratch(out, "decibels") as decibels:
        with decoder_errors(), open_sound(path, limits, spec.downmix) as sound:

            def put(first: int, piece: np.ndarray) -> None:
                os.pwrite(kept.fileno(), piece.data, first * SAMPLE.itemsize)

            laid = keep_audio(sound, rate_hz, wanted, put)
            end = timing.as_seconds(end_seconds)
            check_end(path, limits, [(sound.header, laid.span.end)], None if end is None else laid.span.start + end)
        span = timing.cut([laid.span], start_seconds, end_seconds)
        first, count = laid.part(span)
        if not count:
            raise ClipError("too-short", f"{float(span.duration):.3f} s hold no sound")
        loudest, frames = -np.inf, 0
        for _, block in decibel_blocks(_OnDisk(kept, first, count), spec):
            loudest, frames = max(loudest, float(block.max())), frames + len(block)
            decibels.write(block.data)
        decibels.seek(0)
        with open(out, "wb") as stored:
            stored.write(schema.npy_header(schema.LOGMEL_DTYPE, (frames, spec.num_mel_bands)))
            while data := decibels.read(FRAMES_AT_ONCE * spec.num_mel_bands * SAMPLE.itemsize):
                block = np.frombuffer(bytearray(data), SAMPLE).reshape(-1, spec.num_mel_bands)
                stored.write(raised(block, loudest, spec).data)
    return SoundRecord(frames, float(span.duration))


class _OnDisk:
    """Samples `first` to `first + count` of a file of float32, silence where it has none."""

    def __init__(self, file: BinaryIO, first: int, count: int) -> None:
        self._file, self._first, self._count = file, first, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> np.ndarray:
        begin, end, _ = part.indices(self._count)
        out = np.zeros(max(end - begin, 0), SAMPLE)
        skipped = max(-(self._first + begin), 0)
        if skipped < len(out):
            offset = (self._first + begin + skipped) * SAMPLE.itemsize
            os.preadv(self._file.fileno(), [out[skipped:].data], offset)
        return out


@contextlib.contextmanager
def _scratch(out: Path, what: str) -> Iterator[BinaryIO]:
    """A file beside `out` that has no name and goes with this process. Errors: UserError where the disk is full."""
    path = out.with_name(f"{out.name}.{what}")
    try:
        with open(path, "w+b") as file:
            path.unlink()
            yield file
    except OSError as error:
        if error.errno in REFUSALS:
            raise UserError(f"{out.parent} cannot be written to ({error.strerror}); point TMPDIR elsewhere.") from None
        raise
