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
from avtrain.report.gather import Kind, Measurement
from avtrain.report.scores import LEVEL, Comparison, Told

MARKS = {"better": "▲", "worse": "▼", "open": "○", "untested": "-"}
KEY = (
    "A filled dot is the mean of a kind's runs, open dots its runs, whiskers the 95 % interval: Student's over runs, "
    "or over clips (by cluster where clips share 8 or more) where there is one run. ▲ better, ▼ worse than the first "
    f"row, ○ no difference shown: p below {LEVEL:g} after Holm's correction for all rows of the figure. - no "
    "test possible."
)

_forest = html.template("""<div class="forest" data-measurement="{{ name }}">
<div class="row"><span class="head"></span><span class="head">accuracy, %</span>
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


def per_cent(share: float | None) -> str:
    """A share with one digit."""
    return "" if share is None or math.isnan(share) else f"{100 * share:.1f}"


def span(low: float, high: float) -> str:
    """An interval of shares, '' where there is none."""
    return "" if math.isnan(low) else f"{per_cent(low)} to {per_cent(high)}"


def results(told: Sequence[Told]) -> Markup:
    """Every measurement: a forest plot, every run, run by run on the same clips."""
    if not told:
        return html.paragraph("No run has been evaluated yet; 'avtrain evaluate DIR --run RUN' does.")
    parts = [Markup('<p class="note">{}</p>').format(KEY)]
    for one in told:
        parts.append(Markup("<h3>{}{}</h3>").format(one.measurement.name, _clips(one)))
        parts.append(forest(one))
        parts += [Markup('<p class="note">{}</p>').format(text) for text in notes(one)]
        parts.append(details("Every run", every_run(one)))
        heard = audible(one)
        if heard:
            parts.append(details("What is audible", heard, opened=True))
        if one.pairs:
            parts.append(details("Run by run on the same test clips", run_by_run(one)))
    return Markup("").join(parts)


def notes(told: Told) -> list[str]:
    """What chance would score, and test clips of classes that were never fitted."""
    found = []
    if told.chance is not None:
        found.append(f"Grey dashes: chance, {per_cent(told.chance)} %, is to name the most frequent test class always.")
    unfitted = [run.result.get("unfitted") for rows in told.measurement.by_kind.values() for _, run in rows]
    said = {json.dumps([one["classes"], one["clips"], one["fitted_clips"]]) for one in unfitted if one and one["clips"]}
    for text in sorted(said):
        names, clips, fitted = json.loads(text)
        found.append(f"{sentence_of({'classes': names, 'clips': clips}, clips + fitted)}.")
    return found


def _clips(told: Told) -> str:
    if not told.clips:
        return ""
    count = " or ".join(f"{number:,}" for number in told.clips)
    shared = told.clusters if told.clusters and told.clusters != told.clips else []
    return f", {count} test clips" + "".join(f" in {number:,} cluster{'s' * (number > 1)}" for number in shared)


def forest(told: Told) -> Markup:
    """A row a kind: its runs, mean and interval, and how it stands to the first."""
    ends = [value for score in told.scores for value in (*score.values, score.low, score.high) if not math.isnan(value)]
    ends += [] if told.chance is None else [told.chance]
    low, high = min(max(0.0, min(ends)), 0.99), min(1.0, max(ends))
    marks = ticks(100 * low, 100 * max(high, low + 0.01))
    first, last = max(0.0, marks[0]), min(100.0, marks[-1])

    def at(share: float) -> float:
        return round(100 * (min(max(100 * share, first), last) - first) / (last - first), 2)

    by_kind = {row.kind.name: row for row in told.comparisons}
    rows = []
    for score in told.scores:
        row: dict[str, Any] = {"name": score.kind.name, "swatch": swatch(score.kind), "mean": at(score.mean)}
        row |= {"colour": score.kind.place, "value": per_cent(score.mean), "interval": "one run"}
        row |= {"dots": [at(value) for value in score.values] if len(score.values) > 1 else [], "bar": None}
        if not math.isnan(score.low):
            row["bar"] = at(score.low), round(at(score.high) - at(score.low), 2)
            row["interval"] = span(score.low, score.high)
        rows.append(row | _gap(by_kind.get(score.kind.name), len(told.scores)))
    shown = [(at(mark / 100), f"{mark:g}") for mark in marks if first <= mark <= last]
    chance = None if told.chance is None else at(told.chance)
    base = told.scores[0].kind.name
    return Markup(_forest.render(name=told.measurement.name, base=base, rows=rows, ticks=shown, chance=chance))


def _gap(found: Comparison | None, scores: int) -> dict[str, str]:
    if found is None:
        return {"gap": "what the others are held against" if scores > 1 else "", "mark": ""}
    said = f" [{points(found.low)}, {points(found.high)}]" if not math.isnan(found.low) else ""
    test = f"p {p_text(found.p_holm)}, {found.how}" if found.mark != "untested" else found.why
    return {"gap": points(found.difference) + said, "mark": MARKS[found.mark], "css": found.mark, "test": test}


def every_run(told: Told) -> Markup:
    """A row an evaluation, figures as in its result.json."""
    header = ["run", "kind", "seed", "accuracy, %", "95 % interval", "top 5, %", "mAP, %", "balanced, %", "test clips"]
    header += ["at update"]
    rows = []
    for score in told.scores:
        for run, one in told.measurement.by_kind[score.kind.name]:
            result = one.result
            rows.append(
                [
                    run.name,
                    score.kind.name,
                    run.seed,
                    per_cent(result["accuracy"]),
                    span(*result.get("interval_95", (math.nan, math.nan))),
                    *(per_cent(result.get(name)) for name in ("top_5", "mean_average_precision", "balanced_accuracy")),
                    f"{result['test_clips']:,}" if "test_clips" in result else "",
                    f"{result['step']:,}" if "step" in result else "",
                ]
            )
    return html.table(header, rows, css="runs")


def audible(told: Told) -> Markup:
    """A row an evaluation that was told which labels can be heard, figures as in its result.json; '' without any."""
    header = ["run", "kind", "by column", "accuracy, %", "95 % interval", "clips"]
    header += ["hit, %", "95 % interval of hit", "clips for hit"]
    rows = []
    for score in told.scores:
        for run, one in told.measurement.by_kind[score.kind.name]:
            found = one.result.get("audible")
            if found:
                accuracy = per_cent(found["accuracy"]), span(*found["interval_95"]), f"{found['clips']:,}"
                hit = per_cent(found["hit"]), span(*found["hit_interval_95"]), f"{found['hit_clips']:,}"
                rows.append([run.name, score.kind.name, found["column"], *accuracy, *hit])
    if not rows:
        return Markup("")
    note = (
        "Accuracy on the test clips whose own label is audible by the column; hit: share of predictions among "
        "a clip's audible labels, of clips that have any. Intervals over clips, by cluster where clips share 8 or more."
    )
    return html.table(header, rows, css="audible") + Markup('<p class="note">{}</p>').format(note)


def run_by_run(told: Told) -> Markup:
    """A row a pair of runs of one seed (fold) on the same clips."""
    header = ["run", "against", "difference, points", "95 % interval", "right in one alone", "p exact", "p Holm"]
    rows = []
    for pair in told.pairs:
        found = pair.found
        table = found["mcnemar"]
        low, high = found["difference_95"]
        rows.append(
            [
                pair.second.name,
                pair.first.name,
                points(found["difference"]),
                f"{points(low)} to {points(high)}",
                f"{table['second_only']:,} : {table['first_only']:,}",
                p_text(found["p"]),
                p_text(pair.p_holm),
            ]
        )
    grouped = any(pair.found["unit"] == "clusters" for pair in told.pairs)
    how = (
        "Interval: paired bootstrap over clusters of clips; p: exact sign flips by cluster."
        if grouped
        else "Interval: paired bootstrap over clips; p: McNemar's exact test."
    )
    note = f"{how} Holm's correction is for the {len(told.pairs)} rows of this table."
    return html.table(header, rows, css="pairs-of-runs") + Markup('<p class="note">{}</p>').format(note)


def retrieval(measurement: Measurement, kinds: Sequence[Kind]) -> Markup:
    """A row a kind: means over its runs of what retrieval's result.json has, half-widths of Student's interval."""
    ways = (("audio_to_video", "sound to picture"), ("video_to_audio", "picture to sound"))
    figures = [(f"{said}, own R@{k}, %", way, "pair", f"recall_at_{k}") for way, said in ways for k in (1, 10)] + [
        (f"{said}, class R@1, %", way, "class", "recall_at_1") for way, said in ways
    ]
    medians = [(f"{said}, own median rank", way, "pair", "median_rank") for way, said in ways]
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
    return title + html.table(header, rows, css="retrieval") + Markup('<p class="note">{}</p>').format(note)


def _mean(values: list[float]) -> str:
    mean, half = mean_interval(values)
    return f"{mean:.1f}" + (f" ± {half:.1f}" if not math.isnan(half) else "")


def lead_of(told: Sequence[Told]) -> str:
    """The first measurement in one sentence: the best kind against the first."""
    if not told:
        return "None of these runs has been evaluated yet."
    first = told[0]
    base, best = first.scores[0], max(first.scores, key=lambda score: score.mean)
    name, count = first.measurement.name, len(first.scores)
    said = f"{name[0].upper()}{name[1:]}: "
    chance = "" if first.chance is None else f" (chance: {per_cent(first.chance)} %)"
    if count > 1 and all(per_cent(score.mean) == per_cent(best.mean) for score in first.scores):
        return f"{said}all {count} kinds of run reach an accuracy of {per_cent(best.mean)} %{chance}; none is the best."
    said += f"{best.kind.name} reaches an accuracy of {per_cent(best.mean)} %{chance}"
    if best is base:
        worse = sum(row.mark == "worse" for row in first.comparisons)
        return said + (
            f", the highest mean; {worse} of {count - 1} others are shown to be worse." if count > 1 else "."
        )
    found = next(row for row in first.comparisons if row.kind is best.kind)
    how = f", {points(found.difference)} points against {base.kind.name}"
    if not math.isnan(found.low):
        how += f" (95 % interval {points(found.low)} to {points(found.high)}, p {p_text(found.p_holm)} after Holm)"
    return said + how + ("." if found.mark != "open" else "; a difference is not shown.")
