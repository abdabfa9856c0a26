"""Evaluation: fair splits, a frozen encoder, honest numbers in result.json."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

import avtrain.evaluation.evaluate
import avtrain.evaluation.linear
import avtrain.evaluation.retrieval
import avtrain.evaluation.sides
from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits
from avprep.dataset import Dataset
from avprep.manifest.read_write import Clip, write_manifest
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import EvaluateConfig, PretrainConfig
from avtrain.data.splits import split_rows
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.linear import LEARNING_RATES
from avtrain.evaluation.metrics import classification_scores
from avtrain.evaluation.predictions import read_predictions
from avtrain.evaluation.retrieval import retrieve
from avtrain.models.two_tower import audio_encoder, build_two_tower
from avtrain.runs import checkpoint
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset

TINY = EvaluateConfig(model_size="tiny", epochs=20, windows_per_clip=2)


@pytest.fixture(scope="module")
def loud_and_quiet(tmp_path_factory):
    """Two classes that differ by 30 dB, in groups of two clips; test clips of three lengths."""
    clips = [
        Forged(label, split, seconds=seconds, group=f"{split}-{label}-{number // 2}", level=level)
        for label, level in (("loud", 0.0), ("quiet", -30.0))
        for split, count in (("train", 20), ("test", 9))
        for number in range(count)
        for seconds in [(0.6, 1.3, 2.0)[number % 3]]
    ]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "loud", clips)


@pytest.fixture(scope="module")
def untrained_run(tmp_path_factory):
    """A run folder whose checkpoint holds fresh weights."""
    run = tmp_path_factory.mktemp("runs") / "untrained"
    torch.manual_seed(0)
    model = build_two_tower("tiny")
    checkpoint.save(run, 0, model, torch.optim.Adam(model.parameters()), {"config": {"model_size": "tiny"}})
    return run


def test_a_linear_layer_finds_a_difference_that_is_there(loud_and_quiet):
    assert evaluate(loud_and_quiet, TINY)["accuracy"] > 0.8  # chance is 0.5


def test_the_layers_of_several_learning_rates_learn_as_each_would_alone(loud_and_quiet, monkeypatch):
    config = EvaluateConfig(model_size="tiny", epochs=5)
    together = evaluate(loud_and_quiet, config)
    alone = []
    for rate in LEARNING_RATES:
        monkeypatch.setattr(avtrain.evaluation.linear, "LEARNING_RATES", (rate,))
        alone.append(evaluate(loud_and_quiet, config))
    best = min(alone, key=lambda result: result["validation_loss"])
    assert (together["learning_rate"], together["epoch"]) == (best["learning_rate"], best["epoch"])
    assert together["validation_loss"] == pytest.approx(best["validation_loss"], rel=1e-5)


@pytest.mark.slow
def test_linear_evaluation_of_the_demo_is_better_than_chance(demo_dataset):
    result = evaluate(demo_dataset, EvaluateConfig(model_size="tiny", epochs=60))
    low, high = result["interval_95"]
    assert 1 / 8 < low < result["accuracy"] < high


def test_result_json_holds_what_the_accuracy_rests_on(loud_and_quiet, untrained_run, tmp_path):
    config = EvaluateConfig(model_size="tiny", epochs=1, windows_per_clip=1)
    result = evaluate(loud_and_quiet, config, run=untrained_run, out=tmp_path / "out")
    written = json.loads((tmp_path / "out" / "result.json").read_text())
    assert written == result
    dataset = Dataset(loud_and_quiet)
    test = dataset.rows_of("test")
    found = read_predictions(tmp_path / "out" / "predictions.parquet")
    assert found.clip_ids == [dataset.clip_ids[row] for row in test]
    assert found.label.tolist() == dataset.label[test].tolist()
    assert found.predicted.tolist() == found.probabilities.argmax(axis=1).tolist()
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-6)
    assert found.clusters.tolist() == dataset.clusters[test].tolist()
    scores = classification_scores(found.probabilities, found.label, 0, dataset.clusters[test])
    named = [{"class": name, **entry} for name, entry in zip(found.class_names, scores["per_class"], strict=True)]
    assert written | scores | {"per_class": named} == written
    split = split_rows(dataset)
    counts = {"test_clips": 18, "fit_clips": len(split.fit), "validation_clips": len(split.validation)}
    assert written | counts == written
    assert len(split.fit) + len(split.validation) == 40
    assert (written["protocol"], written["run"]) == ("linear", "untrained")
    assert written["dataset_digest"] == dataset.digest
    assert written["class_names"] == ["loud", "quiet"]
    assert written["config"]["windows_per_clip"] == 1
    assert written["learning_rate"] in LEARNING_RATES
    assert written["epoch"] == 0


def test_the_same_evaluation_gives_the_same_result(loud_and_quiet):
    config = EvaluateConfig(model_size="tiny", epochs=3, seed=4)
    assert evaluate(loud_and_quiet, config) == evaluate(loud_and_quiet, config)


def test_a_linear_layer_leaves_the_encoder_as_it_was(loud_and_quiet, untrained_run, monkeypatch):
    encoder = audio_encoder("tiny").train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    monkeypatch.setattr(avtrain.evaluation.sides, "load_audio_encoder", lambda *_: encoder)
    evaluate(loud_and_quiet, TINY, run=untrained_run)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


PROTOCOLS = [
    {"protocol": "linear"},
    {"protocol": "linear", "probe": "released"},
    {"protocol": "finetune"},
    {"protocol": "supervised"},
    {"protocol": "knn"},
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_test_labels_choose_nothing(loud_and_quiet, protocol, monkeypatch):
    config = EvaluateConfig(**protocol, model_size="tiny", epochs=3, batch_size=16, learning_rate=1e-3)
    honest = evaluate(loud_and_quiet, config)
    original = Dataset.__init__

    def swapped(self, folder):
        original(self, folder)
        self.label = self.label.copy()
        test = self.rows_of("test")
        self.label[test] = 1 - self.label[test]

    monkeypatch.setattr(Dataset, "__init__", swapped)
    other = evaluate(loud_and_quiet, config)
    chosen = {"learning_rate", "epoch", "validation_loss", "neighbours", "validation_accuracy"} & set(honest)
    assert len(chosen) >= 2
    for name in chosen:
        assert other[name] == honest[name]
    assert other["accuracy"] == pytest.approx(1 - honest["accuracy"])


def test_supervised_training_learns_the_difference(loud_and_quiet, tmp_path):
    config = EvaluateConfig(
        protocol="supervised", model_size="tiny", epochs=8, batch_size=8, learning_rate=3e-3, windows_per_clip=2
    )
    result = evaluate(loud_and_quiet, config, out=tmp_path)
    assert result["accuracy"] > 0.9
    assert 0 <= result["epoch"] < 8
    assert json.loads((tmp_path / "result.json").read_text())["protocol"] == "supervised"


def test_a_run_without_a_checkpoint(loud_and_quiet, tmp_path):
    for measure in (lambda: evaluate(loud_and_quiet, TINY, run=tmp_path), lambda: retrieve(loud_and_quiet, tmp_path)):
        with pytest.raises(UserError, match=f"{tmp_path} holds no checkpoint"):
            measure()


def test_retrieval_by_an_untrained_model_is_near_chance(demo_dataset, untrained_run):
    found = retrieve(demo_dataset, untrained_run)
    assert found["clips"] == 32
    assert found["chance_at_1"] == 1 / 32
    assert found["recall_at_1"] < 0.2
    assert found["recall_at_1"] <= found["recall_at_5"] < 0.5
    for way in ("audio_to_video", "video_to_audio"):
        assert 4 < found[way]["pair"]["median_rank"] < 29
        assert found[way]["class"]["recall_at_10"] >= found[way]["pair"]["recall_at_10"]
    assert found["chance"]["class"]["recall_at_1"] == pytest.approx(1 / 8)


def test_retrieval_does_not_overwrite_another_evaluation(loud_and_quiet, untrained_run, tmp_path):
    def called(*options):
        command = ["evaluate", str(loud_and_quiet), "--run", str(untrained_run), "--device=cpu", "--threads=1"]
        return CliRunner().invoke(main, [*command, "--epochs=2", *options])

    assert called("--out", str(tmp_path / "linear")).exit_code == 0
    before = (tmp_path / "linear" / "result.json").read_bytes()
    refused = called("--protocol=retrieval", "--out", str(tmp_path / "linear"))
    assert refused.exit_code == 2
    assert "protocol: 'linear' -> 'retrieval'" in refused.output
    assert (tmp_path / "linear" / "result.json").read_bytes() == before
    for _ in range(2):
        assert called("--protocol=retrieval", "--out", str(tmp_path / "back")).exit_code == 0
    result = json.loads((tmp_path / "back" / "result.json").read_text())
    assert result["config"] == {"protocol": "retrieval", "checkpoint": "newest", "weights": "raw"}
    assert result["step"] == 0
    assert called("--out", str(tmp_path / "back")).exit_code == 2


class Oracle(torch.nn.Module):
    """Gives the n-th clip of four windows the n-th axis, for sound and picture; `swap` exchanges clips 0 and 1."""

    def __init__(self, swap=False):
        super().__init__()
        self.seen, self.heard, self.swap = 0, 0, swap

    def embed_video(self, video):
        first, self.seen = self.seen, self.seen + len(video)
        return axes(torch.arange(first, self.seen) // 4)

    def embed_audio(self, audio):
        first, self.heard = self.heard, self.heard + len(audio)
        clips = torch.arange(first, self.heard) // 4
        return axes(torch.where(clips < 2, 1 - clips, clips) if self.swap else clips)


def axes(clips):
    return F.one_hot(clips, 32).float()


def test_retrieval_takes_four_windows_of_each_clip(demo_dataset, untrained_run, monkeypatch):
    read = []
    original = avtrain.evaluation.retrieval.read_pairs

    def read_pairs(dataset, reader, plan, windows, spec):
        read.extend(np.column_stack([plan, windows.frame]).tolist())
        return original(dataset, reader, plan, windows, spec)

    monkeypatch.setattr(avtrain.evaluation.retrieval, "read_pairs", read_pairs)
    retrieve(demo_dataset, untrained_run)
    audio, video, frame = np.array(read).T
    np.testing.assert_array_equal(audio, np.repeat(Dataset(demo_dataset).rows_of("test"), 4))
    np.testing.assert_array_equal(audio, video)
    assert (np.diff(frame.reshape(-1, 4), axis=1) > 0).all()


@pytest.mark.parametrize(("swap", "found"), [(False, 1.0), (True, 30 / 32)])
def test_retrieval_counts_the_clips_that_find_their_own(demo_dataset, untrained_run, monkeypatch, swap, found):
    monkeypatch.setattr(avtrain.evaluation.retrieval, "load_two_tower", lambda *_: Oracle(swap))
    result = retrieve(demo_dataset, untrained_run)
    assert result["recall_at_1"] == found
    assert result["class_recall_at_1"] == 1  # clips 0 and 1 are of one class


def test_the_result_names_the_model_and_step_that_were_measured(loud_and_quiet, untrained_run, tmp_path):
    result = evaluate(loud_and_quiet, EvaluateConfig(epochs=2), run=untrained_run, out=tmp_path / "out")
    assert (result["config"]["model_size"], result["step"]) == ("tiny", 0)
    with pytest.raises(UserError, match="epochs: 2 -> 3"):
        evaluate(loud_and_quiet, EvaluateConfig(epochs=3), run=untrained_run, out=tmp_path / "out")


@pytest.fixture(scope="module")
def sound_only(sounds, tmp_path_factory):
    """16 real sounds of four classes, the first word of their names; every fourth is a test clip."""
    folder = tmp_path_factory.mktemp("sounds")
    clips = [
        Clip(
            path.stem, path.stem.split("_")[0], "train" if number % 4 else "test", audio_path=str(path), group=path.stem
        )
        for number, path in enumerate(sorted(sounds.glob("*.ogg")))
    ]
    write_manifest(folder / "m.csv", clips)
    build_shards(folder / "m.csv", folder / "out", BuildConfig(), Limits())
    return folder / "out"


@pytest.mark.slow
def test_sounds_without_pictures_are_classified_whatever_their_length(sound_only):
    result = evaluate(sound_only, EvaluateConfig(model_size="tiny", epochs=5, validation_share=0.3))
    assert (result["test_clips"], result["fit_clips"] + result["validation_clips"]) == (4, 12)


def test_sounds_without_pictures_are_no_pairs(sound_only, untrained_run, tmp_path):
    with pytest.raises(UserError, match="retrieval needs both tracks"):
        retrieve(sound_only, untrained_run)
    with pytest.raises(UserError, match="12 train clips without picture"):
        pretrain(sound_only, tmp_path / "run", PretrainConfig(model_size="tiny", batch_size=4))
    assert not (tmp_path / "run").exists()
