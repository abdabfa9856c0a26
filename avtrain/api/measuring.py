"""Runs measured, compared and shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avprep.shared import configs
from avprep.shared.urls import path_or_url
from avtrain.config import EvaluateConfig

if TYPE_CHECKING:
    from avtrain.report import Reported

AnyPath = Path | str


def evaluate(
    dataset: AnyPath,
    run: AnyPath | None = None,
    *,
    out: AnyPath | None = None,
    config: EvaluateConfig | None = None,
    device: str = "auto",
    threads: int | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Measure an audio encoder on a dataset: `linear`, `finetune`, `supervised`, `knn`; or `retrieval` with both.

    Args:
        dataset: The dataset, a folder or a URL.
        run: Run folder or URL, or the folder of one checkpoint; with `out` also an exported encoder, one published at
            "hf://ORG/NAME[@REVISION]"; None: an encoder without a run, and `out` is needed.
        out: Folder or URL for result.json and predictions.parquet; None: RUN/eval/DATASET-PROTOCOL-sSEED.
        config: The settings of the evaluation.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads; None: torch's choice.
        **settings: Fields of `EvaluateConfig`, such as `protocol="knn"`, which may also be `"retrieval"`; they override
            those of `config`.

    Returns:
        The values of result.json, such as `accuracy` and `interval_95`.

    Raises:
        UserError: Protocol, run and dataset do not fit, or `out` holds another evaluation.
    """
    from avtrain.devices import device_for, set_threads
    from avtrain.evaluation.measure import MODELS, measure

    set_threads(threads)
    of_run, results = (None if given is None else path_or_url(given) for given in (run, out))
    merged = configs.merged(config, settings)
    if run is not None:
        merged = {name: value for name, value in merged.items() if name in settings or name not in MODELS}
    scores, _ = measure(path_or_url(dataset), of_run, results, merged, device=device_for(device))
    return scores


def compare(*runs: AnyPath, evaluation: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Compare runs with the first on the same test clips, as `avtrain compare --json` prints it.

    Args:
        *runs: Two or more: run folders, folders of `evaluate`, or predictions.parquet files.
        evaluation: Folder below RUN/eval, where a run has several.
        seed: Seed of the bootstrap.

    Returns:
        `comparisons`: for each further run its accuracy, difference, interval, p-value and `p_holm`.

    Raises:
        UserError: A run has no such evaluation, or the runs were measured on other clips.
    """
    from avtrain.evaluation.compare import compare_runs

    return compare_runs([Path(run) for run in runs], evaluation, seed)


def compare_groups(
    base: Sequence[AnyPath], *others: Sequence[AnyPath], evaluation: str | None = None
) -> dict[str, Any]:
    """Compare groups of runs with `base`, seed by seed or fold by fold in one order: a paired t-test for each.

    Args:
        base: Two or more runs, as in `compare`.
        *others: Groups of as many runs.
        evaluation: Folder below RUN/eval, where a run has several.

    Raises:
        UserError: Groups are of different sizes, or a pair was measured on other clips.
    """
    from avtrain.evaluation import compare as module

    return module.compare_groups(_paths(base), [_paths(group) for group in others], evaluation)


def write_report(
    runs: Sequence[AnyPath],
    out: AnyPath,
    *,
    datasets: Sequence[AnyPath] = (),
    folds: bool = False,
    title: str = "Pretraining runs",
    device: str = "auto",
) -> Reported:
    """Write a self-contained HTML page over many runs; the first one's kind is the base of the comparisons.

    Args:
        runs: Run folders, folders of runs of several seeds, or folders of `evaluate`.
        out: The page, FILE.html.
        datasets: Datasets of the runs, for retrieved examples and statistics of pairs.
        folds: Datasets of the same classes are folds of one measurement.
        title: Title of the page.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UserError: A folder does not exist, or none is a run.
    """
    from avtrain import report
    from avtrain.devices import device_for

    where = device_for(device)
    known = [path_or_url(dataset) for dataset in datasets]
    return report.write_report(_paths(runs), Path(out), datasets=known, folds=folds, title=title, device=where)


def _paths(given: Sequence[AnyPath]) -> list[Path]:
    return [Path(one) for one in given]
