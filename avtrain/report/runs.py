"""Sections of the runs themselves: how they ended, what time they took, their pairs, settings and environment."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from avprep.dataset import Dataset
from avprep.shared import html
from avprep.shared.configs import flat
from avprep.shared.errors import UserError
from avtrain.report.curves import swatch
from avtrain.report.gather import CHANGES, Run
from avtrain.report.kinds import Kind

_facts = html.template("""<dl class="facts">
{% for name, value in facts %}<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>
{% endfor %}</dl>
""")

_stack = html.template("""<span class="stack" role="img" aria-label="{{ caption }}">{% for share, colour in parts %}
<i style="width: {{ share }}%; background: {{ colour }}"></i>{% endfor %}</span>""")

STATUS = {
    "done": "done",
    "interrupted": "interrupted: the same command goes on",
    "user-error": "ended by a mistake in the call",
    "failed": "failed",
    "unfinished": "unfinished: still running, or killed",
    "evaluation": "evaluation without pretraining",
    "imported": "imported, not trained here",
}


def facts(pairs: Sequence[tuple[str, str]]) -> Markup:
    """A row of figures."""
    return Markup(_facts.render(facts=pairs))


def seconds_of(run: Run) -> tuple[float, float]:
    """(seconds of training, seconds of them waited for data) over all starts of a run that was resumed.

    `seconds` of metrics.jsonl counts from a process's start, so it falls where another process went on.
    """
    total = last = waited = 0.0
    for line in run.losses:
        now = float(line.get("seconds", math.nan))
        total += now - last if now >= last else now
        last = now
        waited += float(line.get("waited_seconds", math.nan))
    return (total, waited) if run.losses else (math.nan, math.nan)


def table(kinds: Sequence[Kind]) -> Markup:
    """A row a run: how it ended, updates, last loss, time, what share of it was waited for data."""
    header = ["run", "kind", "state", "updates", "last loss", "minutes", "pairs/s", "waited for data, %", "evaluations"]
    rows = []
    for kind in kinds:
        for run in kind.runs:
            seconds, waited = seconds_of(run)
            speed = _pairs(run) / seconds if seconds > 0 else math.nan
            evaluations = ", ".join(sorted({one.protocol for one in run.evaluations})) or "none yet"
            state = STATUS.get(run.status, run.status)
            if run.status in ("failed", "user-error") and run.ended.get("sentence"):
                state += f": {run.ended['sentence']}"
            state += ", changed (below)" if run.changes else ""
            rows.append(
                [
                    run.name,
                    Markup("{}{}").format(swatch(kind), kind.name),
                    state,
                    f"{run.updates:,}" if run.pretrained else "",
                    _figure(run.losses[-1]["loss"], 3) if run.losses else "",
                    _figure(seconds / 60, 1),
                    _figure(speed, 0),
                    _figure(100 * waited / seconds if seconds else math.nan, 1),
                    evaluations,
                ]
            )
    notes = [
        Markup('<p class="note">{} was changed while it was trained: {}.</p>').format(run.name, "; ".join(run.changes))
        for kind in kinds
        for run in kind.runs
        if run.changes
    ]
    notes += [
        Markup('<p class="note missing">{}: {} cannot be read.</p>').format(run.name, ", ".join(run.unreadable))
        for kind in kinds
        for run in kind.runs
        if run.unreadable
    ]
    return html.table(header, rows, css="state") + Markup("").join(notes)


def left_out(skipped: Sequence[str]) -> Markup:
    """A line on each folder or file that was given and is no run."""
    return Markup("").join(Markup('<p class="note missing">Left out: {}</p>').format(text) for text in skipped)


def _pairs(run: Run) -> int:
    """Pairs of all updates."""
    return sum(pairs_of(run, line) for line in run.losses)


def pairs_of(run: Run, line: Mapping[str, Any]) -> int:
    """Pairs of the updates of a line of metrics.jsonl; one without its own had as many as there can be."""
    return int(line.get("pairs", run.config.get("batch_size", 0) * run.config.get("accumulate", 1)))


def _figure(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:,.{digits}f}"


def plans(kinds: Sequence[Kind], datasets: Mapping[str, Dataset]) -> Markup:
    """A row a kind: its pairs as in `avtrain plan`; or that the dataset was not given."""
    rows, missing = [], []
    for kind in kinds:
        run = kind.runs[0]
        if not run.pretrained:
            continue
        if run.dataset_digest not in datasets:
            missing.append(f"{kind.name}: needs its dataset ({run.dataset_digest[:8]}), given by --data DIR.")
            continue
        try:
            rows.append(_plan_row(kind, survey_of(run, datasets[run.dataset_digest])))
        except (UserError, OSError) as error:
            missing.append(f"{kind.name}: {error}")
    header = ["kind", "exact | soft | exact, as no other clip has the label", "exact, %", "soft, %", "no other, %"]
    header += ["own class among negatives", "soft pairs of one class, %", "updates an epoch", "kB a pair"]
    notes = Markup("").join(Markup('<p class="note missing">{}</p>').format(text) for text in missing)
    if not rows:
        return notes or html.paragraph("No pretraining run is among these.")
    note = (
        "As 'avtrain plan' prints it. Exact: a sound with its own picture; soft: with another clip's of its label. Own "
        "class among negatives: pictures of the sound's own class that the loss pushes away, mean for a sound."
    )
    return html.table(header, rows, css="plans") + Markup('<p class="note">{}</p>').format(note) + notes


def survey_of(run: Run, dataset: Dataset) -> dict[str, Any]:
    """The survey of `avtrain plan` by the run's settings. Errors: UserError."""
    from avtrain.config import PlanConfig
    from avtrain.data.plan_survey import survey

    names = ["strategy", "labels", "batch_size", "accumulate", "epochs", "val_share", "seed"]
    names += ["window_frames", "frame_stride", "audio_seconds"]
    return survey(dataset, PlanConfig(**{name: run.config[name] for name in names if name in run.config}))


def _plan_row(kind: Kind, planned: dict[str, Any]) -> list[Any]:
    shares = [planned["pair_shares"][name] for name in ("exact", "soft", "fallback")]
    of_one_class = planned["soft_pairs_of_one_true_class"]
    colours = ("var(--ink)", "var(--soft)", "var(--line)")  # kinds alone have hues
    bars = [(round(100 * share, 2), colour) for share, colour in zip(shares, colours, strict=True)]
    caption = ", ".join(
        f"{name} {100 * s:.1f} %" for name, s in zip(("exact", "soft", "for want"), shares, strict=True)
    )
    return [
        Markup("{}{}").format(swatch(kind), kind.name),
        Markup(_stack.render(parts=bars, caption=caption)),
        *(f"{100 * share:.1f}" for share in shares),
        f"{planned['same_class_negatives_per_anchor']:.2f}",
        "" if of_one_class is None else f"{100 * of_one_class:.1f}",
        f"{planned['updates'] // planned['config']['epochs']:,}",
        f"{planned['bytes_per_pair'] / 1000:,.1f}",
    ]


def settings(kinds: Sequence[Kind]) -> Markup:
    """Settings and environment: what is the same for all runs once, what differs by run."""
    runs = [run for kind in kinds for run in kind.runs if run.config]
    if not runs:
        return html.paragraph("No pretraining run is among these.")
    parts = []
    for title, leaves in (
        ("Settings", [_settings(run) for run in runs]),
        ("Environment", [flat(run.environment) for run in runs]),
    ):
        names = list(dict.fromkeys(name for own in leaves for name in own))
        same = [name for name in names if len({json.dumps(own.get(name), default=str) for own in leaves}) == 1]
        other = [name for name in names if name not in same]
        parts.append(Markup("<h3>{}</h3>").format(title))
        if not names:
            parts.append(html.paragraph("Not recorded by these runs."))
        if other:
            rows = [
                [run.name, *(_shown(own.get(name)) for name in other)] for run, own in zip(runs, leaves, strict=True)
            ]
            parts.append(html.table(["run", *(name.replace("_", " ") for name in other)], rows, css="differing"))
        if same:
            rows = [[name.replace("_", " "), _shown(leaves[0][name])] for name in same]
            parts.append(html.table(["the same for all", "value"], rows, css="text same"))
    return Markup("").join(parts)


def _settings(run: Run) -> dict[str, Any]:
    """The settings that hold at the end, and the dataset's digest."""
    return {name: value for name, value in flat(run.config).items() if name != CHANGES} | {
        "dataset digest": run.dataset_digest
    }


def _shown(value: object) -> str:
    return "none" if value in (None, "") else str(value)
