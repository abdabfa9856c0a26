"""The table of av-digits: its columns and notes, and the claims that its figures are to bear out.

All of it is of these recordings and speakers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from avprep.synthetic.spoken_digits import CORPORA
from avtrain.evaluation.compare import p_text
from avtrain.reproduce.av_digits.comparisons import COMPARISONS
from avtrain.reproduce.av_digits.rows import CANDIDATES, ENVELOPE, FOLDS, ROWS, UNLINKED
from avtrain.reproduce.benchmark.table import MAIN, MARGIN, Claim, Layout, Line, gap, gap_text

SHUFFLED = "soft-positive, shuffled labels"
CLAIMED_GAP, CLAIMED_UPDATES = 0.10, 600
LEVEL = 0.05


def claims(lines: Sequence[Line], folds: int = FOLDS) -> list[Claim]:
    """(claim, whether the figures bear it out, figures) of what is to be shown.

    They are judged over the means of folds. None: the figures decide neither way, or cells or updates are missing. That
    there is no difference is shown by a test of equivalence within MARGIN, decided before anything was measured, and
    not by a difference that is not significant.
    """
    updates = max((line["updates"] for line in lines), default=0)
    margin = f"{100 * MARGIN:g} points"
    judged: list[Claim] = []
    for claim, name, link, test_holds, test in (
        ("soft-positive beats random by 10 points or more, interval above 0", "soft-positive", ENVELOPE, _beats, ""),
        (f"with shuffled labels it is less than {margin} better", SHUFFLED, ENVELOPE, _not_better, "below"),
        (f"without the link, a frozen partner is within {margin}", "frozen partner", UNLINKED, _alike, "equal"),
    ):
        over_runs, over_folds = (gap(lines, name, link, units) for units in (None, folds))
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


LAYOUT = Layout(
    rows=(*ROWS, *CANDIDATES),
    accuracies=(MAIN, "finetune", "esc10 linear", "esc10 finetune", "esc10 cut linear"),
    folds=FOLDS,
    links={ENVELOPE: "on", UNLINKED: "off"},
    claims=claims,
    comparisons=COMPARISONS,
    notes=(
        "Linear minus random: run by run with Student's 95 % interval; p corrected by Holm for all rows. Runs s and "
        "s + 3 are of one fold and share its two test speakers, so that over runs intervals are too narrow and p too "
        "small. Over means of folds they are not, but three values show little. The claims go by means of folds.",
        "Columns ... windows: the mean features of 8 windows of 1 s, the length that was fitted on, of each test clip; "
        "the others: whole test clips, which are longer.",
        "Finetuned: the epoch of least validation loss of as many as the settings ask. Supervised: the same updates as "
        "pretraining and finetuning together; longer: until the validation loss has not fallen for 100 epochs.",
    ),
)


def layout_of(corpus: str) -> Layout:
    """The table of these recordings: LAYOUT, for more speakers than FSDD's with folds and a note of their own."""
    folds = CORPORA[corpus].folds
    if corpus == "fsdd":
        return LAYOUT
    note = (
        "Linear minus random: run by run with Student's 95 % interval; p corrected by Holm for all rows. Runs s and "
        f"s + {len(folds)} are of one fold and share its {len(folds[0])} test speakers. The claims go by means "
        "of folds."
    )
    return dataclasses.replace(LAYOUT, folds=len(folds), notes=(note, *LAYOUT.notes[1:]))
