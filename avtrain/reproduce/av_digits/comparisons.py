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
from avtrain.reproduce import grid
from avtrain.reproduce.av_digits.rows import ENVELOPE

MAIN, MARGIN = "linear", 0.05
HEADER = ["family", "row", "minus", "runs", "points", "p (Holm)"]
RANDOM, SOFT = "random, SpecAugment", "soft-positive, SpecAugment"


@dataclass(frozen=True)
class Comparison:
    """A row minus another one, by their names (link on)."""

    family: str
    row: str
    minus: str
    alike: bool = False


COMPARISONS = (
    Comparison("right labels", SOFT, "soft-positive"),
    Comparison("right labels", SOFT, RANDOM),
    Comparison("few labels", "soft-positive, 50 % labelled, others skipped, SpecAugment", SOFT, alike=True),
    Comparison("few labels", "soft-positive, 50 % labelled, others skipped, SpecAugment", RANDOM),
    Comparison("few labels", "soft-positive, 25 % labelled, others skipped, SpecAugment", RANDOM),
    Comparison("few labels", "soft-positive, 10 % labelled, others skipped, SpecAugment", RANDOM),
    Comparison("few labels", "soft-positive, 25 % labelled, others negatives, SpecAugment", RANDOM),
    Comparison("few labels", "soft-positive, 25 % labelled, others exact, SpecAugment", RANDOM),
    Comparison("wrong labels", "soft-positive, 30 % label noise, SpecAugment", SOFT),
    Comparison("wrong labels", "soft-positive, 30 % label noise, SpecAugment", RANDOM),
    Comparison("controls", "soft-positive, shuffled labels, SpecAugment", RANDOM),
    Comparison("controls", RANDOM, "random"),
)


def compared(lines: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Rows of text, one a comparison whose two rows are in `lines` (table.summary), as HEADER has it."""
    scores = {line["name"]: line["scores"][MAIN]["by_run"] for line in lines if MAIN in line["scores"] and on(line)}
    shown, p_values = [], []
    for one in COMPARISONS:
        mine, other = scores.get(one.row), scores.get(one.minus)
        if mine is None or other is None or len(mine.keys() & other.keys()) < 2:
            continue
        runs = sorted(mine.keys() & other.keys())
        before, after = (np.array([side[run] for run in runs]) for side in (other, mine))
        difference = paired_t(before, after)
        points = f"{100 * difference.mean:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
        name = f"{one.family}, within {100 * MARGIN:g} points" if one.alike else one.family
        shown.append((one.family, [name, one.row, one.minus, str(len(runs)), points]))
        p_values.append(equivalence(before, after, MARGIN).p if one.alike else difference.p)
    for family in {family for family, _ in shown}:
        where = [number for number, (its, _) in enumerate(shown) if its == family]
        for number, p in zip(where, holm(np.array([p_values[number] for number in where])), strict=True):
            shown[number][1].append(p_text(float(p)))
    return [row for _, row in shown]


def on(line: dict[str, Any]) -> bool:
    """Whether a line of the table is of the clips in which the digit follows the sound."""
    return bool(line["link"] == ENVELOPE)


def markdown(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of a Markdown table of the comparisons, none where there is none."""
    rows = compared(lines)
    return grid.markdown([HEADER, ["---"] * len(HEADER), *rows]) if rows else []
