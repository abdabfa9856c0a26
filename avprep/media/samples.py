"""The samples of a part of a file's sound, mono at one rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avprep.config import Limits
from avprep.errors import ClipError
from avprep.media import decoders, timing
from avprep.media.audio import Wanted, read_audio
from avprep.media.clip import check_end, decoder_errors
from avprep.shared.store import refusals_reported


def write_samples(
    path: Path,
    start_seconds: float,
    end_seconds: float | None,
    rate_hz: int,
    decoder: str,
    limits: Limits,
    out: Path,
) -> int:
    """Write samples float32 [N] of a file's sound to `out` as npy: the mean of all channels, resampled to `rate_hz`.

    Returns N.
    Both seconds count from the start of the sound. `decoder`: as in BuildConfig. Errors: ClipError, the first decoder's
    where several are tried; UserError where the disk is full.
    """
    first_error: ClipError | None = None
    for name in decoders.names(decoder):
        try:
            with decoder_errors():
                samples = _read(path, start_seconds, end_seconds, rate_hz, name, limits)
            break
        except ClipError as error:
            first_error = first_error or error
            if error.reason not in decoders.SECOND_CHANCE:
                raise first_error from None
    else:
        assert first_error is not None
        raise first_error
    with refusals_reported(out):
        np.save(out, samples, allow_pickle=False)
    return len(samples)


def _read(
    path: Path, start_seconds: float, end_seconds: float | None, rate_hz: int, decoder: str, limits: Limits
) -> np.ndarray:
    longest = limits.max_clip_seconds + start_seconds
    wanted = Wanted(limit_seconds=longest, start_seconds=start_seconds, end_seconds=end_seconds)
    with decoders.decoder(decoder).open_sound(path, limits) as sound:
        track = read_audio(sound, rate_hz, wanted)
        end = timing.as_seconds(end_seconds)
        check_end(path, limits, [(sound.header, track.span.end)], None if end is None else track.span.start + end)
    samples = track.window(timing.cut([track.span], start_seconds, end_seconds))
    if not len(samples):
        raise ClipError("too-short", "there is no sound")
    return samples
