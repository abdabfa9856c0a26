"""Which clips made a loss or gradient that is no number."""

from __future__ import annotations

import torch

from avprep.dataset import Dataset
from avtrain.data.batches import Batch
from avtrain.distributed import Ranks, gather_rows

SHOWN_CLIPS = 5


def culprits_of(dataset: Dataset, batch: Batch, pictures: torch.Tensor, sounds: torch.Tensor, ranks: Ranks) -> str:
    """Whose pictures or sounds, in the whole batch, are not finite; where all are, some clips of the batch."""
    device = pictures.device
    bad = torch.stack([~media.flatten(1).isfinite().all(dim=1) for media in (sounds, pictures)], dim=1).int()
    plan = gather_rows(torch.from_numpy(batch.plan).to(device), batch.global_size, ranks)
    clips = [dataset.clip_ids[row] for row in plan[gather_rows(bad, batch.global_size, ranks).bool()].tolist()]
    if clips:
        return f"the media of {', '.join(clips[:SHOWN_CLIPS])} are not finite ({len(clips)} in the batch)"
    clips = [dataset.clip_ids[row] for row in plan[:, 0].tolist()]
    return f"all media are finite, so the update before may have gone too far; sounds {', '.join(clips[:SHOWN_CLIPS])}"
