"""report.html of the demo: the table, accuracy bars, loss curves, a few clips; one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from avprep.dataset import Dataset
from avprep.shared import html, store
from avtrain.reproduce.demo import STRATEGIES, UNTRAINED, DemoSettings, accuracy_text, recall_text
from avtrain.runs import folder as run_folder
from avtrain.runs.environment import environment

COLOURS = {"soft-positive": "#1b7f5c", "random": "#c2571a", UNTRAINED: "#8a94a0"}
SHOWN_CLASSES = 6
STRIP_FRAMES = 8

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
        ("Settings", _settings(settings)),
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


def axes_of(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    """(figure, its axes side by side) in inches, drawn without a display."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=(width, height), squeeze=False, sharey=True)
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[0]


def _bars(rows: list[dict[str, Any]]) -> Any:
    cues = list(dict.fromkeys(row["cue"] for row in rows))
    figure, axes = axes_of(8, 3.2, len(cues))
    for axis, cue in zip(axes, cues, strict=True):
        mine = [row for row in rows if row["cue"] == cue]
        for place, row in enumerate(mine):
            half = 100 * (row["half_width_95"] or 0)
            axis.bar(place, 100 * row["accuracy"], yerr=half, color=COLOURS[row["strategy"]], capsize=4, width=0.6)
            axis.plot([place] * len(row["accuracies"]), 100 * np.array(row["accuracies"]), "k.", alpha=0.6)
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
                lines = run_folder.read_metrics(out / "runs" / f"cue-{cue:g}-{strategy}-s{seed}")
                epochs = np.array([line["epoch"] for line in lines])
                losses = np.array([line["loss"] for line in lines])
                means = [losses[epochs == epoch].mean() for epoch in np.unique(epochs)]
                axis.plot(means, color=COLOURS[strategy], alpha=0.7, label=strategy if seed == 0 else None)
        axis.axhline(np.log(settings.batch_size), color="k", linestyle=":", linewidth=1)
        axis.set_title(f"instance cue {cue:g}")
        axis.set_xlabel("epoch")
    axes[0].set_ylabel("InfoNCE, nats")
    axes[0].legend(frameon=False)
    return figure


def examples(dataset: Dataset) -> Markup:
    """One test clip of each of a few classes: a strip of pictures above its log-mel, on one time axis."""
    import matplotlib

    rows = dataset.rows_of("test")
    cards = Markup("")
    for label in range(min(SHOWN_CLASSES, len(dataset.class_names))):
        row = int(rows[dataset.label[rows] == label][0])
        clip = dataset.read_clip(row)
        assert clip.frames is not None
        chosen = np.linspace(0, len(clip.frames) - 1, STRIP_FRAMES).round().astype(int)
        strip = np.concatenate(list(clip.frames[chosen]), axis=1)
        mel = clip.logmel.astype(np.float32).T[::-1]
        low, high = np.percentile(mel, [2, 99.8])
        colours = matplotlib.colormaps["magma"](np.clip((mel - low) / (high - low), 0, 1))
        body = html.pixels(strip, "frames") + html.pixels((colours[..., :3] * 255).astype(np.uint8), "log-mel")
        cards += html.figure(body, f"{dataset.class_names[label]}, {dataset.duration_seconds[row]:.1f} s")
    note = html.paragraph("Held-out clips: pictures above the log-mel spectrogram, both from start to end of the clip.")
    return note + Markup('<div class="pairs">{}</div>').format(cards)


def _settings(settings: DemoSettings) -> Markup:
    from avprep.shared.configs import to_dict

    versions = environment()
    shown = to_dict(settings) | {f"{name} version": versions[name] for name in ("avtrain", "python", "torch", "numpy")}
    return html.table(["setting", "value"], [[name, str(value)] for name, value in shown.items()])
