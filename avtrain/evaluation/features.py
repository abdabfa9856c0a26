"""Features of a dataset's clips from an audio encoder: windows for learning, whole clips of any length for testing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from avprep.dataset import Dataset, LabelColumn
from avtrain.data.augment import Normalise
from avtrain.data.clips import WINDOW_MEL_FRAMES, even_starts, read_windows, whole_clips
from avtrain.data.reader import Reader
from avtrain.evaluation.finite import check_finite

ENCODE_BATCH = 256


@dataclass(frozen=True)
class Source:
    """A dataset's sounds, read and normalised on a device, with the labels of one column; None: the manifest's own."""

    dataset: Dataset
    reader: Reader
    normalise: Normalise
    device: str
    window_mel_frames: int = WINDOW_MEL_FRAMES
    column: LabelColumn | None = None
    test_windows: int = 0
    """of each test clip, whose features are averaged, beside the whole clip; 0: none"""

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.dataset.class_names if self.column is None else self.column.class_names)

    def labels(self, rows: np.ndarray) -> torch.Tensor:
        """int64 [rows] on the device."""
        label = self.dataset.label if self.column is None else self.column.values
        return torch.from_numpy(label[rows].astype(np.int64)).to(self.device)

    def probabilities(self, logits: torch.Tensor, fit: np.ndarray) -> torch.Tensor:
        """Softmax of logits [N, classes] over the classes of the clips `fit`; 0 for a class that none of them is of."""
        known = torch.zeros(self.classes, dtype=torch.bool, device=logits.device)
        known[self.labels(fit).to(logits.device)] = True
        return logits.masked_fill(~known, -torch.inf).softmax(dim=1)

    def windows(self, rows: np.ndarray, starts: np.ndarray) -> torch.Tensor:
        """Normalised log-mel [B, 1, window, M] of `rows` from mel frames `starts`."""
        return self.normalised(read_windows(self.dataset, self.reader, rows, starts, self.window_mel_frames))

    def random_windows(self, rows: np.ndarray, seed: int, epoch: int) -> torch.Tensor:
        """Normalised log-mel [B, 1, window, M] of a window of each of `rows`, drawn by seed, epoch and first row."""
        room = np.maximum(self.dataset.num_mel_frames[rows] - self.window_mel_frames + 1, 1)
        starts = np.random.default_rng([seed, epoch, int(rows[0]), 1]).integers(0, room)
        return self.windows(rows, starts)

    def normalised(self, logmel: np.ndarray) -> torch.Tensor:
        """Log-mel float16 [B, F, M] -> float32 [B, 1, F, M] on the device."""
        return self.normalise.audio(torch.from_numpy(logmel).to(self.device))


@torch.no_grad()
def window_features(
    encoder: nn.Module, source: Source, rows: np.ndarray, windows_per_clip: int, *, training: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """(features [clips * windows, D], labels int64) of evenly spread windows; the encoder in eval mode.

    Errors: UserError where features are not finite, unless `training` may have made them so.
    """
    encoder.eval()
    length = source.window_mel_frames
    starts = even_starts(source.dataset.num_mel_frames[rows], windows_per_clip, length)
    repeated, flat = np.repeat(rows, starts.shape[1]), starts.reshape(-1)
    at_once = max(1, ENCODE_BATCH * WINDOW_MEL_FRAMES // length)
    parts = [
        encoder(source.windows(repeated[at], flat[at]))
        for at in np.array_split(np.arange(len(flat)), max(1, -(-len(flat) // at_once)))
    ]
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
    out: torch.Tensor | None = None
    for positions, logmel in whole_clips(source.dataset, source.reader, rows, ENCODE_BATCH, source.window_mel_frames):
        features = encoder(source.normalised(logmel))
        if out is None:
            out = features.new_empty((len(rows), features.shape[1]))
        out[torch.from_numpy(positions).to(out.device)] = features
    assert out is not None
    check_finite(out, source.dataset, rows)
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
