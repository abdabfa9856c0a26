"""Sections of classes: the best and worst of them, and which are taken for which."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from avprep.shared import html
from avtrain.report.curves import swatch
from avtrain.report.kinds import Kind
from avtrain.report.results import details
from avtrain.report.run_tables import per_cent
from avtrain.report.scores import Scored

ALL_CLASSES = 16
SHOWN_CLASSES = 8
LABELLED_CLASSES = 16
SHOWN_CONFUSIONS = 5
HEAT = (88, 99, 110)

_matrix = html.template("""<figure class="matrix" data-kind="{{ name }}"><h4>{{ mark }}{{ name }}</h4>
{% if rows %}<table><tr><th>true \\ predicted</th>
{% for short in shorts %}<th><span class="column">{{ short }}</span></th>
{% endfor %}</tr>
{% for row in rows %}<tr><td>{{ row.name }}</td>{% for share, count in row.cells %}<td title="{{ names[loop.index0] }}"
 style="background: rgba(var(--heat), {{ share }})">{{ count or "" }}</td>{% endfor %}</tr>
{% endfor %}</table>{% else %}{{ image }}{% endif %}
<figcaption class="note">{{ caption }}</figcaption></figure>
""")


def shares_of(scored: Scored) -> dict[str, np.ndarray]:
    """Mean accuracy of each class over a kind's evaluations, float [classes] (nan: no clips), by kind."""
    shares = {}
    for score in scored.scores:
        rows = [one.result.get("per_class") for _, one in scored.measurement.by_kind[score.kind.name]]
        if all(rows):
            of = "average_precision" if scored.several_labels else "accuracy"
            values = [[math.nan if c[of] is None else c[of] for c in row] for row in rows if row]
            shares[score.kind.name] = np.array(values).mean(axis=0)
    return shares


def classes(measured: Sequence[Scored]) -> Markup:
    """Of each measurement a table of classes by kind of run: all, or the best and worst ones."""
    parts = []
    for one in measured:
        shares = shares_of(one)
        if shares:
            body = _class_table(one, shares)
            parts.append(details(one.measurement.name, body, opened=one is measured[0]))
    return Markup("").join(parts) or html.paragraph("No evaluation reports single classes.")


def _class_table(scored: Scored, shares: dict[str, np.ndarray]) -> Markup:
    result = _results(scored, next(iter(shares)))[0]
    names, clips = result["class_names"], [entry["clips"] for entry in result["per_class"]]
    mean = np.mean(list(shares.values()), axis=0)
    order = [int(label) for label in np.argsort(-mean, kind="stable") if not math.isnan(mean[label])]
    left_out = len(order) - 2 * SHOWN_CLASSES if len(order) > ALL_CLASSES else 0
    rows: list[list[object]] = []
    for number, label in enumerate(order):
        if left_out and SHOWN_CLASSES <= number < len(order) - SHOWN_CLASSES:
            if number == SHOWN_CLASSES:
                rows.append([f"... {left_out:,} more ...", "", *("" for _ in shares)])
            continue
        rows.append([names[label], clips[label], *(_cell(float(values[label])) for values in shares.values())])
    score = "average precision" if scored.several_labels else "accuracy"
    note = f"Mean {score} over a kind's runs, %; classes from best to worst by the mean of all kinds."
    table = html.table(["class", "test clips", *shares], rows, css="heat classes")
    return table + Markup('<p class="note">{}</p>').format(note)


def _cell(share: float) -> Markup:
    return Markup('<span class="cell" style="background: rgba(var(--heat), {})">{}</span>').format(
        f"{0.55 * share:.2f}", per_cent(share)
    )


def _results(scored: Scored, kind: str) -> list[dict]:
    return [one.result for _, one in scored.measurement.by_kind[kind]]


def confusions(measured: Sequence[Scored]) -> Markup:
    """Of each measurement a matrix a kind of run, summed over its runs."""
    parts = []
    for one in measured:
        by_kind = [(score.kind, _results(one, score.kind.name)) for score in one.scores]
        cards = [_card(kind, results) for kind, results in by_kind if all("confusion" in result for result in results)]
        if cards:
            body = Markup('<div class="matrices">{}</div>').format(Markup("").join(cards))
            parts.append(details(one.measurement.name, body, opened=one is measured[0]))
    return Markup("").join(parts) or html.paragraph("No evaluation has a confusion matrix.")


def _card(kind: Kind, results: list[dict]) -> Markup:
    names = results[0]["class_names"]
    counts = np.sum([result["confusion"] for result in results], axis=0)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows, image = [], Markup("")
    if len(names) <= LABELLED_CLASSES:
        for name, own, count in zip(names, shares, counts, strict=True):
            cells = [(f"{0.6 * share:.2f}", int(number)) for share, number in zip(own, count, strict=True)]
            rows.append({"name": name, "cells": cells})
    else:
        image = _picture(shares, f"confusion matrix of {kind.name}")
    summed = f"Clips, summed over {len(results)} runs; " if len(results) > 1 else "Clips; "
    shade = (
        "shade: share of the true class. "
        if rows
        else "rows: true class, columns: predicted, in the order of class_names. "
    )
    shorts = [f"{name} {number}" for number, name in enumerate(names, 1)]
    for row, short in zip(rows, shorts, strict=False):
        row["name"] = short
    return Markup(
        _matrix.render(
            name=kind.name,
            mark=swatch(kind),
            rows=rows,
            names=names,
            shorts=shorts,
            image=image,
            caption=summed + shade + _most_confused(names, counts),
        )
    )


def _most_confused(names: Sequence[str], counts: np.ndarray) -> str:
    """The most frequent mistakes in words."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:SHOWN_CONFUSIONS]
    pairs = [divmod(int(cell), len(names)) for cell in order if wrong.flat[cell] > 0]
    mistakes = [f"{names[true]} as {names[taken_for]} ({wrong[true, taken_for]:,})" for true, taken_for in pairs]
    return "Most often mistaken: " + ", ".join(mistakes) + "." if mistakes else "No clip was mistaken."


def _picture(shares: np.ndarray, alt: str) -> Markup:
    """Shares [C, C] as shades of one grey, clear where 0."""
    import matplotlib.image

    pixels = np.empty((*shares.shape, 4), np.uint8)
    pixels[..., :3] = HEAT
    pixels[..., 3] = np.rint(255 * np.sqrt(shares))
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, pixels, format="png")
    return html.image(buffer.getvalue(), alt, css="pixels")
