"""Retrieval: does the sound of a clip find its own picture, or one of its class, among all others, and the reverse?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.data.augment import Normalise
from avtrain.data.clips import read_pairs
from avtrain.data.reader import Reader
from avtrain.data.routing import window_of
from avtrain.evaluate import load_two_tower, newest
from avtrain.media_spec import check_pictures, check_sounds
from avtrain.models import place
from avtrain.ranking import retrieval_scores
from avtrain.sampling.windows import aligned_windows

WINDOWS_PER_CLIP = 4
ENCODE_BATCH = 64


def retrieve(dataset_dir: Path | str, run: Path, split: str = "test", device: str = "cpu") -> dict[str, Any]:
    """Scores of both directions among the clips of a split (ranking.retrieval_scores), chance beside them.

    A clip's embedding is the mean over 4 evenly spread pairs of windows. `recall_at_1`, `recall_at_5` (own partner) and
    `class_recall_at_1` (any clip of the same class) are means of both directions.
    """
    dataset = Dataset(dataset_dir)
    rows = dataset.rows_of(split)
    found = retrieval_scores(*embed_clips(dataset, run, rows, device), dataset.label[rows])
    both = found["audio_to_video"], found["video_to_audio"]
    return {
        "protocol": "retrieval",
        "run": run.name,
        "split": split,
        "dataset_digest": dataset.digest,
        "recall_at_1": sum(way["pair"]["recall_at_1"] for way in both) / 2,
        "recall_at_5": sum(way["pair"]["recall_at_5"] for way in both) / 2,
        "class_recall_at_1": sum(way["class"]["recall_at_1"] for way in both) / 2,
        "chance_at_1": 1 / len(rows),
        **found,
    }


@torch.no_grad()
def embed_clips(dataset: Dataset, run: Path, rows: np.ndarray, device: str = "cpu") -> tuple[np.ndarray, np.ndarray]:
    """(audio, video) embeddings float32 [rows, D] of unit length, by both encoders of a run's newest checkpoint.

    Errors: UserError where the run has no checkpoint, or a clip has no picture.
    """
    if not (dataset.num_frames[rows] > 0).all():
        raise UserError(f"{dataset.folder} has clips without picture; retrieval needs both tracks.")
    folder, meta = newest(run)
    check_sounds(folder, meta, dataset)
    check_pictures(folder, meta, dataset)
    model = place(load_two_tower(run, dataset.frame_size), device)
    normalise = Normalise(dataset.logmel_mean, dataset.logmel_std).to(device)
    spec = window_of(dataset)
    repeated = np.repeat(rows, WINDOWS_PER_CLIP)
    through = np.tile(np.linspace(0, 1, WINDOWS_PER_CLIP, endpoint=False) + 0.5 / WINDOWS_PER_CLIP, len(rows))
    windows = aligned_windows(dataset.num_frames[repeated], through, spec, dataset.mel_rates_hz[repeated])
    plan = np.stack([repeated, repeated], axis=1)
    videos, audios = [], []
    with Reader(dataset) as reader:
        for items in np.array_split(np.arange(len(plan)), max(1, -(-len(plan) // ENCODE_BATCH))):
            frames, logmel = read_pairs(dataset, reader, plan[items], windows.take(items), spec)
            videos.append(model.embed_video(normalise.video(torch.from_numpy(frames).to(device))).cpu())
            audios.append(model.embed_audio(normalise.audio(torch.from_numpy(logmel).to(device))).cpu())
    return _of_clips(audios, len(rows)), _of_clips(videos, len(rows))


def _of_clips(windows: list[torch.Tensor], clips: int) -> np.ndarray:
    return F.normalize(torch.cat(windows).view(clips, WINDOWS_PER_CLIP, -1).mean(dim=1), dim=1).numpy()
