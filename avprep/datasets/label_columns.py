"""Label columns of a dataset that was built, from a public dataset's own table: avprep add-labels --of."""

from __future__ import annotations

from pathlib import Path

from avprep.dataset import Dataset
from avprep.datasets.adapter import Columns
from avprep.datasets.metadata_csv import read_rows
from avprep.errors import UserError
from avprep.labels.columns import check_table, claim_column
from avprep.labels.multi_label import AddedLists, write_given
from avprep.shared import store


def add_columns_of(
    dataset: Dataset, table: Path, name: str, columns: Columns, *, replace: bool = False
) -> dict[str, AddedLists]:
    """Write the multi-label columns that the table of the dataset `name` makes; what each came to, by column.

    A clip that the table does not have is null: its labels are not known. Errors: UserError where the table has none of
    the dataset's clips, and where another column of a name is there; then none is written.
    """
    given = columns.read(read_rows, table)
    if not any(set(lists) & set(dataset.clip_ids) for lists in given.values()):
        raise UserError(
            f"{table} has none of the clips of {dataset.folder}, such as {dataset.clip_ids[0]!r}; build the dataset "
            f"from a manifest of 'avprep manifest {name}', or of the dataset that it labels anew."
        )
    settings = {"command": "add-labels", "of": name, "file_sha256": store.sha256(table)}
    for column in given:
        check_table(dataset, table, column)
    origins = {column: claim_column(dataset, column, {**settings, "column": column}, replace) for column in given}
    return {column: write_given(dataset, column, dict(lists), origins[column]) for column, lists in given.items()}
