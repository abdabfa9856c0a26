"""Sound and pictures that are in memory already, made as those of files are: other libraries hand these over."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from avprep.config import AudioSpec, VideoSpec
from avprep.media import frames, mixing
from avprep.media.logmel import log_mel
from avprep.media.timing import sample_count

LAYOUTS = {1: "mono", 2: "stereo"}
SAMPLES_AT_ONCE = 1 << 16


def log_mel_of_samples(samples: np.ndarray, rate_hz: int, spec: AudioSpec) -> np.ndarray:
    """Log-mel float16 [F, M] in dB of samples float [N] or [channels, N]: that of a file with these samples.

    More than two channels are averaged, whatever `spec.downmix`. Errors: ClipError not-finite.
    """
    return log_mel(mono_of_samples(samples, rate_hz, spec), spec)


def mono_of_samples(samples: np.ndarray, rate_hz: int, spec: AudioSpec) -> np.ndarray:
    """Mono float32 [n] at the rate of `spec`, of samples float [N] or [channels, N] at `rate_hz`."""
    sound = np.atleast_2d(np.asarray(samples)).astype(np.float32, copy=False)
    if len(sound) not in LAYOUTS:
        sound = sound.mean(axis=0, keepdims=True)
    wanted_hz = spec.sample_rate_hz if spec.resample else rate_hz
    if len(sound) == 1 and rate_hz == wanted_hz:
        return sound[0]
    pieces: list[np.ndarray] = []
    mixer: mixing.Mixer | None = None
    for first in range(0, sound.shape[1], SAMPLES_AT_ONCE):
        part = np.ascontiguousarray(sound[:, first : first + SAMPLES_AT_ONCE])
        frame = AudioFrame.from_ndarray(part, format="fltp", layout=LAYOUTS[len(sound)])
        frame.sample_rate = rate_hz
        mixer = mixer or mixing.mixer(frame, wanted_hz, spec.downmix)
        pieces += _arrays(mixer.resample(frame))
    pieces += _arrays(mixer.resample(None)) if mixer else []
    out = np.zeros(sample_count(Fraction(sound.shape[1], rate_hz), wanted_hz), np.float32)
    joined = np.concatenate([out[:0], *pieces])[: len(out)]
    out[: len(joined)] = joined
    return out


def _arrays(made: list[AudioFrame]) -> list[np.ndarray]:
    return [np.frombuffer(one.planes[0], np.float32, one.samples).copy() for one in made]  # type: ignore[call-overload]


def stored_pictures(pictures: np.ndarray, spec: VideoSpec) -> np.ndarray:
    """Frames uint8 [T, size, size, 3] as a dataset stores them, of upright pictures uint8 [T, H, W, 3] of any size."""
    count, height, width = pictures.shape[:3]
    out = np.empty((count, spec.frame_size, spec.frame_size, 3), np.uint8)
    if (height, width) == out.shape[1:3]:
        out[:] = pictures
        return out
    reformatter = VideoReformatter()
    to_width, to_height = frames.scaled_size(width, height, None, spec)
    for number, picture in enumerate(pictures):
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        small = reformatter.reformat(frame, to_width, to_height, "gbrp", interpolation=spec.resize_filter.upper())
        out[number] = frames.centre(small.to_ndarray(format="rgb24"), spec.frame_size)
    return out
