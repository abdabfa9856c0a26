"""The labels of a run's pairs that its loss may use, by the dataset rows of their clips."""

from __future__ import annotations

import numpy as np
import torch

from avtrain.sampling import ClipTable


class RowLabels:
    """Labels by dataset row: -1, or no label at all, for rows that are not in the table.

    Of one label a clip they lie on the device; of several, a batch's alone are made into tensors.
    """

    def __init__(self, table: ClipTable, rows: int, classes: int, device: str) -> None:
        self.lists, self.classes, self.device = table.lists, classes, device
        self.position = np.full(rows, len(table))
        self.position[table.rows] = np.arange(len(table))
        self.labels = torch.from_numpy(np.append(table.labels, np.int32(-1))[self.position]).long().to(device)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """int64 [B, 2] of the sounds and pictures in rows int64 [B, 2]; bool [B, 2, classes] of several labels a clip.

        Errors: IndexError for a clip that is not in the table.
        """
        if self.lists is None:
            return self.labels[rows]
        clips = self.position[rows.cpu().numpy().reshape(-1)]
        labels = self.lists.take(clips).matrix(self.classes)
        return torch.from_numpy(labels).view(*rows.shape, self.classes).to(self.device)
