"""A moving average of the weights: what it is, who measures it, how it comes back; and the mean of checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from avprep.shared.errors import Interrupted, UserError
from avtrain.cli import main
from avtrain.config import EvaluateConfig, PretrainConfig
from avtrain.embed import load_encoder
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.measure import measure
from avtrain.evaluation.retrieval import retrieve
from avtrain.models.two_tower import build_two_tower
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from avtrain.runs.average import average
from avtrain.runs.load import checkpoint_of, load_audio_encoder, load_two_tower
from avtrain.training.ema import average_of, follow
from avtrain.training.pretrain import pretrain
from avtrain.training.validation import Validation
from tests.train.forge import Forged, forge_dataset

SETTINGS = {"model_size": "tiny", "batch_size": 6, "epochs": 2, "learning_rate": 1e-3, "projection": "mlp"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 training clips of four classes: four batches of six; 4 to validate on, 8 to test."""
    clips = [Forged("abcd"[row % 4], split="train" if row < 24 else "val" if row < 28 else "test") for row in range(36)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A run of eight updates with a moving average, and all its checkpoints."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("run") / "run"
    config = PretrainConfig(**SETTINGS, ema=0.5, checkpoint_every_steps=1, keep_checkpoints=8)
    pretrain(folder, run, config, quiet=True)
    return run


def tensors(folder, name="model"):
    return load_file(folder / f"{name}.safetensors")


def test_the_average_follows_by_its_decay_and_faster_at_the_beginning():
    torch.manual_seed(0)
    model = build_two_tower("tiny")
    mean = average_of(model)
    assert not mean.training
    assert not any(weights.requires_grad for weights in mean.parameters())
    first = model.video_head.weight.detach().clone()
    wanted = first.clone()
    for update, decay in ((1, 2 / 11), (2, 3 / 12), (1000, 0.9)):
        with torch.no_grad():
            model.video_head.weight.add_(1.0)
            model.audio.layers[0][1].running_mean.add_(2.0)
            model.audio.layers[0][1].num_batches_tracked.add_(1)
        follow(mean, model, 0.9, update)
        wanted = decay * wanted + (1 - decay) * model.video_head.weight.detach()
        torch.testing.assert_close(mean.video_head.weight, wanted)
    assert mean.audio.layers[0][1].num_batches_tracked == 3
    torch.testing.assert_close(mean.audio.layers[0][1].running_mean, 2 * (wanted - first)[0, 0].expand(16))


def test_a_checkpoint_has_the_average_of_the_weights_of_its_updates(run):
    mean = tensors(run / "step_00000001", "ema")
    for update in range(2, 9):
        decay = min(0.5, (1 + update) / (10 + update))
        for name, value in tensors(run / f"step_{update:08d}").items():
            mean[name] = decay * mean[name] + (1 - decay) * value if value.is_floating_point() else value
    for name, value in tensors(run / "step_00000008", "ema").items():
        torch.testing.assert_close(value, mean[name], rtol=1e-4, atol=1e-6)


def test_validation_measures_the_average(folder, tmp_path, monkeypatch):
    measured, measure = [], Validation.measure

    def noted(self, model, stopping):
        measured.append({name: value.clone() for name, value in model.state_dict().items()})
        return measure(self, model, stopping)

    monkeypatch.setattr(Validation, "measure", noted)
    pretrain(folder, tmp_path, PretrainConfig(**(SETTINGS | {"epochs": 1}), ema=0.5), quiet=True)
    (seen,) = measured
    for name, value in tensors(tmp_path / "step_00000004", "ema").items():
        assert torch.equal(seen[name], value), name
    last = run_folder.read_validation(tmp_path)[-1]
    assert retrieve(folder, tmp_path, "val")["recall_at_1"] == pytest.approx(last["val_recall_at_1"])


def test_evaluation_takes_the_average_or_the_weights(run):
    found = checkpoint_of(run)
    for weights, name in (("auto", "ema"), ("ema", "ema"), ("raw", "model")):
        stored = tensors(found[0], name)
        for model in (load_two_tower(*found, 32, weights), load_encoder(run, weights=weights).network):
            prefix = "" if hasattr(model, "audio_head") else "audio."
            for part, value in model.state_dict().items():
                assert torch.equal(value, stored[prefix + part])
    assert load_encoder(run).description.training["weights"] == "ema"
    assert not torch.equal(tensors(found[0])["audio_head.0.weight"], tensors(found[0], "ema")["audio_head.0.weight"])


def test_a_result_records_which_weights_were_measured_and_where(folder, run):
    auto, path = measure(folder, run, None, {"protocol": "knn"}, device="cpu")
    raw, other = measure(folder, run, None, {"protocol": "knn", "weights": "raw"}, device="cpu")
    assert [result["config"]["weights"] for result in (auto, raw)] == ["ema", "raw"]
    assert auto["encoder"].endswith("step 8, moving average of the weights")
    assert raw["encoder"].endswith("step 8")
    assert auto["model_sha256"] != raw["model_sha256"]
    assert (path.split("/")[-2], other.split("/")[-2]) == ("data-knn-s0", "data-knn-s0-raw")
    again, _ = measure(folder, run, Path(path).parent, {"protocol": "knn", "weights": "ema"}, device="cpu")
    assert again["model_sha256"] == auto["model_sha256"]
    found, _ = measure(folder, run, None, {"protocol": "retrieval"}, device="cpu")
    assert found["config"]["weights"] == "ema"


def test_a_run_that_stops_goes_on_with_its_average(folder, run, tmp_path):
    asked = iter([False, False, True])
    config = PretrainConfig(**SETTINGS, ema=0.5, checkpoint_every_steps=1, keep_checkpoints=8)
    with pytest.raises(Interrupted, match="step 3 of 8"):
        pretrain(folder, tmp_path / "run", config, stopping=lambda: next(asked), quiet=True)
    pretrain(folder, tmp_path / "run", config, quiet=True)
    for name in ("model", "ema", "optim"):
        path = f"step_00000008/{name}.safetensors"
        assert (tmp_path / "run" / path).read_bytes() == (run / path).read_bytes(), name


def test_a_run_may_begin_to_keep_an_average(folder, tmp_path):
    pretrain(folder, tmp_path, PretrainConfig(**SETTINGS, max_steps=2), quiet=True)
    pretrain(folder, tmp_path, PretrainConfig(**SETTINGS, max_steps=3, ema=0.9), change=True, quiet=True)
    before, now, mean = (
        tensors(tmp_path / step, name)["video_head.0.weight"]
        for step, name in (("step_00000002", "model"), ("step_00000003", "model"), ("step_00000003", "ema"))
    )
    torch.testing.assert_close(mean, 4 / 13 * before + 9 / 13 * now)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda run: load_audio_encoder(*checkpoint_of(run), "ema"), "holds no moving average of the weights"),
        (lambda run: average(run, 3), "keeps its newest 2 checkpoints, so --last is 2 to 2, not 3"),
        (lambda run: average(run, 1), "so --last is 2 to 2, not 1"),
        (lambda run: average(checkpoint.latest(run), 2), "is one checkpoint; give its run"),
        (lambda run: PretrainConfig(ema=1.0), "ema must be 0 or more and below 1"),
        (lambda run: EvaluateConfig(weights="mean"), "weights must be one of auto, raw, ema"),
    ],
)
def test_what_is_not_there_is_a_sentence(folder, tmp_path, call, sentence):
    pretrain(folder, tmp_path, PretrainConfig(**SETTINGS, max_steps=2, checkpoint_every_steps=1), quiet=True)
    with pytest.raises(UserError, match=sentence):
        call(tmp_path)


def test_a_lost_average_is_not_replaced_by_the_weights(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "step_00000008" / "ema.safetensors").unlink()
    with pytest.raises(UserError, match=r"ema\.safetensors is missing or damaged"):
        load_encoder(tmp_path / "run")
    with pytest.raises(UserError, match="--weights chooses among those of a run"):
        measure("data", None, tmp_path / "out", {"protocol": "knn", "weights": "raw"}, device="cpu")


def test_the_mean_of_checkpoints_is_a_checkpoint(folder, run):
    done = CliRunner().invoke(main, ["average", str(run), "--last", "3"])
    assert done.exit_code == 0, done.output
    written = run / "average_00000008_last_3"
    assert str(written) in done.output
    assert sorted(path.name for path in written.iterdir()) == ["meta.json", "model.safetensors"]
    steps = [tensors(run / f"step_{step:08d}") for step in (6, 7, 8)]
    for name, value in tensors(written).items():
        wanted = sum(step[name].double() for step in steps) / 3 if value.is_floating_point() else steps[-1][name]
        torch.testing.assert_close(value.double(), wanted.double(), rtol=1e-6, atol=1e-9)
    result = evaluate(folder, EvaluateConfig(protocol="knn"), run=written)
    assert result["config"]["weights"] == "raw"
    assert result["averaged"] == [6, 7, 8]
    assert result["encoder"] == "run run, step 8, mean of the checkpoints of steps 6, 7, 8"
    assert checkpoint.latest(run).name == "step_00000008"
    assert json.loads((written / "meta.json").read_text())["averaged"] == [6, 7, 8]


def test_checkpoints_of_other_shapes_are_not_averaged(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "step_00000007" / "model.safetensors"
    save_file({name: value for name, value in load_file(path).items() if name != "audio_head.0.bias"}, path)
    with pytest.raises(UserError, match=r"step_00000007 does not fit .* audio_head\.0\.bias is missing there"):
        average(tmp_path / "run", 2)
