"""The survey of a plan (plan_survey.py) in lines for a terminal."""

from __future__ import annotations

import dataclasses
from typing import Any

from avprep.shared.text import readable_bytes
from avtrain.data.window_sizes import sentence_of
from avtrain.sampling.windows import WindowSpec

FEW_LABELS = 20


def printed(result: dict[str, Any]) -> str:
    """The survey in lines for a terminal."""
    config, labels, batch, rank = (result[name] for name in ("config", "labels", "pairs_per_batch", "pairs_per_rank"))
    shares, shards, examined = (result[name] for name in ("pair_shares", "shards_per_batch", "examined"))
    of_one_class = result["soft_pairs_of_one_true_class"]
    lines = [
        *_dataset_lines(result),
        ("steps", f"{result['steps_per_epoch']:,} an epoch, {result['batches']:,} in {config['epochs']:,} epochs"),
        (
            "updates",
            f"{result['updates']:,}, of {config['accumulate']:,} steps each" if config["accumulate"] > 1 else "",
        ),
        ("pairs", f"{result['pairs_per_epoch']:,} an epoch, {_span(batch)} a batch, {_span(rank)} a rank"),
        (
            "kinds",
            f"{100 * shares['exact']:.1f} % exact, {100 * shares['soft']:.1f} % soft, "
            f"{100 * shares['fallback']:.1f} % exact because no other clip has the label",
        ),
        ("weights", _weights_line(result["pair_weights"])),
        (
            "labels",
            f"{labels['count']:,} in column {config['labels']!r}: {labels['smallest']:,} clips in the smallest, "
            f"{labels['median']:,.0f} in the median, {labels['largest']:,} in the largest",
        ),
        ("", f"{labels['of_one_clip']:,} of one clip only; {labels['clips_without']:,} clips without label"),
        ("", _advice(config["strategy"], labels["clips_without"])),
        *_several_lines(result),
        ("true class", f"{result['same_class_negatives_per_anchor']:.2f} negatives of its own class for each sound"),
        ("", f"{100 * of_one_class:.1f} % of soft pairs are of one class" if of_one_class is not None else ""),
        ("shards", f"{shards['mean']:.1f} of {result['shards']:,} touched a batch, {shards['largest']:,} at most"),
        ("windows", _windows(result["windows"])),
        (
            "to read",
            f"{readable_bytes(result['bytes_per_epoch'])} an epoch, {readable_bytes(result['bytes_per_pair'])} a pair",
        ),
        *((name, _coverage(result[name], result["clips"], examined["coverage_epochs"])) for name in ("heard", "seen")),
        (
            "examined",
            f"{examined['batches']:,} of {result['batches']:,} batches; "
            f"for heard and seen {examined['coverage_epochs']:,} of {config['epochs']:,} epochs; no media",
        ),
    ]
    text = [f"{result['dataset']}: {result['clips']:,} {config['split']} clips, strategy {config['strategy']}"]
    text += [f"  {name:<11} {value}" for name, value in lines if value]
    if labels["count"] <= FEW_LABELS:
        text += [f"    {row['clips']:>9,}  {row['name']}" for row in labels["clips"]]
    return "\n".join(text)


def _advice(strategy: str, without: int) -> str:
    """What soft-positive could do with the clips that have, or keep, no label, where it was not chosen."""
    name, _, settings = strategy.partition(":")
    unlabelled = without > 0 or "labelled=" in settings
    if name != "soft-positive" or not unlabelled or "others=" in settings:
        return ""
    return "clips without label are exact pairs; others=skip leaves them out, which taught more in our runs"


def _dataset_lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Lines on each of several datasets; none for one."""
    lines = []
    for one in result.get("datasets", []):
        drawn = "" if one["weight"] == 1 else f", {one['clips_per_epoch']:,} drawn an epoch"
        without = f", {one['clips_without_label']:,} clips without label" if one["clips_without_label"] else ""
        lines.append(("", f"{one['name']}: {one['clips']:,} clips{drawn}, {one['labels']:,} labels{without}"))
    if lines:
        lines[0] = ("datasets", lines[0][1])
        lines.append(("", f"{result['labels_in_all_datasets']:,} labels are in each of them"))
    return lines


def _several_lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Lines on the labels of a multi-label column; none for another."""
    several = result["several_labels"]
    if several is None:
        return []
    overlap = several["soft_pairs_overlap"]
    soft = "" if overlap is None else f"; soft pairs share {100 * overlap:.1f} % of their labels (Jaccard)"
    negatives = several["common_label_negatives_per_anchor"]
    return [
        ("", f"{result['labels']['per_clip']:.2f} labels for each clip that has one"),
        ("common", f"{negatives:.2f} negatives have a label of the sound's clip{soft}"),
    ]


def _weights_line(weights: dict[str, float] | None) -> str:
    if weights is None:
        return ""
    return (
        f"{weights['smallest']:.3g} to {weights['largest']:.3g} a pair in the loss, as if "
        f"{100 * weights['effective_share']:.0f} % of the pairs counted alike"
    )


def _windows(windows: dict[str, Any]) -> str:
    spec = WindowSpec(**{field.name: windows[field.name] for field in dataclasses.fields(WindowSpec)})
    short = [f"{count:,} for the {what}" for what, count in windows["shorter_clips"].items() if count]
    return sentence_of(spec) + (f"; clips that are too short and padded: {', '.join(short)}" if short else "")


def _span(sizes: dict[str, Any]) -> str:
    low, high = sizes["smallest"], sizes["largest"]
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _coverage(came: dict[str, Any], clips: int, epochs: int) -> str:
    first = f"{came['in_first_epoch']:,} of {clips:,} clips in the first epoch"
    if came["epochs_until_all"] is None:
        return f"{first}, all but {came['never']:,} in {epochs:,}"
    return first if came["epochs_until_all"] == 1 else f"{first}, all within {came['epochs_until_all']:,}"
