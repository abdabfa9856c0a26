"""From cells to a benchmark's table: means, paired differences from random, its claims; text, Markdown, CSV.

Rows of one run share fold and clips, so differences are taken run by run. Two runs of a fold share its test clips:
there are two intervals of each difference, over the runs, as if they were independent, and over the means of the folds,
which are. p-values over all rows are corrected by Holm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from avprep.shared import configs, store
from avtrain.evaluation.compare import p_text
from avtrain.evaluation.metrics import mean_interval
from avtrain.evaluation.significance import equivalence, holm, paired_t
from avtrain.reproduce import run_grid
from avtrain.reproduce.av_digits.rows import Row
from avtrain.reproduce.benchmark import comparisons
from avtrain.reproduce.benchmark.comparisons import MAIN, MARGIN, Comparison
from avtrain.runs.environment import environment

REFERENCE = "random"
WAYS = ("", " windows")
RETRIEVAL = ("pair R@1", "class R@1")

Line = dict[str, Any]
Claim = tuple[str, bool | None, str]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a benchmark's table shows."""

    rows: tuple[Row, ...]
    """all that there can be, in the table's order"""
    accuracies: tuple[str, ...]
    """columns; each is of whole clips and, as `... windows`, of windows"""
    folds: int
    """run s is of fold s mod folds"""
    links: Mapping[str, str] = field(default_factory=dict)
    """the clips of a row -> as shown; empty: all rows have the same clips, and there is no such column"""
    notes: tuple[str, ...]
    """below the table"""
    claims: Callable[[Sequence[Line], int], list[Claim]] = lambda lines, folds: []
    """(lines, folds) -> (claim, whether the figures bear it out, figures); None: they decide neither way"""
    comparisons: tuple[Comparison, ...] = ()
    """of rows of the first row's link, that were written down before the rows were run"""

    @property
    def columns(self) -> tuple[str, ...]:
        """Of scores."""
        return (*(name + way for name in self.accuracies for way in WAYS), *RETRIEVAL)

    @property
    def header(self) -> list[str]:
        """The names of all columns of the table."""
        link = ["link"] if self.links else []
        return ["row", *link, "runs", "updates", "batch", "same-class negatives", *GAPS, *self.columns]


GAPS = ("linear minus random", "p (Holm)", "over means of folds", "p (Holm)")


def summary(results: Sequence[dict[str, Any]], layout: Layout) -> list[Line]:
    """One line a row that has a cell, in the table's order; scores are shares.

    `scores`: by column mean, half (of Student's 95 % interval) and the values by run. `gap`: of the linear column, mean
    difference from random on the same clips with its 95 % interval and p over runs, None for random itself; `gap_folds`
    the same over the means of folds.
    """
    lines = []
    for row in layout.rows:
        cells = {cell["run"]: cell for cell in results if cell["name"] == row.name and cell["link"] == row.link}
        if not cells:
            continue
        first = next(iter(cells.values()))
        scores = {}
        for column in layout.columns:
            values = {run: cell["scores"][column] for run, cell in sorted(cells.items()) if column in cell["scores"]}
            if values:
                mean, half = mean_interval(list(values.values()))
                scores[column] = {"mean": mean, "half": _number(half), "by_run": values}
        negatives = [cell["same_class_negatives"] for cell in cells.values()]
        known = first["same_class_negatives"] is not None
        lines.append(
            {
                "name": row.name,
                "link": row.link,
                "kind": row.kind,
                "runs": len(cells),
                "updates": first["updates"],
                "batch_size": first["batch_size"],
                "same_class_negatives": float(np.mean(negatives)) if known else None,
                "scores": scores,
            }
        )
    _add_gaps(lines, layout.folds)
    return lines


def _add_gaps(lines: list[Line], folds: int) -> None:
    """Give each line its `gap` from random of the same link, run by run."""
    for name, units in (("gap", None), ("gap_folds", folds)):
        for line in lines:
            line[name] = gap(lines, line["name"], line["link"], units)
        gaps = [line[name] for line in lines if line[name]]
        corrected = holm(np.array([math.nan if one["p"] is None else one["p"] for one in gaps]))
        for one, p in zip(gaps, corrected, strict=True):
            one["p_holm"] = _number(float(p))


def gap(lines: Sequence[Line], name: str, link: str, folds: int | None = None) -> dict[str, Any] | None:
    """Row minus random of the same link, linear column: mean, low, high, p, over runs or over the means of `folds`.

    `equal`: p that it is not within MARGIN; `below`: that it is MARGIN or more. None where a row is missing.
    """
    by_name = {line["name"]: line["scores"].get(MAIN) for line in lines if line["link"] == link}
    mine, random = by_name.get(name), by_name.get(REFERENCE)
    if name == REFERENCE or mine is None or random is None:
        return None
    runs = np.array(sorted(mine["by_run"].keys() & random["by_run"].keys()))
    if not len(runs):
        return None
    sides = [np.array([side["by_run"][run] for run in runs]) for side in (random, mine)]
    if folds is not None:
        of_fold = [runs % folds == fold for fold in np.unique(runs % folds)]
        sides = [np.array([side[mine].mean() for mine in of_fold]) for side in sides]
    difference, tested = paired_t(*sides), equivalence(sides[0], sides[1], MARGIN)
    values = {key: _number(getattr(difference, key)) for key in ("mean", "low", "high", "p")}
    return {**values, "equal": _number(tested.p), "below": _number(tested.p_above), "units": len(sides[0])}


def write_table(out: Path, results: Sequence[dict[str, Any]], settings: Any, layout: Layout) -> list[Line]:
    """Write results.csv, results.json and table.md of the cells so far; returns the lines of `summary`."""
    lines = summary(results, layout)
    ordered = sorted(results, key=lambda cell: (cell["link"], cell["name"], cell["run"]))
    scores = [
        [cell["link"], cell["name"], cell["run"], column, f"{value:.6f}"]
        for cell in ordered
        for column, value in sorted(cell["scores"].items())  # as in the file of a cell that is read again
    ]
    store.write_bytes(
        out / "results.csv", run_grid.csv_text(["link", "row", "run", "column", "value"], scores).encode()
    )
    summed = {"settings": configs.to_dict(settings), "environment": environment(), "rows": lines}
    store.write_json(out / "results.json", summed)
    store.write_bytes(out / "table.md", markdown(lines, layout).encode())
    return lines


def cells_text(line: Line, layout: Layout) -> list[str]:
    """A line as text: row, link, runs, updates, batch, same-class negatives, gaps and p, the columns in per cent."""
    negatives = "" if line["same_class_negatives"] is None else f"{line['same_class_negatives']:.1f}"
    shown = [
        line["name"],
        *([layout.links[line["link"]]] if layout.links else []),
        str(line["runs"]),
        str(line["updates"] or ""),
        str(line["batch_size"] or ""),
        negatives,
        *(text for name in ("gap", "gap_folds") for text in _gap_and_p(line[name])),
    ]
    for column in layout.columns:
        score = line["scores"].get(column)
        half = "" if score is None or score["half"] is None else f" ± {100 * score['half']:.1f}"
        shown.append("" if score is None else f"{100 * score['mean']:.1f}{half}")
    return shown


def _gap_and_p(difference: dict[str, Any] | None) -> tuple[str, str]:
    if not difference:
        return "", ""
    return gap_text(difference), "" if difference["p_holm"] is None else p_text(difference["p_holm"])


def table_rows(lines: Sequence[Line], layout: Layout) -> list[list[str]]:
    """The lines as text, in the columns of layout.header."""
    return [cells_text(line, layout) for line in lines]


def markdown(lines: Sequence[Line], layout: Layout) -> str:
    """The table and the claims in Markdown."""
    header = layout.header
    table = run_grid.markdown([header, ["---"] * len(header), *table_rows(lines, layout)])
    claims = layout.claims(lines, layout.folds)
    judged = [f"- {claim}: {verdict(holds)} {figures}".rstrip() for claim, holds, figures in claims]
    planned = comparisons.markdown(lines, layout.comparisons, layout.rows[0].link)
    parts = [part for part in (table, judged, planned, [f"- {note}" for note in layout.notes]) if part]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def printed(lines: Sequence[Line], layout: Layout) -> str:
    """The table and the claims for a terminal."""
    table = run_grid.aligned([layout.header, *table_rows(lines, layout)])
    claims = layout.claims(lines, layout.folds)
    judged = [f"{verdict(holds)}: {claim} {figures}".rstrip() for claim, holds, figures in claims]
    parts = [part for part in (table, judged, list(layout.notes)) if part]
    return "\n\n".join("\n".join(part) for part in parts)


def verdict(holds: bool | None) -> str:
    """One word on a claim."""
    return {True: "holds", False: "DOES NOT HOLD", None: "open"}[holds]


def gap_text(difference: dict[str, Any]) -> str:
    """A difference in points with its interval."""
    if difference["low"] is None:
        return f"{100 * difference['mean']:+.1f}"
    return f"{100 * difference['mean']:+.1f} [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"


def _number(value: float) -> float | None:
    """JSON knows no nan."""
    return None if math.isnan(value) else value
