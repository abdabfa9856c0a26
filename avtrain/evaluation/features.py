"""Features of a dataset's clips from an encoder: windows for learning, whole clips of any length for testing.

Sounds and pictures of one window: the pictures are in the middle of the sound, as in training. A whole clip goes
through an encoder at once, as far as that takes it and memory allows (clips.picture_pieces).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import nn

from avprep.dataset import Dataset, LabelColumn
from avprep.shared.commands import Progress
from avtrain.data.augment import Normalise
from avtrain.data.clips import (
    WINDOW_MEL_FRAMES,
    even_starts,
    picture_pieces,
    read_pictures,
    read_windows,
    whole_clips,
)
from avtrain.data.reader import Reader
from avtrain.evaluation.finite import check_finite
from avtrain.evaluation.objective import Objective, labels_of, objective_of
from avtrain.evaluation.sides import BothEncoders
from avtrain.sampling.windows import WindowSpec

ENCODE_BATCH = 256
PICTURES_AT_ONCE = 512

Media = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Source:
    """A dataset's sounds or pictures, read and normalised on a device, with the labels of one column.

    `column` None: the manifest's own labels. Starts of windows are counted in log-mel frames; of pictures alone, in
    pictures.
    """

    dataset: Dataset
    reader: Reader
    normalise: Normalise
    device: str
    window_mel_frames: int = WINDOW_MEL_FRAMES
    column: LabelColumn | None = None
    test_windows: int = 0
    """of each test clip, whose features are averaged, beside the whole clip; 0: none"""
    side: str = "audio"
    """one of config.SIDES"""
    spec: WindowSpec = field(default_factory=WindowSpec)
    """windows of pictures"""
    whole_pictures: bool = True
    """whether the encoder takes any number of pictures at once"""

    @cached_property
    def labelled(self) -> LabelColumn:
        """The label column to fit and measure by."""
        return self.column or self.dataset.labels("label")

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.labelled.class_names)

    def labels(self, rows: np.ndarray) -> torch.Tensor:
        """int64 [rows] on the device; of a multi-label column float [rows, classes] of 0 and 1."""
        return labels_of(self.labelled, rows, self.device)

    def objective(self, fit: np.ndarray, balance: str = "none") -> Objective:
        """What a classifier is fitted to with the clips `fit`. Errors: UserError where none of them has a label."""
        return objective_of(self.labelled, fit, self.device, balance, self.dataset.folder)

    def probabilities(self, logits: torch.Tensor, fit: np.ndarray) -> torch.Tensor:
        """Those of logits [N, classes] over the classes of the clips `fit`; 0 for a class that none of them is of."""
        return self.objective(fit).probabilities(logits)

    @property
    def window(self) -> int:
        """Length of a window, in what starts are counted in."""
        return self.spec.picture_frames if self.side == "video" else self.window_mel_frames

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Of clips, in what starts are counted in."""
        return (self.dataset.num_frames if self.side == "video" else self.dataset.num_mel_frames)[rows]

    def windows(self, rows: np.ndarray, starts: np.ndarray) -> Media:
        """What an encoder of the side takes, of `rows` from `starts`: log-mel [B, 1, window, M], pictures or both."""
        if self.side == "video":
            return self.pictures(rows, starts, self.spec.num_frames)
        logmel = self.normalised(read_windows(self.dataset, self.reader, rows, starts, self.window_mel_frames))
        if self.side == "audio":
            return logmel
        return logmel, self.pictures(rows, self.amid(rows, starts), self.spec.num_frames)

    def random_windows(self, rows: np.ndarray, seed: int, epoch: int) -> Media:
        """As `windows`, one of each of `rows`, drawn by seed, epoch and first row."""
        room = np.maximum(self.lengths(rows) - self.window + 1, 1)
        starts = np.random.default_rng([seed, epoch, int(rows[0]), 1]).integers(0, room)
        return self.windows(rows, starts)

    def pictures(self, rows: np.ndarray, starts: np.ndarray, length: int) -> torch.Tensor:
        """Normalised pictures [B, 3, length, H, W] of `rows`, every n-th as in `spec`, from pictures `starts`."""
        frames = read_pictures(self.dataset, self.reader, rows, starts, length, self.spec.frame_stride)
        return self.normalise.video(torch.from_numpy(frames).to(self.device))

    def amid(self, rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """First pictures int64 [B] of windows in the middle of windows of sound from log-mel frames `starts`."""
        rate_hz = self.spec.frame_rate_hz
        lead_seconds = (self.window_mel_frames / WINDOW_MEL_FRAMES - self.spec.picture_frames / rate_hz) / 2
        first = np.rint((starts / self.dataset.mel_rates_hz[rows] + lead_seconds) * rate_hz).astype(np.int64)
        return np.clip(first, 0, np.maximum(self.dataset.num_frames[rows] - self.spec.picture_frames, 0))

    def normalised(self, logmel: np.ndarray) -> torch.Tensor:
        """Log-mel float16 [B, F, M] -> float32 [B, 1, F, M] on the device."""
        return self.normalise.audio(torch.from_numpy(logmel).to(self.device))


@torch.no_grad()
def window_features(
    encoder: nn.Module, source: Source, rows: np.ndarray, windows_per_clip: int, *, training: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """(features [clips * windows, D], labels as of Source.labels) of evenly spread windows; the encoder in eval mode.

    Errors: UserError where features are not finite, unless `training` may have made them so.
    """
    encoder.eval()
    starts = even_starts(source.lengths(rows), windows_per_clip, source.window)
    repeated, flat = np.repeat(rows, starts.shape[1]), starts.reshape(-1)
    at_once = max(1, ENCODE_BATCH * WINDOW_MEL_FRAMES // source.window_mel_frames)
    if source.side != "audio":
        at_once = min(at_once, max(1, PICTURES_AT_ONCE // source.spec.num_frames))
    parts = []
    with Progress(len(flat), "windows", "features", quiet=training, from_seconds=2) as progress:
        for at in np.array_split(np.arange(len(flat)), max(1, -(-len(flat) // at_once))):
            parts.append(encoder(source.windows(repeated[at], flat[at])))
            progress.advance(len(at))
    features = torch.cat(parts)
    if not training:
        check_finite(features, source.dataset, repeated)
    return features, source.labels(repeated)


@torch.no_grad()
def clip_features(encoder: nn.Module, source: Source, rows: np.ndarray) -> torch.Tensor:
    """Features [clips, D] of whole clips of any length, those of one length together; the encoder in eval mode.

    No clip is padded to another's length, so its features do not depend on what else is in `rows`; one shorter than
    the source's windows is padded to a window. Errors: UserError where features are not finite.
    """
    encoder.eval()
    if isinstance(encoder, BothEncoders):
        sides = ("audio", encoder.audio), ("video", encoder.video)
        parts = [clip_features(one, dataclasses.replace(source, side=side), rows) for side, one in sides]
        return torch.cat(parts, dim=1)
    out = _of_pictures(encoder, source, rows) if source.side == "video" else _of_sounds(encoder, source, rows)
    check_finite(out, source.dataset, rows)
    return out


def _of_pictures(encoder: nn.Module, source: Source, rows: np.ndarray) -> torch.Tensor:
    """The mean features of each clip's pieces, those of one length together."""
    source.reader.check_shards(rows)
    stride = source.spec.frame_stride
    pictures = -(-source.dataset.num_frames[rows].astype(np.int64) // stride)
    clips, starts, lengths = picture_pieces(pictures, source.spec.num_frames, source.whole_pictures)
    features: list[torch.Tensor] = []
    order = np.argsort(lengths, kind="stable")
    with Progress(len(clips), "pieces", "features of clips", from_seconds=2) as progress:
        for length in np.unique(lengths):
            same = order[lengths[order] == length]
            at_once = max(1, PICTURES_AT_ONCE // int(length))
            for first in range(0, len(same), at_once):
                some = same[first : first + at_once]
                features.append(encoder(source.pictures(rows[clips[some]], stride * starts[some], int(length))))
                progress.advance(len(some))
    of_clips = torch.from_numpy(clips[order]).to(features[0].device)
    pooled = torch.cat(features)
    sums = pooled.new_zeros((len(rows), pooled.shape[1])).index_add_(0, of_clips, pooled)
    return sums / torch.bincount(of_clips, minlength=len(rows))[:, None]


def _of_sounds(encoder: nn.Module, source: Source, rows: np.ndarray) -> torch.Tensor:
    out: torch.Tensor | None = None
    parts = whole_clips(source.dataset, source.reader, rows, ENCODE_BATCH, source.window_mel_frames)
    with Progress(len(rows), "clips", "features of clips", from_seconds=2) as progress:
        for positions, logmel in parts:
            features = encoder(source.normalised(logmel))
            if out is None:
                out = features.new_empty((len(rows), features.shape[1]))
            out[torch.from_numpy(positions).to(out.device)] = features
            progress.advance(len(positions))
    assert out is not None
    return out


def clip_and_window_features(encoder: nn.Module, source: Source, rows: np.ndarray) -> torch.Tensor:
    """Features to classify of test clips: [clips, D] of whole clips, then, with test_windows, as many of windows.

    Those are the mean over evenly spread windows of the length that was fitted on: a maximum over a longer time is
    greater, so that features of a whole clip lie elsewhere than those that the classifier has seen.
    """
    whole = clip_features(encoder, source, rows)
    if not source.test_windows:
        return whole
    windows, _ = window_features(encoder, source, rows, source.test_windows)
    return torch.cat([whole, windows.view(len(rows), -1, whole.shape[1]).mean(dim=1)])
