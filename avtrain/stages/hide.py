"""A label column in which few clips keep their label: those that soft-positive:labelled=SHARE lets keep it."""

from __future__ import annotations

from pathlib import Path

from avprep.dataset import Dataset, LabelColumn, check_single
from avprep.labels.columns import claim_column, path_of, write_labels
from avprep.shared import configs
from avprep.shared.errors import UserError
from avtrain.data.plans import table_of
from avtrain.sampling import SoftPositive


def hide_labels(
    dataset: Dataset,
    name: str,
    *,
    share: float,
    labels: str = "label",
    split: str = "train",
    seed: int = 0,
    replace: bool = False,
) -> Path:
    """The path of the column `name`: the column `labels`, in which `share` of each label's clips of `split` keep it.

    The rule is that of SoftPositive.labelled with this seed: at least two of each label, a smaller share part of a
    larger one. The other clips of the split have none; those of other splits keep theirs. Errors: UserError.
    """
    if not 0 < share <= 1:
        raise UserError(f"--share is the share of labels that stay, above 0, to 1, not {share}.")
    if name == labels:
        raise UserError(f"{name!r} is the column that the command reads; give another --name.")
    column = dataset.labels(labels)
    check_single(column, labels, "Hiding labels")
    rows = dataset.rows_of(split)
    values = column.values.copy()
    values[rows] = SoftPositive(labelled=share).known_labels(table_of(rows, column), seed)
    settings = {"command": "hide-labels", "share": share, "seed": seed, "labels": labels, "split": split}
    digest = configs.digest([column.class_names, column.values.tolist()])
    origin = claim_column(dataset, name, {**settings, "labels_sha256": digest}, replace)
    if origin is None:
        return path_of(dataset, name)
    return write_labels(dataset, name, LabelColumn(values, column.class_names), origin)
