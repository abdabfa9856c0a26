"""What the adapters share: log-mel of arrays of samples, rates, the identity of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from torch import nn

from avprep.audio_features import as_spec, padded
from avprep.errors import ClipError
from avprep.media.arrays import log_mel_of_samples
from avprep.shared.errors import UserError
from avtrain.inference.description import Description
from avtrain.inference.encoder import AudioEncoder

MILLISECONDS_A_FRAME = 10.0
"""from one log-mel frame to the next"""


def log_mels(description: Description, samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Log-mel float16 [B, F, M] of sounds float [B, N] of one length at `rate_hz`, 1 + 100 frames a second.

    It is that of files with these samples. Errors: UserError where a sample is not finite.
    """
    spec = as_spec(description.audio)
    try:
        return np.stack([log_mel_of_samples(sound, rate_hz, spec) for sound in samples])
    except ClipError as error:
        raise UserError(f"A sound cannot be encoded ({error}).") from None


def long_enough(logmels: np.ndarray) -> np.ndarray:
    """Log-mel [B, F, M] of 100 frames or more, shorter ones padded as in training."""
    return logmels if logmels.shape[1] >= 100 else np.stack([padded(one) for one in logmels])


def one_rate_hz(description: Description, accepted: Sequence[int] = ()) -> int:
    """The rate at which sounds are to arrive: the encoder's own, or the next higher one that is `accepted`.

    The highest of them where none is higher; what arrives is resampled. Errors: UserError where the encoder was trained
    on files at their own rates.
    """
    spec = as_spec(description.audio)
    if not spec.resample:
        raise UserError(
            "This encoder was trained on sound at each file's own rate (log-mel preset released-code), and here sound "
            "comes at one rate; use mteb's own tasks, or an encoder of another preset."
        )
    higher = [rate for rate in sorted(accepted) if rate >= spec.sample_rate_hz]
    return next(iter(higher), max(accepted, default=spec.sample_rate_hz))


def hop_mel_frames(encoder: AudioEncoder) -> int:
    """Log-mel frames from one feature over time to the next. Errors: UserError of the user's own encoder."""
    try:
        return encoder.hop_mel_frames
    except UserError:
        raise UserError(
            f"{encoder.description.model} gives one vector a sound, and this needs features over time; use mteb."
        ) from None


def weights_sha256(encoders: Sequence[nn.Module]) -> str:
    """Hex sha256 of the encoders' tensors and their names: what a result was measured of."""
    state = hashlib.sha256()
    for encoder in encoders:
        for name, tensor in sorted(encoder.state_dict().items()):
            state.update(name.encode())
            state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()
