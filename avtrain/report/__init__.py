"""avtrain report: many runs as one self-contained page that needs no network, in light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from avprep.shared import html, store
from avtrain.compare import short_names
from avtrain.report import classes, curves, results, runs
from avtrain.report.examples import examples
from avtrain.report.gather import RETRIEVAL, kinds_of, measurements_of, name_of, open_datasets, read_run, with_seeds
from avtrain.report.scores import tell
from avtrain.report.style import STYLE


@dataclass(frozen=True)
class Reported:
    """What the page holds."""

    runs: int
    evaluations: int


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

    `datasets` are matched to runs by digest: retrieved examples and pair statistics need them, and say so where they
    are missing. With `folds`, datasets of the same classes are folds of one measurement, and pairs of tests. Errors:
    UserError where a folder is no run.
    """
    unique = list(dict.fromkeys(run for folder in folders for run in with_seeds(folder.resolve())))
    found = [read_run(folder, name) for folder, name in zip(unique, short_names(unique), strict=True)]
    opened = open_datasets(datasets)
    names = {digest: name_of(dataset) for digest, dataset in opened.items()}
    kinds = kinds_of(found, names, folds)
    measurements = measurements_of(kinds, names, folds)
    told = [tell(one, kinds, folds) for one in measurements if one.protocol != RETRIEVAL]
    recalls = [
        results.retrieval(one, [kind for kind in kinds if kind.name in one.by_kind])
        for one in measurements
        if one.protocol == RETRIEVAL
    ]
    sections = [
        ("Results", results.results(told)),
        *([("Retrieval", Markup("").join(recalls))] if recalls else []),
        ("What the runs retrieve", examples(kinds, opened, device)),
        ("Training", curves.charts(kinds)),
        ("Classes", classes.classes(told)),
        ("Confusion", classes.confusions(told)),
        ("Pairs", runs.plans(kinds, opened)),
        ("Runs", runs.table(kinds)),
        ("Settings and environment", runs.settings(kinds)),
    ]
    evaluations = sum(len(run.evaluations) for run in found)
    figures = [("runs", f"{len(found):,}"), ("kinds of run", f"{len(kinds):,}"), ("evaluations", f"{evaluations:,}")]
    figures += [("updates in all", f"{sum(run.updates for run in found):,}")]
    unfinished = sum(run.status not in ("done", "evaluation", "imported") for run in found)
    figures += [("not finished", f"{unfinished:,}")] if unfinished else []
    sections[0] = ("Results", runs.facts(figures) + sections[0][1])
    page = html.page(title, results.lead_of(told), sections, style=STYLE, contents=True, kind="report")
    store.write_bytes(out, page.encode())
    return Reported(len(found), evaluations)
