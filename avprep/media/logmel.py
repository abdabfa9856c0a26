"""Log-mel spectrograms by librosa: magnitude, Slaney bands, decibels."""

from __future__ import annotations

import librosa
import numpy as np

from avprep.config import AudioSpec
from avprep.schema import LOGMEL_DTYPE


def log_mel(samples: np.ndarray, spec: AudioSpec) -> np.ndarray:
    """Log-mel float16 [1 + N // hop, M] in dB (ref 1), time-major, of mono float32 samples [N].

    Frame j is centred on sample j * hop (zeros beyond the ends). Values below the clip's maximum minus top_db are
    raised to that floor. Cost: about 6 ms for 10 s at 48 kHz.
    """
    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=spec.sample_rate_hz,
        n_fft=spec.window_samples,
        hop_length=spec.hop_samples,
        n_mels=spec.num_mel_bands,
        power=1.0,
        center=True,
        pad_mode="constant",
        htk=False,
        norm="slaney",
    )
    decibels = librosa.amplitude_to_db(mel, ref=1.0, amin=spec.amplitude_floor, top_db=spec.top_db)
    return np.ascontiguousarray(decibels.T).astype(LOGMEL_DTYPE)


def band_centres_hz(sample_rate_hz: int, num_mel_bands: int) -> np.ndarray:
    """Centre of each mel band of log_mel, float64 [M], rising."""
    return librosa.mel_frequencies(num_mel_bands + 2, fmin=0.0, fmax=sample_rate_hz / 2, htk=False)[1:-1]
