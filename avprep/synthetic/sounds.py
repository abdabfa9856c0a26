"""The demo's sounds: melodies in one timbre over background noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TIMBRES = ("sine", "buzz", "hiss", "pluck", "siren", "warble", "bell", "rattle")


@dataclass(frozen=True)
class Melody:
    """Notes of one clip: onsets in seconds, pitches and strengths in 0 to 1, [K] each; one length in seconds."""

    onsets: np.ndarray
    pitches: np.ndarray
    strengths: np.ndarray
    length: float

    def loudness(self, times: np.ndarray) -> np.ndarray:
        """The envelope [T] in 0 to 1 at `times` seconds: the strength of the note that sounds, 0 between notes."""
        since = times[:, None] - self.onsets[None, :]
        sounding = (since >= 0) & (since < self.length)
        return (sounding * self.strengths).max(axis=1, initial=0)

    def pitch(self, times: np.ndarray) -> np.ndarray:
        """The pitch [T] in 0 to 1 at `times` seconds: that of the last note begun, of the first one before it."""
        return self.pitches[np.maximum(np.searchsorted(self.onsets, times, side="right") - 1, 0)]


def melody(draw: np.random.Generator, seconds: float) -> Melody:
    """1.5 to 6 notes a second, with a phase, some jitter, some left out; a note lasts 30 to 80 % of the beat."""
    period = 1 / (1.5 * 4 ** draw.uniform())
    beats = np.arange(draw.uniform(0, period), seconds, period)
    beats = np.sort((beats + draw.normal(0, 0.04 * period, len(beats))).clip(0, seconds))
    kept = draw.random(len(beats)) < 0.9
    onsets = beats[kept] if kept.any() else beats[:1]
    pitches, strengths = draw.uniform() + draw.normal(0, 0.03, len(onsets)), draw.uniform(0.5, 1.0, len(onsets))
    return Melody(onsets, pitches, strengths, period * draw.uniform(0.3, 0.8))


def synthesise(
    timbre: str, melody: Melody, scene: np.ndarray, seconds: float, sample_rate_hz: int, draw: np.random.Generator
) -> np.ndarray:
    """Mono samples float32 [N] in [-1, 1]: the melody's notes in one timbre over noise.

    `scene` [2] in 0 to 1: the noise's colour (white to brown) and its level (15 to 0 dB below the notes).
    """
    count = int(seconds * sample_rate_hz)
    out = np.zeros(count)
    length = melody.length
    for onset, pitch, strength in zip(melody.onsets, melody.pitches, melody.strengths, strict=True):
        first = int(onset * sample_rate_hz)
        time = np.arange(min(int(length * sample_rate_hz), count - first)) / sample_rate_hz
        if not len(time):
            continue
        hertz = 220 * 2 ** (2.5 * pitch)
        envelope = np.minimum(time / 0.008, 1) * np.minimum((length - time) / 0.03, 1).clip(0)
        out[first : first + len(time)] += strength * envelope * note(timbre, time, hertz, length, draw)
    out *= 0.25 / max(np.sqrt(np.mean(out**2)), 1e-6)
    out += _coloured_noise(count, 1.2 * scene[0], draw) * 0.25 * 10 ** (-15 * (1 - scene[1]) / 20)
    return (out * draw.uniform(0.2, 0.8) / max(np.abs(out).max(), 1e-6)).astype(np.float32)


def note(timbre: str, time: np.ndarray, hertz: float, length: float, draw: np.random.Generator) -> np.ndarray:
    """One note without its envelope, at `time` seconds [N] since its onset."""
    turn = 2 * np.pi * hertz * time
    if timbre == "sine":
        return np.sin(turn)
    if timbre == "buzz":
        return sum((np.sin(k * turn) / k**0.5 for k in range(1, 12)), np.zeros_like(time)) / 3
    if timbre == "hiss":
        noise = draw.normal(0, 1, len(time))
        return np.convolve(noise, np.ones(3) / 3, "same") - np.convolve(noise, np.ones(9) / 9, "same")
    if timbre == "pluck":
        return sum((np.exp(-time * 6 * k) * np.sin(k * turn) for k in range(1, 8)), np.zeros_like(time))
    if timbre == "siren":
        return np.sin(2 * np.pi * hertz * (time + 0.7 * time**2 / length))
    if timbre == "warble":
        return np.sin(turn + 3.0 * np.sin(2 * np.pi * 18 * time))
    if timbre == "bell":
        partials = ((1.0, 1.0), (2.76, 0.7), (5.4, 0.5), (8.93, 0.3))
        return sum((a * np.exp(-4 * time) * np.sin(r * turn) for r, a in partials), np.zeros_like(time))
    if timbre == "rattle":
        return np.sin(turn) * (np.mod(time * 32, 1.0) < 0.5)
    raise ValueError(f"no timbre {timbre!r}")


def _coloured_noise(count: int, slope: float, draw: np.random.Generator) -> np.ndarray:
    """Noise of unit power whose amplitude falls with frequency ** slope."""
    length = 1 << (count - 1).bit_length()
    spectrum = np.fft.rfft(draw.standard_normal(length))
    spectrum *= np.arange(1, len(spectrum) + 1) ** -slope
    noise = np.fft.irfft(spectrum, length)[:count]
    return noise / max(np.sqrt(np.mean(noise**2)), 1e-12)
