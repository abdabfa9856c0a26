"""The protocols one by one: what they train, what they leave alone, and clips of any length at test."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import EvaluateConfig, PretrainConfig
from avtrain.data.augment import Normalise
from avtrain.data.clips import even_starts
from avtrain.data.reader import Reader
from avtrain.data.splits import Split, split_rows
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.features import Source, clip_features, window_features
from avtrain.evaluation.finetune import Fitting, fit_encoder
from avtrain.evaluation.knn import NEIGHBOURS, knn
from avtrain.evaluation.linear import linear
from avtrain.evaluation.predictions import read_predictions
from avtrain.models.audio import tiny_audio
from avtrain.models.two_tower import build_two_tower
from avtrain.runs import checkpoint
from avtrain.runs.data_spec import normaliser
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset

QUICK = Fitting(epochs=2, batch_size=8, learning_rate=1e-3, windows_per_clip=2)


@pytest.fixture(scope="module")
def lengths(tmp_path_factory):
    """Two classes 30 dB apart; test clips of less than a window, one window, 2 s, 10 s and 30 s."""
    clips = [
        Forged(label, split, seconds=seconds, group=f"{split}-{label}-{number // 2}", level=level)
        for label, level in (("loud", 0.0), ("quiet", -30.0))
        for split, all_seconds in (("train", [1.3, 2.0] * 8), ("test", [0.4, 0.99, 2.0, 2.0, 10.0, 30.0]))
        for number, seconds in enumerate(all_seconds)
    ]
    return Dataset(forge_dataset(tmp_path_factory.mktemp("dataset") / "lengths", clips))


@pytest.fixture
def source(lengths):
    with Reader(lengths) as reader:
        yield Source(lengths, reader, Normalise(lengths.logmel_mean, lengths.logmel_std), "cpu")


def fresh(seed=0):
    torch.manual_seed(seed)
    return tiny_audio().train()


def test_a_whole_clip_is_read_to_its_end(source, lengths):
    """Features of a whole clip are those of its stored log-mel, at once; a short one is padded to a window."""
    encoder = fresh()  # in train mode: that must not matter
    test = lengths.rows_of("test")
    found = clip_features(encoder, source, test)
    encoder.eval()
    for at, row in enumerate(test):
        logmel = lengths.read_clip(row).logmel
        missing = max(0, 100 - len(logmel))
        padded = np.pad(logmel, ((0, missing), (0, 0)), constant_values=logmel.min())
        with torch.no_grad():
            torch.testing.assert_close(found[at], encoder(source.normalised(padded[None]))[0], rtol=1e-5, atol=1e-5)


def test_the_order_of_rows_is_kept(source, lengths):
    rows = lengths.rows_of("test")
    encoder = fresh()
    torch.testing.assert_close(
        clip_features(encoder, source, rows[::-1].copy()), clip_features(encoder, source, rows).flip(0)
    )


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(module, before):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("protocol", ["linear", "knn"])
def test_a_frozen_encoder_stays_as_it_is(source, lengths, protocol):
    encoder, split = fresh(), split_rows(lengths)
    before = state(encoder)
    if protocol == "knn":
        knn(encoder, source, split, 2)
    else:
        linear(encoder, source, split, QUICK)
    assert changed(encoder, before) == set()


def test_finetuning_changes_every_weight(source, lengths):
    encoder = fresh()
    before = state(encoder)
    fit_encoder(encoder, source, split_rows(lengths), QUICK, "finetune")
    assert changed(encoder, before) == set(before)


def test_the_released_probe_moves_batch_norm_statistics_alone(source, lengths):
    encoder = fresh()
    before = state(encoder)
    fit_encoder(encoder, source, split_rows(lengths), Fitting(epochs=2, batch_size=8, frozen=True), "linear")
    moved = changed(encoder, before)
    assert moved == {name for name in before if "running_" in name or "num_batches" in name}
    assert moved


def test_the_tested_weights_are_those_of_the_best_epoch(source, lengths):
    """Training that goes on past its best epoch and training that stops there say the same of the test clips."""
    split = split_rows(lengths)
    wild = {"batch_size": 8, "learning_rate": 0.03, "windows_per_clip": 2}
    torch.manual_seed(0)
    chosen, long = fit_encoder(fresh(), source, split, Fitting(epochs=8, **wild), "finetune")
    assert chosen["epoch"] < 7  # else the test says nothing
    again, short = fit_encoder(fresh(), source, split, Fitting(epochs=chosen["epoch"] + 1, **wild), "finetune")
    assert {**again, "epochs_trained": 8} == chosen
    torch.testing.assert_close(short, long)


def test_dropout_acts_in_training_alone(source, lengths):
    split = split_rows(lengths)
    kept, dropped = (
        fit_encoder(fresh(), source, split, Fitting(epochs=1, batch_size=8, dropout=share), "finetune")
        for share in (0.0, 0.5)
    )
    assert kept[0]["validation_loss"] != dropped[0]["validation_loss"]
    torch.manual_seed(0)
    assert torch.equal(
        fit_encoder(fresh(), source, split, Fitting(epochs=1, dropout=0.5), "x")[1],
        fit_encoder(fresh(), source, split, Fitting(epochs=1, dropout=0.5), "x")[1],
    )


def test_spec_augment_masks_sounds_in_training_alone(source, lengths):
    split = split_rows(lengths, seed=0)
    for masks in (True, False):
        masked = {True: [], False: []}
        encoder = fresh()
        encoder.register_forward_pre_hook(
            lambda module, inputs, masked=masked: masked[module.training].append(
                bool((inputs[0] == 0).all(dim=3).any())
            )
        )
        fitting = dataclasses.replace(QUICK, spec_augment=masks)
        fit_encoder(encoder, source, split, fitting, "supervised")
        assert any(masked[True]) is masks
        assert not any(masked[False])


@pytest.mark.parametrize("settings", [{"protocol": "linear"}, {"protocol": "finetune", "side": "video"}])
def test_spec_augment_is_for_encoders_of_sounds_in_training(settings):
    with pytest.raises(UserError, match="spec_augment masks sounds that an encoder is trained on"):
        EvaluateConfig(spec_augment=True, **settings)


def test_training_that_breaks_down_is_reported(source, lengths):
    with pytest.raises(UserError, match="learning rate 1e\\+30; choose a lower one"):
        fit_encoder(fresh(), source, split_rows(lengths), Fitting(epochs=1, learning_rate=1e30), "finetune")


def test_one_clip_is_too_few_to_train_on(source, lengths):
    split = split_rows(lengths)
    with pytest.raises(UserError, match="fewer than two clips"):
        fit_encoder(fresh(), source, Split(split.fit[:1], split.validation, split.test), QUICK, "finetune")


class Level(nn.Module):
    """An encoder that hears the greatest level and nothing else."""

    def forward(self, logmel):
        level = logmel.amax(dim=(1, 2, 3))
        return torch.stack([level, torch.ones_like(level)], dim=1)


def test_neighbours_separate_loud_from_quiet_without_training(source, lengths):
    split = split_rows(lengths)
    chosen, probabilities = knn(Level(), source, split, 2)
    assert chosen["validation_accuracy"] == 1
    assert chosen["neighbours"] == NEIGHBOURS[0]  # the smaller of equals
    assert chosen["temperature"] == 0.07
    assert probabilities.argmax(dim=1).tolist() == lengths.label[split.test].tolist()


def test_the_k_with_the_best_validation_accuracy_is_taken(source, lengths):
    """The nearest neighbours of the validation clips carry wrong labels: one of them errs, more outvote it."""
    split = split_rows(lengths)
    flipped = lengths.label.copy()
    nearest = {
        int(split.fit[np.argmin(np.abs(_levels(source, split.fit) - level))])
        for level in _levels(source, split.validation)
    }
    flipped[list(nearest)] = 1 - flipped[list(nearest)]
    original, lengths.label = lengths.label, flipped
    try:
        chosen, _ = knn(Level(), source, split, 1)
    finally:
        lengths.label = original
    assert chosen["neighbours"] > 1


def _levels(source, rows):
    return clip_features(Level(), source, rows)[:, 0].numpy()


def test_windows_of_a_clip_are_encoded_once_each(source, lengths):
    heard = []

    class Counting(Level):
        def forward(self, logmel):
            heard.append(len(logmel))
            return super().forward(logmel)

    rows = lengths.rows_of("train")
    features, labels = window_features(Counting(), source, rows, 3)
    assert sum(heard) == len(features) == 3 * len(rows)
    assert labels.tolist() == np.repeat(lengths.label[rows], 3).tolist()
    heard.clear()
    split = split_rows(lengths)
    linear(Counting(), source, split, Fitting(epochs=30, windows_per_clip=3))
    assert sum(heard) == 3 * len(rows) + len(split.test)


NOTING = """
from avtrain.models.audio import tiny_audio
heard = []
def net():
    network = tiny_audio()
    network.register_forward_pre_hook(lambda module, media: heard.append(media[0].shape[2]))
    return network
"""


@pytest.mark.parametrize("protocol", ["supervised", "linear"])
def test_windows_are_as_long_as_asked_and_test_clips_whole(lengths, protocol, tmp_path, monkeypatch):
    (tmp_path / f"noting_{protocol}.py").write_text(NOTING)
    monkeypatch.syspath_prepend(tmp_path)
    config = EvaluateConfig(
        protocol=protocol,
        audio_model=f"noting_{protocol}:net",
        epochs=2,
        batch_size=8,
        window_seconds=1.6,
        test_windows=0,
    )
    evaluate(lengths.folder, config)
    heard = importlib.import_module(f"noting_{protocol}").heard
    whole = {max(160, frames) for frames in lengths.num_mel_frames[lengths.rows_of("test")].tolist()}
    tried = heard[: -len(whole)].index(160)  # a model of the user's own is tried on other lengths first
    assert set(heard[tried : -len(whole)]) == {160}
    assert set(heard[-len(whole) :]) == whole


def test_windows_as_long_as_a_clip_are_the_clip(source, lengths):
    """Random ones too: there is one place for them."""
    rows = lengths.rows_of("train")
    rows = rows[lengths.num_mel_frames[rows] == 201]
    whole = source.normalised(np.stack([lengths.read_clip(row).logmel for row in rows]))
    long = dataclasses.replace(source, window_mel_frames=201)
    torch.testing.assert_close(long.random_windows(rows, 0, 0), whole)
    torch.testing.assert_close(long.windows(rows, even_starts(lengths.num_mel_frames[rows], 1, 201)[:, 0]), whole)


@pytest.mark.parametrize("protocol", ["finetune", "knn"])
def test_a_run_is_measured(lengths, tmp_path, protocol):
    torch.manual_seed(0)
    model = build_two_tower("tiny")
    run = tmp_path / "run"
    checkpoint.save(run, 0, model, torch.optim.Adam(model.parameters()), {"config": {"model_size": "tiny"}})
    config = EvaluateConfig(protocol=protocol, epochs=1, batch_size=8, label_fraction=0.5, windows_per_clip=2)
    result = evaluate(lengths.folder, config, run=run, out=tmp_path / "out")
    assert (result["protocol"], result["run"], result["config"]["model_size"]) == (protocol, "run", "tiny")
    split = split_rows(lengths)
    halves = sum(round(count / 2) for count in np.bincount(lengths.label[split.fit]))
    assert (result["fit_clips"], result["validation_clips"]) == (halves, len(split.validation))
    assert len(read_predictions(tmp_path / "out" / "predictions.parquet").clip_ids) == 12


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--protocol", "finetune"], "Finetune starts from a run; give --run."),
        (["--protocol", "retrieval"], "Retrieval starts from a run; give --run."),
        (["--label-fraction", "0"], "label_fraction must be above 0"),
        (["--dropout", "1"], "dropout must be 0 or more and below 1"),
    ],
)
def test_a_call_that_cannot_be_served_ends_in_a_sentence(lengths, options, sentence):
    done = CliRunner().invoke(main, ["evaluate", str(lengths.folder), "--device", "cpu", *options])
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
    assert sentence in done.output


def test_the_command_prints_accuracy_and_choice(lengths, tmp_path):
    options = ["--protocol", "knn", "--model-size", "tiny", "--device", "cpu", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, ["evaluate", str(lengths.folder), *options])
    assert done.exit_code == 0, done.output
    assert "knn accuracy" in done.output
    assert "k = " in done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".lock",
        "config.json",
        "predictions.parquet",
        "result.json",
    ]


def test_an_encoder_may_keep_the_statistics_it_was_trained_with(tmp_path):
    """On clips 20 dB louder than those it knows: their own statistics take that away, the encoder's do not."""
    known, louder = (
        forge_dataset(
            tmp_path / name,
            [
                Forged("ab"[row % 2], split, group=f"{split}{row}", level=level)
                for split in ("train", "test")
                for row in range(8)
            ],
            frame_size=16,
            mel_bands=32,
        )
        for name, level in (("known", 0.0), ("louder", 20.0))
    )
    run = tmp_path / "run"
    pretrain(known, run, PretrainConfig(model_size="tiny", batch_size=4, max_steps=1), quiet=True)

    def probabilities(data, norm):
        config = EvaluateConfig(protocol="knn", norm=norm, windows_per_clip=1)
        assert evaluate(data, config, run=run, out=tmp_path / f"{data.name}-{norm}")["config"]["norm"] == norm
        return read_predictions(tmp_path / f"{data.name}-{norm}" / "predictions.parquet").probabilities

    np.testing.assert_array_equal(probabilities(known, "encoder"), probabilities(known, "dataset"))
    assert not np.allclose(probabilities(louder, "encoder"), probabilities(louder, "dataset"))
    folder = checkpoint.latest(run)
    kept, own = (
        normaliser(Dataset(louder), norm, folder, checkpoint.read_meta(folder)) for norm in ("encoder", "dataset")
    )
    np.testing.assert_allclose(kept.logmel_mean, Dataset(known).logmel_mean, rtol=1e-6)
    np.testing.assert_allclose(own.logmel_mean - kept.logmel_mean, 20, atol=1)
    with pytest.raises(UserError, match="holds no log-mel statistics"):
        normaliser(Dataset(louder), "encoder", folder, {"data": {}})
    with pytest.raises(UserError, match="give --run"):
        evaluate(louder, EvaluateConfig(protocol="knn", norm="encoder", model_size="tiny"), out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
