"""A dataset as another process opens it again, once."""

from __future__ import annotations

import functools
from pathlib import Path

from avprep.dataset import Dataset
from avprep.shared.errors import UserError


@functools.lru_cache(1)
def reopened(folder: Path | str, digest: str) -> Dataset:
    """The dataset at `folder`, a URL too, kept for the next call. Errors: UserError where it has another digest."""
    dataset = Dataset(folder)
    if dataset.digest != digest:
        raise UserError(f"{dataset.folder} was changed while it was read; start the command again.")
    return dataset
