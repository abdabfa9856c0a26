"""avprep pseudo-label: a network's class of one frame of each clip, or of its sound; or a k-means cluster of features.

Clusters are fitted on the train split alone; clips of other splits go to the nearest centre.

The only part of avprep that imports torch. Frames come as they are stored, squares of 112 px or so; sounds come out of
the clips' sources, since log-mel is all that a dataset keeps of them.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avprep.dataset import Dataset, LabelColumn
from avprep.errors import ClipError, Interrupted, UserError
from avprep.labels.clusters import cluster_names, clusters_of
from avprep.labels.columns import NONE, claim_column, path_of, write_labels
from avprep.labels.multi_label import write_lists
from avprep.labels.pseudo_label.class_list import read_classes
from avprep.labels.pseudo_label.classifiers import LITE0, Classifier, SoundInput, load_classifier, take_head
from avprep.labels.pseudo_label.config import FRAMES, PseudoLabelConfig
from avprep.labels.pseudo_label.zero_shot import load_zero_shot
from avprep.shared.commands import Progress
from avprep.shared.configs import check, digest

__all__ = ["FRAMES", "LITE0", "Classifier", "PseudoLabelConfig", "SoundInput", "load_classifier", "pseudo_label"]

FITTED_ON = "train"

Sounds = Callable[[np.ndarray, SoundInput], Generator[np.ndarray | ClipError, None, None]]
"""The sound of each of some rows, float32 [N], or why there is none"""
Batches = Generator[tuple[np.ndarray, Any], None, None]
"""(rows, what Classifier.prepare takes of them)"""

log = logging.getLogger(__name__)


def pseudo_label(
    dataset: Dataset,
    config: PseudoLabelConfig,
    name: str,
    *,
    sounds: Sounds | None = None,
    replace: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> Path:
    """The path of the label column `name`, made unless it is there already.

    Labels are the network's own class ids or those of `config.classes`, with class names and the `probability`
    (float32) of each; with clusters, 0 to K - 1 named cluster-N; with top_k, lists of class names. Clips without
    pictures have none, nor, where the network takes `sounds`, clips without a source: a warning counts those. The same
    dataset, settings, versions and device give the same bytes. Clusters keep all features in memory (5 KB a clip for
    EfficientNets). Errors: UserError; Interrupted once `stopping()`, with nothing written.
    """
    device = _device(config.device)
    origin: dict[str, Any] = {"command": "pseudo-label", "frame": config.frame, "device": device.type}
    if config.zero_shot:
        assert config.classes is not None
        classes = read_classes(config.classes)
        loaded = load_zero_shot(config.zero_shot, classes, config.templates, device)
        classifier, origin["model"], origin["templates"] = loaded.classifier, loaded.model, loaded.templates
        origin["classes_sha256"] = digest([[one.name, *one.words] for one in classes])
        origin["transformers"] = version("transformers")
    else:
        classifier, origin["model"] = load_classifier(config.model, config.weights), config.model
    origin["weights_sha256"] = classifier.weights_sha256
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
        batches: Batches = _pictures(dataset, rows, config, device)
    else:
        rows = np.arange(len(dataset))
        assert sounds is not None
        batches = _sounds(dataset, sounds(rows, classifier.sound_input), config.batch_size)
    outputs = _outputs(classifier, batches, device, rows, stopping)
    if config.clusters is not None:
        fitted = np.isin(rows, dataset.rows_of(FITTED_ON))
        count = config.clusters
        check(
            count <= fitted.sum(),
            f"{count} clusters are more than the {fitted.sum()} {FITTED_ON} clips with pictures; ask for fewer.",
        )
        take_head(classifier.network, config.model)
        features = np.concatenate([batch.flatten(1).numpy() for _, batch in outputs])
        values = np.full(len(dataset), NONE, np.int32)
        values[rows] = clusters_of(features, fitted, count, config.seed)
        return write_labels(dataset, name, LabelColumn(values, cluster_names(count)), whole)
    tops = [(batch, *_most_probable(logits, config.top_k)) for batch, logits in outputs]
    labelled, classes_of, probabilities = (np.concatenate(parts) for parts in zip(*tops, strict=True))
    if config.top_k > 1:
        return _write_lists(dataset, name, config, whole, classifier, labelled, classes_of, probabilities)
    values, probability = np.full(len(dataset), NONE, np.int32), np.zeros(len(dataset), np.float32)
    kept = ~(probabilities[:, 0] < config.threshold)  # a NaN is kept, for write_labels to refuse
    values[labelled[kept]], probability[labelled[kept]] = classes_of[kept, 0], probabilities[kept, 0]
    return write_labels(dataset, name, LabelColumn(values, classifier.class_names), whole, probability=probability)


def _most_probable(logits: torch.Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` most probable classes of each row, int64 [B, count], and their probabilities; of equals the first."""
    ordered = logits.softmax(1).sort(dim=1, descending=True, stable=True)
    return ordered.indices[:, :count].numpy(), ordered.values[:, :count].numpy()


def _write_lists(
    dataset: Dataset,
    name: str,
    config: PseudoLabelConfig,
    origin: dict[str, Any],
    classifier: Classifier,
    rows: np.ndarray,
    classes: np.ndarray,
    probabilities: np.ndarray,
) -> Path:
    """A multi-label column: classes [N, top_k] of `rows` that are not below the threshold; null for all other rows."""
    for row in rows[~np.isfinite(probabilities).all(1)][:1].tolist():
        raise UserError(f"Column {name!r} is not written: a probability of {dataset.clip_ids[row]!r} is not finite.")
    lists: list[list[str] | None] = [None] * len(dataset)
    for row, numbers, kept in zip(rows.tolist(), classes, probabilities >= config.threshold, strict=True):
        lists[row] = sorted(classifier.class_names[number] for number in numbers[kept])
    write_lists(path_of(dataset, name), dataset.clip_ids, lists, origin)
    return path_of(dataset, name)


def _outputs(
    classifier: Classifier, batches: Batches, device: torch.device, rows: np.ndarray, stopping: Callable[[], bool]
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """(rows, what the network makes of them: float32 [B, outputs] on the CPU), batch by batch."""
    network = classifier.network.to(device)
    exact = torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False)
    progress = Progress(len(rows), "clips", "pseudo-label")
    with torch.inference_mode(), exact, contextlib.closing(batches), progress:
        for batch, inputs in batches:
            if stopping():
                raise Interrupted("no label was written; the same command starts again")
            yield batch, network(classifier.prepare(inputs)).float().cpu()
            progress.advance(len(batch))


def _pictures(dataset: Dataset, rows: np.ndarray, config: PseudoLabelConfig, device: torch.device) -> Batches:
    """One frame of each row, uint8 [B, 3, H, W] on the device."""
    for begin in range(0, len(rows), config.batch_size):
        batch = rows[begin : begin + config.batch_size]
        frames = np.concatenate([_frame(dataset, row, config.frame) for row in batch])
        yield batch, torch.from_numpy(frames).permute(0, 3, 1, 2).to(device)


def _frame(dataset: Dataset, row: int, frame: str) -> np.ndarray:
    count = int(dataset.num_frames[row])
    number = min(int(FRAMES[frame] * count), count - 1)
    return dataset.read_frames(row, number, number + 1)


def _sounds(
    dataset: Dataset, sounds: Generator[np.ndarray | ClipError, None, None], batch_size: int
) -> Generator[tuple[np.ndarray, list[np.ndarray]], None, None]:
    """The sounds of all rows that have one, float32 [N] each. Errors: UserError where none has, after the last."""
    rows, batch = [], []
    failures: dict[int, ClipError] = {}
    with contextlib.closing(sounds):
        for row, sound in enumerate(sounds):
            if isinstance(sound, ClipError):
                failures[row] = sound
                continue
            rows.append(row)
            batch.append(sound)
            if len(batch) == batch_size:
                yield np.array(rows), batch
                rows, batch = [], []
    if batch:
        yield np.array(rows), batch
    if not failures:
        return
    counts = ", ".join(f"{count} {reason}" for reason, count in Counter(f.reason for f in failures.values()).items())
    first = min(failures)
    example = f"such as {dataset.clip_ids[first]!r} ({failures[first].reason}: {failures[first].detail})"
    if len(failures) == len(dataset):
        raise UserError(f"No clip has a sound that could be decoded ({counts}), {example}; nothing is written.")
    log.warning(
        "%d clips have no label, since their sources could not be decoded (%s), %s; --replace tries them again",
        len(failures),
        counts,
        example,
    )


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
