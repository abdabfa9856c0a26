"""The sound of a clip in a form that every browser plays: a small mono MP3."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np

from avprep.config import Limits
from avprep.errors import ClipError
from avprep.media.audio import Wanted, read_audio
from avprep.media.probe import first_words
from avprep.media.timing import Span
from avprep.media.with_pyav import open_sound

RATE_HZ = 24_000
BITS_PER_SECOND = 48_000
MARGIN_SECONDS = 1.0
PEAK = 0.99


def clip_mp3(path: Path, start_seconds: float, end_seconds: float, limits: Limits) -> bytes:
    """The sound of `path` from start to end, in seconds of the file's own clock; about 6 kB a second.

    Silence where the track has none; decoded as the build decodes it, here in this process: only for files that a
    build has already read. Errors: ClipError.
    """
    try:
        with open_sound(path, limits) as sound:
            origin = (sound.container.start_time or 0) / av.time_base
            stop = end_seconds - origin + MARGIN_SECONDS
            track = read_audio(sound, RATE_HZ, Wanted(limit_seconds=stop + MARGIN_SECONDS, end_seconds=stop))
        samples = track.window(Span(Fraction(start_seconds), Fraction(end_seconds)))
        if not len(samples):
            raise ClipError("too-short", "the span holds no sound")
        return encode_mp3(samples)
    except av.error.FFmpegError as error:
        raise ClipError("not-media", first_words(error)) from None


def encode_mp3(samples: np.ndarray) -> bytes:
    """Mono float32 samples [N], N > 0, at RATE_HZ as MP3; louder than full scale is turned down as a whole."""
    peak = float(np.abs(samples).max(initial=0.0))
    samples = samples * min(1.0, PEAK / peak) if peak else samples
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libmp3lame", rate=RATE_HZ, layout="mono", format="fltp")
        stream.bit_rate = BITS_PER_SECOND
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = RATE_HZ
        for part in (frame, None):
            container.mux(stream.encode(part))
    return buffer.getvalue()
