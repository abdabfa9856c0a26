"""The scores of a measurement: one a kind of run with its interval, and tests against the first kind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from avprep.shared.errors import UserError
from avtrain.evaluation.compare import NO_SPREAD, compare_predictions
from avtrain.evaluation.metrics import mean_interval
from avtrain.evaluation.significance import holm, paired_t
from avtrain.report.gather import Evaluation, Run
from avtrain.report.kinds import Kind, Measurement

LEVEL = 0.05


@dataclass
class Score:
    """Accuracy of one kind: mean over its runs; interval Student's over runs, or that of the one run over clips."""

    kind: Kind
    mean: float
    low: float
    high: float
    values: list[float]
    """of each run (of each fold: mean over its seeds)"""
    units: list[str]
    """which seed or fold each value is of"""


@dataclass
class Comparison:
    """A kind against the first one, in shares of clips; p is nan where no test can be made, which `why` explains."""

    kind: Kind
    difference: float
    low: float
    high: float
    p: float
    how: str
    why: str = ""
    p_holm: float = math.nan

    @property
    def mark(self) -> str:
        """`better`, `worse`, `open` (not shown to differ), `untested`."""
        if math.isnan(self.p_holm):
            return "untested"
        if self.p_holm >= LEVEL:
            return "open"
        return "better" if self.difference > 0 else "worse"


@dataclass
class PairOfRuns:
    """Two runs of one seed (fold) on the same clips, compared as by `avtrain compare`."""

    kind: Kind
    first: Run
    second: Run
    unit: str
    compared: dict[str, Any]
    p_holm: float = math.nan


@dataclass
class Scored:
    """All scores of a measurement; comparisons are against the first of them."""

    measurement: Measurement
    scores: list[Score]
    comparisons: list[Comparison]
    pairs: list[PairOfRuns]

    @property
    def clips(self) -> list[int]:
        """Test clips, each number once."""
        return sorted({int(one.result["test_clips"]) for _, one in self._evaluations if "test_clips" in one.result})

    @property
    def clusters(self) -> list[int]:
        """Clusters of the test clips, each number once."""
        known = [one.result.get("test_clusters", one.result.get("test_groups")) for _, one in self._evaluations]
        return sorted({int(count) for count in known if count is not None})

    @property
    def chance(self) -> float | None:
        """Share of the most frequent test class, the greatest where datasets are folds; None where no result has it.

        Of several labels a clip: the mean share of a class, which is the average precision of a random order.
        """
        if self.several_labels:
            tested = [(one.result["per_class"], one.result["test_clips"]) for _, one in self._evaluations]
            shares = [[row["clips"] / clips for row in rows if row["clips"]] for rows, clips in tested]
            return max((float(np.mean(own)) for own in shares if own), default=None)
        counts = [[row["clips"] for row in one.result.get("per_class", [])] for _, one in self._evaluations]
        return max((max(own) / sum(own) for own in counts if sum(own)), default=None)

    @property
    def several_labels(self) -> bool:
        """Whether clips have any number of labels, so that scores are mean average precisions."""
        return any(one.several_labels for _, one in self._evaluations)

    @property
    def _evaluations(self) -> list[tuple[Run, Evaluation]]:
        return [row for rows in self.measurement.by_kind.values() for row in rows]


def trained_on(measurement: Measurement) -> list[str]:
    """A sentence a kind of run that was trained on test clips, or of which that is not known."""
    sentences = []
    for name, rows in measurement.by_kind.items():
        records = [one.result["seen_in_training"] for _, one in rows if "seen_in_training" in one.result]
        clips, share = max(((record["clips"] or 0, record["share"] or 0.0) for record in records), default=(0, 0.0))
        if clips:
            sentences.append(
                f"{name}: {clips:,} of the test clips ({100 * share:.1f} %) are among the clips that "
                "the encoder was trained on; the scores are not those of clips that it has not seen."
            )
        elif any(record["known"] != "all" for record in records):
            sentences.append(f"{name}: whether the encoder was trained on test clips is not known.")
    return sentences


def unit_of(run: Run, one: Evaluation, folds: bool) -> str:
    """What is paired between kinds: the seed of the run, or the dataset that is a fold."""
    return f"fold {one.dataset_digest[:8]}" if folds else f"seed {run.seed}"


def scored(measurement: Measurement, kinds: list[Kind], folds: bool) -> Scored:
    """Scores in the order of `kinds`, and the tests of each against the first that was measured."""
    mine = [kind for kind in kinds if kind.name in measurement.by_kind]
    by_unit = {kind.name: _by_unit(measurement.by_kind[kind.name], folds) for kind in mine}
    scores = [_score(kind, by_unit[kind.name]) for kind in mine]
    comparisons, pairs = [], []
    for kind, score in zip(mine[1:], scores[1:], strict=True):
        ours, theirs = by_unit[kind.name], by_unit[mine[0].name]
        shared = [unit for unit in theirs if unit in ours]
        of_kind, why = _pairs(kind, shared, theirs, ours)
        pairs += of_kind
        comparisons.append(_compare(kind, scores[0], score, shared, of_kind, why))
    for comparison, corrected in zip(comparisons, holm(np.array([row.p for row in comparisons])), strict=True):
        comparison.p_holm = float(corrected)
    for pair, corrected in zip(pairs, holm(np.array([row.compared["p"] for row in pairs])), strict=True):
        pair.p_holm = float(corrected)
    return Scored(measurement, scores, comparisons, pairs)


Units = dict[str, list[tuple[Run, Evaluation]]]


def _by_unit(rows: list[tuple[Run, Evaluation]], folds: bool) -> Units:
    units: Units = {}
    for run, one in rows:
        units.setdefault(unit_of(run, one, folds), []).append((run, one))
    return units


def _score(kind: Kind, units: Units) -> Score:
    values = [float(np.mean([one.score for _, one in rows])) for rows in units.values()]
    mean, half = mean_interval(values)
    low, high = (mean + side * half for side in (-1, 1))
    if not math.isnan(half):
        low, high = max(low, 0.0), min(high, 1.0)  # where an accuracy can be
    if len(values) == 1 and len(only := next(iter(units.values()))) == 1:
        low, high = only[0][1].result.get("interval_95") or [math.nan, math.nan]
    return Score(kind, mean, low, high, values, list(units))


def _pairs(kind: Kind, shared: list[str], theirs: Units, ours: Units) -> tuple[list[PairOfRuns], str]:
    pairs = []
    for unit in shared:
        (first, one), (second, two) = theirs[unit][0], ours[unit][0]
        if one.predictions is None or two.predictions is None:
            return [], "predictions.parquet is missing"
        try:
            compared = compare_predictions(one.predictions, two.predictions, first.name, second.name)
        except UserError as error:
            return [], str(error)
        pairs.append(PairOfRuns(kind, first, second, unit, compared))
    return pairs, ""


def _compare(kind: Kind, base: Score, score: Score, shared: list[str], pairs: list[PairOfRuns], why: str) -> Comparison:
    if len(shared) >= 2:
        one, two = (np.array([s.values[s.units.index(unit)] for unit in shared]) for s in (base, score))
        gap = paired_t(one, two)
        return Comparison(kind, gap.mean, gap.low, gap.high, gap.p, f"paired t, {len(shared)} pairs", NO_SPREAD)
    if len(pairs) == 1:
        compared = pairs[0].compared
        how = "McNemar, bootstrap" if compared["unit"] == "clips" else "sign flips and bootstrap by cluster"
        how = how if "mcnemar" in compared else f"paired bootstrap over {compared['unit']}"
        low, high = compared["difference_95"]
        return Comparison(kind, compared["difference"], low, high, compared["p"], f"{how}, {shared[0]}")
    return Comparison(kind, score.mean - base.mean, math.nan, math.nan, math.nan, "", why or "no seed in common")
