"""avprep quality, duplicates, select: measures of each clip, clips that are there twice, clips by their measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from avprep.cli.types import DIRECTORY, OUT_DUPLICATES, OUT_DUPLICATES_PAGE, OUT_IDS
from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command
from avprep.shared.signals import stop_on_signals


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.option("--workers", type=click.IntRange(1), default=None, help="Processes that measure; default: all cores.")
@json_option
def quality(dataset_dir: Path, workers: int | None) -> None:
    """Measure each clip of the dataset DIR from its stored arrays and write DIR/quality.parquet.

    Shards that have been measured before are not read again.
    """
    from avprep.api.quality import measure_quality
    from avprep.quality.summary import lines_of, summary_of

    with stop_on_signals() as request:
        path = measure_quality(dataset_dir, workers=workers, stopping=lambda: bool(request))
    answer(summary_of(path), lines_of(path))


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.option("--out", type=OUT_DUPLICATES, required=True, help="Table to write, FILE.csv or FILE.parquet.")
@click.option("--pictures", "by", flag_value="pictures", help="Compare pictures alone.")
@click.option("--sounds", "by", flag_value="sounds", help="Compare sounds alone.")
@click.option(
    "--picture-distance",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.32,
    show_default=True,
    help="Largest share of the bits of the pictures' hashes that may differ.",
)
@click.option(
    "--sound-distance",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.57,
    show_default=True,
    help="The same for the sounds' hashes.",
)
@click.option("--page", type=OUT_DUPLICATES_PAGE, default=None, help="Also write a page that shows them, FILE.html.")
@click.option(
    "--surplus", type=OUT_IDS, default=None, help="Also write the ids of all but one of each group, FILE.txt."
)
@click.option(
    "--root",
    type=DIRECTORY,
    default=None,
    help="Where relative source paths start; needed to play the clips of --page.",
)
@json_option
def duplicates(
    dataset_dir: Path,
    out: Path,
    by: str | None,
    picture_distance: float,
    sound_distance: float,
    page: Path | None,
    surplus: Path | None,
    root: Path | None,
) -> None:
    """List clips of the dataset DIR that are near duplicates, within and across splits.

    Pictures and sounds must both be alike, where clips have both; --pictures or --sounds compares those alone.
    """
    from avprep.api.quality import duplicates as near
    from avprep.preview.duplicates import write_page
    from avprep.quality.duplicates import write_surplus

    result = near(dataset_dir, out, by=by or "both", picture_distance=picture_distance, sound_distance=sound_distance)
    clips = sum(map(len, result.rows_of_groups()))
    values: dict[str, Any] = {"pairs": len(result.first), "groups": result.groups, "clips": clips}
    values["groups_across_splits"] = result.groups_across
    lines = [
        f"{out}: {len(result.first)} pairs in {result.groups} groups of {clips} clips; "
        f"{result.groups_across} groups across splits"
    ]
    if page is not None:
        values["shown_groups"] = write_page(result, page, root=root)
        lines.append(f"{page}: {values['shown_groups']} of {result.groups} groups")
    if surplus is not None:
        values["surplus"] = write_surplus(result, surplus)
        lines.append(f"{surplus}: {values['surplus']} clips to take out")
    answer(values, lines)


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=DIRECTORY)
@click.option("--where", "condition", required=True, help='Condition, such as "silence < 0.9 and motion > 0.01".')
@click.option("--name", default=None, help="Write a label column of this name: the labels of the clips that fit.")
@click.option("--labels", default="label", show_default=True, help="For --name: column that the labels are of.")
@click.option("--replace", is_flag=True, help="For --name: overwrite a column of this name that was made otherwise.")
@click.option("--others", type=OUT_IDS, default=None, help="Write the ids of the clips that do not fit, FILE.txt.")
@json_option
def select(
    dataset_dir: Path, condition: str, name: str | None, labels: str, replace: bool, others: Path | None
) -> None:
    """Select clips of the dataset DIR by their measures; nothing is deleted.

    --name writes a label column in which clips that do not fit have no label; --others a list for 'avprep exclude'.
    """
    from avprep.dataset import Dataset
    from avprep.quality.select import select as choose
    from avprep.quality.select import write_column, write_others

    if name is None and others is None:
        raise click.UsageError("There is nothing to write; give --name, --others or both.")
    selection = choose(Dataset(dataset_dir), condition)
    lines = [f"{dataset_dir}: {selection.selected} clips fit, {selection.others} do not"]
    if name is not None:
        lines.append(f"{write_column(selection, name, labels=labels, replace=replace)}: use it with --labels {name}")
    if others is not None:
        lines.append(f"{others}: {write_others(selection, others)} clips to take out")
    answer({"selected": selection.selected, "others": selection.others}, lines)
