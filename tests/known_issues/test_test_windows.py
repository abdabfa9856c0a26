"""Classifiers fitted on windows were tested on whole clips alone: a maximum over 5 s lies higher than one over 1 s."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import EvaluateConfig
from avtrain.data.augment import Normalise
from avtrain.data.clips import even_starts
from avtrain.data.reader import Reader
from avtrain.data.splits import split_rows
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.features import Source, clip_and_window_features, clip_features
from avtrain.evaluation.finetune import Fitting
from avtrain.evaluation.linear import linear
from tests.train.forge import Forged, arrays, forge_dataset

LOST = """
import torch
class Lost(torch.nn.Module):
    def forward(self, logmel):
        return logmel.mean((2, 3)) / 0
def net():
    return Lost()
"""
LOUDER = {"a": 0.0, "b": 12.0}


@pytest.fixture(scope="module")
def clips():
    return [
        Forged("ab"[row % 2], split, seconds=1.0 if split == "train" else 5.0, level=LOUDER["ab"[row % 2]])
        for split in ("train", "test")
        for row in range(12)
    ]


@pytest.fixture(scope="module")
def folder(clips, tmp_path_factory):
    return forge_dataset(tmp_path_factory.mktemp("windows") / "data", clips, mel_bands=32, frame_size=32)


class Loudest(nn.Module):
    """[B, 1, F, M] -> [B, M]: the greatest value of each band."""

    num_features = 32

    def forward(self, logmel):
        return logmel[:, 0].amax(dim=1)


def source_of(dataset, reader, **settings):
    raw = Normalise(np.zeros(dataset.num_mel_bands), np.ones(dataset.num_mel_bands))
    return Source(dataset, reader, raw, "cpu", **settings)


def test_features_of_windows_are_the_mean_over_windows_of_the_length_fitted_on(folder, clips):
    dataset = Dataset(folder)
    rows = dataset.rows_of("test")
    with Reader(dataset) as reader:
        whole = clip_features(Loudest(), source_of(dataset, reader), rows)
        both = clip_and_window_features(Loudest(), source_of(dataset, reader, test_windows=8), rows)
        alone = clip_and_window_features(Loudest(), source_of(dataset, reader), rows)
    assert torch.equal(alone, whole)
    assert torch.equal(both[: len(rows)], whole)
    numbers = [int(dataset.clip_ids[row][1:]) for row in rows]
    for features, number in zip(both[len(rows) :], numbers, strict=True):
        logmel = arrays(number, clips[number], 32, 32)[1].astype(np.float32)
        starts = even_starts(np.array([len(logmel)]), 8)[0]
        wanted = np.mean([logmel[start : start + 100].max(0) for start in starts], axis=0)
        np.testing.assert_allclose(features.numpy(), wanted, rtol=1e-5)
    assert (both[: len(rows)] > both[len(rows) :]).float().mean() > 0.9  # what the change of length does


def test_both_are_in_the_result_and_in_the_text(folder, tmp_path):
    words = ["evaluate", folder, "--protocol=linear", "--model-size=tiny", "--epochs=2", "--device=cpu"]
    for more, count in (([], 8), (["--test-windows", "3"], 3)):
        out = tmp_path / f"out{count}"
        ran = CliRunner().invoke(main, [*map(str, words), *more, "--out", str(out)])
        assert ran.exit_code == 0, ran.output
        found = json.loads((out / "result.json").read_text())
        assert (found["windows"]["test_windows"], found["windows"]["window_seconds"]) == (count, 1.0)
        low, high = found["windows"]["interval_95"]
        assert low <= found["windows"]["accuracy"] <= high
        assert f"{count} windows of 1 s" in ran.output
        assert f"{100 * found['windows']['accuracy']:.1f} %" in ran.output
    none = evaluate(folder, EvaluateConfig(protocol="knn", model_size="tiny", test_windows=0))
    assert none["windows"] is None
    assert len(none["confusion"]) == 2


@pytest.mark.parametrize("protocol", ["linear", "knn", "supervised"])
def test_every_protocol_classifies_both(folder, protocol):
    found = evaluate(folder, EvaluateConfig(protocol=protocol, model_size="tiny", epochs=1, learning_rate=1e-3))
    assert 0 <= found["windows"]["accuracy"] <= 1
    assert found["test_clips"] == 12


@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_short_clips_are_padded_to_the_windows_that_were_fitted_on(tmp_path, seconds):
    clips = [Forged("ab"[row % 2], "test", seconds=0.3) for row in range(4)]
    dataset = Dataset(forge_dataset(tmp_path / "short", clips))
    frames = []

    class Counting(nn.Module):
        def forward(self, logmel):
            frames.append(logmel.shape[2])
            return logmel[:, 0].amax(dim=1)

    with Reader(dataset) as reader:
        source = source_of(dataset, reader, window_mel_frames=round(100 * seconds))
        clip_features(Counting(), source, dataset.rows_of("test"))
    assert set(frames) == {round(100 * seconds)}


class Poisoned(nn.Module):
    """Features that are the loudness."""

    num_features = 1

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, logmel):
        return self.scale * logmel.mean(dim=(2, 3))


def test_a_first_score_that_is_nan_is_not_kept_for_good(folder, monkeypatch):
    import avtrain.evaluation.linear

    dataset = Dataset(folder)
    split = split_rows(dataset)
    original, calls = avtrain.evaluation.linear._losses, []

    def first_is_nan(heads, features, labels, objective):
        found = original(heads, features, labels, objective)
        if torch.is_grad_enabled():
            return found
        calls.append(1)
        return found * float("nan") if len(calls) == 1 else found

    monkeypatch.setattr(avtrain.evaluation.linear, "_losses", first_is_nan)
    with Reader(dataset) as reader:
        chosen, probabilities = linear(Poisoned(1.0), source_of(dataset, reader), split, Fitting(epochs=5))
    assert chosen["epoch"] > 0
    assert chosen["validation_loss"] < 1
    assert probabilities.isfinite().all()


def test_features_that_are_not_finite_are_no_prediction(folder, tmp_path, monkeypatch):
    """They were counted as predictions of the first class."""
    (tmp_path / "lost_encoder.py").write_text(LOST)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="no finite features for 8 clips"):
        evaluate(folder, EvaluateConfig(protocol="knn", audio_model="lost_encoder:net"))


def test_an_encoder_without_a_finite_feature_is_refused(folder):
    dataset = Dataset(folder)
    with Reader(dataset) as reader, pytest.raises(UserError, match="no finite features for"):
        linear(Poisoned(float("nan")), source_of(dataset, reader), split_rows(dataset), Fitting(epochs=2))
