"""avtrain clean-labels to cluster: labels and pairs for the next run, by the features of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command
from avprep.shared.signals import stop_on_signals
from avtrain.cli.options import DATASET, DIRECTORY, OUT_PAIRS, device_options, set_threads_of, weights_option
from avtrain.config import (
    CHECKPOINTS,
    METHODS,
    NEAR_BY,
    VOTERS,
    CleanConfig,
    ClusterConfig,
    NeighboursConfig,
    PropagateConfig,
    StageConfig,
)

CLASSES_PRINTED = 20
NEIGHBOURS, CLUSTER = NeighboursConfig(), ClusterConfig()
REPLACE = click.option(
    "--replace", is_flag=True, default=False, help="Overwrite a column of this name that was made otherwise."
)
RUN = click.option(
    "--run", type=DIRECTORY, help="Run on this dataset, or one of its checkpoints; --by log-mel needs none."
)


def feature_options(sides: Sequence[str], config: StageConfig) -> Any:
    """--by, --segments, --per-group, --windows-per-clip, --projection, --checkpoint, --weights."""

    def add(command: click.decorators.FC) -> click.decorators.FC:
        command = weights_option(command)
        for option in (
            click.option(
                "--checkpoint",
                type=click.Choice(CHECKPOINTS),
                default=config.checkpoint,
                help="Of the run; best in validation.",
            ),
            click.option(
                "--projection",
                is_flag=True,
                default=config.projection,
                help="Features in the common space, not the encoders' own.",
            ),
            click.option(
                "--windows-per-clip",
                type=int,
                default=config.windows_per_clip,
                help="Windows whose mean features are taken.",
            ),
            click.option("--per-group", is_flag=True, default=False, help=PER_GROUP),
            click.option("--segments", type=int, default=config.segments, help=SEGMENTS),
            click.option("--by", type=click.Choice(sides), default=config.by, help=BY[sides[-1]]),
        ):
            command = option(command)
        return command

    return add


PER_GROUP = "Standardise features within each group (speaker, site), so that what a group has in common counts less."
SEGMENTS = "Of --by log-mel: describe sounds by so many parts of the stretch that sounds; 0: statistics of whole clips."
BY = {
    "log-mel": "Whose features: of sounds, of pictures, of both, or plain statistics of the log-mel, without a run.",
    "cross": "Whose features judge: of sounds, of pictures, near in both, plain statistics of the log-mel (no run), or "
    "sounds and pictures apart and in agreement (cross).",
}


def relabel_options(config: CleanConfig) -> Any:
    """The options of clean-labels and propagate-labels."""

    def add(command: click.decorators.FC) -> click.decorators.FC:
        for option in reversed(
            (
                RUN,
                click.option("--name", required=True, help="Name of the new column."),
                click.option(
                    "--labels",
                    default=config.labels,
                    help="Column to go by; default: the run's, as far as it knew it.",
                ),
                feature_options(VOTERS, config),
                click.option(
                    "--method",
                    type=click.Choice(METHODS),
                    default=config.method,
                    help="Vote of the nearest clips, or a classifier that has not seen the clip (confident learning).",
                ),
                click.option("--neighbours", type=int, default=config.neighbours, help="Clips that vote."),
                click.option(
                    "--take",
                    type=float,
                    default=config.take,
                    help="Least share of the votes that gives a clip another label.",
                ),
                click.option(
                    "--temperature",
                    type=float,
                    default=config.temperature,
                    help="Neighbours vote with weight exp(cosine / this); 0: all alike.",
                ),
                click.option(
                    "--balance",
                    is_flag=True,
                    default=config.balance,
                    help="Divide votes by the clips of their label, so that rare labels are not outvoted.",
                ),
                click.option(
                    "--folds", type=int, default=config.folds, help="Of confident: parts that are judged in turn."
                ),
                click.option(
                    "--inverse-penalty",
                    type=float,
                    default=config.inverse_penalty,
                    help="Of confident: C of the logistic regression; more where given labels are right.",
                ),
                click.option("--compare", default="", help="Column of true labels, to print how many are right."),
                click.option("--seed", type=int, default=config.seed, help="Of the folds."),
                REPLACE,
                json_option,
                device_options,
            )
        ):
            command = option(command)
        return command

    return add


@click.command("clean-labels", cls=Command)
@click.argument("dataset", metavar="DIR", type=DIRECTORY)
@relabel_options(CleanConfig())
def clean_labels(dataset: Path, run: Path | None, name: str, threads: int | None, **settings: Any) -> None:
    """Add a column without the labels that a run's features contradict: kept, changed or set aside.

    A training clip whose nearest other clips vote for its label keeps it; one of which --take of them vote for another
    label gets that; the rest have none (-1).
    """
    from avtrain.stages import clean_labels as clean

    set_threads_of(threads)
    with stop_on_signals() as request:
        counts = clean(dataset, run, name, stopping=lambda: bool(request), **settings)
    _print(counts, ("kept", "changed", "set_aside"))


@click.command("propagate-labels", cls=Command)
@click.argument("dataset", metavar="DIR", type=DIRECTORY)
@relabel_options(PropagateConfig())
def propagate_labels(dataset: Path, run: Path | None, name: str, threads: int | None, **settings: Any) -> None:
    """Add a column in which training clips without a label get that of their labelled neighbours.

    Clips with a label keep it. The column has the probability of each label, 1 for these.
    """
    from avtrain.stages import propagate_labels as propagate

    set_threads_of(threads)
    with stop_on_signals() as request:
        counts = propagate(dataset, run, name, stopping=lambda: bool(request), **settings)
    _print(counts, ("kept", "added"))


@click.command("hide-labels", cls=Command)
@click.argument("dataset", metavar="DIR", type=DIRECTORY)
@click.option(
    "--share", type=click.FloatRange(0, 1, min_open=True), required=True, help="Share of each label that stays."
)
@click.option("--name", required=True, help="Name of the new column.")
@click.option("--labels", default="label", help="Column to start from.")
@click.option("--split", default="train", help="Other splits keep their labels.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Chooses clips, as that of pretrain does.")
@REPLACE
@json_option
def hide_labels(dataset: Path, share: float, name: str, **settings: Any) -> None:
    """Add a column in which few training clips keep their label, to try what few labels can do.

    They are those that soft-positive:labelled=SHARE goes by: at least two of each label, by the seed.
    """
    from avprep.dataset import Dataset
    from avtrain.stages import hide_labels as hide

    path = hide(dataset, name, share=share, **settings)
    opened = Dataset(dataset)
    rows = opened.rows_of(settings["split"])
    left, before = (int((opened.labels(column).values[rows] >= 0).sum()) for column in (name, settings["labels"]))
    values = {"column": path, "left": left, "before": before}
    answer(values, [f"{path}: {left} of {before} labels of {settings['split']} stay"])


@click.command(cls=Command)
@click.argument("dataset", metavar="DIR", type=DATASET)
@RUN
@click.option("--out", type=OUT_PAIRS, required=True, help="The pairs, FILE.parquet.")
@feature_options(NEAR_BY, NEIGHBOURS)
@click.option("--neighbours", type=int, default=NEIGHBOURS.neighbours, help="Other clips for each clip.")
@click.option(
    "--temperature",
    type=float,
    default=NEIGHBOURS.temperature,
    help="Weights of a sound's pairs are as exp(similarity / this); 0: all alike.",
)
@click.option(
    "--exact-share",
    type=float,
    default=NEIGHBOURS.exact_share,
    help="Weight of each sound's own picture among its pairs.",
)
@click.option("--mutual", is_flag=True, help="Only clips that are each other's neighbours.")
@click.option("--other-groups", is_flag=True, help="Only clips of other groups (speakers, recordings, sites).")
@click.option("--compare", default="", help="Label column, to print how many pairs are of one class.")
@json_option
@device_options
def neighbours(dataset: Path | str, run: Path | None, out: Path, threads: int | None, **settings: Any) -> None:
    """Write pairs by neighbours: each training sound with the pictures of the nearest other clips.

    'avtrain pretrain --strategy pairs:FILE:weights=partner' draws one of them for each sound.
    """
    from avtrain.stages import write_neighbours

    set_threads_of(threads)
    with stop_on_signals() as request:
        made = write_neighbours(dataset, run, out, stopping=lambda: bool(request), **settings)
    same = made.get("same_class")
    classes = "" if same is None else f", {100 * same:.1f} % of neighbours of one class in {settings['compare']!r}"
    without = f" ({made['without']} others have no such neighbour)" if made["without"] else ""
    line = (
        f"{out}: {made['pairs']} pairs of {made['clips']} training clips{without}, mean similarity of neighbours "
        f"{made['mean_similarity']:.2f}{classes}"
    )
    answer(made, [line])


@click.command(cls=Command)
@click.argument("dataset", metavar="DIR", type=DIRECTORY)
@RUN
@click.option("--clusters", type=int, default=CLUSTER.clusters, metavar="K", help="How many.")
@click.option("--name", required=True, help="Name of the new column.")
@feature_options(NEAR_BY, CLUSTER)
@click.option("--compare", default="", help="Label column, to print the information in common with it.")
@click.option("--seed", type=int, default=CLUSTER.seed, help="Of k-means.")
@REPLACE
@json_option
@device_options
def cluster(dataset: Path, run: Path | None, name: str, threads: int | None, **settings: Any) -> None:
    """Add a column of clusters (k-means) of a run's features, or of the log-mel, fitted on the training clips."""
    from avtrain.stages import cluster_clips

    set_threads_of(threads)
    with stop_on_signals() as request:
        made = cluster_clips(dataset, run, name, stopping=lambda: bool(request), **settings)
    shared = made.get("mutual_information")
    known = "" if shared is None else f", normalised mutual information with {settings['compare']!r} {shared:.3f}"
    line = (
        f"{made['column']}: {made['clips']} training clips in {made['clusters']} clusters of {made['smallest']} to "
        f"{made['largest']}{known}"
    )
    answer(made, [line])


def _print(counts: dict[str, Any], kinds: tuple[str, ...]) -> None:
    """What became of the labels, in all and by class, and the share of right ones where it is known."""
    parts = [f"{counts[kind]} {kind.replace('_', ' ')}" for kind in kinds]
    lines = [f"{counts['column']}: of {counts['clips']} training clips {', '.join(parts)}, {counts['without']} without"]
    right = {kind: share for kind, share in counts.get("right", {}).items() if share is not None}
    if right:
        shares = [f"{kind.replace('_', ' ')} {100 * share:.1f} %" for kind, share in right.items()]
        lines.append(f"  right by {counts['compare']!r}: {', '.join(shares)}")
    classes = sorted(counts["per_class"], key=lambda one: -sum(one[kind] for kind in kinds[1:]))
    width = max(len(one["class"]) for one in classes)
    for one in classes[:CLASSES_PRINTED]:
        numbers = ", ".join(f"{one[kind]} {kind.replace('_', ' ')}" for kind in kinds)
        lines.append(f"  {one['class']:{width}}  {numbers}")
    if len(classes) > CLASSES_PRINTED:
        lines.append(f"  and {len(classes) - CLASSES_PRINTED} more classes; --json has all")
    answer(counts, lines)
