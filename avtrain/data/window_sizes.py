"""The windows that settings mean on a dataset, and whether its clips are long enough for them."""

from __future__ import annotations

import numpy as np

from avprep.dataset import Dataset
from avprep.schema import TRAINING_RATE_STEP_HZ
from avprep.shared.errors import UserError
from avtrain.sampling.windows import MEL_FRAMES_PER_SECOND, WindowSpec


def window_of(
    dataset: Dataset, window_frames: int = 0, frame_stride: int = 1, audio_seconds: float = 0.0
) -> WindowSpec:
    """The windows of these settings of PretrainConfig at the dataset's frame rate; 0 means the paper's.

    Those are half a second of pictures in the middle of 1 s of sound. Errors: UserError where a quarter of a second is
    no whole number of frames, unless `window_frames` is given.
    """
    rate = dataset.frame_rate_hz
    if rate % TRAINING_RATE_STEP_HZ and not window_frames:
        raise UserError(
            f"{dataset.folder} has {rate} frames a second; the paper's windows need a multiple of "
            f"{TRAINING_RATE_STEP_HZ}. Set --window-frames."
        )
    return WindowSpec(
        num_frames=window_frames or rate // 2,
        num_mel_frames=round(MEL_FRAMES_PER_SECOND * audio_seconds) or MEL_FRAMES_PER_SECOND,
        frame_rate_hz=rate,
        frame_stride=frame_stride,
    )


def check_window(dataset: Dataset, rows: np.ndarray, spec: WindowSpec) -> None:
    """Raise UserError where a window longer than the paper's is longer than each clip of `rows`."""
    frames, mel_frames = (int(lengths[rows].max(initial=0)) for lengths in (dataset.num_frames, dataset.num_mel_frames))
    usual = WindowSpec(num_frames=max(spec.frame_rate_hz // 2, 1), frame_rate_hz=spec.frame_rate_hz)
    if max(frames, usual.picture_frames) < spec.picture_frames and frames:
        raise UserError(
            f"{spec.num_frames} pictures, every {_nth(spec.frame_stride)}, go over {spec.picture_frames} stored ones, "
            f"but no clip to train on has more than {frames}; use fewer --window-frames or a smaller --frame-stride."
        )
    if max(mel_frames, usual.num_mel_frames) < spec.num_mel_frames:
        longest = mel_frames / MEL_FRAMES_PER_SECOND
        raise UserError(
            f"No clip to train on has {spec.num_mel_frames / MEL_FRAMES_PER_SECOND:g} s of sound, the longest has "
            f"{longest:g} s; use a smaller --audio-seconds."
        )


def picture_lengths(dataset: Dataset) -> np.ndarray:
    """Pictures that each clip of the dataset has, or that would last as long as its sound, int [rows]."""
    seconds = (dataset.num_mel_frames - 1) / dataset.mel_rates_hz
    as_long = np.floor(seconds * dataset.frame_rate_hz).astype(dataset.num_frames.dtype)
    return np.where(dataset.num_frames > 0, dataset.num_frames, as_long)


def shorter_clips(dataset: Dataset, rows: np.ndarray, spec: WindowSpec) -> dict[str, int]:
    """How many clips of `rows` are shorter than a window and padded: {"pictures", "sound"}."""
    frames, mel_frames = dataset.num_frames[rows], dataset.num_mel_frames[rows]
    return {
        "pictures": int(np.count_nonzero(frames < spec.picture_frames)),
        "sound": int(np.count_nonzero(mel_frames < spec.num_mel_frames)),
    }


def sentence_of(spec: WindowSpec) -> str:
    """The sizes, such as `8 pictures (0.5 s) in the middle of 1 s of sound`."""
    pictures = f"{spec.num_frames:,} pictures"
    if spec.frame_stride > 1:
        pictures += f", every {_nth(spec.frame_stride)} stored one"
    seconds, sound = spec.picture_frames / spec.frame_rate_hz, spec.num_mel_frames / MEL_FRAMES_PER_SECOND
    if spec.lead_seconds < 0:
        return f"{pictures} ({seconds:.3g} s), and {sound:g} s of sound in the middle of them"
    return f"{pictures} ({seconds:.3g} s), in the middle of {sound:g} s of sound"


def _nth(number: int) -> str:
    """1st, 2nd, 3rd, 4th ..."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"
