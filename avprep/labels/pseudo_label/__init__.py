"""avprep pseudo-label: a network's class of one frame of each clip, or of its sound; or a k-means cluster of features.

Clusters are fitted on the train split alone; clips of other splits go to the nearest centre.

The only part of avprep that imports torch. Frames come as they are stored, squares of 112 px or so; sounds come out of
the clips' sources, since log-mel is all that a dataset keeps of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avprep.dataset import Dataset, LabelColumn
from avprep.dataset.reopened import reopened
from avprep.errors import UserError
from avprep.labels.clusters import cluster_names, clusters_of
from avprep.labels.columns import NONE, claim_column, path_of, write_labels
from avprep.labels.multi_label import write_lists
from avprep.labels.pseudo_label.class_list import read_classes
from avprep.labels.pseudo_label.classifiers import LITE0, Classifier, SoundInput, load_classifier, take_head
from avprep.labels.pseudo_label.config import FRAMES, HF, PseudoLabelConfig
from avprep.labels.pseudo_label.outputs import Outputs, Sounds, joined, outputs_of
from avprep.labels.pseudo_label.zero_shot import load_zero_shot
from avprep.shared.commands import Progress
from avprep.shared.configs import check, differences, digest
from avprep.shared.side_by_side import SideBySide, map_parts, own_device

__all__ = ["FRAMES", "LITE0", "Classifier", "PseudoLabelConfig", "SoundInput", "load_classifier", "pseudo_label"]

FITTED_ON = "train"
PACKAGES = ("numpy", "torch", "torchvision")
ALONE = SideBySide()

log = logging.getLogger(__name__)


def pseudo_label(
    dataset: Dataset,
    config: PseudoLabelConfig,
    name: str,
    *,
    sounds: Sounds | None = None,
    replace: bool = False,
    how: SideBySide = ALONE,
    threads: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Path:
    """The path of the label column `name`, made unless it is there already.

    Labels are the network's own class ids or those of `config.classes`, with class names and the `probability`
    (float32) of each; with clusters, 0 to K - 1 named cluster-N; with top_k, lists of class names. Clips without
    pictures have none, nor, where the network takes `sounds`, clips without a source: a warning counts those. The same
    dataset, settings, versions and device, on the CPU also `threads`, give the same bytes, whoever shares the work.
    Clusters keep all features in memory (5 KB a clip for EfficientNets). Errors: UserError; Interrupted once
    `stopping()`, with nothing written.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if how.alone:
        device = loaded_on = _device(config.device)
    else:
        device, loaded_on = torch.device(how.device_of(config.device, torch.cuda.device_count())), torch.device("cpu")
    classifier, about = _classifier(config, loaded_on)
    origin: dict[str, Any] = {"command": "pseudo-label", "frame": config.frame, "device": device.type, **about}
    origin |= {package: version(package) for package in ("torch", "torchvision")}
    if config.clusters is not None:
        origin |= {"clusters": config.clusters, "seed": config.seed, "scikit-learn": version("scikit-learn")}
        origin |= {"fitted_on": FITTED_ON}
    if config.top_k > 1:
        origin["top_k"] = config.top_k
    if config.threshold:
        origin["threshold"] = config.threshold
    whole = claim_column(dataset, name, origin, replace)
    if whole is None:
        return path_of(dataset, name)
    if classifier.sound_input is None:
        rows = np.flatnonzero(dataset.num_frames > 0)
        check(len(rows) > 0, f"{dataset.folder} has no pictures to label; its clips are sound only.")
    else:
        rows = np.arange(len(dataset))
    if config.clusters is not None:
        fitted = np.isin(rows, dataset.rows_of(FITTED_ON))
        count = config.clusters
        check(
            count <= fitted.sum(),
            f"{count} clusters are more than the {fitted.sum()} {FITTED_ON} clips with pictures; ask for fewer.",
        )
        take_head(classifier.network, config.model)
    if how.alone:
        with Progress(len(rows), "clips", "pseudo-label") as progress:
            made = outputs_of(
                dataset,
                rows,
                classifier,
                config,
                device,
                sounds=sounds,
                any_source=True,
                stopping=stopping,
                advance=progress.advance,
            )
    else:
        work = _Work(
            dataset.local_folder.absolute(), dataset.digest, _anywhere(config), device.type, about, sounds, threads
        )
        made = _by_parts(work, dataset, rows, classifier.sound_input, how, stopping)
    _report_failures(dataset, made.failures)
    if config.clusters is not None:
        values = np.full(len(dataset), NONE, np.int32)
        values[rows] = clusters_of(made.values, fitted, count, config.seed)
        return write_labels(dataset, name, LabelColumn(values, cluster_names(count)), whole)
    if config.top_k > 1:
        return _write_lists(dataset, name, config, whole, classifier, made)
    values, probability = np.full(len(dataset), NONE, np.int32), np.zeros(len(dataset), np.float32)
    kept = ~(made.probabilities[:, 0] < config.threshold)  # a NaN is kept, for write_labels to refuse
    labelled = made.rows[kept]
    values[labelled], probability[labelled] = made.values[kept, 0], made.probabilities[kept, 0]
    return write_labels(dataset, name, LabelColumn(values, classifier.class_names), whole, probability=probability)


def _classifier(config: PseudoLabelConfig, device: torch.device) -> tuple[Classifier, dict[str, Any]]:
    """The network that `config` names, and what a column records of it. Errors: UserError."""
    if not config.zero_shot:
        classifier = load_classifier(config.model, config.weights)
        return classifier, {"model": config.model, "weights_sha256": classifier.weights_sha256}
    assert config.classes is not None
    classes = read_classes(config.classes)
    loaded = load_zero_shot(config.zero_shot, classes, config.templates, device)
    return loaded.classifier, {
        "model": loaded.model,
        "templates": loaded.templates,
        "classes_sha256": digest([[one.name, *one.words] for one in classes]),
        "transformers": version("transformers"),
        "weights_sha256": loaded.classifier.weights_sha256,
    }


@dataclass(frozen=True)
class _Work:
    """The outputs of some rows, wherever it is called; `about` is what the column records of the network."""

    folder: Path
    digest: str
    config: PseudoLabelConfig
    device: str
    about: dict[str, Any]
    sounds: Sounds | None
    threads: int | None = None

    def __call__(self, rows: np.ndarray) -> Outputs:
        """Errors: UserError where the dataset or the network is another one than the command's; as outputs_of."""
        device = own_device(self.device)
        classifier, about = _loaded(self.config, device, self.threads)
        changed = differences(self.about, about)
        if changed:
            raise UserError(f"{self.config.model} was changed while it was read; start again: {'; '.join(changed)}.")
        dataset = reopened(self.folder, self.digest)
        return outputs_of(dataset, rows, classifier, self.config, torch.device(device), sounds=self.sounds)


@functools.lru_cache(1)
def _loaded(config: PseudoLabelConfig, device: str, threads: int | None) -> tuple[Classifier, dict[str, Any]]:
    """The network of a process that labels parts."""
    if threads is not None:
        torch.set_num_threads(threads)
    classifier, about = _classifier(config, torch.device(device))
    if config.clusters is not None:
        take_head(classifier.network, config.model)
    return classifier, about


def _anywhere(config: PseudoLabelConfig) -> PseudoLabelConfig:
    """`config` with whole paths, for processes that work in another folder."""
    model = config.model
    if config.zero_shot and Path(config.zero_shot).is_dir():
        model = f"{HF}{Path(config.zero_shot).absolute()}"
    weights, classes = (path and path.absolute() for path in (config.weights, config.classes))
    return dataclasses.replace(config, model=model, weights=weights, classes=classes)


def _by_parts(
    work: _Work,
    dataset: Dataset,
    rows: np.ndarray,
    sound_input: SoundInput | None,
    how: SideBySide,
    stopping: Callable[[], bool],
) -> Outputs:
    """The outputs of all rows by several processes: whole batches, the same as in one process."""
    if sound_input is not None:
        assert work.sounds is not None
        work.sounds(dataset, rows, sound_input, True).close()
    work = dataclasses.replace(work, threads=work.threads or how.share_of(torch.get_num_threads()))
    parts = [rows[part] for part in how.parts_of(len(rows), work.config.batch_size)]
    answers = map_parts(work, parts, how, stopping, device=work.device, packages=PACKAGES)
    made = []
    with contextlib.closing(answers), Progress(len(rows), "clips", "pseudo-label") as progress:
        for part, outputs in zip(parts, answers, strict=True):
            made.append(outputs)
            progress.advance(len(part))
    return joined(made)


def _report_failures(dataset: Dataset, failures: dict[int, tuple[str, str]]) -> None:
    """A warning that counts the clips without sound. Errors: UserError where none has one."""
    if not failures:
        return
    counts = ", ".join(f"{count} {reason}" for reason, count in Counter(one for one, _ in failures.values()).items())
    first = min(failures)
    example = f"such as {dataset.clip_ids[first]!r} ({': '.join(failures[first])})"
    if len(failures) == len(dataset):
        raise UserError(f"No clip has a sound that could be decoded ({counts}), {example}; nothing is written.")
    log.warning(
        "%d clips have no label, since their sources could not be decoded (%s), %s; --replace tries them again",
        len(failures),
        counts,
        example,
    )


def _write_lists(
    dataset: Dataset,
    name: str,
    config: PseudoLabelConfig,
    origin: dict[str, Any],
    classifier: Classifier,
    made: Outputs,
) -> Path:
    """A multi-label column: the classes of rows that are not below the threshold; null for all other rows."""
    for row in made.rows[~np.isfinite(made.probabilities).all(1)][:1].tolist():
        raise UserError(f"Column {name!r} is not written: a probability of {dataset.clip_ids[row]!r} is not finite.")
    lists: list[list[str] | None] = [None] * len(dataset)
    for row, numbers, kept in zip(made.rows.tolist(), made.values, made.probabilities >= config.threshold, strict=True):
        lists[row] = sorted(classifier.class_names[number] for number in numbers[kept])
    write_lists(path_of(dataset, name), dataset.clip_ids, lists, origin)
    return path_of(dataset, name)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        # no such name; not compiled in; no backend in this build; one that is a package of its own
        line = str(error).partition("\n")[0]
        raise UserError(f"--device {name} cannot be used ({line}); give auto, cpu or cuda.") from None
    return device
