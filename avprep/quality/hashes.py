"""Hashes of pictures and sound, 64 bits for each eighth of a second, that copies of a clip share in most bits.

A clip has a row of hashes, not one, so that a part of it, or a copy that starts a little later, is recognised by the
hashes that both have. All values are smoothed over time before a bit is taken of them: hashes change slowly, and a
start between two eighths of a second flips few bits. A bit is 1 where a difference is clearly above 0, so that grain
and coding noise in a flat part of a picture, or in silence, flip none; a hash without any such bit is 0 and means
nothing.

Pictures: differences of neighbouring cells, as in the difference hash (D. Looks, "dHash", 2013, by N. Krawetz). Sound:
differences over frequency of differences over time (J. Haitsma, T. Kalker, "A Highly Robust Audio Fingerprinting
System", ISMIR 2002), here of smooth derivatives.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np

from avprep.config import AudioSpec
from avprep.media.logmel import band_centres_hz

HASHES_PER_SECOND = 8
GRID = (8, 9)
"""cells of a picture, rows and columns: 8 differences a row make 64 bits"""
SOUND_BANDS = 65
"""bands of sound: 64 differences"""
SOUND_HZ = (100.0, 5000.0)
"""outside of which encoders change most"""
PICTURE_SECONDS, SOUND_SECONDS = 0.25, 0.15
"""deviation of the Gaussian that smooths"""
CLEARLY_BRIGHTER = 2.0
"""of 255"""
CLEARLY_LOUDER_DB = 0.5
RANGE_DB = 60.0
"""below a clip's loudest value that sound counts"""
ORDER = np.random.default_rng(0).permutation(64)
"""of the bits in a hash, so that neighbouring bits are of distant cells"""


def hash_times(seconds: float) -> np.ndarray:
    """Middles in seconds of the eighths of a second in a clip, float64 [N], at least one."""
    return (np.arange(max(1, int(seconds * HASHES_PER_SECOND))) + 0.5) / HASHES_PER_SECOND


def picture_hashes(grey: np.ndarray, rate_hz: float, seconds: float) -> np.ndarray:
    """uint64 [N] of pictures grey float32 [T, H, W] in 0 to 255, `rate_hz` of them a second."""
    rows, columns = (_shares(size, count) for size, count in zip(grey.shape[1:], GRID, strict=True))
    cells = np.matmul(rows.T, np.matmul(grey, columns))
    smooth = _at(hash_times(seconds), cells, rate_hz, _gaussian(PICTURE_SECONDS, rate_hz))
    return _packed(np.diff(smooth, axis=2) > CLEARLY_BRIGHTER)


def sound_hashes(decibels: np.ndarray, rate_hz: float, seconds: float, spec: AudioSpec) -> np.ndarray:
    """uint64 [N] of a log-mel float32 [F, M] in dB of the amplitude, `rate_hz` frames a second."""
    bands = np.maximum(decibels, decibels.max() - RANGE_DB) @ _bands(spec.sample_rate_hz, spec.num_mel_bands)
    change = _at(hash_times(seconds), bands, rate_hz, _slope(SOUND_SECONDS, rate_hz))
    return _packed(np.diff(change, axis=1) > CLEARLY_LOUDER_DB)


def _at(times: np.ndarray, values: np.ndarray, rate_hz: float, kernel: np.ndarray) -> np.ndarray:
    """values [T, ...] at `times` under the kernel float32 [2 K + 1]; the first and last go on beyond the ends."""
    middles = (times * rate_hz).astype(np.int64)
    reached = np.clip(middles[:, None] + np.arange(len(kernel)) - len(kernel) // 2, 0, len(values) - 1)
    return np.tensordot(kernel, values[reached], axes=(0, 1))


@lru_cache(64)  # without resampling, rates differ from clip to clip
def _gaussian(deviation_seconds: float, rate_hz: float) -> np.ndarray:
    """Weights of a mean."""
    weights = np.exp(-(_reach(deviation_seconds, rate_hz) ** 2) / 2)
    return (weights / weights.sum()).astype(np.float32)


@lru_cache(64)
def _slope(deviation_seconds: float, rate_hz: float) -> np.ndarray:
    """Weights of a difference: the mean after the middle less that before it."""
    time = _reach(deviation_seconds, rate_hz)
    weights = time * np.exp(-(time**2) / 2)
    return (2 * weights / np.abs(weights).sum()).astype(np.float32)


def _reach(deviation_seconds: float, rate_hz: float) -> np.ndarray:
    """Times in deviations around the middle, three to each side."""
    steps = int(np.ceil(3 * deviation_seconds * rate_hz))
    return np.arange(-steps, steps + 1) / rate_hz / deviation_seconds


@cache
def _shares(size: int, parts: int) -> np.ndarray:
    """float32 [size, parts]: the share of each of `size` steps in each of as many equal parts, 1 over a part."""
    edges = np.linspace(0, size, parts + 1)
    steps = np.arange(size)[:, None]
    inside = np.minimum(steps + 1, edges[1:]) - np.maximum(steps, edges[:-1])
    return (np.clip(inside, 0, None) * parts / size).astype(np.float32)


@cache
def _bands(sample_rate_hz: int, num_mel_bands: int) -> np.ndarray:
    """float32 [M, SOUND_BANDS]: mean of the mel bands that lie within SOUND_HZ, in as many equal parts."""
    centres = band_centres_hz(sample_rate_hz, num_mel_bands)
    first, last = np.searchsorted(centres, SOUND_HZ)
    if last - first < 2:
        first, last = 0, num_mel_bands
    weights = np.zeros((num_mel_bands, SOUND_BANDS), np.float32)
    weights[first:last] = _shares(int(last - first), SOUND_BANDS)
    return weights


def _packed(bits: np.ndarray) -> np.ndarray:
    """bool [N, ...] of 64 bits each as uint64 [N]."""
    flat = bits.reshape(len(bits), 64)[:, ORDER]
    return np.ascontiguousarray(np.packbits(flat, axis=1)).view(">u8")[:, 0].astype(np.uint64)
