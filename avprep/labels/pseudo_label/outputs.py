"""What a network makes of some clips of a dataset: their most probable classes, or features, batch by batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from avprep.dataset import Dataset
from avprep.errors import ClipError, Interrupted
from avprep.labels.pseudo_label.classifiers import Classifier, SoundInput
from avprep.labels.pseudo_label.config import FRAMES, PseudoLabelConfig

Sounds = Callable[[Dataset, np.ndarray, SoundInput, bool], Generator[np.ndarray | ClipError, None, None]]
"""The sound of each of some rows, float32 [N], or why there is none; True: a UserError before all where not one source
of theirs is there"""


@dataclass(frozen=True)
class Outputs:
    """Of `rows` int64 [N]: `values`, class ids int64 [N, top_k] with their probabilities, or features float32 [N, D].

    `failures` are rows that have no sound, with the reason and detail.
    """

    rows: np.ndarray
    values: np.ndarray
    probabilities: np.ndarray
    failures: dict[int, tuple[str, str]]


def outputs_of(
    dataset: Dataset,
    rows: np.ndarray,
    classifier: Classifier,
    config: PseudoLabelConfig,
    device: torch.device,
    *,
    sounds: Sounds | None = None,
    any_source: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    advance: Callable[[int], None] = lambda _count: None,
) -> Outputs:
    """What the network makes of `rows`, batch_size of them at a time; `advance` is called with how many are done.

    Errors: UserError, with `any_source` also where no row has a source that is there; Interrupted once `stopping()`.
    """
    failures: dict[int, tuple[str, str]] = {}
    batches: Generator[tuple[Sequence[int], Any], None, None]
    if classifier.sound_input is None:
        batches = _pictures(dataset, rows, config, device)
    else:
        assert sounds is not None
        batches = _sounds(rows, sounds(dataset, rows, classifier.sound_input, any_source), config.batch_size, failures)
    network = classifier.network.to(device)
    exact = torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False)
    taken: list[Sequence[int]] = []
    made: list[tuple[np.ndarray, np.ndarray]] = []
    with torch.inference_mode(), exact, contextlib.closing(batches):
        for batch, inputs in batches:
            if stopping():
                raise Interrupted("no label was written; the same command starts again")
            outputs = network(classifier.prepare(inputs)).float().cpu()
            if config.clusters is None:
                made.append(_most_probable(outputs, config.top_k))
            else:
                made.append((outputs.flatten(1).numpy(), np.zeros((len(outputs), 0), np.float32)))
            taken.append(batch)
            advance(len(batch))
    values, probabilities = (np.concatenate(part) for part in zip(*made, strict=True)) if made else (_NONE, _NONE)
    return Outputs(np.array([row for batch in taken for row in batch], np.int64), values, probabilities, failures)


_NONE = np.zeros((0, 0))


def joined(parts: Sequence[Outputs]) -> Outputs:
    """The outputs of parts of the rows, one part after the other."""
    some = [part for part in parts if len(part.rows)]
    if not some:
        some = list(parts[:1])
    failures = {row: why for part in parts for row, why in part.failures.items()}
    rows, values, probabilities = (
        np.concatenate([getattr(part, name) for part in some]) for name in ("rows", "values", "probabilities")
    )
    return Outputs(rows, values, probabilities, failures)


def _most_probable(logits: torch.Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` most probable classes of each row, int64 [B, count], and their probabilities; of equals the first."""
    ordered = logits.softmax(1).sort(dim=1, descending=True, stable=True)
    return ordered.indices[:, :count].numpy(), ordered.values[:, :count].numpy()


def _pictures(
    dataset: Dataset, rows: np.ndarray, config: PseudoLabelConfig, device: torch.device
) -> Generator[tuple[Sequence[int], torch.Tensor], None, None]:
    """One frame of each row, uint8 [B, 3, H, W] on the device."""
    for begin in range(0, len(rows), config.batch_size):
        batch = rows[begin : begin + config.batch_size]
        frames = np.concatenate([_frame(dataset, row, config.frame) for row in batch])
        yield batch.tolist(), torch.from_numpy(frames).permute(0, 3, 1, 2).to(device)


def _frame(dataset: Dataset, row: int, frame: str) -> np.ndarray:
    count = int(dataset.num_frames[row])
    number = min(int(FRAMES[frame] * count), count - 1)
    return dataset.read_frames(row, number, number + 1)


def _sounds(
    rows: np.ndarray,
    sounds: Generator[np.ndarray | ClipError, None, None],
    batch_size: int,
    failures: dict[int, tuple[str, str]],
) -> Generator[tuple[Sequence[int], list[np.ndarray]], None, None]:
    """The sounds of rows that have one, float32 [N] each; a batch is of the same rows whatever others have none.

    Those that have none are put into `failures`.
    """
    with contextlib.closing(sounds):
        for begin in range(0, len(rows), batch_size):
            batch: dict[int, np.ndarray] = {}
            for row in rows[begin : begin + batch_size].tolist():
                sound = next(sounds)
                if isinstance(sound, ClipError):
                    failures[row] = (sound.reason, sound.detail)
                else:
                    batch[row] = sound
            if batch:
                yield list(batch), list(batch.values())
