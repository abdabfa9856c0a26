"""No score without its numbers: what an encoder makes of clips must be finite."""

from __future__ import annotations

import numpy as np
import torch

from avprep.dataset import Dataset
from avprep.shared.errors import UserError, some_of


def check_finite(values: torch.Tensor, dataset: Dataset, rows: np.ndarray) -> None:
    """Raise UserError unless all of `values` [N, ...] of the clips in `rows` [N] are finite; it names the clips."""
    bad = ~values.flatten(1).isfinite().all(dim=1).cpu().numpy()
    if bad.any():
        clips = list(dict.fromkeys(dataset.clip_ids[row] for row in rows[bad]))
        raise UserError(
            f"The encoder gives no finite features for {len(clips)} clips of {dataset.folder}, {some_of(clips)}; "
            f"'avprep verify' reports whether their log-mel is finite; if so, take an earlier checkpoint."
        )
