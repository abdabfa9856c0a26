"""What happens to a batch on its device: augmentation, flip, dtype, normalisation, masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from torch import nn

from avprep.dataset import Dataset
from avprep.shared.errors import UserError, first_line
from avtrain.config import PretrainConfig
from avtrain.data.batches import Batch
from avtrain.data.picture_augment import PICTURE_DRAWS, PictureAugment
from avtrain.data.sound_augment import SOUND_DRAWS, SoundAugment
from avtrain.models.encoder import IMAGENET_MEAN, IMAGENET_STD
from avtrain.sampling.base import Stream, generator

ONE_PASS_ON = ("cuda",)
"""kinds of devices on which pictures are normalised in one pass; elsewhere results are to stay, bit for bit"""
MIN_STD_DB = 1.0  # bands above a recording's own bandwidth are empty and would be blown up


def logmel_statistics(mean: Sequence[float] | np.ndarray, std: Sequence[float] | np.ndarray) -> list[torch.Tensor]:
    """[mean, deviation] float32 [M] to normalise log-mel by; a deviation below MIN_STD_DB counts as that."""
    return [torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32).clamp_min(MIN_STD_DB)]


def normalised_logmel(logmel: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Log-mel [B, F, M] in dB -> an encoder's input float32 [B, 1, F, M], by the tensors of `logmel_statistics`."""
    return ((logmel.float() - mean) / std).unsqueeze(1)


class Normalise(nn.Module):
    """Raw batches to model inputs.

    video uint8 [B, T, H, W, 3] -> float [B, 3, T, H, W], ImageNet mean and deviation; audio float16 [B, F, M] dB ->
    float [B, 1, F, M], per-band mean and deviation (at least 1 dB). With `crop_size`, of larger pictures the middle
    [crop_size, crop_size] remains.
    """

    logmel_mean: torch.Tensor
    logmel_std: torch.Tensor
    video_mean: torch.Tensor
    video_std: torch.Tensor

    def __init__(self, logmel_mean: np.ndarray, logmel_std: np.ndarray, crop_size: int = 0) -> None:
        super().__init__()
        self.crop_size = crop_size
        mean, std = logmel_statistics(logmel_mean, logmel_std)
        self.register_buffer("logmel_mean", mean)
        self.register_buffer("logmel_std", std)
        self.register_buffer("video_mean", 255 * torch.tensor(IMAGENET_MEAN))
        self.register_buffer("video_std", 255 * torch.tensor(IMAGENET_STD))

    def video(
        self, frames: torch.Tensor, flip: torch.Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Normalised pictures; those of items with `flip` [B] true are mirrored left to right.

        Their memory order is that of the frames, channels last. On a GPU they are made in one pass, as `dtype`.
        """
        if 0 < self.crop_size < frames.shape[3]:
            first = (frames.shape[3] - self.crop_size) // 2
            frames = frames[:, :, first : first + self.crop_size, first : first + self.crop_size]
        if flip is not None:
            frames = torch.where(flip.view(-1, 1, 1, 1, 1), frames.flip(3), frames)
        if frames.device.type in ONE_PASS_ON:
            return self._in_one_pass(frames, dtype)
        # whole rows of pixels against a row of means: three times faster on a CPU than three colours at a time
        width = frames.shape[3]
        rows = frames.flatten(3).float().sub_(self.video_mean.repeat(width)).div_(self.video_std.repeat(width))
        return rows.unflatten(3, (width, 3)).permute(0, 4, 1, 2, 3)

    def _in_one_pass(self, frames: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """frames * scale + shift: read as bytes, computed as float32, written as `dtype`."""
        pictures = torch.empty(frames.shape, dtype=dtype, device=frames.device)
        torch.addcmul(-self.video_mean / self.video_std, frames, 1 / self.video_std, out=pictures)
        return pictures.permute(0, 4, 1, 2, 3)

    def audio(self, logmel: torch.Tensor) -> torch.Tensor:
        """Normalised log-mel."""
        return normalised_logmel(logmel, self.logmel_mean, self.logmel_std)


@dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """One mask over up to `bands` mel bands and one over up to `frames` mel frames of each log-mel, set to its mean.

    Errors: UserError where torchaudio does not load.
    """

    bands: int = 16
    frames: int = 20

    def __post_init__(self) -> None:
        torchaudio_functions()

    def mask(self, batch: Batch, seed: int) -> torch.Tensor:
        """1 where sound stays, 0 where it is masked: float [b, 1, F, M]. The same for an item on any rank."""
        _, length, bands = batch.audio.shape
        mine = slice(batch.first_item, batch.first_item + len(batch.audio))
        return self.masks(batch.global_size, length, bands, seed, batch.epoch, batch.step)[mine]

    def masks(self, count: int, length: int, bands: int, seed: int, epoch: int, step: int) -> torch.Tensor:
        """Masks of `count` log-mels [length, bands], float [count, 1, length, bands]."""
        sounds = torchaudio_functions()
        seeds = np.random.SeedSequence([seed, epoch, Stream.AUGMENTATION, step + 1])
        state = seeds.generate_state(1, np.uint64)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(state[0]))  # torch.manual_seed would seed the devices' as well
            high = sounds.mask_along_axis_iid(torch.ones(count, 1, 1, bands), self.bands, 0.0, 3)
            long = sounds.mask_along_axis_iid(torch.ones(count, 1, length, 1), self.frames, 0.0, 2)
        return high * long


def torchaudio_functions() -> ModuleType:
    """torchaudio.functional. Errors: UserError where it does not load, such as beside a torch that is not its own."""
    try:
        import torchaudio.functional
    except (ImportError, OSError) as error:
        raise UserError(
            f"torchaudio does not load beside torch {torch.__version__} ({first_line(error)}), "
            "and --spec-augment needs it; install the torchaudio of that torch, or leave --spec-augment out."
        ) from None
    return torchaudio.functional


class Augment(nn.Module):
    """Batches to model inputs on the device this module was moved to: flips of p 0.5, the dataset's normalisation.

    `pictures` and `sounds` change the media before that, and with `spec_augment` parts of the sound are masked. What
    they draw is a function of (seed, epoch, step) and of the item's position in the global batch. On a GPU, pictures
    are made as `dtype`.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        flip: bool = True,
        pictures: PictureAugment | None = None,
        sounds: SoundAugment | None = None,
        spec_augment: SpecAugment | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.normalise = Normalise(dataset.logmel_mean, dataset.logmel_std)
        self.flip, self.pictures, self.sounds, self.spec_augment = flip, pictures, sounds, spec_augment
        self.seed = seed

    @classmethod
    def of(cls, dataset: Dataset, config: PretrainConfig) -> Augment:
        """What the settings of a run ask for."""
        pictures = PictureAugment(**{name: getattr(config, name) for name in PictureAugment.__dataclass_fields__})
        sounds = SoundAugment(**{name: getattr(config, name) for name in SoundAugment.__dataclass_fields__})
        return cls(
            dataset,
            pictures=pictures if pictures.used else None,
            sounds=sounds if sounds.used else None,
            spec_augment=SpecAugment() if config.spec_augment else None,
            seed=config.seed,
            dtype=torch.bfloat16 if config.precision == "bf16" else torch.float32,
        )

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """(video float [b, 3, T, H, W], audio float [b, 1, F, M]); features [b, D] of a frozen encoder as they are."""
        device = self.normalise.video_mean.device
        moved = batch.to(device)
        return self._video(batch, moved), self._audio(batch, moved)

    def _video(self, batch: Batch, moved: Batch) -> torch.Tensor:
        frames = moved.video
        if frames.dim() == 2:  # features of a frozen encoder
            return frames
        if self.pictures is not None:
            frames = self.pictures(frames, item_draws(batch, self.seed, Stream.PICTURES, PICTURE_DRAWS))
        return self.normalise.video(frames, moved.flip if self.flip else None, self.dtype)

    def _audio(self, batch: Batch, moved: Batch) -> torch.Tensor:
        logmel = moved.audio
        if logmel.dim() == 2:
            return logmel
        if self.sounds is not None:
            draws = item_draws(batch, self.seed, Stream.SOUNDS, SOUND_DRAWS)
            logmel = self.sounds(logmel, moved.background, draws)
        audio = self.normalise.audio(logmel)
        if self.spec_augment is not None:
            audio = audio * self.spec_augment.mask(batch, self.seed).to(audio.device)
        return audio


def item_draws(batch: Batch, seed: int, stream: Stream, count: int) -> np.ndarray:
    """Random numbers in [0, 1), float [count, b], for the items of a batch: the same for an item on any rank."""
    draws = generator(seed, batch.epoch, stream, batch.step).random((count, batch.global_size))
    return draws[:, batch.first_item : batch.first_item + len(batch.audio)]
