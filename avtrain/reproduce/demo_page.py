"""report.html of the demo: the table, accuracy bars, loss curves, a few clips; one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from avprep.dataset import Dataset
from avprep.shared import html, store
from avtrain.reproduce.demo import STRATEGIES, UNTRAINED, DemoSettings, accuracy_text, recall_text
from avtrain.reproduce.page_parts import axes_of, examples, settings_table
from avtrain.runs import folder as run_folder

COLOURS = {"soft-positive": "#1b7f5c", "random": "#c2571a", UNTRAINED: "#8a94a0"}

HONEST = """The clips are synthetic and the demo is built to show the effect: a class is a shape and a timbre, and
picture and sound of one clip also share their instance (rhythm, pitch and size, noise and scene). Random sampling can
match exact pairs by that instance without knowing the class; soft-positive sampling, whose partners are other clips of
the class, cannot. Cue 0 takes the shared instance away. None of it shows how large the effect is on real recordings."""


def write_demo_page(out: Path, settings: DemoSettings, rows: list[dict[str, Any]]) -> Path:
    """Write out/report.html from the demo's folder and its table; returns the path."""
    first = settings.cues[0]
    best = {row["strategy"]: row for row in rows if row["cue"] == first}
    gap = 100 * (best["soft-positive"]["accuracy"] - best["random"]["accuracy"])
    lead = (
        f"On {best['random']['test_clips']} held-out clips, a linear layer on the audio encoder is right {gap:.1f} "
        f"points more often after soft-positive than after random sampling, {best['random']['updates']} updates each."
    )
    sections = [
        ("Read this first", html.paragraph(HONEST)),
        ("Linear accuracy", _results(settings, rows)),
        ("Loss", html.figure(html.plot(_losses(out, settings), "loss curves"), LOSS_CAPTION, "plot")),
        ("What the encoders see and hear", examples(Dataset(out / f"cue-{first:g}" / "shards"))),
        ("Settings", settings_table(settings, "avtrain", "python", "torch", "numpy")),
    ]
    path = out / "report.html"
    store.write_bytes(path, html.page("Soft positives against random pairs: the avtrain demo", lead, sections).encode())
    return path


LOSS_CAPTION = (
    "InfoNCE over training, mean of each epoch, a line a seed. The dotted line is ln(batch): knowing nothing. Soft "
    "positives cannot fall far below ln(clips of the same class in a batch), so a lower loss is not a better encoder."
)


def _results(settings: DemoSettings, rows: list[dict[str, Any]]) -> Markup:
    table = html.table(
        ["sampling", "cue", "updates", "linear accuracy, %", "exact-pair R@1, %"],
        [[row["strategy"], f"{row['cue']:g}", row["updates"], accuracy_text(row), recall_text(row)] for row in rows],
    )
    caption = (
        f"Mean of {settings.seeds} training seeds with Student's 95 % interval; dots are single seeds. Exact-pair R@1: "
        "how often the sound of a held-out clip finds its own picture among all held-out clips, and the reverse."
    )
    return table + html.figure(html.plot(_bars(rows), "accuracy bars"), caption, "plot")


def _bars(rows: list[dict[str, Any]]) -> Any:
    cues = list(dict.fromkeys(row["cue"] for row in rows))
    figure, axes = axes_of(8, 3.2, len(cues))
    for axis, cue in zip(axes, cues, strict=True):
        mine = [row for row in rows if row["cue"] == cue]
        for position, row in enumerate(mine):
            half = 100 * (row["half_width_95"] or 0)
            axis.bar(position, 100 * row["accuracy"], yerr=half, color=COLOURS[row["strategy"]], capsize=4, width=0.6)
            axis.plot([position] * len(row["accuracies"]), 100 * np.array(row["accuracies"]), "k.", alpha=0.6)
        axis.set_xticks(range(len(mine)), [row["strategy"] for row in mine])
        axis.set_title(f"instance cue {cue:g}")
        axis.set_ylim(0, 100)
    axes[0].set_ylabel("linear accuracy, %")
    return figure


def _losses(out: Path, settings: DemoSettings) -> Any:
    figure, axes = axes_of(8, 3.2, len(settings.cues))
    for axis, cue in zip(axes, settings.cues, strict=True):
        for strategy in STRATEGIES:
            for seed in range(settings.seeds):
                means = run_folder.losses_by_epoch(out / "runs" / f"cue-{cue:g}-{strategy}-s{seed}")
                axis.plot(means, color=COLOURS[strategy], alpha=0.7, label=strategy if seed == 0 else None)
        axis.axhline(np.log(settings.batch_size), color="k", linestyle=":", linewidth=1)
        axis.set_title(f"instance cue {cue:g}")
        axis.set_xlabel("epoch")
    axes[0].set_ylabel("InfoNCE, nats")
    axes[0].legend(frameon=False)
    return figure
