"""Sections of results: forest plots with intervals and marks, every run, classes, confusion, retrieval scores."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from avprep.shared import html
from avtrain.evaluation.compare import p_text, points
from avtrain.evaluation.metrics import mean_interval
from avtrain.evaluation.unfitted import sentence_of
from avtrain.report.curves import swatch, ticks
from avtrain.report.kinds import Kind, Measurement
from avtrain.report.run_tables import audible, every_run, per_cent, run_by_run, span
from avtrain.report.scores import LEVEL, Comparison, Scored, trained_on

MARKS = {"better": "▲", "worse": "▼", "open": "○", "untested": "-"}
KEY = (
    "A filled dot is the mean of a kind's runs, open dots its runs, whiskers the 95 % interval: Student's over runs, "
    "or over clips (by cluster where clips share 8 or more) where there is one run. ▲ better, ▼ worse than the first "
    f"row, ○ no difference shown: p below {LEVEL:g} after Holm's correction for all rows of the figure. - no "
    "test possible."
)

_forest = html.template("""<div class="forest" data-measurement="{{ name }}">
<div class="row"><span class="head"></span><span class="head">{{ score }}, %</span>
<span class="head">mean, 95 % interval</span>
<span class="head">against {{ base }}, points</span></div>
{% for row in rows %}<div class="row" data-kind="{{ row.name }}">
<span class="name"><span>{{ row.swatch }}{{ row.name }}</span></span>
<span class="track">{% for at, _ in ticks %}<i class="grid" style="left: {{ at }}%"></i>{% endfor %}
{% if chance is not none %}<i class="chance" style="left: {{ chance }}%"></i>{% endif %}
{% if row.bar %}<i class="bar" style="left: {{ row.bar[0] }}%; width: {{ row.bar[1] }}%;
 background: var(--k{{ row.colour }})"></i>{% endif %}
<i class="mean" style="left: {{ row.mean }}%; background: var(--k{{ row.colour }})"></i>
{% for at in row.dots %}<i class="one" style="left: {{ at }}%"></i>{% endfor %}</span>
<span class="value"><span>{{ row.value }}<small>{{ row.interval }}</small></span></span>
<span class="gap">{% if row.mark %}<span class="mark {{ row.css }}">{{ row.mark }}</span>
<span class="figure">{{ row.gap }}</span><small>{{ row.test }}</small>
{% else %}<span class="open">{{ row.gap }}</span>{% endif %}</span></div>
{% endfor %}
<div class="axis" aria-hidden="true">
{% for at, text in ticks %}<span style="left: {{ at }}%">{{ text }}</span>{% endfor %}</div>
</div>
""")

_details = html.template("""<details{{ " open" if open else "" }}><summary>{{ summary }}</summary>{{ body }}</details>
""")


def details(summary: str, body: Markup, opened: bool = False) -> Markup:
    """A part that opens on a click."""
    return Markup(_details.render(summary=summary, body=body, open=opened))


def results(measured: Sequence[Scored]) -> Markup:
    """Every measurement: a forest plot, every run, run by run on the same clips."""
    if not measured:
        return html.paragraph("No run has been evaluated yet; 'avtrain evaluate DIR --run RUN' does.")
    parts = [Markup('<p class="note">{}</p>').format(KEY)]
    for one in measured:
        parts.append(Markup("<h3>{}{}</h3>").format(one.measurement.name, _clips(one)))
        parts.append(forest(one))
        parts += [Markup('<p class="note">{}</p>').format(text) for text in notes(one)]
        parts.append(details("Every run", every_run(one)))
        audible_table = audible(one)
        if audible_table:
            parts.append(details("What is audible", audible_table, opened=True))
        if one.pairs:
            parts.append(details("Run by run on the same test clips", run_by_run(one)))
    return Markup("").join(parts)


def notes(scored: Scored) -> list[str]:
    """What chance would score; test clips of classes that were never fitted, and those that were trained on."""
    lines = []
    if scored.several_labels and scored.chance is not None:
        lines.append(
            f"Grey dashes: chance, {per_cent(scored.chance)} %, is the mAP of a random order: a class's mean share."
        )
    elif scored.chance is not None:
        lines.append(
            f"Grey dashes: chance, {per_cent(scored.chance)} %, is to name the most frequent test class always."
        )
    unfitted = [run.result.get("unfitted") for rows in scored.measurement.by_kind.values() for _, run in rows]
    groups = {
        json.dumps([one["classes"], one["clips"], one.get("fitted_clips", 0)])
        for one in unfitted
        if one and one["clips"]
    }
    for text in sorted(groups):
        names, clips, fitted = json.loads(text)
        lines.append(f"{sentence_of({'classes': names, 'clips': clips}, clips + fitted)}.")
    return lines + trained_on(scored.measurement)


def _clips(scored: Scored) -> str:
    if not scored.clips:
        return ""
    count = " or ".join(f"{number:,}" for number in scored.clips)
    shared = scored.clusters if scored.clusters and scored.clusters != scored.clips else []
    return f", {count} test clips" + "".join(f" in {number:,} cluster{'s' * (number > 1)}" for number in shared)


def forest(scored: Scored) -> Markup:
    """A row a kind: its runs, mean and interval, and its difference from the first."""
    ends = [
        value for score in scored.scores for value in (*score.values, score.low, score.high) if not math.isnan(value)
    ]
    ends += [] if scored.chance is None else [scored.chance]
    low, high = min(max(0.0, min(ends)), 0.99), min(1.0, max(ends))
    marks = ticks(100 * low, 100 * max(high, low + 0.01))
    first, last = max(0.0, marks[0]), min(100.0, marks[-1])

    def at(share: float) -> float:
        return round(100 * (min(max(100 * share, first), last) - first) / (last - first), 2)

    by_kind = {row.kind.name: row for row in scored.comparisons}
    rows = []
    for score in scored.scores:
        row: dict[str, Any] = {"name": score.kind.name, "swatch": swatch(score.kind), "mean": at(score.mean)}
        row |= {"colour": score.kind.number, "value": per_cent(score.mean), "interval": "one run"}
        row |= {"dots": [at(value) for value in score.values] if len(score.values) > 1 else [], "bar": None}
        if not math.isnan(score.low):
            row["bar"] = at(score.low), round(at(score.high) - at(score.low), 2)
            row["interval"] = span(score.low, score.high)
        rows.append(row | _gap(by_kind.get(score.kind.name), len(scored.scores)))
    shown = [(at(mark / 100), f"{mark:g}") for mark in marks if first <= mark <= last]
    chance = None if scored.chance is None else at(scored.chance)
    base = scored.scores[0].kind.name
    shown_as = {"score": "mAP" if scored.several_labels else "accuracy", "ticks": shown, "chance": chance}
    return Markup(_forest.render(name=scored.measurement.name, base=base, rows=rows, **shown_as))


def _gap(compared: Comparison | None, scores: int) -> dict[str, str]:
    if compared is None:
        return {"gap": "what the others are held against" if scores > 1 else "", "mark": ""}
    interval = f" [{points(compared.low)}, {points(compared.high)}]" if not math.isnan(compared.low) else ""
    test = f"p {p_text(compared.p_holm)}, {compared.how}" if compared.mark != "untested" else compared.why
    return {
        "gap": points(compared.difference) + interval,
        "mark": MARKS[compared.mark],
        "css": compared.mark,
        "test": test,
    }


def retrieval(measurement: Measurement, kinds: Sequence[Kind]) -> Markup:
    """A row a kind: means over its runs of what retrieval's result.json has, half-widths of Student's interval."""
    ways = (("audio_to_video", "sound to picture"), ("video_to_audio", "picture to sound"))
    figures = [
        (f"{direction}, own R@{k}, %", way, "pair", f"recall_at_{k}") for way, direction in ways for k in (1, 10)
    ] + [(f"{direction}, class R@1, %", way, "class", "recall_at_1") for way, direction in ways]
    medians = [(f"{direction}, own median rank", way, "pair", "median_rank") for way, direction in ways]
    rows: list[list[Any]] = []
    for kind in kinds:
        by_run: dict[Path, list[dict[str, Any]]] = {}
        for run, one in measurement.by_kind[kind.name]:
            by_run.setdefault(run.folder, []).append(one.result)
        cells = [
            _mean([scale * float(np.mean([r[way][level][name] for r in own])) for own in by_run.values()])
            for scale, columns in ((100, figures), (1, medians))
            for _, way, level, name in columns
        ]
        rows.append([kind.name, len(by_run), *cells])
    first = measurement.by_kind[kinds[0].name][0][1].result
    chance = first["chance"]
    rows.append(
        ["chance", "", *(per_cent(chance[level][name]) for _, _, level, name in figures)]
        + [f"{chance['pair']['median_rank']:.1f}" for _ in medians]
    )
    header = ["kind", "runs", *(row[0] for row in figures), *(row[0] for row in medians)]
    title = Markup("<h3>{}, {:,} clips</h3>").format(measurement.name, first["clips"])
    note = "Mean over runs, ± half the 95 % interval (Student's). Class R@1: the nearest clip is of the query's class."
    notes = [Markup('<p class="note">{}</p>').format(text) for text in (note, *trained_on(measurement))]
    return title + html.table(header, rows, css="retrieval") + Markup("").join(notes)


def _mean(values: list[float]) -> str:
    mean, half = mean_interval(values)
    return f"{mean:.1f}" + (f" ± {half:.1f}" if not math.isnan(half) else "")


def lead_of(measured: Sequence[Scored]) -> str:
    """The first measurement in one sentence: the best kind against the first."""
    if not measured:
        return "None of these runs has been evaluated yet."
    first = measured[0]
    base, best = first.scores[0], max(first.scores, key=lambda score: score.mean)
    name, count = first.measurement.name, len(first.scores)
    named = "a mean average precision" if first.several_labels else "an accuracy"
    lead = f"{name[0].upper()}{name[1:]}: "
    chance = "" if first.chance is None else f" (chance: {per_cent(first.chance)} %)"
    if count > 1 and all(per_cent(score.mean) == per_cent(best.mean) for score in first.scores):
        return f"{lead}all {count} kinds of run reach {named} of {per_cent(best.mean)} %{chance}; none is the best."
    lead += f"{best.kind.name} reaches {named} of {per_cent(best.mean)} %{chance}"
    if best is base:
        worse = sum(row.mark == "worse" for row in first.comparisons)
        return lead + (
            f", the highest mean; {worse} of {count - 1} others are shown to be worse." if count > 1 else "."
        )
    compared = next(row for row in first.comparisons if row.kind is best.kind)
    how = f", {points(compared.difference)} points against {base.kind.name}"
    if not math.isnan(compared.low):
        interval = f"{points(compared.low)} to {points(compared.high)}"
        how += f" (95 % interval {interval}, p {p_text(compared.p_holm)} after Holm)"
    return lead + how + ("." if compared.mark != "open" else "; a difference is not shown.")
