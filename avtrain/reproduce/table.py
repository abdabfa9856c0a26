"""From cells to the table of av-digits: means, paired differences from random, the claims; text, Markdown, CSV.

Rows of one run share fold and clips, so differences are taken run by run: Student's paired interval over the runs, and
p-values over all rows corrected by Holm. Runs share recordings with other runs of their fold, so intervals are of
these recordings and speakers, not of all.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avprep.shared import configs, store
from avtrain.metrics import mean_interval
from avtrain.provenance import environment
from avtrain.reproduce.rows import ENVELOPE, ROWS, UNLINKED
from avtrain.significance import holm, paired_t

if TYPE_CHECKING:
    from avtrain.reproduce.digits import DigitsSettings

MAIN = "linear"
REFERENCE = "random"
COLUMNS = (MAIN, "finetune", "esc10 linear", "esc10 finetune", "esc10 cut linear", "pair R@1", "class R@1")
CLAIMED_GAP, ALLOWED_GAP, CLAIMED_UPDATES = 0.10, 0.05, 600


def summary(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a row that has a cell, in the table's order; scores are shares.

    `scores`: by column mean, half (of Student's 95 % interval) and the values by run. `gap`: of the linear column, mean
    difference from random on the same clips with its 95 % interval and p, None for random itself.
    """
    lines = []
    for row in ROWS:
        cells = {cell["run"]: cell for cell in results if cell["name"] == row.name and cell["link"] == row.link}
        if not cells:
            continue
        first = next(iter(cells.values()))
        scores = {}
        for column in COLUMNS:
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
    _add_gaps(lines)
    return lines


def _add_gaps(lines: list[dict[str, Any]]) -> None:
    """Give each line its `gap` from random of the same link, run by run."""
    for line in lines:
        line["gap"] = gap(lines, line["name"], line["link"])
    told = [line["gap"] for line in lines if line["gap"]]
    corrected = holm(np.array([math.nan if found["p"] is None else found["p"] for found in told]))
    for found, p in zip(told, corrected, strict=True):
        found["p_holm"] = _number(float(p))


def gap(lines: Sequence[dict[str, Any]], name: str, link: str) -> dict[str, Any] | None:
    """Row minus random of the same link, linear column: mean, low, high, p, runs; None where one of them lacks."""
    found = {line["name"]: line["scores"].get(MAIN) for line in lines if line["link"] == link}
    mine, random = found.get(name), found.get(REFERENCE)
    if name == REFERENCE or mine is None or random is None:
        return None
    runs = sorted(mine["by_run"].keys() & random["by_run"].keys())
    if not runs:
        return None
    difference = paired_t(*(np.array([side["by_run"][run] for run in runs]) for side in (random, mine)))
    values = {key: _number(getattr(difference, key)) for key in ("mean", "low", "high", "p")}
    return {**values, "runs": len(runs)}


def claims(lines: Sequence[dict[str, Any]]) -> list[tuple[str, bool | None, str]]:
    """(claim, whether the figures bear it out, figures) of what is to be shown; None: cells or updates lack."""
    updates = max((line["updates"] for line in lines), default=0)
    soft = gap(lines, "soft-positive", ENVELOPE)
    shuffled = gap(lines, "soft-positive, shuffled labels", ENVELOPE)
    frozen = gap(lines, "frozen partner", UNLINKED)
    rests_on = (
        (
            "soft-positive beats random by 10 points or more, interval above 0",
            soft,
            lambda found: found["mean"] >= CLAIMED_GAP and found["low"] is not None and found["low"] > 0,
        ),
        ("with shuffled labels it is no better than random", shuffled, lambda found: not (found["low"] or 0) > 0),
        (
            "without the link, a frozen partner is within 5 points of random",
            frozen,
            lambda found: abs(found["mean"]) <= ALLOWED_GAP,
        ),
    )
    if updates < CLAIMED_UPDATES:
        return [
            (claim, None, f"{gap_text(found)} after {updates} updates, too few to tell" if found else "")
            for claim, found, _ in rests_on
        ]
    return [
        (claim, bool(holds(found)), gap_text(found)) if found else (claim, None, "") for claim, found, holds in rests_on
    ]


def write_table(out: Path, results: Sequence[dict[str, Any]], settings: DigitsSettings) -> list[dict[str, Any]]:
    """Write results.csv, results.json and table.md of the cells so far; returns the lines of `summary`."""
    lines = summary(results)
    ordered = sorted(results, key=lambda cell: (cell["link"], cell["name"], cell["run"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["link", "row", "run", "column", "value"])
    for cell in ordered:
        for column, value in cell["scores"].items():
            writer.writerow([cell["link"], cell["name"], cell["run"], column, f"{value:.6f}"])
    store.write_bytes(out / "results.csv", text.getvalue().encode())
    stands = {"settings": configs.to_dict(settings), "environment": environment(), "rows": lines}
    store.write_json(out / "results.json", stands)
    store.write_bytes(out / "table.md", markdown(lines).encode())
    return lines


def cells_text(line: dict[str, Any]) -> list[str]:
    """A line as text: row, link, runs, updates, batch, same-class negatives, gap, then the columns in per cent."""
    negatives = "" if line["same_class_negatives"] is None else f"{line['same_class_negatives']:.1f}"
    shown = [
        line["name"],
        {ENVELOPE: "on", UNLINKED: "off"}[line["link"]],
        str(line["runs"]),
        str(line["updates"] or ""),
        str(line["batch_size"] or ""),
        negatives,
        gap_text(line["gap"]) if line["gap"] else "",
    ]
    for column in COLUMNS:
        found = line["scores"].get(column)
        half = "" if found is None or found["half"] is None else f" ± {100 * found['half']:.1f}"
        shown.append("" if found is None else f"{100 * found['mean']:.1f}{half}")
    return shown


HEADER = ["row", "link", "runs", "updates", "batch", "same-class negatives", "linear minus random", *COLUMNS]


def markdown(lines: Sequence[dict[str, Any]]) -> str:
    """The table and the claims in Markdown."""
    rows = [HEADER, ["---"] * len(HEADER), *map(cells_text, lines)]
    said = [f"- {claim}: {verdict(held)} {figures}".rstrip() for claim, held, figures in claims(lines)]
    return "\n".join(["| " + " | ".join(row) + " |" for row in rows] + ["", *said]) + "\n"


def printed(lines: Sequence[dict[str, Any]]) -> str:
    """The table and the claims for a terminal."""
    rows = [HEADER, *map(cells_text, lines)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEADER))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    said = [f"{verdict(held)}: {claim} {figures}".rstrip() for claim, held, figures in claims(lines)]
    return "\n".join([*table, "", *said])


def verdict(held: bool | None) -> str:
    """One word on a claim."""
    return {True: "holds", False: "DOES NOT HOLD", None: "open"}[held]


def gap_text(found: dict[str, Any]) -> str:
    """A difference in points with its interval."""
    if found["low"] is None:
        return f"{100 * found['mean']:+.1f}"
    return f"{100 * found['mean']:+.1f} [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"


def _number(value: float) -> float | None:
    """JSON knows no nan."""
    return None if math.isnan(value) else value
