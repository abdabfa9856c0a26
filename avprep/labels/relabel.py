"""avprep relabel: a label column made of another, with classes renamed, merged or dropped by a table."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avprep.dataset import Dataset, LabelColumn
from avprep.errors import UserError
from avprep.labels.columns import NONE, claim_column, class_name, path_of, write_labels
from avprep.labels.multi_label import write_lists
from avprep.manifest.tables import Wanted, read_table
from avprep.shared import configs, store
from avprep.shared.errors import listed
from avprep.shared.text import as_text

OLD, NEW = "from", "to"
WANTED = Wanted((OLD, NEW), ((OLD,), (NEW,)), "give a table of the columns from and to")


@dataclass(frozen=True)
class Relabelled:
    """Number of classes before and after, names of those that were dropped, and clips that have lost all labels."""

    before: int
    after: int
    dropped: list[str]
    unlabelled: int


def relabel(dataset: Dataset, path: Path, name: str, *, labels: str = "label", replace: bool = False) -> Relabelled:
    """Write the column `name`: the column `labels` with its classes renamed by the table `path`.

    The table has the columns `from` and `to`; classes that go to one name are merged, those that go to an empty one
    dropped (their clips have no label), and those without a row keep their name. Errors: UserError with all classes of
    the table that the column does not have or that are there twice; where no class would be left; where another column
    of this name is there.
    """
    if name == labels:
        raise UserError(f"{name!r} is the column to relabel itself; give another --name.")
    column = dataset.labels(labels)
    names = read_map(path, column.class_names, labels)
    renamed = [names.get(one, one) for one in column.class_names]
    class_names = sorted({one for one in renamed if one is not None})
    if not class_names:
        raise UserError(f"{path} drops every class of {labels!r}; leave those out that are to stay.")
    origin = claim_column(
        dataset,
        name,
        {"command": "relabel", "labels": labels, "map_sha256": store.sha256(path), "labels_sha256": _digest(column)},
        replace,
    )
    number_of = {one: number for number, one in enumerate(class_names)}
    new = np.array([*(NONE if one is None else number_of[one] for one in renamed), NONE], np.int32)
    if column.lists is None:
        values = new[column.values]
        lost = int(np.count_nonzero((values < 0) & (column.values >= 0)))
        if origin is not None:
            write_labels(dataset, name, LabelColumn(values, class_names), origin)
    else:
        of = dict(zip(column.class_names, renamed, strict=True))
        lists = [_renamed(given, of) for given in dataset.label_lists(labels)]
        had = np.diff(column.lists.begins) > 0
        lost = sum(bool(any_before) and not given for any_before, given in zip(had.tolist(), lists, strict=True))
        if origin is not None:
            write_lists(path_of(dataset, name), dataset.clip_ids, lists, origin)
    dropped = [one for one, other in zip(column.class_names, renamed, strict=True) if other is None]
    return Relabelled(len(column.class_names), len(class_names), dropped, lost)


def read_map(path: Path, class_names: Sequence[str], labels: str) -> dict[str, str | None]:
    """The new name, or None, of each class that the table names. Errors: UserError, as `relabel`."""
    names: dict[str, str | None] = {}
    problems = []
    for where, row in read_table(path, WANTED):
        try:
            if isinstance(row, str):
                raise ValueError(row)
            if OLD not in row:
                raise ValueError(f"no {OLD}")
            old = as_text(row[OLD], OLD).strip()
            if old not in class_names:
                near = difflib.get_close_matches(old, class_names, 1)
                raise ValueError(f"{labels!r} has no class {old!r}" + "".join(f"; is it {one!r}?" for one in near))
            if old in names:
                raise ValueError(f"class {old!r} is there twice")
            names[old] = class_name(row.get(NEW))
        except ValueError as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise UserError(f"{path} cannot be used:{listed(problems)}")
    if not names:
        raise UserError(f"{path} has no rows; give one for each class that changes.")
    return names


def _renamed(given: list[str] | None, names: dict[str, str | None]) -> list[str] | None:
    return None if given is None else sorted({new for old in given if (new := names[old]) is not None})


def _digest(column: LabelColumn) -> str:
    lists = [] if column.lists is None else [column.lists.begins.tolist(), column.lists.values.tolist()]
    return configs.digest([column.class_names, column.values.tolist(), *lists])
