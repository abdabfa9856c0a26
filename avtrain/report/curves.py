"""Curves over training as inline SVG lines, with labels that stay legible on a narrow screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from markupsafe import Markup

from avprep.shared import html
from avtrain.report.gather import Run
from avtrain.report.kinds import Kind
from avtrain.report.style import DASHES

POINTS = 60
TICKS = 5
NO_SERIES = {"val_clips", "val_seconds"}

_chart = html.template("""<div class="chart" role="img" aria-label="{{ title }}"><h3>{{ title }}</h3>
<div class="y" aria-hidden="true">
{% for at, text in y %}<span style="bottom: {{ at }}%">{{ text }}</span>{% endfor %}</div>
<div class="lines"><svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
{% for at, _ in y %}<line class="rule" x1="0" x2="100" y1="{{ 100 - at }}" y2="{{ 100 - at }}"/>{% endfor %}
{% for at in levels %}<line class="chance" x1="0" x2="100" y1="{{ 100 - at }}" y2="{{ 100 - at }}"/>{% endfor %}
{% for line in lines %}<path data-run="{{ line.run }}" d="{{ line.path }}" style="stroke: var(--k{{ line.colour }})"
 stroke-dasharray="{{ line.dash }}"><title>{{ line.run }}</title></path>
{% endfor %}</svg></div>
<div class="x" aria-hidden="true">
{% for at, text in x %}<span class="{{ "last" if at > 96 else "first" if at < 2 else "" }}"
 style="left: {{ at }}%">{{ text }}</span>{% endfor %}</div>
<div class="unit">updates</div></div>
""")

_legend = html.template("""<ul class="legend" aria-label="Colours">
{% for name, mark in items %}<li>{{ mark }}{{ name }}</li>
{% endfor %}</ul>
""")


@dataclass(frozen=True)
class Line:
    """One run's curve: updates made and values, both float [points]."""

    kind: Kind
    run: Run
    x: np.ndarray
    y: np.ndarray


def swatch(kind: Kind) -> Markup:
    """A short line as the kind is drawn everywhere."""
    return Markup(
        '<svg class="swatch" viewBox="0 0 24 10" aria-hidden="true"><line x1="0" x2="24" y1="6" y2="6" '
        'stroke-dasharray="{}" style="stroke: var(--k{})"/></svg>'
    ).format(_dash(kind), kind.number)


def legend(kinds: Sequence[Kind]) -> Markup:
    """Which line is of which kind."""
    return Markup(_legend.render(items=[(kind.name, swatch(kind)) for kind in kinds]))


def _dash(kind: Kind) -> str:
    return DASHES[kind.number % len(DASHES)]


def charts(kinds: Sequence[Kind]) -> Markup:
    """The loss, and every validation series in metrics.jsonl, a line a run."""
    trained = [(kind, run) for kind in kinds for run in kind.runs if run.metrics]
    drawn = [Line(kind, run, *means(run.losses, "loss")) for kind, run in trained if run.losses]
    if not drawn:
        return html.paragraph("No run has logged an update yet.")
    batches = chance_batches([run for _, run in trained if run.losses])
    parts = [chart("training loss, nats", drawn, [math.log(batch) for batch in batches])]
    for name in validation_series([run for _, run in trained]):
        lines = [(kind, run, [row for row in run.metrics if _number(row.get(name))]) for kind, run in trained]
        curves = [Line(kind, run, *series(rows, name)) for kind, run, rows in lines if rows]
        chances = {row.get(chance_of(name)) for _, _, rows in lines for row in rows}
        parts.append(chart(name.replace("_", " "), curves, sorted(filter(_number, chances))))
    shown = [kind for kind in kinds if any(line.kind is kind for line in drawn)]
    note = f"A line a run. A point of the loss is the mean of 1/{POINTS} of the run's updates or of one update."
    if batches:
        values = ", ".join(f"ln {batch} = {math.log(batch):.2f}" for batch in batches)
        note += f" Grey dashes in the loss: ln(batch), that of encoders that distinguish nothing ({values})."
    if any('class="chance"' in part for part in parts[1:]):
        note += " Grey dashes: chance."
    if len(parts) == 1:
        note += " No validation was made during these runs."
    return legend(shown) + Markup('<div class="charts">{}</div>').format(Markup("").join(parts)) + _note(note)


def chance_batches(runs: Sequence[Run]) -> list[int]:
    """Batch sizes whose logarithm is the loss at chance: of runs with InfoNCE in batches of one size."""
    return sorted(
        {
            int(run.config["batch_size"])
            for run in runs
            if run.config.get("loss", "info-nce") == "info-nce"
            and run.config["strategy"] != "hard-negative"
            and run.config.get("batch_size", 0) > 1
        }
    )


def _note(text: str) -> Markup:
    return Markup('<p class="note">{}</p>').format(text)


def validation_series(runs: Sequence[Run]) -> list[str]:
    """Names of all scores in metrics.jsonl that begin with val, in order of appearance."""
    names = (name for run in runs for row in run.metrics for name, value in row.items() if _number(value))
    scores = [name for name in dict.fromkeys(names) if name.startswith("val_") and name not in NO_SERIES]
    return [name for name in scores if "_chance_" not in name]


def chance_of(name: str) -> str:
    """The series of what chance would score, '' where there cannot be one."""
    return name.replace("_recall_", "_chance_") if "_recall_" in name else ""


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def series(rows: Sequence[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(updates made, values) of a series, as they are."""
    return np.array([row["step"] + 1.0 for row in rows]), np.array([float(row[name]) for row in rows])


def means(rows: Sequence[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(updates made, mean value) over at most POINTS equal stretches of a series."""
    x, y = series(rows, name)
    cut = np.array_split(np.arange(len(x)), min(POINTS, len(x)))
    return np.array([x[at].mean() for at in cut]), np.array([y[at].mean() for at in cut])


def ticks(low: float, high: float) -> list[float]:
    """Round numbers that hold low to high between them."""
    from matplotlib.ticker import MaxNLocator

    return [float(value) for value in MaxNLocator(TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]


def chart(title: str, lines: Sequence[Line], levels: Sequence[float] = ()) -> Markup:
    """One chart of all lines, and of dashes at `levels`, on common axes."""
    values = np.concatenate([*(line.y for line in lines), levels])
    low, high = float(values.min()), float(values.max())
    y = ticks(low, high) if high > low else ticks(low - 0.5, high + 0.5)
    end = max(float(line.x.max()) for line in lines)
    x = [value for value in ticks(0, end) if value <= end]
    return Markup(
        _chart.render(
            title=title,
            y=[(_percent(value, y[0], y[-1]), f"{value:g}") for value in y],
            levels=[_percent(value, y[0], y[-1]) for value in levels],
            x=[(_percent(value, 0, end), f"{value:,.0f}") for value in x],
            lines=[
                {
                    "run": line.run.name,
                    "colour": line.kind.number,
                    "dash": _dash(line.kind),
                    "path": _path(100 * line.x / end, 100 * (y[-1] - line.y) / (y[-1] - y[0])),
                }
                for line in lines
            ],
        )
    )


def _percent(value: float, low: float, high: float) -> float:
    return round(100 * (value - low) / (high - low), 2)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    points = [f"{a:.2f} {b:.2f}" for a, b in zip(x, y, strict=True)]
    return "M" + "L".join(points if len(points) > 1 else 2 * points)
