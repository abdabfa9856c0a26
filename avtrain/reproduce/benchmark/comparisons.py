"""Comparisons of rows that were written down before the rows were run, family by family; Holm within a family.

Each is a row minus another one, run by run, of the linear column on whole test clips, with Student's 95 % interval.
`alike` asks for equivalence within 5 points in place of a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avtrain.evaluation.compare import p_text
from avtrain.evaluation.significance import equivalence, holm, paired_t
from avtrain.reproduce import run_grid

MAIN = "linear"
MARGIN = 0.05
"""within which two rows are alike"""
HEADER = ["family", "row", "minus", "runs", "points", "p (Holm)"]


@dataclass(frozen=True)
class Comparison:
    """A row minus another one, by their names, or minus the mean of two: above 0, it is nearer to the better one."""

    family: str
    row: str
    minus: str
    alike: bool = False
    and_: str = ""
    """the second of the two"""


def compared(lines: Sequence[dict[str, Any]], comparisons: Sequence[Comparison], link: str) -> list[list[str]]:
    """Rows of text, one a comparison whose two rows of `link` are in `lines` (table.summary), as HEADER has it."""
    mine = [line for line in lines if MAIN in line["scores"] and line["link"] == link]
    scores = {line["name"]: line["scores"][MAIN]["by_run"] for line in mine}
    shown, p_values = [], []
    for one in comparisons:
        names = [one.row, one.minus, *filter(None, [one.and_])]
        sides = [scores.get(name, {}) for name in names]
        runs = sorted(set.intersection(*map(set, sides)))
        if len(runs) < 2:
            continue
        after, *others = (np.array([side[run] for run in runs]) for side in sides)
        before = np.mean(others, axis=0)
        difference = paired_t(before, after)
        points = f"{100 * difference.mean:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
        name = f"{one.family}, within {100 * MARGIN:g} points" if one.alike else one.family
        shown.append((one.family, [name, one.row, " and ".join(names[1:]), str(len(runs)), points]))
        p_values.append(equivalence(before, after, MARGIN).p if one.alike else difference.p)
    for family in {family for family, _ in shown}:
        where = [number for number, (one_of, _) in enumerate(shown) if one_of == family]
        for number, p in zip(where, holm(np.array([p_values[number] for number in where])), strict=True):
            shown[number][1].append(p_text(float(p)))
    return [row for _, row in shown]


def markdown(lines: Sequence[dict[str, Any]], comparisons: Sequence[Comparison], link: str) -> list[str]:
    """Lines of a Markdown table of the comparisons, none where there is none."""
    rows = compared(lines, comparisons, link)
    return run_grid.markdown([HEADER, ["---"] * len(HEADER), *rows]) if rows else []
