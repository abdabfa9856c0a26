"""avtrain report: many runs as one self-contained page that needs no network, in light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from avprep.shared import html, store
from avtrain.report import classes, curves, results, runs
from avtrain.report.examples import examples
from avtrain.report.gather import RETRIEVAL, read_runs
from avtrain.report.kinds import kinds_of, measurements_of, name_of, open_datasets
from avtrain.report.scores import scored
from avtrain.report.style import style_of


@dataclass(frozen=True)
class Reported:
    """What the page holds."""

    runs: int
    evaluations: int
    skipped: list[str]
    """why a folder or file is not on it"""


def write_report(
    folders: Sequence[Path],
    out: Path,
    *,
    datasets: Sequence[Path | str] = (),
    folds: bool = False,
    title: str = "Pretraining runs",
    device: str = "cpu",
) -> Reported:
    """Write the page `out` of run folders (or evaluations without a run); the first one's kind is the base of tests.

    `datasets` are matched to runs by digest: retrieved examples and pair statistics need them; the page names those
    that are missing. With `folds`, datasets of the same classes are folds of one measurement, and pairs of tests. What
    is no run is skipped and named on the page. Errors: UserError where a folder does not exist, or none is a run.
    """
    read, skipped = read_runs(folders)
    opened = open_datasets(datasets)
    names = {digest: name_of(dataset) for digest, dataset in opened.items()}
    kinds = kinds_of(read, names, folds)
    measurements = measurements_of(kinds, names, folds)
    measured = [scored(one, kinds, folds) for one in measurements if one.protocol != RETRIEVAL]
    recalls = [
        results.retrieval(one, [kind for kind in kinds if kind.name in one.by_kind])
        for one in measurements
        if one.protocol == RETRIEVAL
    ]
    sections = [
        ("Results", results.results(measured)),
        *([("Retrieval", Markup("").join(recalls))] if recalls else []),
        ("What the runs retrieve", examples(kinds, opened, device)),
        ("Training", curves.charts(kinds)),
        ("Classes", classes.classes(measured)),
        ("Confusion", classes.confusions(measured)),
        ("Pairs", runs.plans(kinds, opened)),
        ("Runs", runs.table(kinds) + runs.left_out(skipped)),
        ("Settings and environment", runs.settings(kinds)),
    ]
    evaluations = sum(len(run.evaluations) for run in read)
    figures = [("runs", f"{len(read):,}"), ("kinds of run", f"{len(kinds):,}"), ("evaluations", f"{evaluations:,}")]
    figures += [("updates in all", f"{sum(run.updates for run in read):,}")]
    unfinished = sum(run.status not in ("done", "evaluation", "imported") for run in read)
    figures += [("not finished", f"{unfinished:,}")] if unfinished else []
    sections[0] = ("Results", runs.facts(figures) + sections[0][1])
    style = style_of(len(kinds))
    page = html.page(title, results.lead_of(measured), sections, style=style, contents=True, kind="report")
    store.write_bytes(out, page.encode())
    return Reported(len(read), evaluations, skipped)
