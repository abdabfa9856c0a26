"""Log-mel of a batch before normalisation: louder or softer, shifted in time, over the sound of another pair."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from avtrain.sampling.windows import MEL_FRAMES_PER_SECOND

SOUND_DRAWS = 3
"""random numbers that a sound takes"""
DECIBEL = math.log(10) / 10
"""natural logarithm of a power ratio of 1 dB"""


@dataclass(frozen=True, kw_only=True)
class SoundAugment:
    """Background, gain and shift, the fields of PretrainConfig; (logmel, background, draws) -> log-mel.

    Log-mel is float [b, F, M] in dB, that returned float32; draws float [SOUND_DRAWS, b] in [0, 1). The targets of the
    loss stay as they are.
    """

    sound_mixup: float = 0.0
    gain_db: float = 0.0
    time_shift_seconds: float = 0.0

    @property
    def used(self) -> bool:
        """Whether it does anything."""
        return self != SoundAugment()

    def __call__(self, logmel: torch.Tensor, background: torch.Tensor | None, draws: np.ndarray) -> torch.Tensor:
        mix, gain, shift = torch.from_numpy(draws).to(logmel.device, torch.float32)
        sounds = logmel.float()
        if self.sound_mixup:
            if background is None:
                raise ValueError("sound_mixup needs batches with a background, as of Loader(..., background=True)")
            sounds = mixed(sounds, background.float(), self.sound_mixup * mix)
        if self.gain_db:
            sounds = sounds + self.gain_db * (2 * gain - 1)[:, None, None]
        if self.time_shift_seconds:
            most = MEL_FRAMES_PER_SECOND * self.time_shift_seconds
            sounds = shifted(sounds, torch.round(most * (2 * shift - 1)).long())
        return sounds


def mixed(sounds: torch.Tensor, background: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Log-mel [b, F, M] in dB of `sounds` with `background`: the sum of their powers, 1 - share [b] and share of them.

    This is the log-mixup-exp of BYOL-A (Niizumi et al. 2021, arXiv 2103.06695). A value of the background that is NaN
    or infinite adds nothing: it is reported with the clip that it belongs to.
    """
    own, other = torch.log1p(-share)[:, None, None], torch.log(share)[:, None, None]
    both = torch.logaddexp(DECIBEL * sounds + own, DECIBEL * background + other) / DECIBEL
    return torch.where(background.isfinite(), both, sounds)


def shifted(sounds: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Sounds [b, F, M], each later by its number of `frames` [b]; what leaves at one end comes back at the other.

    As the data loader of AST and CAV-MAE does (Gong et al. 2021, arXiv 2104.01778).
    """
    items, length = sounds.shape[:2]
    source = (torch.arange(length, device=sounds.device) - frames[:, None]) % length
    return sounds[torch.arange(items, device=sounds.device)[:, None], source]
