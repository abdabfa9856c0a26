"""Where in its clip each window lies: the paper's 0.5 s of picture in the middle of 1 s of sound, or any other sizes.

The picture starts at t on the frame grid, the sound at round(100 (t - lead)) log-mel frames, so that both have one
middle: lead = (sound - picture) / 2 in seconds, 0.25 in the paper, below 0 where the picture is the longer. t is
uniform over the starts at which both windows fit. Where sound and picture come from different clips, each has its own
draw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from avtrain.sampling.base import Stream, generator

MEL_FRAMES_PER_SECOND = 100


@dataclass(frozen=True)
class WindowSpec:
    """Window sizes: `num_frames` pictures and `num_mel_frames` of log-mel at 100 a second.

    The pictures are every `frame_stride`-th of those stored, at `frame_rate_hz`. Errors: ValueError for sizes below 1.
    """

    num_frames: int = 8
    num_mel_frames: int = 100
    frame_rate_hz: int = 16
    frame_stride: int = 1

    def __post_init__(self) -> None:
        if min(self.num_frames, self.num_mel_frames, self.frame_rate_hz, self.frame_stride) < 1:
            raise ValueError(f"{self}: each must be 1 or more.")

    @property
    def picture_frames(self) -> int:
        """Stored pictures from the first of a window to its last, both counted."""
        return (self.num_frames - 1) * self.frame_stride + 1

    @property
    def lead_seconds(self) -> float:
        """Time from the start of the sound to that of the picture, so that both have one middle; negative: after it."""
        return self._twice_the_lead / (2 * MEL_FRAMES_PER_SECOND * self.frame_rate_hz)

    @property
    def lead_frames(self) -> int:
        """`lead_seconds` in whole pictures, the half down; 0 where the sound starts after the picture."""
        return max(0, -(-(self._twice_the_lead - MEL_FRAMES_PER_SECOND) // (2 * MEL_FRAMES_PER_SECOND)))

    @property
    def span_frames(self) -> int:
        """Stored pictures that last as long as the longer of both windows."""
        return max(self.picture_frames, -(-self.num_mel_frames * self.frame_rate_hz // MEL_FRAMES_PER_SECOND))

    @property
    def _twice_the_lead(self) -> int:
        """Length of the sound less that of the pictures, in parts of both rates."""
        return self.num_mel_frames * self.frame_rate_hz - self.picture_frames * MEL_FRAMES_PER_SECOND


@dataclass(frozen=True)
class Windows:
    """Starts int64 [B] of a batch's windows: `frame` in video clips, `mel_frame` in audio clips; `flip` bool [B].

    Pictures are every `frame_stride`-th from `frame` on.
    """

    frame: np.ndarray
    mel_frame: np.ndarray
    flip: np.ndarray
    frame_stride: int = 1

    def take(self, items: np.ndarray) -> Windows:
        """The windows of some items of the batch."""
        return replace(self, frame=self.frame[items], mel_frame=self.mel_frame[items], flip=self.flip[items])


def draw_windows(
    plan: np.ndarray,
    num_frames: np.ndarray,
    spec: WindowSpec,
    *,
    seed: int,
    epoch: int,
    step: int,
    mel_rates_hz: np.ndarray | None = None,
    positions: int = 0,
) -> Windows:
    """Windows of a global batch. `num_frames` int [rows] are the frame counts of all dataset rows.

    `mel_rates_hz` float [rows]: log-mel frames a second of each clip, where they are not 100. With `positions`, a
    window lies at one of so many evenly spread positions in its clip: that of `window_positions`.

    In a clip too short for both windows, the picture starts at min(lead, T - pictures) or 0, and the sound, where it is
    the shorter, ends with the clip at the latest; what is missing is padded by the reader.
    """
    audio, video = plan[:, 0], plan[:, 1]
    draw = generator(seed, epoch, Stream.WINDOWS, step)
    share = draw.random((2, len(plan)))
    if positions:
        share = (np.floor(share * positions) + 0.5) / positions
    of_video = _starts(num_frames[video], share[0], spec)
    of_audio = np.where(audio == video, of_video, _starts(num_frames[audio], share[1], spec))
    flip = generator(seed, epoch, Stream.AUGMENTATION, step).random(len(plan)) < 0.5
    rates_hz = None if mel_rates_hz is None else mel_rates_hz[audio]
    return Windows(of_video, _mel_starts(of_audio, num_frames[audio], spec, rates_hz), flip, spec.frame_stride)


def window_positions(plan: np.ndarray, positions: int, *, seed: int, epoch: int, step: int) -> np.ndarray:
    """Positions int64 [B, 2], 0 to `positions` - 1, of the sounds and the pictures that `draw_windows` draws."""
    drawn = np.floor(generator(seed, epoch, Stream.WINDOWS, step).random((2, len(plan))) * positions).astype(np.int64)
    of_video, of_another = drawn
    return np.stack([np.where(plan[:, 0] == plan[:, 1], of_video, of_another), of_video], axis=1)


def aligned_windows(
    num_frames: np.ndarray, share: np.ndarray, spec: WindowSpec, mel_rates_hz: np.ndarray | None = None
) -> Windows:
    """Windows of picture and sound of the same clips [B], at `share` in [0, 1) of each clip; no flips."""
    starts = _starts(num_frames, share, spec)
    mel_frame = _mel_starts(starts, num_frames, spec, mel_rates_hz)
    return Windows(starts, mel_frame, np.zeros(len(starts), bool), spec.frame_stride)


def _mel_starts(
    starts: np.ndarray, num_frames: np.ndarray, spec: WindowSpec, rates_hz: np.ndarray | None
) -> np.ndarray:
    """First log-mel frames int64 [B] of the sound windows around pictures that start at `starts`."""
    rate_hz = MEL_FRAMES_PER_SECOND if rates_hz is None else rates_hz
    mel = np.rint(rate_hz * (starts / spec.frame_rate_hz - spec.lead_seconds)).astype(np.int64)
    if spec.lead_seconds < 0:  # a clip shorter than the pictures would have no sound there
        last = np.floor(rate_hz * num_frames / spec.frame_rate_hz).astype(np.int64) + 1 - spec.num_mel_frames
        mel = np.minimum(mel, last)
    return np.maximum(mel, 0)


def _starts(num_frames: np.ndarray, share: np.ndarray, spec: WindowSpec) -> np.ndarray:
    """Picture starts int64 [B]: lead + floor(share * choices) over the starts at which both windows fit."""
    choices = num_frames.astype(np.int64) - spec.span_frames + 1
    fitting = spec.lead_frames + np.floor(share * np.maximum(choices, 1)).astype(np.int64)
    short = np.clip(np.minimum(spec.lead_frames, num_frames - spec.picture_frames), 0, None)
    return np.where(choices > 0, fitting, short)
