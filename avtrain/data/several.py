"""The datasets that a command was given: one, or several as one, each with the share of its clips in an epoch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avprep.dataset import Dataset
from avprep.dataset.joined import JoinedDataset
from avprep.shared.errors import UserError
from avprep.shared.urls import HTTP, is_url, path_or_url
from avtrain.sampling import ClipTable

Given = Path | str | Sequence[Path | str]
"""a folder or URL; or several of them, each maybe with `:WEIGHT` behind it"""

WEIGHT = re.compile(r"(.+):(\d+\.?\d*|\.\d+)", re.DOTALL)
MOST_WEIGHT = 100.0


def dataset_of(given: Given) -> Dataset:
    """The dataset that is given, or several joined. Errors: UserError, as Dataset and JoinedDataset."""
    (path, weight), *others = sources = sources_of(given)
    if others:
        return JoinedDataset([Dataset(path) for path, _ in sources], [weight for _, weight in sources])
    if weight != 1:
        raise UserError(
            f"{path} is the only dataset, so that its weight {weight:g} means nothing; leave ':{weight:g}' out."
        )
    return Dataset(path)


def sources_of(given: Given) -> list[tuple[Path | str, float]]:
    """(folder or URL, weight) of each dataset that is given.

    `B:0.5` is the folder B with the weight 0.5, unless there is a folder of the whole name; in a URL, a number behind
    the host alone is a port, and a URL on its own has no weight. Errors: UserError for a weight that cannot be.
    """
    listed = [given] if isinstance(given, str | Path) else list(given)
    if not listed:
        raise UserError("There is no dataset to train on; name one or more.")
    if len(listed) == 1 and is_url(listed[0]):
        return [(listed[0], 1.0)]
    return [_source_of(str(one)) for one in listed]


def _source_of(text: str) -> tuple[Path | str, float]:
    match = WEIGHT.fullmatch(text)
    if is_url(text):
        scheme, _, rest = (match[1] if match else text).partition("://")
        if match is None or not rest or (scheme in HTTP and "/" not in rest):
            return text, 1.0
    elif Path(text).exists():
        return Path(text), 1.0
    if match is None:
        folder, colon, end = text.rpartition(":")
        if colon and not is_url(text) and Path(folder).is_dir():
            raise UserError(f"{end!r} in {text} is no weight; write a number above 0, as in {folder}:0.5.")
        return path_or_url(text), 1.0
    weight = float(match[2])
    if not 0 < weight <= MOST_WEIGHT:
        raise UserError(
            f"The weight of {text} must be above 0 and at most {MOST_WEIGHT:g}; leave a dataset out that shall have "
            "no part."
        )
    return path_or_url(match[1]), weight


def dataset_numbers(dataset: JoinedDataset, table: ClipTable) -> np.ndarray:
    """int64 [N]: which of the joined datasets each clip of a table is of."""
    return np.searchsorted(dataset.row_bounds, table.rows, side="right") - 1


def drawn_clips(clips: int, weight: float) -> int:
    """How many clips of `clips` an epoch has, those that come twice counted twice."""
    return int(np.floor(clips * weight + 0.5))


def described(dataset: Dataset, table: ClipTable) -> dict[str, Any]:
    """`datasets` for the survey of a plan: what each of several has in the table; nothing for one dataset."""
    if not isinstance(dataset, JoinedDataset):
        return {}
    of, rows = dataset_numbers(dataset, table), []
    for number, record in enumerate(dataset.records):
        own = table.take(of == number)
        rows.append(
            {
                **record,
                "clips": len(own),
                "clips_per_epoch": drawn_clips(len(own), float(record["weight"])),
                "labels": len(own.groups),
                "clips_without_label": int(np.count_nonzero(own.labels < 0)),
            }
        )
    labels = [set(table.take(of == number).groups.labels.tolist()) for number in range(len(rows))]
    return {"datasets": rows, "labels_in_all_datasets": len(set.intersection(*labels))}
