"""report.html of av-digits: claims, table, accuracies with intervals, loss curves, a few clips; one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from avprep.dataset import Dataset
from avprep.shared import html, store
from avtrain.reproduce.av_digits.rows import CANDIDATES, ENVELOPE, ROWS
from avtrain.reproduce.av_digits.table import HEADER, MAIN, cells_text, claims, verdict
from avtrain.reproduce.page_parts import axes_of, examples, settings_table
from avtrain.runs import folder as run_folder

if TYPE_CHECKING:
    from avtrain.reproduce.av_digits.settings import DigitsSettings

GREEN, ORANGE, GREY = "#1b7f5c", "#c2571a", "#8a94a0"

HONEST = """Real recordings of six speakers and real handwriting, but put together by us: a clip shows one digit moving
over texture, and with the link on its brightness follows the loudness of the sound, so that an exact pair can be
matched without knowing the class. The models are tiny and a few hundred clips are few. It shows which sampling teaches
more under these conditions, not how large the effect is on video from the street. The gap hangs on how many negatives
of the anchor's own class a batch holds: see the column. The paper's batches of 309 clips of 309 classes hold one."""


def write_page(out: Path, settings: DigitsSettings, lines: Sequence[dict[str, Any]]) -> Path:
    """Write out/report.html from the table's lines and the folder; returns the path."""
    judged = [[claim, verdict(holds), figures] for claim, holds, figures in claims(lines)]
    sections = [
        ("Read this first", html.paragraph(HONEST)),
        ("What it was to show", html.table(["claim", "", "points"], judged)),
        (
            "Linear accuracy on speakers outside training",
            html.figure(html.plot(_bars(lines), "accuracies"), BARS, "plot"),
        ),
        ("All columns, %", html.table(HEADER, [cells_text(line) for line in lines])),
        ("Loss", html.figure(html.plot(_losses(out, lines), "loss curves"), LOSSES, "plot")),
        *_shown_clips(out),
        ("Settings", settings_table(settings, "commit", "avtrain", "python", "torch")),
    ]
    path = out / "report.html"
    store.write_bytes(path, html.page("av-digits: which sampling teaches most", _lead(lines), sections).encode())
    return path


BARS = (
    "Mean over the runs with Student's 95 % interval; dots are single runs, coloured by fold. Green: partners from the "
    "class; orange: exact pairs; grey: controls that are not pretrained on pairs."
)
LOSSES = (
    "InfoNCE over training, mean of each epoch of the first run. Soft positives cannot fall far below ln(1 + negatives "
    "of the own class), so a lower loss is not a better encoder."
)


def _lead(lines: Sequence[dict[str, Any]]) -> str:
    soft = [line for line in lines if line["name"] == "soft-positive" and line["link"] == ENVELOPE and line["gap"]]
    if not soft:
        return f"{len(lines)} rows so far."
    mean, runs = 100 * soft[0]["gap"]["mean"], soft[0]["gap"]["units"]
    return (
        f"A linear layer on the audio encoder is right {abs(mean):.1f} points {'more' if mean > 0 else 'less'} often "
        f"after soft-positive than after random sampling: mean of {runs} runs, {soft[0]['updates']} updates each."
    )


def _colour(line: dict[str, Any]) -> str:
    if line["kind"] != "pretrained" or "only" in line["name"]:
        return GREY
    return GREEN if "soft" in line["name"] or "frozen" in line["name"] else ORANGE


def _bars(lines: Sequence[dict[str, Any]]) -> Any:
    shown = [line for line in lines if MAIN in line["scores"]][::-1]
    figure, (axis,) = axes_of(8, 0.8 + 0.27 * len(shown))
    for height, line in enumerate(shown):
        score = line["scores"][MAIN]
        axis.barh(height, 100 * score["mean"], xerr=100 * (score["half"] or 0), color=_colour(line), height=0.65)
        for run, value in score["by_run"].items():
            axis.plot(100 * value, height, ".", color=("black", "royalblue", "crimson")[int(run) % 3], markersize=4)
    named = [line["name"] + ("" if line["link"] == ENVELOPE else " (link off)") for line in shown]
    axis.set_yticks(range(len(shown)), named, fontsize=8)
    axis.axvline(10, color="k", linestyle=":", linewidth=1)
    axis.set_xlim(0, 100)
    axis.set_xlabel("linear accuracy, %; dotted: chance")
    return figure


def _losses(out: Path, lines: Sequence[dict[str, Any]]) -> Any:
    figure, (axis,) = axes_of(8, 3.2)
    there = {(line["name"], line["link"]) for line in lines}
    for row in (*ROWS, *CANDIDATES):
        run = out / "runs" / f"{row.slug}-0"
        usual = row.kind == "pretrained" and row.batch == "usual" and row.loss == "info-nce" and row.link == ENVELOPE
        if not usual or (row.name, row.link) not in there or not run.exists():
            continue
        axis.plot(run_folder.losses_by_epoch(run), label=row.name, linewidth=1.2)
    axis.set_xlabel("epoch")
    axis.set_ylabel("InfoNCE, nats")
    if axis.lines:
        axis.legend(frameon=False, fontsize=7, ncols=2)
    return figure


def _shown_clips(out: Path) -> list[tuple[str, Markup]]:
    folder = out / "data" / f"{ENVELOPE}-0" / "shards"
    return [("What the encoders see and hear", examples(Dataset(folder)))] if folder.exists() else []
