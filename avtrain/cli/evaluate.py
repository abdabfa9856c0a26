"""avtrain evaluate: what an encoder is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command, config_option
from avtrain.cli.options import DATASET, OUT_FOLDER_OR_URL, device_of, device_options, weights_option
from avtrain.config import BALANCES, CHECKPOINTS, MODEL_SIZES, NORMS, PROBES, PROTOCOLS, SIDES, SPLITS, EvaluateConfig

EVALUATE = EvaluateConfig()


@click.command(cls=Command)
@click.argument("dataset", metavar="DIR", type=DATASET)
@click.option("--protocol", type=click.Choice([*PROTOCOLS, "retrieval"]), default=EVALUATE.protocol)
@click.option(
    "--side",
    type=click.Choice(SIDES),
    default=EVALUATE.side,
    help="Whose features: of sounds, of pictures, or of both, one after the other.",
)
@click.option(
    "--run",
    type=DATASET,
    default=None,
    help="Run, checkpoint or exported encoder to measure; hf://ORG/NAME[@REVISION]: a published one.",
)
@click.option(
    "--checkpoint", type=click.Choice(CHECKPOINTS), default=EVALUATE.checkpoint, help="Of the run; best in validation."
)
@weights_option
@click.option(
    "--out",
    type=OUT_FOLDER_OR_URL,
    default=None,
    help="Folder for result.json; default: RUN/eval/DATASET-PROTOCOL-sSEED (-LABELS, -SIDE, -best, -WEIGHTS). "
    "Needed without --run and for an exported encoder.",
)
@click.option(
    "--model-size", type=click.Choice(MODEL_SIZES), default=EVALUATE.model_size, help="Of an encoder without a run."
)
@click.option(
    "--audio-model", default=EVALUATE.audio_model, help="In its place, without a run: cnn9, tiny or package:function."
)
@click.option("--epochs", type=int, default=EVALUATE.epochs)
@click.option(
    "--patience",
    type=int,
    default=EVALUATE.patience,
    help="Epochs without a lower validation loss that end finetune and supervised; 0: all.",
)
@click.option("--batch-size", type=int, default=EVALUATE.batch_size)
@click.option("--learning-rate", type=float, default=EVALUATE.learning_rate, help="Of an encoder in training.")
@click.option("--weight-decay", type=float, default=EVALUATE.weight_decay)
@click.option("--probe", type=click.Choice(PROBES), default=EVALUATE.probe, help="How linear treats the encoder.")
@click.option("--dropout", type=float, default=EVALUATE.dropout, help="Before the head of an encoder in training.")
@click.option("--window-seconds", type=float, default=EVALUATE.window_seconds, help="Of the windows fitted on.")
@click.option(
    "--test-windows",
    type=int,
    default=EVALUATE.test_windows,
    help="Windows of that length of a test clip, whose mean features are tested beside the whole clip; 0: none.",
)
@click.option("--windows-per-clip", type=int, default=EVALUATE.windows_per_clip)
@click.option("--split", type=click.Choice(SPLITS), default=EVALUATE.split, help="What chooses epoch and rate.")
@click.option(
    "--fold-column",
    metavar="NAME",
    default=EVALUATE.fold_column,
    help="Column of folds ('avprep split'), which replace the splits of the manifest.",
)
@click.option("--fold", metavar="FOLD", default=EVALUATE.fold, help="The fold to test; the others are fitted.")
@click.option("--labels", default=EVALUATE.labels, help="Label column to fit and measure by: a NAME of labels/.")
@click.option(
    "--balance",
    type=click.Choice(BALANCES),
    default=EVALUATE.balance,
    help="For rare classes among the clips to fit on: weights in the loss, or sampling each class as often.",
)
@click.option(
    "--spec-augment",
    is_flag=True,
    default=EVALUATE.spec_augment,
    help="Mask bands and times of the sounds, in finetune and supervised.",
)
@click.option("--label-fraction", type=float, default=EVALUATE.label_fraction, help="Share of the labels to fit on.")
@click.option("--validation-share", type=float, default=EVALUATE.validation_share)
@click.option(
    "--audible", default=EVALUATE.audible, help="Multi-label column of audible labels, to report scores over them too."
)
@click.option("--norm", type=click.Choice(NORMS), default=EVALUATE.norm, help="Whose log-mel statistics to go by.")
@click.option(
    "--ids",
    metavar="FILE",
    type=click.Path(),
    default=EVALUATE.ids,
    help="Of retrieval: list of the clips to search among, one id a line or a table with clip_id; default: test split.",
)
@click.option(
    "--per-class", type=int, default=EVALUATE.per_class, help="Of retrieval: clips of each class, by hash; 0: all."
)
@click.option("--seed", type=int, default=EVALUATE.seed)
@device_options
@config_option()
@json_option
def evaluate(
    dataset: Path | str,
    protocol: str,
    run: Path | str | None,
    out: Path | str | None,
    device: str,
    threads: int | None,
    **settings: object,
) -> None:
    """Measure an encoder on dataset DIR: linear, finetune, supervised, knn; or retrieval with both encoders."""
    from avtrain.evaluation.measure import MODELS, measure

    if run is not None:
        of = click.get_current_context().get_parameter_source
        settings = {
            name: value
            for name, value in settings.items()
            if name not in MODELS or of(name) is ParameterSource.COMMANDLINE
        }
    result, written = measure(dataset, run, out, {"protocol": protocol, **settings}, device=device_of(device, threads))
    lines = [_of_retrieval(result)] if protocol == "retrieval" else _of_scores(result, run)
    answer(result, [*lines, *([] if written is None else [f"written to {written}"])])


def _of_retrieval(scores: dict[str, Any]) -> str:
    """A line on pairs and classes that were retrieved."""
    return (
        f"exact pairs among {scores['clips']} clips: R@1 {100 * scores['recall_at_1']:.1f} % "
        f"(chance {100 * scores['chance_at_1']:.1f} %), R@5 {100 * scores['recall_at_5']:.1f} %; "
        f"their classes: R@1 {100 * scores['class_recall_at_1']:.1f} % "
        f"(chance {100 * scores['chance']['class']['recall_at_1']:.1f} %)"
    )


def _of_scores(result: dict[str, Any], run: Path | str | None) -> list[str]:
    """Lines on the scores of a classification."""
    from avtrain.evaluation.sides import OF

    if "lwlrap" in result:
        return _of_several(result)
    protocol, (low, high) = result["protocol"], result["interval_95"]
    what = f"{protocol} accuracy{OF[result['config']['side']]}"
    chosen = f"epoch {result['epoch']}" if "epoch" in result else f"k = {result['neighbours']}"
    lines = [
        f"{what} {100 * result['accuracy']:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f}) "
        f"and mAP {100 * result['mean_average_precision']:.1f} % "
        f"on {result['test_clips']} test clips; {chosen} was best in validation"
    ]
    if result["windows"] is not None:
        lines.append(_of_windows(result["windows"]))
    if result["interval_note"]:
        lines.append(f"interval by clips: {result['interval_note']}")
    if run is None and protocol != "supervised":
        lines.append(f"encoder: {result['encoder']}; --run RUN measures a trained one")
    if result["unfitted"]["clips"]:
        lines.append(_of_fitted(result["unfitted"]))
    if "audible" in result:
        lines.append(_of_audible(result["audible"], result["test_clips"]))
    return lines


def _of_several(result: dict[str, Any]) -> list[str]:
    """Lines on the scores of a multi-label column."""
    from avtrain.evaluation.sides import OF

    macro, micro = (_with_interval(result[kind]["average_precision"]) for kind in ("macro", "micro"))
    lines = [
        f"{result['protocol']} mAP{OF[result['config']['side']]} {macro} over classes (micro {micro}) on "
        f"{result['test_clips']} test clips with "
        f"{result['labels_per_clip']:.1f} labels; epoch {result['epoch']} was best in validation",
        f"AUC {_with_interval(result['macro']['auc'])}, d' {_with_interval(result['macro']['d_prime'], 1, 3)}, "
        f"lwlrap {_with_interval(result['lwlrap'])}",
    ]
    if result["windows"] is not None:
        windows = result["windows"]
        lines.append(
            f"by the mean features of {windows['test_windows']} windows of {windows['window_seconds']:g} s, as fitted "
            f"on, not of whole clips: mAP {_with_interval(windows['macro']['average_precision'])}"
        )
    if result["interval_note"]:
        lines.append(f"interval by clips: {result['interval_note']}")
    return lines


def _with_interval(score: dict[str, Any], scale: float = 100, digits: int = 1) -> str:
    """A score of several labels with its interval; '-' where it is not defined."""
    if score["value"] is None:
        return "-"
    unit = " %" if scale == 100 else ""
    ends = ["-" if end is None else f"{scale * end:.{digits}f}" for end in score["interval_95"] or (None, None)]
    return f"{scale * score['value']:.{digits}f}{unit} ({' to '.join(ends)})"


def _of_fitted(scores: dict[str, Any]) -> str:
    """A line on the test clips whose class could be predicted; a warning before the fit names the others."""
    subset = f"without the {scores['clips']:,} test clips of classes that were not fitted: "
    if not scores["fitted_clips"]:
        return f"{subset}no clip is left"
    low, high = scores["fitted_interval_95"]
    return (
        f"{subset}accuracy {100 * scores['fitted_accuracy']:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f}) "
        f"on {scores['fitted_clips']:,}"
    )


def _of_windows(scores: dict[str, Any]) -> str:
    """A line on the accuracy by windows, that above being of whole clips."""
    low, high = scores["interval_95"]
    return (
        f"by the mean features of {scores['test_windows']} windows of {scores['window_seconds']:g} s, as fitted on, "
        f"not of whole clips: {100 * scores['accuracy']:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"
    )


def _of_audible(scores: dict[str, Any], test_clips: int) -> str:
    """Two lines on the predictions by the labels that are audible."""
    accuracy, hit = (
        f"{100 * scores[name]:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"
        for name, (low, high) in (("accuracy", scores["interval_95"]), ("hit", scores["hit_interval_95"]))
    )
    return (
        f"audible by {scores['column']!r}: accuracy {accuracy} on the {scores['clips']} of {test_clips} test clips "
        f"whose own label is;\n  predictions among a clip's audible labels {hit}, of {scores['hit_clips']} clips with "
        "any"
    )
