"""The end of an append: one rename of dataset.json has committed it, the tables are still to get their names.

Until then dataset.json names the folder of the tables, and readers take them there (avprep/dataset); an older version
refuses its format. `settle` is called by whatever goes on with a dataset folder, so that a kill needs no other repair.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from avprep import schema
from avprep.shared import store

DONE = ".append-done"  # what is left of an append, on its way out
TABLES = (
    schema.PLAN_MANIFEST,
    schema.PLAN_BUILD,
    schema.INDEX,
    schema.FAILURES,
    schema.labels_path(schema.MANIFEST_LABELS),
    schema.HISTORY,
)


def committed(values: dict[str, Any]) -> dict[str, Any]:
    """The dataset.json of `values` while the tables lie in the folder of the append."""
    return {**values, "format": schema.APPENDING, schema.TABLES: schema.APPEND}


def settle(folder: Path) -> None:
    """Finish an append of which a kill has left the tables to be moved. Errors: UserError where none can be written."""
    if _is_committed(folder / schema.DATASET):
        with store.folder_lock(folder, "appending clips to", wait=True):
            move_tables(folder)
    if (folder / DONE).exists():
        shutil.rmtree(folder / DONE, ignore_errors=True)


def _is_committed(path: Path) -> bool:
    """Whether a dataset.json names the folder of its tables; one that is damaged is the business of who reads it."""
    try:
        return schema.TABLES in json.loads(path.read_bytes())
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def move_tables(folder: Path) -> None:
    """Give the tables of an append that is committed their names; hold the lock of `folder`. Errors: as settle."""
    values = store.read_json(folder / schema.DATASET)
    if schema.TABLES not in values:
        return  # another process has done it meanwhile
    for name in TABLES:
        staged = folder / schema.APPEND / name
        if staged.exists():
            with store.atomic_path(folder / name) as temporary:
                shutil.copyfile(staged, temporary)
    del values[schema.TABLES]
    store.write_json(folder / schema.DATASET, {**values, "format": schema.FORMAT})
    discard(folder)


def discard(folder: Path) -> None:
    """Remove the folder of an append, at one blow."""
    done = folder / DONE
    shutil.rmtree(done, ignore_errors=True)
    if (folder / schema.APPEND).exists():
        os.replace(folder / schema.APPEND, done)
        shutil.rmtree(done, ignore_errors=True)
