"""avprep pseudo-label, add-labels, add-noise, relabel, split: columns beside the index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avprep.cli.types import DIRECTORY, FILE, FOLDER_OR_URL, LIST
from avprep.datasets.registry import ADAPTERS
from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command
from avprep.shared.options import side_by_side_options
from avprep.shared.signals import stop_on_signals

if TYPE_CHECKING:
    from avprep.dataset import Dataset
    from avprep.labels.multi_label import AddedLists

REPLACE = click.option("--replace", is_flag=True, help="Overwrite a column of this name that was made otherwise.")


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.option(
    "--model",
    default="efficientnet_b0",
    show_default=True,
    help="A torchvision image classifier; efficientnet-lite0 (extra 'pseudo', weights in its package); or hf:NAME, a "
    "CLIP or CLAP model: a folder or ORG/NAME of the Hugging Face hub (extra 'transformers').",
)
@click.option(
    "--weights", type=FILE, default=None, help="State dict, .safetensors or .pth; default: torchvision's download."
)
@click.option("--name", default=None, help="Name of the column; default: the model's, with -kK for clusters.")
@click.option(
    "--clusters", type=int, default=None, metavar="K", help="k-means over the network's features, not its classes."
)
@click.option(
    "--classes", type=LIST, default=None, help="For hf:NAME: the classes, one a line, 'dog' or 'dog: dog, puppy'."
)
@click.option(
    "--template",
    "templates",
    multiple=True,
    help="For hf:NAME: a prompt with {} for the class; repeated ones are averaged; default: 'a photo of {}' for CLIP, "
    "'this is a sound of {}' for CLAP.",
)
@click.option(
    "--top-k",
    type=int,
    default=1,
    show_default=True,
    metavar="K",
    help="Above 1: several labels a clip, up to K, those not below --threshold.",
)
@click.option(
    "--threshold", type=float, default=0.0, show_default=True, help="A class of a lower probability is no label."
)
@click.option(
    "--frame",
    type=click.Choice(["first", "middle", "last"]),
    default="middle",
    show_default=True,
    help="Which frame; for CLAP, which part of a longer sound.",
)
@click.option(
    "--root",
    type=FOLDER_OR_URL,
    default=".",
    help="For CLAP: where relative paths of the manifest start; default: here.",
)
@click.option(
    "--workers", type=click.IntRange(1), default=None, help="For CLAP: decoding processes; default: all cores."
)
@click.option("--batch-size", type=int, default=32, show_default=True, help="Frames or sounds at a time.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1), default=None, help="CPU threads; default: torch's choice.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of k-means.")
@side_by_side_options
@REPLACE
@json_option
def pseudo_label(
    dataset_dir: Path,
    name: str | None,
    root: Path | str,
    workers: int | None,
    replace: bool,
    **settings: Any,
) -> None:
    """Label each clip by what a network sees in one of its frames, or hears in its sound.

    An image classifier has classes of its own; CLIP (pictures) and CLAP (sounds) choose from those of --classes. CLAP
    reads the sound of the clips' sources, since a dataset holds log-mel alone.
    """
    from avprep.api.labels import pseudo_label as make
    from avprep.dataset import Dataset

    dataset = Dataset(dataset_dir)
    with stop_on_signals() as request:
        path = make(
            dataset, name, root=root, workers=workers, replace=replace, stopping=lambda: bool(request), **settings
        )
    answer(*_of_column(dataset, path.stem))


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.argument("table", metavar="FILE", type=FILE)
@click.option("--name", default=None, help="Name of the column.")
@click.option("--column", default="label", show_default=True, help="Column of FILE that holds the labels.")
@click.option(
    "--multi", is_flag=True, help="Any number of labels a clip: lists, names in one field, or several rows of a clip."
)
@click.option("--separator", default=";", show_default=True, help="Between the names in one field, for --multi.")
@click.option(
    "--of",
    "source",
    type=click.Choice([name for name, one in ADAPTERS.items() if one.columns is not None]),
    default=None,
    help="FILE is this public dataset's own table, which makes columns of their own names; in place of --name.",
)
@REPLACE
@json_option
def add_labels(
    dataset_dir: Path,
    table: Path,
    name: str | None,
    column: str,
    multi: bool,
    separator: str,
    source: str | None,
    replace: bool,
) -> None:
    """Add your own labels from FILE: CSV, JSONL or Parquet with clip_id and label."""
    from avprep.dataset import Dataset

    if (name is None) == (source is None):
        raise click.UsageError("Give --name, or --of for the table of a public dataset.")
    if source is not None and (multi or column != "label" or separator != ";"):
        raise click.UsageError("--of reads the table as it is; leave --column, --multi and --separator out.")
    dataset = Dataset(dataset_dir)
    if source is not None:
        _add_columns_of(dataset, table, source, replace)
        return
    assert name is not None
    if multi:
        from avprep.labels.multi_label import add_label_lists

        added = add_label_lists(dataset, table, name, column=column, separator=separator, replace=replace)
        unused = added.unused
        values, lines = _of_lists(dataset, name, added)
    else:
        from avprep.labels.columns import add_labels as add

        unused = add(dataset, table, name, column=column, replace=replace)
        values, lines = _of_column(dataset, name)
    if unused:
        lines.append(f"  {unused} rows of {table} are of clips that failed or were excluded")
    answer(values | {"unused": unused}, lines)


def _add_columns_of(dataset: Dataset, table: Path, source: str, replace: bool) -> None:
    """The columns of a public dataset's table."""
    from avprep.datasets.label_columns import add_columns_of

    columns = ADAPTERS[source].columns
    assert columns is not None
    made = add_columns_of(dataset, table, source, columns, replace=replace)
    columns_made = [_of_lists(dataset, name, added) for name, added in made.items()]
    lines = [line for _, some in columns_made for line in some]
    unused = max(added.unused for added in made.values())
    if unused:
        lines.append(f"  {unused} clips of {table} are not in the dataset")
    answer({"columns": [values for values, _ in columns_made], "unused": unused}, lines)


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.option("--share", type=click.FloatRange(0, 1), required=True, help="Share of the clips that get a wrong label.")
@click.option("--name", required=True, help="Name of the column.")
@click.option("--labels", default="label", show_default=True, help="Column to start from.")
@click.option("--split", default="train", show_default=True, help="Other splits keep their labels.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Chooses clips and classes.")
@click.option(
    "--within",
    metavar="FILE",
    type=FILE,
    default=None,
    help="Table with class and group: a wrong class is another of the same group; default: any other.",
)
@REPLACE
@json_option
def add_noise(
    dataset_dir: Path,
    share: float,
    name: str,
    labels: str,
    split: str,
    seed: int,
    within: Path | None,
    replace: bool,
) -> None:
    """Add a column in which a share of the clips has another class, drawn uniformly."""
    from avprep.dataset import Dataset
    from avprep.labels.noise import add_noise as add

    dataset = Dataset(dataset_dir)
    add(dataset, name, share=share, labels=labels, split=split, seed=seed, within=within, replace=replace)
    values, lines = _of_column(dataset, name)
    changed = int((dataset.labels(name).values != dataset.labels(labels).values).sum())
    answer(values | {"changed": changed}, [*lines, f"  {changed} clips of {split} have another label than in {labels}"])


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.option("--map", "table", type=FILE, required=True, help="Table with from and to; an empty to drops a class.")
@click.option("--name", required=True, help="Name of the new column.")
@click.option("--labels", default="label", show_default=True, help="Column to start from.")
@REPLACE
@json_option
def relabel(dataset_dir: Path, table: Path, name: str, labels: str, replace: bool) -> None:
    """Add a column in which classes are renamed, merged or dropped; the labels of the index stay."""
    from avprep.dataset import Dataset
    from avprep.labels.relabel import relabel as rename

    dataset = Dataset(dataset_dir)
    done = rename(dataset, table, name, labels=labels, replace=replace)
    values, lines = _of_column(dataset, name)
    changes = {"before": done.before, "after": done.after, "dropped": done.dropped, "lost": done.unlabelled}
    last = f"  {done.before} classes of {labels} became {done.after}; {done.unlabelled} clips lost their labels"
    answer(values | changes, [*(lines if dataset.labels(name).lists is None else []), last])


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.option("--folds", type=click.IntRange(2), required=True, help="Number of folds.")
@click.option(
    "--by",
    type=click.Choice(["group", "clip"]),
    default="group",
    show_default=True,
    help="What is never divided: a group of the manifest, or a clip.",
)
@click.option("--name", default="folds", show_default=True, help="Name of the column.")
@click.option("--labels", default="label", show_default=True, help="Column whose classes are balanced.")
@click.option("--split", default="", help="Fold the clips of this split alone; default: all clips.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Order of groups of one size.")
@REPLACE
@json_option
def split(dataset_dir: Path, folds: int, by: str, name: str, labels: str, split: str, seed: int, replace: bool) -> None:
    """Add a column of folds, for --fold-column of training and evaluation."""
    from avprep import schema
    from avprep.dataset import Dataset
    from avprep.labels.folds import split_folds

    dataset = Dataset(dataset_dir)
    done = split_folds(dataset, name, folds=folds, by=by, labels=labels, split=split, seed=seed, replace=replace)
    sizes = ", ".join(map(str, done.sizes))
    path = dataset.folder / schema.labels_path(name)
    kept = [f"  {done.kept} clips keep the fold that they had"] if done.kept else []
    answer({"path": path, "sizes": done.sizes, "kept": done.kept}, [f"{path}: {folds} folds of {sizes} clips", *kept])


def _of_column(dataset: Dataset, name: str) -> tuple[dict[str, Any], list[str]]:
    """What a label column holds, as values of JSON and as a line."""
    from avprep import schema

    column = dataset.labels(name)
    labelled = int((column.values >= 0).sum())
    numbers = column.values[column.values >= 0] if column.lists is None else column.lists.values
    path, classes, without = dataset.folder / schema.labels_path(name), len(set(numbers.tolist())), len(column.values)
    without -= labelled
    values = {"path": path, "labelled": labelled, "unlabelled": without, "classes": classes}
    return values, [f"{path}: {labelled} clips of {classes} classes, {without} without a label"]


def _of_lists(dataset: Dataset, name: str, added: AddedLists) -> tuple[dict[str, Any], list[str]]:
    """What a multi-label column holds, likewise."""
    from avprep import schema
    from avprep.shared.errors import listed

    path = dataset.folder / schema.labels_path(name)
    lines = [
        f"{path}: {added.labelled} clips with labels, {added.empty} with none, {added.missing} that the table does not "
        "have"
    ]
    if added.strangers:
        lines.append(
            f"  names that are no class of the dataset, {len(added.strangers)} in all:{listed(added.strangers)}"
        )
    counts = {field: getattr(added, field) for field in ("labelled", "empty", "missing", "strangers")}
    return {"path": path, **counts}, lines
