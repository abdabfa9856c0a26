"""Which clips made a loss or gradient NaN or infinite."""

from __future__ import annotations

import torch

from avprep.dataset import Dataset
from avtrain.data.batches import Batch
from avtrain.distributed import Ranks, gather_rows

SHOWN_CLIPS = 5


def media_sums(pictures: torch.Tensor | None, sounds: torch.Tensor) -> torch.Tensor:
    """Sums float32 [b, 2] of each item's sound and pictures: not finite where one of their values is not.

    None for pictures: they are of whole numbers, and so are finite.
    """
    of_sounds = sounds.flatten(1).sum(1, dtype=torch.float32)
    of_pictures = torch.zeros_like(of_sounds) if pictures is None else pictures.flatten(1).sum(1, dtype=torch.float32)
    return torch.stack([of_sounds, of_pictures], dim=1)


def culprits_of(dataset: Dataset, batch: Batch, sums: torch.Tensor, ranks: Ranks) -> str:
    """The clips of the whole batch whose media are not finite, by their `media_sums`; if none, some clips of it."""
    plan = gather_rows(torch.from_numpy(batch.plan).to(sums.device), batch.global_size, ranks)
    bad = gather_rows((~sums.isfinite()).int(), batch.global_size, ranks).bool()
    clips = [dataset.clip_ids[row] for row in plan[bad].tolist()]
    if clips:
        return f"the media of {', '.join(clips[:SHOWN_CLIPS])} are not finite ({len(clips)} in the batch)"
    clips = [dataset.clip_ids[row] for row in plan[:, 0].tolist()]
    return f"all media are finite, so the update before may have gone too far; sounds {', '.join(clips[:SHOWN_CLIPS])}"
