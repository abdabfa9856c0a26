"""What is measured of a clip: silence, level, waveform, still and black pictures, hashes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from avprep.config import AudioSpec, BuildConfig
from avprep.quality.hashes import picture_hashes, sound_hashes
from avprep.schema import MEL_FRAMES_PER_SECOND

VERSION = 1
"""of the measures: a table of another version is made anew"""
PICTURES_PER_SECOND = 8
STEP_SECONDS = 0.25
"""between the two pictures of which motion is the difference"""
SMALL_PIXELS = 56
WHITE = 765  # of `greys`
FULL_SCALE = 0.999
DARK_PIXEL, DARK_SHARE = 0.1, 0.98
"""a picture is black where so many pixels are so dark, as in FFmpeg's filter blackdetect"""
NEPERS = np.float32(np.log(10) / 10)  # natural logarithm of power for a dB
FLOOR_TOLERANCE_DB = 0.1  # float16 has steps of 1/16 dB at -100 dB

COLUMNS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("silence", pa.float32()),
        ("level_db", pa.float32()),
        ("rms", pa.float32()),
        ("peak", pa.float32()),
        ("clipping", pa.float32()),
        ("motion", pa.float32()),
        ("black", pa.float32()),
        ("picture_hashes", pa.list_(pa.uint64())),
        ("sound_hashes", pa.list_(pa.uint64())),
    ]
)
"""of the table of quality, one row a clip"""


@dataclass(frozen=True)
class Measured:
    """The measures of a clip; None: not known. Shares are 0 to 1, hashes those of quality.hashes."""

    silence: float
    """share of the log-mel frames all of whose bands are at the clip's floor"""
    level_db: float
    """mean power of the log-mel's bands, in dB of the amplitude"""
    rms: float | None
    """root of the mean square of the mono waveform, 1 at full scale; known where it is measured while decoding"""
    peak: float | None
    """largest absolute sample"""
    clipping: float | None
    """share of the samples at full scale or beyond"""
    motion: float | None
    """mean absolute change of grey between pictures a quarter of a second apart, 1 from black to white; None: no two"""
    black: float | None
    """share of black pictures"""
    picture_hashes: np.ndarray | None
    sound_hashes: np.ndarray


def step_of(frame_rate_hz: int) -> int:
    """Every how many stored frames one is measured."""
    return max(1, frame_rate_hz // PICTURES_PER_SECOND)


def greys(frames: np.ndarray) -> np.ndarray:
    """uint16 [T, h, w]: sums of red, green and blue, 0 to 765, of a part of the pixels of frames uint8 [T, H, W, 3].

    56 pixels a side or more are kept.
    """
    step = max(1, frames.shape[1] // SMALL_PIXELS)
    some = frames[:, ::step, ::step]
    sums = some[..., 0].astype(np.uint16)
    sums += some[..., 1]
    sums += some[..., 2]
    return sums


def measure(
    pictures: np.ndarray | None,
    picture_rate_hz: float,
    logmel: np.ndarray,
    mel_rate_hz: float,
    seconds: float,
    spec: AudioSpec,
    samples: np.ndarray | None = None,
) -> Measured:
    """The measures of a clip of `seconds`.

    `pictures` are those of `greys`, `picture_rate_hz` of them a second, None for sound only; logmel float16 [F, M] is
    that of `spec`; samples float32 [N] is the mono waveform, where it is at hand.
    """
    decibels = logmel.astype(np.float32) * (1 if spec.decibels == "amplitude" else 2)
    floor = max(20 * np.log10(spec.amplitude_floor), float(decibels.max()) - _amplitude_range(spec))
    hashes, motion, black = None, None, None
    if pictures is not None:
        hashes = picture_hashes(pictures.astype(np.float32) / np.float32(3), picture_rate_hz, seconds)
        motion = _motion(pictures, picture_rate_hz)
        dark = (pictures <= WHITE * DARK_PIXEL).mean(axis=(1, 2))
        black = float((dark >= DARK_SHARE).mean())
    rms, peak, clipping = (None, None, None) if samples is None else _waveform(samples)
    return Measured(
        silence=float((decibels.max(axis=1) <= floor + FLOOR_TOLERANCE_DB).mean()),
        level_db=float(10 * np.log10(np.exp(decibels * NEPERS).mean(dtype=np.float64))),
        rms=rms,
        peak=peak,
        clipping=clipping,
        motion=motion,
        black=black,
        picture_hashes=hashes,
        sound_hashes=sound_hashes(decibels, max(mel_rate_hz, 1.0), seconds, spec),
    )


def measure_decoded(
    frames: np.ndarray | None, logmel: np.ndarray, samples: np.ndarray, seconds: float, config: BuildConfig
) -> Measured:
    """The measures of a clip as it is decoded: frames uint8 [T, H, W, 3] or None, and as `measure`."""
    step = step_of(config.video.frame_rate_hz)
    pictures = None if frames is None else greys(frames[::step])
    mel_rate_hz = MEL_FRAMES_PER_SECOND if config.audio.resample else (len(logmel) - 1) / seconds
    return measure(pictures, config.video.frame_rate_hz / step, logmel, mel_rate_hz, seconds, config.audio, samples)


def _amplitude_range(spec: AudioSpec) -> float:
    return spec.top_db * (1 if spec.decibels == "amplitude" else 2)


def _motion(pictures: np.ndarray, rate_hz: float) -> float | None:
    some = pictures[:: max(1, round(STEP_SECONDS * rate_hz))].astype(np.int16)
    return float(np.abs(np.diff(some, axis=0)).mean() / WHITE) if len(some) > 1 else None


def _waveform(samples: np.ndarray) -> tuple[float, float, float]:
    """(rms, peak, share at full scale) of samples float32 [N]."""
    rms = float(np.sqrt(np.dot(samples, samples) / len(samples)))
    peak = float(max(samples.max(), -samples.min()))
    clipped = 0.0 if peak < FULL_SCALE else float((np.abs(samples) >= FULL_SCALE).mean())
    return rms, peak, clipped
