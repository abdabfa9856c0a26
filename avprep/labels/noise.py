"""Label noise: a column in which a share of the clips has a wrong class, any other or one that is easily confused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from avprep.dataset import Dataset, LabelColumn, check_single
from avprep.errors import UserError
from avprep.labels.columns import NONE, claim_column, path_of, write_labels
from avprep.manifest.tables import Wanted, read_table
from avprep.shared import configs, store
from avprep.shared.errors import listed
from avprep.shared.text import as_text

NOISE = 0x401E  # the stream of random numbers for wrong labels; never change it


def add_noise(
    dataset: Dataset,
    name: str,
    *,
    share: float,
    seed: int = 0,
    labels: str = "label",
    split: str = "train",
    within: Path | None = None,
    replace: bool = False,
) -> Path:
    """The path of the column `name`: the column `labels` with noise in the clips of `split`, see noisy_labels.

    `within` is a table of groups of classes, as groups_of_table reads it. Errors: UserError where there is no such
    column or split, or another column of this name.
    """
    column = dataset.labels(labels)
    check_single(column, labels, "Label noise")
    groups = None if within is None else groups_of_table(within, column.class_names)
    noisy = noisy_labels(column, dataset.rows_of(split), share, seed, groups)
    settings: dict[str, Any] = {"command": "add-noise", "share": share, "seed": seed, "labels": labels, "split": split}
    if within is not None:
        settings["within_sha256"] = store.sha256(within)
    digest = configs.digest([column.class_names, column.values.tolist()])
    origin = claim_column(dataset, name, {**settings, "labels_sha256": digest}, replace)
    if origin is None:
        return path_of(dataset, name)
    return write_labels(dataset, name, noisy, origin)


def groups_of_table(path: Path, class_names: list[str]) -> np.ndarray:
    """int64 [classes]: the group of each class by a table with the columns class and group; -1: in none.

    Errors: UserError with all classes that are not there, or twice, together.
    """
    wanted = Wanted(("class", "group"), (("class",), ("group",)), "rename one")
    number_of = {name: number for number, name in enumerate(class_names)}
    groups = np.full(len(class_names), NONE, np.int64)
    numbers: dict[str, int] = {}
    problems = []
    for where, row in read_table(path, wanted):
        try:
            if isinstance(row, str):
                raise ValueError(row)
            if row.get("class") is None or row.get("group") is None:
                raise ValueError("no class or no group")
            name, group = (as_text(row[column], column).strip() for column in ("class", "group"))
            if name not in number_of:
                raise ValueError(f"the labels have no class {name!r}")
            if groups[number_of[name]] != NONE:
                raise ValueError(f"class {name!r} is there twice")
            if not group:
                raise ValueError(f"class {name!r} has no group")
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        groups[number_of[name]] = numbers.setdefault(group, len(numbers))
    if problems:
        raise UserError(f"{path} cannot be used:{listed(problems)}")
    return groups


def noisy_labels(
    column: LabelColumn, rows: np.ndarray, share: float, seed: int, groups: np.ndarray | None = None
) -> LabelColumn:
    """`column` with wrong labels in exactly round(share * n) of the n labelled clips among `rows`; others as they are.

    The clips are drawn without replacement over all classes together; each gets another class, drawn uniformly from
    the others that occur among `rows`, so that no class is new to them. With `groups` int [classes] (-1: none) it is
    drawn from the others of its group, and clips of a class whose group has no other are not among the n.
    Pure: the same arguments, the same labels. Errors: UserError where fewer than two classes occur, or in no group two.
    """
    labelled = rows[column.values[rows] != NONE]
    classes = np.unique(column.values[labelled])
    if len(classes) < 2:
        raise UserError(
            f"Label noise needs two classes or more among the clips of the split, which have {len(classes)}."
        )
    draw = np.random.default_rng([seed, NOISE])
    values = column.values.copy()
    if groups is None:
        chosen = draw.permutation(labelled)[: round(share * len(labelled))]
        steps = draw.integers(1, len(classes), len(chosen))
        values[chosen] = classes[(np.searchsorted(classes, values[chosen]) + steps) % len(classes)]
        return LabelColumn(values, column.class_names)
    ordered = classes[np.argsort(groups[classes], kind="stable")]  # group by group
    ordered = ordered[groups[ordered] != NONE]
    _, begins, sizes = np.unique(groups[ordered], return_index=True, return_counts=True)
    begin, size = (np.zeros(len(column.class_names), np.int64) for _ in range(2))
    begin[ordered], size[ordered] = np.repeat(begins, sizes), np.repeat(sizes, sizes)
    position = np.zeros_like(begin)
    position[ordered] = np.arange(len(ordered))
    confusable = labelled[size[values[labelled]] > 1]
    if not len(confusable):
        raise UserError("No group has two classes of the clips of the split; join classes that are confused in one.")
    chosen = draw.permutation(confusable)[: round(share * len(confusable))]
    old = values[chosen]
    steps = draw.integers(1, size[old])
    values[chosen] = ordered[begin[old] + (position[old] - begin[old] + steps) % size[old]]
    return LabelColumn(values, column.class_names)
