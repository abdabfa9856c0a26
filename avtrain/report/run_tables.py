"""Tables of single runs: every evaluation, what is audible, run by run on the same clips."""

from __future__ import annotations

import math

from markupsafe import Markup

from avprep.shared import html
from avtrain.evaluation.compare import p_text, points
from avtrain.report.scores import Scored


def per_cent(share: float | None) -> str:
    """A share with one digit."""
    return "" if share is None or math.isnan(share) else f"{100 * share:.1f}"


def span(low: float, high: float) -> str:
    """An interval of shares, '' where there is none."""
    return "" if math.isnan(low) else f"{per_cent(low)} to {per_cent(high)}"


def every_run(scored: Scored) -> Markup:
    """A row an evaluation, figures as in its result.json."""
    if scored.several_labels:
        return every_run_of_lists(scored)
    header = ["run", "kind", "seed", "accuracy, %", "95 % interval", "top 5, %", "mAP, %", "balanced, %", "test clips"]
    header += ["at update"]
    rows = []
    for score in scored.scores:
        for run, one in scored.measurement.by_kind[score.kind.name]:
            result = one.result
            rows.append(
                [
                    run.name,
                    score.kind.name,
                    run.seed,
                    per_cent(result["accuracy"]),
                    span(*result.get("interval_95", (math.nan, math.nan))),
                    *(per_cent(result.get(name)) for name in ("top_5", "mean_average_precision", "balanced_accuracy")),
                    f"{result['test_clips']:,}" if "test_clips" in result else "",
                    f"{result['step']:,}" if "step" in result else "",
                ]
            )
    return html.table(header, rows, css="runs")


def every_run_of_lists(scored: Scored) -> Markup:
    """A row an evaluation of several labels a clip, figures as in its result.json."""
    header = ["run", "kind", "seed", "mAP, %", "95 % interval", "micro AP, %", "AUC, %", "micro AUC, %", "d'"]
    header += ["lwlrap, %", "test clips", "at update"]
    rows = []
    for score in scored.scores:
        for run, one in scored.measurement.by_kind[score.kind.name]:
            result = one.result
            macro, micro, d_prime = result["macro"], result["micro"], result["macro"]["d_prime"]["value"]
            rows.append(
                [
                    run.name,
                    score.kind.name,
                    run.seed,
                    per_cent(result["mean_average_precision"]),
                    span(*(result["interval_95"] or (math.nan, math.nan))),
                    per_cent(micro["average_precision"]["value"]),
                    per_cent(macro["auc"]["value"]),
                    per_cent(micro["auc"]["value"]),
                    "" if d_prime is None else f"{d_prime:.2f}",
                    per_cent(result["lwlrap"]["value"]),
                    f"{result['test_clips']:,}",
                    f"{result['step']:,}",
                ]
            )
    return html.table(header, rows, css="runs")


def audible(scored: Scored) -> Markup:
    """A row an evaluation with audible labels, figures as in its result.json; '' without any."""
    header = ["run", "kind", "by column", "accuracy, %", "95 % interval", "clips"]
    header += ["hit, %", "95 % interval of hit", "clips for hit"]
    rows = []
    for score in scored.scores:
        for run, one in scored.measurement.by_kind[score.kind.name]:
            scores = one.result.get("audible")
            if scores:
                accuracy = per_cent(scores["accuracy"]), span(*scores["interval_95"]), f"{scores['clips']:,}"
                hit = per_cent(scores["hit"]), span(*scores["hit_interval_95"]), f"{scores['hit_clips']:,}"
                rows.append([run.name, score.kind.name, scores["column"], *accuracy, *hit])
    if not rows:
        return Markup("")
    note = (
        "Accuracy on the test clips whose own label is audible by the column; hit: share of predictions among "
        "a clip's audible labels, of clips that have any. Intervals over clips, by cluster where clips share 8 or more."
    )
    return html.table(header, rows, css="audible") + Markup('<p class="note">{}</p>').format(note)


def run_by_run(scored: Scored) -> Markup:
    """A row a pair of runs of one seed (fold) on the same clips."""
    header = ["run", "against", "difference, points", "95 % interval", "right in one alone", "p exact", "p Holm"]
    rows = []
    for pair in scored.pairs:
        compared = pair.compared
        table = compared.get("mcnemar")
        low, high = compared["difference_95"]
        rows.append(
            [
                pair.second.name,
                pair.first.name,
                points(compared["difference"]),
                f"{points(low)} to {points(high)}",
                f"{table['second_only']:,} : {table['first_only']:,}" if table else "",
                p_text(compared["p"]),
                p_text(pair.p_holm),
            ]
        )
    grouped = any(pair.compared["unit"] == "clusters" for pair in scored.pairs)
    how = (
        "Interval: paired bootstrap over clusters of clips; p: exact sign flips by cluster."
        if grouped
        else "Interval: paired bootstrap over clips; p: McNemar's exact test."
    )
    if scored.several_labels:
        how = "Interval and p: paired bootstrap of the difference in mAP."
    note = f"{how} Holm's correction is for the {len(scored.pairs)} rows of this table."
    return html.table(header, rows, css="pairs-of-runs") + Markup('<p class="note">{}</p>').format(note)
