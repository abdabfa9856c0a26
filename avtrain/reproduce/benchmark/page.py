"""report.html of a benchmark: claims, table, accuracies with intervals, loss curves, a few clips; one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.dataset import Dataset
from avprep.shared import html, store
from avtrain.reproduce.benchmark.table import MAIN, Layout, Line, table_rows, verdict
from avtrain.reproduce.page_parts import axes_of, examples, settings_table
from avtrain.runs import folder as run_folder

GREEN, ORANGE, GREY = "#1b7f5c", "#c2571a", "#8a94a0"
FOLD_COLOURS = ("black", "royalblue", "crimson", "seagreen", "darkorange", "purple")


@dataclass(frozen=True, kw_only=True)
class Story:
    """The text of the page beside the figures."""

    title: str
    honest: str
    """what the figures can show and what not"""
    tested: str
    """the heading above the accuracies: on what they are measured"""
    chance: float
    """share that guessing gets right"""
    shown: Path
    """the dataset whose test clips are shown"""


def write_page(out: Path, settings: Any, lines: Sequence[Line], layout: Layout, story: Story) -> Path:
    """Write out/report.html from the table's lines and the folder; returns the path."""
    judged = [[claim, verdict(holds), figures] for claim, holds, figures in layout.claims(lines, layout.folds)]
    sections = [
        ("Read this first", html.paragraph(story.honest)),
        *([("What it was to show", html.table(["claim", "", "points"], judged))] if judged else []),
        (story.tested, html.figure(html.plot(_bars(lines, layout, story.chance), "accuracies"), BARS, "plot")),
        ("All columns, %", html.table(layout.header, table_rows(lines, layout))),
        ("Loss", html.figure(html.plot(_losses(out, lines, layout), "loss curves"), LOSSES, "plot")),
        *([("What the encoders see and hear", examples(Dataset(story.shown)))] if story.shown.exists() else []),
        ("Settings", settings_table(settings, "commit", "avtrain", "python", "torch")),
    ]
    path = out / "report.html"
    store.write_bytes(path, html.page(story.title, lead(lines, layout), sections).encode())
    return path


BARS = (
    "Mean over the runs with Student's 95 % interval; dots are single runs, coloured by fold. Green: partners from the "
    "class; orange: exact pairs; grey: controls that are not pretrained on pairs."
)
LOSSES = (
    "InfoNCE over training, mean of each epoch of the first run. Soft positives cannot fall far below ln(1 + negatives "
    "of the own class), so a lower loss is not a better encoder."
)


def lead(lines: Sequence[Line], layout: Layout) -> str:
    """The first sentence: how soft-positive compares with random."""
    link = layout.rows[0].link
    soft = [line for line in lines if line["name"] == "soft-positive" and line["link"] == link and line["gap"]]
    if not soft:
        return f"{len(lines)} rows so far."
    mean, runs = 100 * soft[0]["gap"]["mean"], soft[0]["gap"]["units"]
    return (
        f"A linear layer on the audio encoder is right {abs(mean):.1f} points {'more' if mean > 0 else 'less'} often "
        f"after soft-positive than after random sampling: mean of {runs} runs, {soft[0]['updates']} updates each."
    )


def _colour(line: Line) -> str:
    if line["kind"] != "pretrained" or "only" in line["name"]:
        return GREY
    return GREEN if "soft" in line["name"] or "frozen" in line["name"] else ORANGE


def _bars(lines: Sequence[Line], layout: Layout, chance: float) -> Any:
    shown = [line for line in lines if MAIN in line["scores"]][::-1]
    figure, (axis,) = axes_of(8, 0.8 + 0.27 * len(shown))
    for height, line in enumerate(shown):
        score = line["scores"][MAIN]
        axis.barh(height, 100 * score["mean"], xerr=100 * (score["half"] or 0), color=_colour(line), height=0.65)
        for run, value in score["by_run"].items():
            axis.plot(100 * value, height, ".", color=_dot(int(run), layout), markersize=4)
    main = layout.rows[0].link
    named = [line["name"] + ("" if line["link"] == main else f" (link {layout.links[line['link']]})") for line in shown]
    axis.set_yticks(range(len(shown)), named, fontsize=8)
    axis.axvline(100 * chance, color="k", linestyle=":", linewidth=1)
    axis.set_xlim(0, 100)
    axis.set_xlabel("linear accuracy, %; dotted: chance")
    return figure


def _dot(run: int, layout: Layout) -> str:
    return FOLD_COLOURS[run % layout.folds % len(FOLD_COLOURS)]


def _losses(out: Path, lines: Sequence[Line], layout: Layout) -> Any:
    figure, (axis,) = axes_of(8, 3.2)
    there = {(line["name"], line["link"]) for line in lines}
    main = layout.rows[0].link
    for row in layout.rows:
        run = out / "runs" / f"{row.slug}-0"
        usual = row.kind == "pretrained" and row.batch == "usual" and row.loss == "info-nce" and row.link == main
        if not usual or (row.name, row.link) not in there or not run.exists():
            continue
        axis.plot(run_folder.losses_by_epoch(run), label=row.name, linewidth=1.2)
    axis.set_xlabel("epoch")
    axis.set_ylabel("InfoNCE, nats")
    if axis.lines:
        axis.legend(frameon=False, fontsize=7, ncols=2)
    return figure
