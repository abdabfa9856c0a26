"""From cells to the table of av-digits: means, paired differences from random, the claims; text, Markdown, CSV.

Rows of one run share fold and clips, so differences are taken run by run. Two runs of a fold share its test speakers:
there are two intervals of each difference, over the runs, as if they were independent, and over the means of the folds,
which are; the claims go by the latter. p-values over all rows are corrected by Holm. All of it is of these
recordings and speakers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avprep.shared import configs, store
from avtrain.evaluation.compare import p_text
from avtrain.evaluation.metrics import mean_interval
from avtrain.evaluation.significance import equivalence, holm, paired_t
from avtrain.reproduce import grid
from avtrain.reproduce.av_digits import comparisons
from avtrain.reproduce.av_digits.rows import CANDIDATES, ENVELOPE, FOLDS, ROWS, UNLINKED
from avtrain.runs.environment import environment

if TYPE_CHECKING:
    from avtrain.reproduce.av_digits.settings import DigitsSettings

MAIN = "linear"
REFERENCE = "random"
SHUFFLED = "soft-positive, shuffled labels"
ACCURACIES = (MAIN, "finetune", "esc10 linear", "esc10 finetune", "esc10 cut linear")
COLUMNS = (*(name + way for name in ACCURACIES for way in ("", " windows")), "pair R@1", "class R@1")
CLAIMED_GAP, MARGIN, CLAIMED_UPDATES = 0.10, 0.05, 600
LEVEL = 0.05


def summary(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a row that has a cell, in the table's order; scores are shares.

    `scores`: by column mean, half (of Student's 95 % interval) and the values by run. `gap`: of the linear column, mean
    difference from random on the same clips with its 95 % interval and p over runs, None for random itself; `gap_folds`
    the same over the means of folds.
    """
    lines = []
    for row in (*ROWS, *CANDIDATES):
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
    for name, folds in (("gap", False), ("gap_folds", True)):
        for line in lines:
            line[name] = gap(lines, line["name"], line["link"], folds)
        gaps = [line[name] for line in lines if line[name]]
        corrected = holm(np.array([math.nan if one["p"] is None else one["p"] for one in gaps]))
        for one, p in zip(gaps, corrected, strict=True):
            one["p_holm"] = _number(float(p))


def gap(lines: Sequence[dict[str, Any]], name: str, link: str, folds: bool = False) -> dict[str, Any] | None:
    """Row minus random of the same link, linear column: mean, low, high, p, over runs or over the means of folds.

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
    if folds:
        sides = [np.array([side[runs % FOLDS == fold].mean() for fold in np.unique(runs % FOLDS)]) for side in sides]
    difference, tested = paired_t(*sides), equivalence(sides[0], sides[1], MARGIN)
    values = {key: _number(getattr(difference, key)) for key in ("mean", "low", "high", "p")}
    return {**values, "equal": _number(tested.p), "below": _number(tested.p_above), "units": len(sides[0])}


def claims(lines: Sequence[dict[str, Any]]) -> list[tuple[str, bool | None, str]]:
    """(claim, whether the figures bear it out, figures) of what is to be shown.

    They are judged over the means of folds. None: the figures decide neither way, or cells or updates are missing. That
    there is no difference is shown by a test of equivalence within MARGIN, decided before anything was measured, and
    not by a difference that is not significant.
    """
    updates = max((line["updates"] for line in lines), default=0)
    margin = f"{100 * MARGIN:g} points"
    judged: list[tuple[str, bool | None, str]] = []
    for claim, name, link, test_holds, test in (
        ("soft-positive beats random by 10 points or more, interval above 0", "soft-positive", ENVELOPE, _beats, ""),
        (f"with shuffled labels it is less than {margin} better", SHUFFLED, ENVELOPE, _not_better, "below"),
        (f"without the link, a frozen partner is within {margin}", "frozen partner", UNLINKED, _alike, "equal"),
    ):
        over_runs, over_folds = (gap(lines, name, link, folds) for folds in (False, True))
        if over_runs is None or over_folds is None:
            judged.append((claim, None, ""))
        elif updates < CLAIMED_UPDATES:
            judged.append((claim, None, f"{gap_text(over_runs)} after {updates} updates, too few to judge"))
        else:
            p = over_folds.get(test)
            tested = "" if p is None else f", p {p_text(p)} by them"
            figures = f"{gap_text(over_runs)} over runs, {gap_text(over_folds)} over means of folds{tested}"
            judged.append((claim, test_holds(over_folds), figures))
    return judged


def _beats(difference: dict[str, Any]) -> bool:
    return bool(difference["mean"] >= CLAIMED_GAP and difference["low"] is not None and difference["low"] > 0)


def _not_better(difference: dict[str, Any]) -> bool | None:
    """Non-superiority: shown by a one-sided test, refuted by an interval above the margin, else undecided."""
    if difference["below"] is not None and difference["below"] < LEVEL:
        return True
    return False if (difference["low"] if difference["low"] is not None else difference["mean"]) > MARGIN else None


def _alike(difference: dict[str, Any]) -> bool | None:
    """Equivalence: shown by two one-sided tests, refuted by an interval outside the margin, else undecided."""
    if difference["equal"] is not None and difference["equal"] < LEVEL:
        return True
    low, high = (difference["mean"] if difference[end] is None else difference[end] for end in ("low", "high"))
    return False if low > MARGIN or high < -MARGIN else None


def write_table(out: Path, results: Sequence[dict[str, Any]], settings: DigitsSettings) -> list[dict[str, Any]]:
    """Write results.csv, results.json and table.md of the cells so far; returns the lines of `summary`."""
    lines = summary(results)
    ordered = sorted(results, key=lambda cell: (cell["link"], cell["name"], cell["run"]))
    scores = [
        [cell["link"], cell["name"], cell["run"], column, f"{value:.6f}"]
        for cell in ordered
        for column, value in cell["scores"].items()
    ]
    store.write_bytes(out / "results.csv", grid.csv_text(["link", "row", "run", "column", "value"], scores).encode())
    summed = {"settings": configs.to_dict(settings), "environment": environment(), "rows": lines}
    store.write_json(out / "results.json", summed)
    store.write_bytes(out / "table.md", markdown(lines).encode())
    return lines


def cells_text(line: dict[str, Any]) -> list[str]:
    """A line as text: row, link, runs, updates, batch, same-class negatives, gaps and p, the columns in per cent."""
    negatives = "" if line["same_class_negatives"] is None else f"{line['same_class_negatives']:.1f}"
    shown = [
        line["name"],
        {ENVELOPE: "on", UNLINKED: "off"}[line["link"]],
        str(line["runs"]),
        str(line["updates"] or ""),
        str(line["batch_size"] or ""),
        negatives,
        *(text for name in ("gap", "gap_folds") for text in _gap_and_p(line[name])),
    ]
    for column in COLUMNS:
        score = line["scores"].get(column)
        half = "" if score is None or score["half"] is None else f" ± {100 * score['half']:.1f}"
        shown.append("" if score is None else f"{100 * score['mean']:.1f}{half}")
    return shown


GAPS = ("linear minus random", "p (Holm)", "over means of folds", "p (Holm)")
HEADER = ["row", "link", "runs", "updates", "batch", "same-class negatives", *GAPS, *COLUMNS]
NOTES = (
    "Linear minus random: run by run with Student's 95 % interval; p corrected by Holm for all rows. Runs s and s + 3 "
    "are of one fold and share its two test speakers, so that over runs intervals are too narrow and p too small. Over "
    "means of folds they are not, but three values show little. The claims go by means of folds.",
    "Columns ... windows: the mean features of 8 windows of 1 s, the length that was fitted on, of each test clip; the "
    "others: whole test clips, which are longer.",
    "Finetuned: the epoch of least validation loss of as many as the settings ask. Supervised: the same updates as "
    "pretraining and finetuning together; longer: until the validation loss has not fallen for 100 epochs.",
)


def _gap_and_p(difference: dict[str, Any] | None) -> tuple[str, str]:
    if not difference:
        return "", ""
    return gap_text(difference), "" if difference["p_holm"] is None else p_text(difference["p_holm"])


def markdown(lines: Sequence[dict[str, Any]]) -> str:
    """The table and the claims in Markdown."""
    table = grid.markdown([HEADER, ["---"] * len(HEADER), *map(cells_text, lines)])
    judged = [f"- {claim}: {verdict(holds)} {figures}".rstrip() for claim, holds, figures in claims(lines)]
    planned = comparisons.markdown(lines)
    parts = [*table, "", *judged, "", *([*planned, ""] if planned else []), *(f"- {note}" for note in NOTES)]
    return "\n".join(parts) + "\n"


def printed(lines: Sequence[dict[str, Any]]) -> str:
    """The table and the claims for a terminal."""
    table = grid.aligned([HEADER, *map(cells_text, lines)])
    judged = [f"{verdict(holds)}: {claim} {figures}".rstrip() for claim, holds, figures in claims(lines)]
    return "\n".join([*table, "", *judged, "", *NOTES])


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
