"""The page of runs that go on: how far they are, their curves, their speed, pairs that they draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from markupsafe import Markup

from avprep.dataset import Dataset
from avprep.shared import html
from avprep.shared.errors import UserError
from avtrain.report import curves, runs
from avtrain.report.gather import Run
from avtrain.report.kinds import Kind, kinds_of, name_of
from avtrain.report.style import style_of
from avtrain.report.watch.pairs import Position, position_of, shown_pairs

MAX_KINDS = 4
STYLE = """
.drawn img { width: 100%; display: block; } .drawn img.sound { height: 7rem; margin-top: 2px; }
.drawn audio { width: 100%; height: 2.4rem; display: block; margin: .5rem 0; }
"""
SCRIPT = """
setTimeout(function again() {
  if ([...document.querySelectorAll("audio")].some(audio => !audio.paused)) setTimeout(again, 1000);
  else location.reload();
}, %d);
"""

Shown = dict[tuple[Path, Position], Markup]


def watch_page(
    read: Sequence[Run],
    skipped: Sequence[str],
    datasets: Mapping[str, Dataset],
    *,
    shown: Shown,
    root: Path | None,
    title: str,
    now: datetime,
    reload_seconds: float | None,
) -> str:
    """The whole page; `shown` keeps pairs from one page to the next. `reload_seconds` None: it stays as it is."""
    kinds = kinds_of(read, {digest: name_of(dataset) for digest, dataset in datasets.items()}, False)
    unfinished = sum(run.status == "unfinished" for run in read)
    figures = [("runs", f"{len(read):,}"), ("not ended", f"{unfinished:,}")]
    figures += [("updates in all", f"{sum(run.updates for run in read):,}"), ("as of", f"{now:%H:%M:%S}")]
    sections = [
        ("Runs", runs.facts(figures) + runs.table(kinds) + runs.left_out(skipped)),
        ("Training", curves.charts(kinds)),
        ("Speed", speeds(kinds)),
        ("Pairs", pairs(kinds, datasets, shown, root)),
    ]
    lead = f"As of {now:%Y-%m-%d %H:%M:%S}. "
    if reload_seconds:
        lead += f"The page loads itself again every {reload_seconds:g} s, and waits while a sound plays."
    else:
        lead += "Watching has ended, and the page stays as it is."
    return html.page(
        title,
        lead,
        sections,
        style=style_of(len(kinds)) + STYLE,
        script=SCRIPT % round(1000 * reload_seconds) if reload_seconds else "",
        refresh_seconds=reload_seconds,
        contents=True,
        kind="report",
    )


def speeds(kinds: Sequence[Kind]) -> Markup:
    """Pairs a second and the share of time waited for data, a line a run."""
    of_runs = [(kind, run, speed_of(run)) for kind in kinds for run in kind.runs if run.losses]
    of_runs = [one for one in of_runs if len(one[2][0])]
    if not of_runs:
        return html.paragraph("No run has logged an update yet.")
    rates = [curves.Line(kind, run, updates, rate) for kind, run, (updates, rate, _) in of_runs]
    waits = [curves.Line(kind, run, updates, share) for kind, run, (updates, _, share) in of_runs]
    charts = curves.chart("pairs a second", rates) + curves.chart("waited for data, %", waits)
    note = f"A point is the mean over 1/{curves.POINTS} of a run's updates, or one line of metrics.jsonl; without the "
    note += "time of validation."
    with_lines = [kind for kind in kinds if any(line.kind is kind for line in rates)]
    body = Markup('<div class="charts">{}</div><p class="note">{}</p>').format(charts, note)
    return curves.legend(with_lines) + body


def speed_of(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(updates made, pairs a second, time waited for data in %), float [points] each, over equal stretches of lines.

    `seconds` of metrics.jsonl counts from a process's start, so that it falls where another process went on.
    """
    x, pairs, seconds, waited, last = [], [], [], [], 0.0
    for line in run.losses:
        now = float(line.get("seconds", math.nan))
        seconds.append(now - last if now >= last else now)
        last = now
        pairs.append(runs.pairs_of(run, line))
        waited.append(float(line.get("waited_seconds", math.nan)))
        x.append(line["step"] + 1)
    columns = np.array([x, pairs, seconds, waited], np.float64)
    columns = columns[:, np.isfinite(columns).all(axis=0) & (columns[2] > 0)]
    cut = np.array_split(columns, max(1, min(curves.POINTS, columns.shape[1])), axis=1)
    means = [
        (part[0].mean(), part[1].sum() / part[2].sum(), 100 * part[3].sum() / part[2].sum())
        for part in cut
        if part.shape[1]
    ]
    updates, rates, shares = np.array(means, np.float64).reshape(-1, 3).T
    return updates, rates, shares


def pairs(kinds: Sequence[Kind], datasets: Mapping[str, Dataset], shown: Shown, root: Path | None) -> Markup:
    """A few pairs of the first run of each kind; or why there are none."""
    parts, missing = [], []
    chosen = [kind for kind in kinds if kind.runs[0].pretrained]
    for kind in chosen[:MAX_KINDS]:
        run = kind.runs[0]
        if run.dataset_digest not in datasets:
            missing.append(f"{kind.name}: needs its dataset ({run.dataset_digest[:8]}), given by --data DIR.")
            continue
        at = position_of(run)
        try:
            if (run.folder, at) not in shown:
                shown[run.folder, at] = shown_pairs(run, datasets[run.dataset_digest], at, root)
        except (UserError, OSError) as error:
            missing.append(f"{kind.name}: {error}")
            continue
        head = Markup("<h3>{}{}: epoch {:,}, batch {:,}</h3>").format(
            curves.swatch(kind), run.name, at.epoch + 1, at.step + 1
        )
        parts.append(head + shown[run.folder, at])
    missing += [f"{kind.name}: left out, {MAX_KINDS} kinds are shown." for kind in chosen[MAX_KINDS:]]
    notes = Markup("").join(Markup('<p class="note missing">{}</p>').format(text) for text in missing)
    if not parts:
        return notes or html.paragraph("No pretraining run is among these.")
    text = (
        "The first pairs of the batch that follows the newest checkpoint (of the first of the last epoch, once all "
        "are made): windows of pictures and of sound as they are drawn, mirrored ones mirrored, not augmented further."
    )
    return Markup('<p class="note">{}</p>').format(text) + Markup("").join(parts) + notes
