"""avtrain evaluate: what an audio encoder has learnt, by a linear layer on it or by training it from scratch.

20 % of the train split's groups (stratified, seeded) choose the epoch and the learning rate; the test split is seen
once, clip by clip in full length. Log-mel is normalised with the dataset's own train statistics.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from avprep.dataset import Dataset
from avprep.shared import configs, store
from avprep.shared.commands import Progress
from avprep.shared.errors import UserError
from avtrain import checkpoint
from avtrain.config import EvaluateConfig
from avtrain.data.augment import Normalise
from avtrain.data.clips import even_starts, read_windows, whole_clips
from avtrain.data.reader import Reader
from avtrain.metrics import accuracy_interval
from avtrain.models import place
from avtrain.models.audio import AudioCNN
from avtrain.models.two_tower import TwoTower, audio_encoder, two_tower

LINEAR_LEARNING_RATES = (1e-3, 3e-3, 1e-2)
ENCODE_BATCH = 256


@dataclass(frozen=True)
class Split:
    """Dataset rows int64 for fitting, for choosing, for the one test."""

    fit: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def evaluate(
    dataset_dir: Path | str,
    config: EvaluateConfig,
    *,
    run: Path | None = None,
    out: Path | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Measure the encoder of `run` (linear without a run: an untrained one); the result is also out/result.json.

    Returns accuracy, its 95 % interval, the chosen epoch and rate, predictions per test clip. Errors: UserError.
    """
    dataset = Dataset(dataset_dir)
    split = split_rows(dataset, config)
    if run is not None:
        meta = _newest(run)[1]
        config = dataclasses.replace(config, model_size=meta["config"]["model_size"])
    settings = {"config": configs.to_dict(config), "dataset_digest": dataset.digest}
    if out is not None:
        configs.claim(out / "config.json", settings, "evaluation")
    torch.manual_seed(config.seed)
    encoder = load_audio_encoder(run) if run else audio_encoder(config.model_size)
    normalise = Normalise(dataset.logmel_mean, dataset.logmel_std).to(device)
    with Reader(dataset) as reader:
        bench = _Bench(dataset, reader, place(encoder, device), normalise, config, device)
        chosen, scores = bench.linear(split) if config.protocol == "linear" else bench.supervised(split)
    truth = dataset.label[split.test]
    predicted = scores.argmax(axis=1)
    accuracy, low, high = accuracy_interval(predicted == truth)
    result = {
        "protocol": config.protocol,
        "run": run.name if run else None,
        "accuracy": accuracy,
        "interval_95": [low, high],
        "test_clips": len(truth),
        "fit_clips": len(split.fit),
        "validation_clips": len(split.validation),
        **chosen,
        "step": meta["step"] if run is not None else 0,
        **settings,
        "class_names": dataset.class_names,
        "predictions": [
            {"clip_id": dataset.clip_ids[row], "label": int(label), "predicted": int(guess)}
            for row, label, guess in zip(split.test, truth, predicted, strict=True)
        ],
    }
    if out is not None:
        store.write_json(out / "result.json", result)
    return result


def load_audio_encoder(run: Path) -> AudioCNN:
    """The audio encoder of a run's newest checkpoint, in eval mode."""
    folder, meta = _newest(run)
    encoder = audio_encoder(meta["config"]["model_size"])
    checkpoint.load_model(folder, encoder, prefix="audio.")
    return encoder.eval()


def load_two_tower(run: Path) -> TwoTower:
    """Both encoders of a run's newest checkpoint, in eval mode."""
    folder, meta = _newest(run)
    model = two_tower(meta["config"]["model_size"])
    checkpoint.load_model(folder, model)
    return model.eval()


def _newest(run: Path) -> tuple[Path, dict[str, Any]]:
    folder = checkpoint.latest(run)
    if folder is None:
        raise UserError(f"{run} holds no checkpoint; 'avtrain pretrain' writes one.")
    return folder, checkpoint.read_meta(folder)


def split_rows(dataset: Dataset, config: EvaluateConfig) -> Split:
    """Rows to fit, choose and test on: a val split chooses, else a share of the train split, by group in each class."""
    rows, test = dataset.rows_of("train"), dataset.rows_of("test")
    if "val" in dataset.splits:
        return Split(rows, dataset.rows_of("val"), test)
    labels, groups = dataset.label[rows], dataset.groups[rows]
    draw = np.random.default_rng([config.seed, 0xE7A1])
    held: set[int] = set()
    for label in np.unique(labels):
        members = np.unique(groups[labels == label])
        count = min(max(round(config.validation_share * len(members)), 1), len(members) - 1)
        held.update(draw.permutation(members)[: max(count, 0)].tolist())
    chosen = np.isin(groups, sorted(held))
    if not chosen.any() or chosen.all():
        raise UserError(f"{dataset.folder} has too few groups of clips to hold some out for validation.")
    return Split(rows[~chosen], rows[chosen], test)


def _told(epochs: int) -> Iterator[int]:
    """Epoch numbers, with a progress bar."""
    with Progress(epochs, "epochs", "supervised") as progress:
        for epoch in range(epochs):
            yield epoch
            progress.advance()


class _Bench:
    """One encoder on one dataset: encodes, trains heads, scores the test clips."""

    def __init__(
        self,
        dataset: Dataset,
        reader: Reader,
        encoder: nn.Module,
        normalise: Normalise,
        config: EvaluateConfig,
        device: str,
    ) -> None:
        self.dataset, self.reader, self.encoder, self.normalise = dataset, reader, encoder, normalise
        self.config, self.device, self.classes = config, device, len(dataset.class_names)

    def linear(self, split: Split) -> tuple[dict[str, Any], np.ndarray]:
        """Features once, then a head per learning rate; (what was chosen, scores [test, classes])."""
        self.encoder.eval()
        fit, fit_labels = self._window_features(split.fit)
        validation, validation_labels = self._window_features(split.validation)
        mean, std = fit.mean(0), fit.std(0).clamp_min(1e-6)
        fit, validation = (fit - mean) / std, (validation - mean) / std
        best: tuple[float, dict[str, Any], nn.Linear] | None = None
        for rate in LINEAR_LEARNING_RATES:
            head = nn.Linear(fit.shape[1], self.classes).to(self.device)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
            optimiser = torch.optim.Adam(head.parameters(), lr=rate, weight_decay=self.config.weight_decay)
            for epoch in range(self.config.epochs):
                for batch in self._order(len(fit), epoch):
                    loss = F.cross_entropy(head(fit[batch]), fit_labels[batch])
                    optimiser.zero_grad(set_to_none=True)
                    loss.backward()
                    optimiser.step()
                with torch.no_grad():
                    score = F.cross_entropy(head(validation), validation_labels).item()
                if best is None or score < best[0]:
                    best = score, {"learning_rate": rate, "epoch": epoch, "validation_loss": score}, copy.deepcopy(head)
        assert best is not None
        with torch.no_grad():
            scores = best[2]((self._clip_features(split.test) - mean) / std)
        return best[1], scores.cpu().numpy()

    def supervised(self, split: Split) -> tuple[dict[str, Any], np.ndarray]:
        """Encoder and head from scratch on random windows; (what was chosen, scores [test, classes])."""
        head = nn.Linear(self.encoder.num_features, self.classes).to(self.device)  # type: ignore[arg-type]
        model = nn.Sequential(self.encoder, head)
        config = self.config
        optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        best: tuple[float, dict[str, Any], dict[str, torch.Tensor]] | None = None
        for epoch in _told(config.epochs):
            model.train()
            for batch in self._order(len(split.fit), epoch):
                rows = split.fit[batch.cpu().numpy()]
                if len(rows) < 2:
                    continue  # batch norm needs two
                loss = F.cross_entropy(model(self._random_windows(rows, epoch)), self._labels(rows))
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
            model.eval()
            with torch.no_grad():
                features, labels = self._window_features(split.validation)
                score = F.cross_entropy(head(features), labels).item()
            if best is None or score < best[0]:
                best = (
                    score,
                    {"learning_rate": config.learning_rate, "epoch": epoch, "validation_loss": score},
                    {name: tensor.clone() for name, tensor in model.state_dict().items()},
                )
        assert best is not None
        model.load_state_dict(best[2])
        model.eval()
        with torch.no_grad():
            return best[1], head(self._clip_features(split.test)).cpu().numpy()

    def _order(self, count: int, epoch: int) -> list[torch.Tensor]:
        order = np.random.default_rng([self.config.seed, epoch]).permutation(count)
        return list(torch.from_numpy(order).to(self.device).split(self.config.batch_size))

    def _labels(self, rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.dataset.label[rows].astype(np.int64)).to(self.device)

    def _random_windows(self, rows: np.ndarray, epoch: int) -> torch.Tensor:
        room = np.maximum(self.dataset.num_mel_frames[rows] - 99, 1)
        starts = np.random.default_rng([self.config.seed, epoch, int(rows[0]), 1]).integers(0, room)
        return self._normalised(read_windows(self.dataset, self.reader, rows, starts))

    def _normalised(self, logmel: np.ndarray) -> torch.Tensor:
        return self.normalise.audio(torch.from_numpy(logmel).to(self.device))

    @torch.no_grad()
    def _window_features(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Features [clips * windows, D] and labels of evenly spread windows."""
        starts = even_starts(self.dataset.num_mel_frames[rows], self.config.windows_per_clip)
        repeated, flat = np.repeat(rows, starts.shape[1]), starts.reshape(-1)
        parts = [
            self.encoder(self._normalised(read_windows(self.dataset, self.reader, repeated[at], flat[at])))
            for at in np.array_split(np.arange(len(flat)), max(1, -(-len(flat) // ENCODE_BATCH)))
        ]
        return torch.cat(parts), self._labels(repeated)

    @torch.no_grad()
    def _clip_features(self, rows: np.ndarray) -> torch.Tensor:
        """Features [clips, D] of whole clips."""
        out = torch.empty((len(rows), self.encoder.num_features), device=self.device)  # type: ignore[arg-type]
        for positions, logmel in whole_clips(self.dataset, self.reader, rows, ENCODE_BATCH):
            out[torch.from_numpy(positions).to(self.device)] = self.encoder(self._normalised(logmel))
        return out
