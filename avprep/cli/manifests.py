"""avprep manifest: the metadata of a dataset, or a folder of clips, to a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avprep.cli.types import FILE_OR_URL, FOLDER_OR_URL, LIST, OUT_MANIFEST
from avprep.datasets.registry import ADAPTERS
from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command, Group
from avprep.shared.outputs import may_overwrite
from avprep.shared.waiting import waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from avprep.datasets.adapter import Adapter, Option
    from avprep.datasets.output import WrittenManifest


def share_options(whose: str, test_default: str = "") -> Callable[[Any], Any]:
    """--test-share, --val-share, --seed: the training clips that become other splits, drawn by `whose`; and --json."""
    options = [
        click.option(
            "--test-share",
            type=click.FloatRange(0, 0.9),
            default=None,
            help=f"Share of the training clips that become the test split, {test_default or 'default 0'}; by the hash "
            f"of each {whose}, so that clips which come later move none.",
        ),
        click.option(
            "--val-share",
            type=click.FloatRange(0, 0.9),
            default=0.0,
            help="Share of them that become the val split, drawn alike; default 0.",
        ),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Chooses the drawn clips."),
        json_option,
    ]

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group(cls=Group)
def manifest() -> None:
    """Write the manifest of a dataset: one row a clip. Folders, lists and the manifest may be URLs."""


@manifest.command(cls=Command)
@click.option(
    "--root",
    type=FOLDER_OR_URL,
    required=True,
    help="Folder with one sub-folder a class, or with train/, val/, test/ of such (other spellings too).",
)
@click.option("--out", type=OUT_MANIFEST, required=True, help="Manifest to write: .csv, .jsonl or .parquet.")
@share_options("file", test_default="default 0.2 where neither folders nor --test-fold give one")
@click.option(
    "--fold-pattern",
    default=None,
    help="Regular expression whose group is the fold, at the start of a file's name: '(\\d)-' for ESC-50.",
)
@click.option("--test-fold", default=None, help="The fold that is the test split, in place of a share.")
@click.option(
    "--split-folder",
    "split_folders",
    multiple=True,
    metavar="FOLDER=SPLIT",
    help="A sub-folder of any name that is train, val or test; may be repeated. Others are left out.",
)
@click.option("--no-split-folders", is_flag=True, help="Every sub-folder is a class, whatever its name.")
@click.option(
    "--cluster-pattern",
    default=None,
    help="Regular expression whose group is the recording that a clip was cut from: '\\d-(\\d+)-' for ESC-50.",
)
def folder(
    root: Path | str,
    out: Path | str,
    test_share: float | None,
    val_share: float,
    seed: int,
    fold_pattern: str | None,
    test_fold: str | None,
    split_folders: tuple[str, ...],
    no_split_folders: bool,
    cluster_pattern: str | None,
) -> None:
    """Your own clips: the class is the sub-folder's name."""
    from avprep.api.manifests import manifest_of_folder

    if (fold_pattern is None) != (test_fold is None):
        raise click.UsageError("--fold-pattern and --test-fold go together; give both or neither.")
    if split_folders and no_split_folders:
        raise click.UsageError("--split-folder and --no-split-folders exclude each other; give one of them.")
    given = dict(text.rpartition("=")[::2] for text in split_folders)
    wrong = [f"{name}={split}" for name, split in given.items() if not name or split not in ("train", "val", "test")]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not FOLDER=SPLIT, such as dev=val", param_hint="--split-folder")
    _print(
        lambda: manifest_of_folder(
            root,
            out,
            test_share=test_share,
            val_share=val_share,
            seed=seed,
            fold_pattern=fold_pattern,
            test_fold=test_fold,
            split_folders=given if split_folders or no_split_folders else None,
            cluster_pattern=cluster_pattern,
            overwrite=may_overwrite(),
        )
    )


@manifest.command(cls=Command)
@click.argument("table_file", metavar="FILE", type=FILE_OR_URL)
@click.option("--out", type=OUT_MANIFEST, required=True, help="Manifest to write: .csv, .jsonl or .parquet.")
@click.option("--root", type=FOLDER_OR_URL, default=None, help="Where relative paths start; default: FILE's folder.")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="The table's own name of a column; may be repeated.")
@click.option(
    "--columns", default="", metavar="A,B,...", help="Columns of a CSV file without a header, # comments left out."
)
@click.option("--separator", default=";", show_default=True, help="Between labels in one field of the column labels.")
@click.option(
    "--label-names", type=LIST, default=None, help="Names by id: ontology.json, or CSV with mid, display_name."
)
@click.option("--video-path", default="", metavar="TEMPLATE", help="Path of a row, with columns: 'clips/{YTID}.mp4'.")
@click.option("--audio-path", default="", metavar="TEMPLATE", help="The same for files of sound.")
@click.option("--split", default="", help="Split of rows that name none; default: train.")
@click.option("--drop-leaks", is_flag=True, help="Drop training clips whose group or file is also in test or val.")
@click.option(
    "--missing", type=click.Choice(["drop", "keep"]), default="drop", show_default=True, help="Clips without a file."
)
@share_options("group")
@click.option("--allow-local-paths", is_flag=True, help="A FILE at a URL may name any file of this machine.")
def table(
    table_file: Path | str,
    out: Path | str,
    root: Path | str | None,
    rename: tuple[str, ...],
    columns: str,
    separator: str,
    label_names: Path | None,
    video_path: str,
    audio_path: str,
    split: str,
    drop_leaks: bool,
    missing: str,
    test_share: float | None,
    val_share: float,
    seed: int,
    allow_local_paths: bool,
) -> None:
    """Any CSV, JSONL or Parquet table with label or labels, and video_path and / or audio_path.

    Also read: clip_id, split, start_seconds, end_seconds, group, cluster. Several labels a clip are in `labels`.
    """
    from avprep.api.manifests import manifest_of_table

    wrong = [text for text in rename if "=" not in text]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not OLD=NEW, such as category=label", param_hint="--rename")
    _print(
        lambda: manifest_of_table(
            table_file,
            out,
            root=root,
            rename=dict(text.rsplit("=", 1) for text in rename),
            columns=[name.strip() for name in columns.split(",")] if columns else (),
            separator=separator,
            label_names=label_names,
            video_path=video_path,
            audio_path=audio_path,
            split=split,
            drop_leaks=drop_leaks,
            keep_missing=missing == "keep",
            test_share=test_share,
            val_share=val_share,
            seed=seed,
            allow_local_paths=allow_local_paths,
            overwrite=may_overwrite(),
        )
    )


@manifest.command(cls=Command)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE_OR_URL)
@click.option("--out", type=OUT_MANIFEST, required=True, help="Manifest to write: .csv, .jsonl or .parquet.")
@click.option(
    "--label",
    default="folder",
    show_default=True,
    metavar="WHERE",
    help="Label of KEY.mp4: folder, that of the member; .txt, the text of KEY.txt; else a field of KEY.json. "
    "Of a row of Parquet: a column; folder: label.",
)
@click.option(
    "--split",
    default="",
    metavar="WHERE",
    help="Its split, likewise; or archive, by the name of FILE or of FILE's folder; default: train.",
)
@click.option("--group", default="", metavar="WHERE", help="Its group, likewise; default: the file.")
@share_options("group")
def archive(
    files: tuple[Path | str, ...],
    out: Path | str,
    label: str,
    split: str,
    group: str,
    test_share: float | None,
    val_share: float,
    seed: int,
) -> None:
    """Clips inside tar (not compressed), zip and Parquet files, which stay as they are."""
    from avprep.api.manifests import manifest_of_archives

    _print(
        lambda: manifest_of_archives(
            files,
            out,
            label=label,
            split=split,
            group=group,
            test_share=test_share,
            val_share=val_share,
            seed=seed,
            overwrite=may_overwrite(),
        )
    )


def _print(write: Callable[[], WrittenManifest]) -> None:
    """Write a manifest; print what it holds, and what is odd about its clips."""
    with waiting("manifest"):
        written = write()
    counts = ", ".join(f"{n} {s}" for s, n in written.splits.items())
    lists = ""
    if written.listed_labels:
        lists = f" of the first label, {written.listed_labels} labels in all ({written.labels_per_clip:.1f} a clip)"
    lines = [f"{written.path}: {written.clips} clips, {written.labels} classes{lists}, {counts}{written.note}"]
    lines += [f"  {line}" for line in written.findings]
    if written.report_path is not None:
        lines.append(f"  all of them: {written.report_path}")
    answer(written, lines)


def command_of(adapter: Adapter) -> click.Command:
    """The command of a public dataset, with the options of its adapter."""

    def run(root: Path | str, out: Path | str, **options: Any) -> None:
        from avprep.api.manifests import manifest_of_dataset

        _print(lambda: manifest_of_dataset(adapter.name, root, out, overwrite=may_overwrite(), **options))

    options = [
        click.option("--root", type=FOLDER_OR_URL, required=True, help=f"Folder with {_plain(adapter.layout)}."),
        click.option(
            "--archives", is_flag=True, help="These are inside the .zip and .tar files of --root, not unpacked."
        ),
        *map(_option, adapter.options),
        click.option("--out", type=OUT_MANIFEST, required=True, help="Manifest to write: .csv, .jsonl or .parquet."),
        click.option(
            "--drop-leaks", is_flag=True, help=f"Drop training clips whose {adapter.group} is also in test or val."
        ),
        share_options(adapter.group),
    ]
    decorated: Any = run
    for option in reversed(options):
        decorated = option(decorated)
    more = f"Labels: {adapter.labels}. Splits: {adapter.splits}. {adapter.note}"
    text = f"{adapter.title} ({adapter.paper}).\n\n{_plain(more)}"
    made: click.Command = click.command(adapter.name, cls=Command, help=text, short_help=f"{adapter.title}.")(decorated)
    return made


def _plain(text: str) -> str:
    """A text of the pages for a terminal."""
    return text.replace("`", "")


def _option(option: Option) -> Callable[[Any], Any]:
    settings: dict[str, Any] = {"required": option.required, "help": option.help, "multiple": option.many}
    if option.kind == "flag":
        settings |= {"is_flag": True}
    elif option.kind == "number":
        settings |= {"type": click.IntRange(1)}
    elif option.kind == "choice":
        settings |= {"type": click.Choice(option.choices), "default": option.default, "show_default": True}
    else:
        settings |= {"type": LIST}
    return click.option(option.flag, **settings)


for _adapter in ADAPTERS.values():
    manifest.add_command(command_of(_adapter))
