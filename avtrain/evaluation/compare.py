"""avtrain compare: is one run better than another on the same test clips, or one group of runs than another?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avprep.shared.errors import UserError
from avtrain.evaluation.metrics import by_clusters, reported_interval
from avtrain.evaluation.multi_label import mean_average_precision_of, resampled_scores
from avtrain.evaluation.multi_predictions import MultiPredictions, read_any_predictions
from avtrain.evaluation.predictions import FILE, Predictions
from avtrain.evaluation.resampling import p_of, percentiles
from avtrain.evaluation.significance import group_flips, holm, mcnemar, paired_bootstrap, paired_t
from avtrain.runs.changes import FILE as CHANGES
from avtrain.runs.changes import read_changes, sentence_of

NO_SPREAD = "all differences are the same"


def predictions_path(given: Path, evaluation: str | None = None) -> Path:
    """The predictions of a file, a folder of `avtrain evaluate`, or a run, of its folder eval/`evaluation`.

    Errors: UserError where there are none, or several and no word which.
    """
    if given.is_file() or (given / FILE).is_file():
        return given if given.is_file() else given / FILE
    if not given.is_dir():
        raise UserError(f"{given} does not exist; give run folders or their predictions.parquet.")
    names = sorted(path.parent.name for path in given.glob(f"eval/*/{FILE}"))
    if not names:
        raise UserError(f"{given} holds no predictions; 'avtrain evaluate DIR --run {given}' writes them.")
    chosen = [name for name in names if evaluation in (None, name)]
    if len(chosen) != 1:
        raise UserError(f"{given} has evaluations {', '.join(names)}; choose one by --evaluation NAME.")
    return given / "eval" / chosen[0] / FILE


def changes_of(path: Path, name: str) -> list[str]:
    """Sentences on what was changed in the run while it was trained, of whose eval/ the predictions `path` are."""
    run = path.resolve().parent.parent.parent
    return [f"{name}: {sentence_of(change)}" for change in (read_changes(run) if (run / CHANGES).exists() else [])]


def compare(first: Path, second: Path, seed: int = 0) -> dict[str, Any]:
    """Accuracies of two prediction files, their difference (second minus first) and tests of it.

    Of several labels a clip the score is the mean average precision over classes, and `p` is of the paired bootstrap.
    Clips are matched by id, in any order. Where clips share clusters, and there are 8 or more, intervals and `p` are by
    cluster (`unit`), else by clips and `p` is McNemar's exact; `note` is why where clips share fewer. Errors:
    UserError where the files are of other clips, classes or labels.
    """
    return compare_predictions(read_any_predictions(first), read_any_predictions(second), str(first), str(second), seed)


def compare_predictions(
    one: Predictions | MultiPredictions,
    two: Predictions | MultiPredictions,
    first: str,
    second: str,
    seed: int = 0,
) -> dict[str, Any]:
    """`compare` of predictions that were read; `first` and `second` name them in errors."""
    row_of = {clip_id: row for row, clip_id in enumerate(two.clip_ids)}
    if len(row_of) != len(two.clip_ids) or len(one.clip_ids) != len(row_of) or set(one.clip_ids) != set(row_of):
        raise UserError(f"{first} and {second} have different test clips; compare runs on one dataset.")
    order = np.array([row_of[clip_id] for clip_id in one.clip_ids], np.int64)
    same = one.class_names == two.class_names
    if isinstance(one, MultiPredictions):
        if isinstance(two, MultiPredictions) and same and np.array_equal(one.truth, two.truth[order]):
            return _compare_lists(one, two.probabilities[order], seed)
    elif isinstance(two, Predictions) and same and np.array_equal(one.label, two.label[order]):
        return _compare_labels(one, two.right[order], seed)
    raise UserError(f"{first} and {second} give the same clips other labels; compare runs on one dataset.")


def _compare_labels(one: Predictions, second: np.ndarray, seed: int) -> dict[str, Any]:
    """`compare` of one label a clip, with the outcomes bool [N] of the second run in the order of the first."""
    right = one.right, second
    by_cluster, note = by_clusters(one.clusters)
    units = one.clusters if by_cluster else np.arange(len(second))
    difference, low, high = paired_bootstrap(*right, units, seed)
    return {
        "score": "accuracy",
        "clips": len(second),
        "clusters": len(np.unique(one.clusters)),
        "unit": "clusters" if by_cluster else "clips",
        "note": note,
        "first": list(reported_interval(right[0], one.clusters)),
        "second": list(reported_interval(right[1], one.clusters)),
        "difference": difference,
        "difference_95": [low, high],
        "p": group_flips(*right, units),
        "mcnemar": dataclasses.asdict(mcnemar(*right)),
    }


def _compare_lists(one: MultiPredictions, second: np.ndarray, seed: int) -> dict[str, Any]:
    """`compare` of several labels a clip, with the second run's probabilities [N, C] in the order of the first.

    Both runs are scored on the same resampled clips (or clusters), so that the interval is of the paired difference.
    """
    by_cluster, note = by_clusters(one.clusters)
    units = one.clusters if by_cluster else np.arange(len(second))
    count, sides = len(np.unique(units)), (one.probabilities, second)
    scores = [mean_average_precision_of(side, one.truth) for side in sides]
    drawn = [resampled_scores(side, one.truth, units, seed)["macro average_precision"] for side in sides]
    gaps = drawn[1] - drawn[0]
    return {
        "score": "mean_average_precision",
        "clips": len(second),
        "clusters": len(np.unique(one.clusters)),
        "unit": "clusters" if by_cluster else "clips",
        "note": note,
        "first": [scores[0], *percentiles(drawn[0], count)],
        "second": [scores[1], *percentiles(drawn[1], count)],
        "difference": scores[1] - scores[0],
        "difference_95": list(percentiles(gaps, count)),
        "p": p_of(gaps),
    }


def compare_runs(runs: Sequence[Path], evaluation: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Each further run against the first: `comparisons` as of `compare`, with names and p corrected by Holm."""
    if len(runs) < 2:
        raise UserError("A comparison needs two runs or more; give RUN_A RUN_B, or groups by --a and --b.")
    paths = [predictions_path(run, evaluation) for run in runs]
    names = short_names(list(runs))
    rows = [
        {
            "first_run": names[0],
            "second_run": name,
            **compare(paths[0], path, seed),
            "changes": changes_of(paths[0], names[0]) + changes_of(path, name),
        }
        for name, path in zip(names[1:], paths[1:], strict=True)
    ]
    for row, corrected in zip(rows, holm(np.array([row["p"] for row in rows])), strict=True):
        row["p_holm"] = float(corrected)
    return {"kind": "clips", "comparisons": rows}


def compare_groups(
    base: Sequence[Path], others: Sequence[Sequence[Path]], evaluation: str | None = None
) -> dict[str, Any]:
    """Each group of runs against `base`, run by run in the order given: paired t over seeds or folds, p by Holm.

    Errors: UserError where groups are not of one size of 2 or more, or a pair is not of the same test clips.
    """
    if not base or not others or not all(others):
        raise UserError("Groups are compared as --a RUN RUN ... --b RUN RUN ...; one of the two lists is missing.")
    for group in others:
        if len(group) != len(base) or len(base) < 2:
            raise UserError(
                f"--a has {len(base)} and --b {len(group)} runs; give as many, 2 or more, seed by seed in one order."
            )
    rows = []
    for group in others:
        pairs = [
            compare(predictions_path(one, evaluation), predictions_path(two, evaluation))
            for one, two in zip(base, group, strict=True)
        ]
        members = [*base, *group]
        changes = [
            sentence
            for run, name in zip(members, short_names(members), strict=True)
            for sentence in changes_of(predictions_path(run, evaluation), name)
        ]
        scores = [[pair[side][0] for pair in pairs] for side in ("first", "second")]
        gap = paired_t(np.array(scores[0]), np.array(scores[1]))
        rows.append(
            {
                "first_runs": short_names(list(base)),
                "second_runs": short_names(list(group)),
                "first": scores[0],
                "second": scores[1],
                "difference": gap.mean,
                "difference_95": [gap.low, gap.high],
                "p": gap.p,
                "changes": changes,
            }
        )
    for row, corrected in zip(rows, holm(np.array([row["p"] for row in rows])), strict=True):
        row["p_holm"] = float(corrected)
    return {"kind": "groups", "comparisons": rows}


def short_names(paths: Sequence[Path]) -> list[str]:
    """Names as short as sets them apart: the last parts of each path, as many for all as are needed."""
    parts = [path.resolve().parts[1:] for path in paths]
    for count in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(own[-count:]) for own in parts]
        if len(set(names)) == len(set(parts)):
            break
    return names


def p_text(p: float) -> str:
    """A p-value with as many digits as mean something."""
    if math.isnan(p):
        return "-"
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def points(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")


def without_nan(value: Any) -> Any:
    """`value` for JSON, which has no nan: None in its place."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def printed(compared: dict[str, Any]) -> str:
    """The comparisons in lines for a terminal."""
    several = len(compared["comparisons"]) > 1
    lines_of = _pair_lines if compared["kind"] == "clips" else _group_lines
    blocks = []
    for row in compared["comparisons"]:
        lines = lines_of(row)
        lines += [("changed", sentence) for sentence in row["changes"]]
        if several:
            lines.append(("Holm", f"p {p_text(row['p_holm'])} for {len(compared['comparisons'])} comparisons"))
        width = max(len(name) for name, _ in lines[1:])
        blocks.append("\n".join([lines[0][1], *(f"  {name:<{width}}  {text}" for name, text in lines[1:])]))
    return "\n\n".join(blocks)


def _pair_lines(row: dict[str, Any]) -> list[tuple[str, str]]:
    by_cluster = row["unit"] == "clusters"
    unit = f"{row['clusters']:,} clusters" if by_cluster else "clips"
    low, high = row["difference_95"]
    table, lines = row.get("mcnemar"), []
    named = "mAP " if row.get("score") == "mean_average_precision" else ""
    for side in ("first", "second"):
        share, least, most = row[side]
        lines.append((row[f"{side}_run"], f"{named}{100 * share:.1f} %  ({100 * least:.1f} to {100 * most:.1f})"))
    if table is None:
        lines.append(("bootstrap", f"p {p_text(row['p'])}, two-sided, of the same resampled {unit}"))
    elif by_cluster:
        lines.append(("sign flips", f"p {p_text(row['p'])}, exact, by cluster"))
    if row["note"]:
        lines.append(("note", row["note"]))
    return [
        ("", f"{row['second_run']} against {row['first_run']}, {row['clips']:,} test clips"),
        *lines[:2],
        (
            "difference",
            f"{points(row['difference'])} points (95 % interval {points(low)} to {points(high)}; "
            f"paired bootstrap over {unit})",
        ),
        *_mcnemar_lines(row, by_cluster),
        *lines[2:],
    ]


def _mcnemar_lines(row: dict[str, Any], by_cluster: bool) -> list[tuple[str, str]]:
    """McNemar's test; none of several labels a clip."""
    table = row.get("mcnemar")
    if table is None:
        return []
    return [
        (
            "McNemar",
            f"p {p_text(table['exact'])}, exact{' if clips were independent' if by_cluster else ''}; right in one "
            f"alone: {table['first_only']:,} {row['first_run']}, {table['second_only']:,} {row['second_run']}",
        )
    ]


def _group_lines(row: dict[str, Any]) -> list[tuple[str, str]]:
    low, high = row["difference_95"]
    lines = [("", f"{', '.join(row['second_runs'])} against {', '.join(row['first_runs'])}")]
    for name, side in (("--a", "first"), ("--b", "second")):
        lines.append(
            (name, f"{100 * float(np.mean(row[side])):.1f} %  " + " ".join(f"{100 * s:.1f}" for s in row[side]))
        )
    interval = f" (95 % interval {points(low)} to {points(high)})"
    tested = f"p {p_text(row['p'])}, {len(row['first'])} pairs; runs on folds share clips: their p is too small"
    return [
        *lines,
        ("difference", f"{points(row['difference'])} points" + ("" if math.isnan(low) else interval)),
        ("paired t", f"no test possible, {NO_SPREAD}" if math.isnan(row["p"]) else tested),
    ]
