"""What the pages of the demo and of av-digits have in common: axes, example clips, the table of settings."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from avprep.dataset import Dataset
from avprep.shared import configs, html
from avtrain.runs.environment import environment

SHOWN_CLASSES = 6
STRIP_FRAMES = 8


def axes_of(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    """(figure, its axes side by side) in inches, drawn without a display."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=(width, height), squeeze=False, sharey=True)
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[0]


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


def settings_table(settings: Any, *versions: str) -> Markup:
    """The fields of a config and these entries of the environment, such as the version of torch, with their values."""
    about = environment()
    shown = configs.to_dict(settings) | {name: about[name] for name in versions}
    return html.table(["setting", "value"], [[name, str(value)] for name, value in shown.items()])
