"""avtrain reproduce: whole tables, each by one command that goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import click

from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command, Group
from avprep.shared.errors import UserError
from avprep.shared.signals import stop_on_signals
from avtrain.cli.options import DIRECTORY, OUT_FOLDER
from avtrain.cli.tables import table1, table2


@click.group(cls=Group)
def reproduce() -> None:
    """Run a whole table: datasets, every cell, intervals, page."""


for command in (table1, table2):
    reproduce.add_command(command)


@reproduce.command("av-digits", cls=Command)
@click.argument("out", metavar="OUT", type=OUT_FOLDER)
@click.option("--fsdd", type=DIRECTORY, default=None, help="Recordings of the Free Spoken Digit Dataset, at any depth.")
@click.option("--audiomnist", type=DIRECTORY, default=None, help="AudioMNIST, 60 speakers, in place of --fsdd.")
@click.option("--esc10", type=DIRECTORY, default=None, help="ESC-10, a folder a class, for the columns out of domain.")
@click.option("--quick", is_flag=True, help="Few rows, clips and epochs, one run a fold: minutes, to see that it runs.")
@click.option(
    "--row", "names", multiple=True, help="Only this row, such as envelope-random; may be given more than once."
)
@click.option(
    "--choose",
    is_flag=True,
    help="Rows to choose among, measured on the validation speaker; test speakers are not used.",
)
@click.option("--workers", type=click.IntRange(1), default=None, help="Processes; default: all cores.")
@json_option
def av_digits(
    out: Path,
    fsdd: Path | None,
    audiomnist: Path | None,
    esc10: Path | None,
    quick: bool,
    names: tuple[str, ...],
    choose: bool,
    workers: int | None,
) -> None:
    """Spoken and handwritten digits: which sampling teaches most, with controls, on speakers outside training."""
    from avtrain.reproduce.av_digits.data import Sources
    from avtrain.reproduce.av_digits.page import write_page
    from avtrain.reproduce.av_digits.run import reproduce_digits, rows_named
    from avtrain.reproduce.av_digits.settings import CHOOSINGLY, QUICKLY, DigitsSettings
    from avtrain.reproduce.av_digits.table import layout_of
    from avtrain.reproduce.benchmark.table import printed

    digits = fsdd or audiomnist
    if digits is None or (fsdd and audiomnist):
        raise click.UsageError("Give the recordings by one of --fsdd FOLDER and --audiomnist FOLDER.")
    sources = Sources(digits=digits, corpus="fsdd" if fsdd else "audiomnist", esc10=esc10)
    layout = layout_of(sources.corpus)
    if quick and choose:
        raise UserError("--quick and --choose are two tables; give one of them.")
    settings = QUICKLY if quick else CHOOSINGLY if choose else DigitsSettings()
    rows = rows_named(names, quick, choose)
    with stop_on_signals() as request:
        lines = reproduce_digits(out, sources, settings, rows, workers=workers, stopping=lambda: bool(request))
    page, cells = write_page(out, settings, lines, layout, sources.corpus), out / "results.csv"
    answer({"page": page, "cells": cells}, [printed(lines, layout), f"{page} shows it; {cells} has every cell."])


@reproduce.command("grid", cls=Command)
@click.argument("out", metavar="OUT", type=OUT_FOLDER)
@click.option(
    "--root", type=DIRECTORY, required=True, help="The GRID corpus: s1/*.mpg and so on, or one speaker's clips."
)
@click.option(
    "--label",
    type=click.Choice(["command", "colour", "preposition", "letter", "digit", "adverb"]),
    default="digit",
    show_default=True,
    help="The word of each sentence that is its class.",
)
@click.option("--window", type=click.IntRange(1, 3), default=1, show_default=True, help="Seconds of sound in a window.")
@click.option("--whole-clips", is_flag=True, help="Windows over whole clips, even with align files.")
@click.option(
    "--folds", type=click.IntRange(2), default=3, show_default=True, help="Of speakers, or of one's sentences."
)
@click.option("--runs", type=click.IntRange(1), default=None, help="Of each row, fold after fold; default: 6.")
@click.option("--updates", type=click.IntRange(1), default=None, help="Of pretraining; default: 600.")
@click.option("--quick", is_flag=True, help="Three rows, runs and few updates: minutes, to see that it runs.")
@click.option("--row", "names", multiple=True, help="Only this row, such as random; may be given more than once.")
@click.option("--workers", type=click.IntRange(1), default=None, help="Processes; default: all cores.")
@json_option
def grid(
    out: Path,
    root: Path,
    label: str,
    window: int,
    whole_clips: bool,
    folds: int,
    runs: int | None,
    updates: int | None,
    quick: bool,
    names: tuple[str, ...],
    workers: int | None,
) -> None:
    """Video of faces that speak: the rows of av-digits on the GRID corpus, words as classes."""
    from avtrain.reproduce.benchmark.table import printed
    from avtrain.reproduce.grid_corpus.page import write_page
    from avtrain.reproduce.grid_corpus.run import reproduce_grid, rows_named
    from avtrain.reproduce.grid_corpus.settings import QUICKLY, GridSettings

    given = {name: value for name, value in (("runs", runs), ("updates", updates)) if value is not None}
    settings = GridSettings(
        label=label, window_seconds=window, whole_clips=whole_clips, folds=folds, **((QUICKLY if quick else {}) | given)
    )
    rows = rows_named(names, quick)
    with stop_on_signals() as request:
        table = reproduce_grid(out, root, settings, rows, workers=workers, stopping=lambda: bool(request))
    page, cells = write_page(out, settings, table.lines, table.layout), out / "results.csv"
    shown = printed(table.lines, table.layout)
    answer({"page": page, "cells": cells}, [shown, f"{page} shows it; {cells} has every cell."])
