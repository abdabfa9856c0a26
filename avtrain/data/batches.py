"""What a planned batch is: its recipe (which windows of which clips) and its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from avprep.dataset import Dataset
from avtrain.data.encoded import EncodedPictures
from avtrain.data.frozen_features import FrozenFeatures
from avtrain.data.own_strategy import guarded
from avtrain.data.plans import steps_of
from avtrain.data.reader import Reader
from avtrain.data.window_sizes import check_window, picture_lengths, window_of
from avtrain.sampling import ClipTable, Strategy, pair_weights
from avtrain.sampling.backgrounds import background_items
from avtrain.sampling.windows import Windows, WindowSpec, draw_windows, window_positions


class Buffers:
    """Memory for one batch, as tensors and as the numpy arrays over the same bytes; pinned where CUDA is used."""

    def __init__(
        self,
        batch: int,
        dataset: Dataset,
        spec: WindowSpec,
        pinned: bool,
        background: bool = False,
        features: FrozenFeatures | None = None,
        encoded: bool = False,
    ) -> None:
        size = dataset.frame_size
        self.encoded = EncodedPictures(dataset, spec.num_frames) if encoded else None
        pictures = (batch, 0) if encoded else (batch, spec.num_frames, size, size, 3)
        self.video = torch.empty(pictures, dtype=torch.uint8, pin_memory=pinned)
        sounds = (batch, spec.num_mel_frames, dataset.num_mel_bands)
        self.audio = torch.empty(sounds, dtype=torch.float16, pin_memory=pinned)
        self.background = torch.empty(sounds if background else 0, dtype=torch.float16, pin_memory=pinned)
        if features is not None:
            setattr(self, features.side, torch.empty((batch, features.num_features), pin_memory=pinned))
        self.video_array, self.audio_array = self.video.numpy(), self.audio.numpy()
        self.background_array = self.background.numpy()
        self.copied: torch.cuda.Event | None = None

    def wait(self) -> None:
        """Return when the copy to a device that was begun last has been made."""
        if self.copied is not None:
            self.copied.synchronize()


@dataclass(frozen=True, eq=False)
class Batch:
    """This rank's slice of a planned batch.

    video uint8 [b, T, H, W, 3]; audio float16 [b, F, M] dB; flip bool [b]; plan int64 [b, 2] of dataset rows (audio,
    video); weights float32 [b]: how much each pair counts in the loss, None: all alike; `first_item` is its position
    among the `global_size` pairs of all ranks; `waited_seconds` that the trainer waited for it; `background` as
    `audio`, the sound of another pair of the batch for each, where the recipe wants it.
    Of a frozen encoder whose features are kept, `video` or `audio` are these: float32 [b, D]. Where pictures are
    `encoded`, `to` makes `video` of them.
    """

    epoch: int
    step: int
    plan: np.ndarray
    first_item: int
    global_size: int
    video: torch.Tensor
    audio: torch.Tensor
    flip: torch.Tensor
    background: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    encoded: EncodedPictures | None = field(default=None, repr=False)
    waited_seconds: float = 0.0
    buffers: Buffers | None = field(default=None, repr=False)
    copied: torch.cuda.Event | None = field(default=None, repr=False)
    """end of its copy to a device, where that was begun on another stream"""

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Its tensors, which `to` moves."""
        optional = [tensor for tensor in (self.background, self.weights) if tensor is not None]
        return [self.video, self.audio, self.flip, *optional]

    def without_media(self) -> Batch:
        """The batch without its media, whose memory it no longer holds."""
        none = torch.empty(0)
        return replace(
            self, video=none, audio=none, flip=none, background=None, encoded=None, buffers=None, copied=None
        )

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device, its pictures decoded. Pinned buffers are copied in the background and not used again
        before.
        """
        moved = replace(
            self,
            video=(
                self.video.to(device, non_blocking=True)
                if self.encoded is None
                else self.encoded.decoded(torch.device(device))
            ),
            encoded=None,
            audio=self.audio.to(device, non_blocking=True),
            flip=self.flip.to(device, non_blocking=True),
            background=None if self.background is None else self.background.to(device, non_blocking=True),
            weights=None if self.weights is None else self.weights.to(device, non_blocking=True),
        )
        if self.buffers is not None and moved.video.is_cuda:
            self.buffers.copied = torch.cuda.Event()
            self.buffers.copied.record(torch.cuda.current_stream(moved.video.device))
        return moved


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides the batches: dataset, clips and labels, strategy, batch size, seed, windows, backgrounds, rank.

    A strategy of your own is tried first, and its plans are checked: see OwnStrategy.

    Rank r of `world_size` gets the r-th contiguous `tensor_split` slice of each global plan. Without `window`, windows
    are the paper's (window_of). Errors: UserError (the strategy cannot serve this table, batch size or number of ranks;
    a window longer than each clip; the dataset's frame rate).
    """

    dataset: Dataset
    table: ClipTable
    strategy: Strategy
    batch_size: int
    seed: int = 0
    window: WindowSpec | None = None
    background: bool = False
    positions: int = 0
    """evenly spread windows of each clip among which those of a batch are drawn; 0: any"""
    features: FrozenFeatures | None = None
    """of those windows, in place of the media of one side"""
    encoded: bool = False
    """pictures of a JPEG dataset are decoded where a batch moves"""
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "strategy", guarded(self.strategy))
        steps = steps_of(self.strategy, self.table, self.batch_size, self.world_size)
        object.__setattr__(self, "steps_per_epoch", steps)
        object.__setattr__(self, "spec", self.window or window_of(self.dataset))
        check_window(self.dataset, self.table.rows, self.spec)

    steps_per_epoch: int = field(init=False)
    spec: WindowSpec = field(init=False)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Pictures that each clip of the dataset has, or that would last as long as its sound, int [rows]."""
        return picture_lengths(self.dataset)

    def buffers(self, pinned: bool = False) -> Buffers:
        """Memory for the largest batch of this rank."""
        largest = -(-self.batch_size // self.world_size)
        pictures = self.features is None or self.features.side != "video"
        return Buffers(
            largest, self.dataset, self.spec, pinned, self.background, self.features, self.encoded and pictures
        )

    def plans(self, epoch: int, first_step: int) -> Iterator[tuple[int, np.ndarray]]:
        """(step, global plan int64 [batch, 2]) of an epoch from a step on."""
        plans = self.strategy.plan(
            self.table, batch_size=self.batch_size, seed=self.seed, epoch=epoch, first_step=first_step
        )
        return enumerate(plans, start=first_step)

    def weights(self, plan: np.ndarray, epoch: int, step: int) -> np.ndarray | None:
        """How much each pair of a global plan counts in the loss, float32 [batch]; None: all alike."""
        return pair_weights(self.strategy, self.table, plan, seed=self.seed, epoch=epoch, step=step)

    def windows(self, plan: np.ndarray, epoch: int, step: int) -> Windows:
        """Windows and flips of a global plan; of a clip without picture its sound's length counts."""
        return draw_windows(
            plan,
            self.lengths,
            self.spec,
            seed=self.seed,
            epoch=epoch,
            step=step,
            mel_rates_hz=self.dataset.mel_rates_hz,
            positions=self.positions,
        )

    def read(self, reader: Reader, buffers: Buffers, plan: np.ndarray, epoch: int, step: int) -> Batch:
        """This rank's slice of a global plan, in `buffers`."""
        windows = self.windows(plan, epoch, step)
        weights = self.weights(plan, epoch, step)
        mine = np.array_split(np.arange(len(plan)), self.world_size)[self.rank]
        video, audio = buffers.video[: len(mine)], buffers.audio[: len(mine)]
        self._fill(reader, buffers, plan, windows, mine, epoch, step)
        if self.background:
            others = background_items(len(plan), seed=self.seed, epoch=epoch, step=step)[mine]
            reader.read_logmel(plan[others, 0], windows.mel_frame[others], buffers.background_array[: len(mine)])
        return Batch(
            epoch=epoch,
            step=step,
            plan=plan[mine],
            first_item=int(mine[0]) if len(mine) else 0,
            global_size=len(plan),
            video=video,
            audio=audio,
            flip=torch.from_numpy(windows.flip[mine]),
            background=buffers.background[: len(mine)] if self.background else None,
            weights=None if weights is None else torch.from_numpy(weights[mine]),
            encoded=buffers.encoded,
            buffers=buffers,
        )

    def _fill(
        self,
        reader: Reader,
        buffers: Buffers,
        plan: np.ndarray,
        windows: Windows,
        mine: np.ndarray,
        epoch: int,
        step: int,
    ) -> None:
        """Read the items `mine` of a global plan into the buffers, of one side as features where these are kept."""
        own, window = plan[mine], windows.take(mine)
        video, audio = buffers.video_array[: len(mine)], buffers.audio_array[: len(mine)]
        pictures = video if buffers.encoded is None else buffers.encoded
        if self.features is None:
            reader.read_pairs(own, window, pictures, audio)
            return
        positions = window_positions(plan, self.positions, seed=self.seed, epoch=epoch, step=step)[mine]
        if self.features.side == "video":
            video[:] = self.features.of(own[:, 1], positions[:, 1])
            reader.read_logmel(own[:, 0], window.mel_frame, audio)
        else:
            audio[:] = self.features.of(own[:, 0], positions[:, 0])
            reader.read_frames(own[:, 1], window.frame, pictures, window.frame_stride)
