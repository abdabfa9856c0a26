"""The adapters of public datasets by name: commands, `manifest_of_dataset` and pages are made from these.

Standard library only, as in the adapters: `--help` reads this.
"""

from __future__ import annotations

from importlib import import_module

from avprep.datasets.adapter import Adapter

MODULES = (
    "avprep.datasets.audioset",
    "avprep.datasets.ave",
    "avprep.datasets.esc50",
    "avprep.datasets.fsd50k",
    "avprep.datasets.fsdnoisy18k",
    "avprep.datasets.kinetics_sounds",
    "avprep.datasets.tau2021",
    "avprep.datasets.urbansound8k",
    "avprep.datasets.vggsound",
    "avprep.datasets.vggsounder",
)
"""the files, one line an adapter; each has an ADAPTER"""

ADAPTERS: dict[str, Adapter] = {
    adapter.name: adapter for adapter in (import_module(module).ADAPTER for module in MODULES)
}


def dataset_table() -> str:
    """The guide's table of datasets, as Markdown."""
    rows = [
        f"| {one.title} ({one.paper})<br>`avprep manifest {one.name} {one.example} --out clips.csv` "
        f"| {one.layout} | {one.labels} | {one.splits} | {one.licence} |"
        for one in ADAPTERS.values()
    ]
    head = ["| dataset and command | files below `--root` | labels | splits | licence |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def column_table() -> str:
    """The guide's table of label columns that a dataset's own table makes, as Markdown."""
    made = ((one, one.columns) for one in ADAPTERS.values() if one.columns is not None)
    rows = (
        f"| `avprep add-labels DIR FILE --of {one.name}` | {', '.join(f'`{name}`' for name in columns.names)} |"
        for one, columns in made
    )
    return "\n".join(["| command | columns |", "|---|---|", *rows])
