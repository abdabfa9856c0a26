"""A run begins with the weights of another, part by part, says so, and goes on after a stop."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from avprep.shared import store
from avtrain.cli import main
from avtrain.runs.load import checkpoint_of, load_audio_encoder, load_two_tower
from tests.train.forge import Forged, forge_dataset

OPTIONS = ("--model-size=tiny", "--batch-size=6", "--epochs=2", "--device=cpu", "--threads=1", "--learning-rate=1e-3")
OWN = """
from torch import nn
class Sound(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(32, 5)
    def forward(self, logmel):
        return self.layer(logmel.mean(dim=2)[:, 0])
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    clips = [Forged("abc"[row % 3]) for row in range(12)] + [Forged("abc"[row % 3], split="test") for row in range(6)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


@pytest.fixture(scope="module")
def source(data, tmp_path_factory):
    """A run of three checkpoints, of steps 2, 3 and 4."""
    run = tmp_path_factory.mktemp("runs") / "source"
    assert train(data, run, "--seed=5", "--checkpoint-every-steps=1", "--keep-checkpoints=3").exit_code == 0
    return run


def train(data, run, *options):
    return CliRunner().invoke(main, ["pretrain", str(data), "--run", str(run), *OPTIONS, *map(str, options)])


def weights(run, step):
    return load_file(run / f"step_{step:08d}" / "model.safetensors")


def saved(run, step=None):
    path = run / "config.json" if step is None else run / f"step_{step:08d}" / "meta.json"
    return json.loads(path.read_text())


def same(one, other):
    return {name: torch.equal(tensor, other[name]) for name, tensor in one.items()}


def first_weights(data, run, *options):
    """The weights that a run begins with: those after an update so small that it changes nothing."""
    done = train(data, run, "--max-steps=1", "--learning-rate=1e-30", "--weight-decay=0", *options)
    assert done.exit_code == 0, done.output
    return {name: tensor for name, tensor in weights(run, 1).items() if "running_" not in name and "num_" not in name}


@pytest.mark.parametrize(("place", "step"), [("", 4), ("step_00000003", 3)])
def test_the_first_weights_are_the_others_newest_or_those_of_the_checkpoint(data, source, tmp_path, place, step):
    begun = first_weights(data, tmp_path / "run", "--init-from", source / place)
    assert all(same(begun, weights(source, step)).values())
    assert not any(same(begun, weights(source, 2)).values())
    name = f"step_{step:08d}"
    for told in (saved(tmp_path / "run"), saved(tmp_path / "run", 1)):
        assert told["config"]["init_from"] == str(source / place)
        assert told["init_checkpoint"] == name
        assert told["init_digest"] == store.sha256(source / name / "model.safetensors")


def test_a_run_without_a_source_records_none(source):
    assert "init_digest" not in saved(source) | saved(source, 4)
    assert saved(source)["config"]["init_from"] == ""


def test_it_resumes_with_the_same_bits_even_when_the_source_is_gone(data, source, tmp_path):
    other = tmp_path / "source"
    shutil.copytree(source, other)
    whole, run = tmp_path / "whole", tmp_path / "run"
    options = ("--init-from", other, "--checkpoint-every-steps=2")
    assert train(data, whole, *options).exit_code == 0
    shutil.copytree(whole, run)
    shutil.rmtree(run / "step_00000004")
    shutil.rmtree(other)
    done = train(data, run, *options)
    assert done.exit_code == 0, done.output
    for name in ("model.safetensors", "optim.safetensors", "meta.json"):
        assert (run / "step_00000004" / name).read_bytes() == (whole / "step_00000004" / name).read_bytes()


def test_another_source_is_another_run(data, source, tmp_path):
    run = tmp_path / "run"
    assert train(data, run, "--max-steps=1", "--init-from", source).exit_code == 0
    done = train(data, run, "--max-steps=1", "--init-from", source / "step_00000002")
    assert done.exit_code == 2
    assert f"init_from: '{source}' -> '{source / 'step_00000002'}'" in done.output
    done = train(data, run, "--max-steps=1")
    assert done.exit_code == 2
    assert f"init_from: '{source}' -> ''" in done.output


def test_a_source_that_changed_before_the_first_checkpoint_is_another(data, source, tmp_path):
    other, run = tmp_path / "source", tmp_path / "run"
    shutil.copytree(source, other)
    options = ("--max-steps=1", "--init-from", other)
    assert train(data, run, *options).exit_code == 0
    shutil.rmtree(run / "step_00000001")  # as if it had been killed before
    assert train(data, run, *options).exit_code == 0
    shutil.rmtree(run / "step_00000001")
    shutil.rmtree(other / "step_00000004")
    done = train(data, run, *options)
    assert done.exit_code == 2
    assert "init_checkpoint: 'step_00000004' -> 'step_00000003'" in done.output
    assert "init_digest" in done.output


def harmed(source, place, change):
    """A copy of the source in `place` with its newest weights changed."""
    shutil.copytree(source, place)
    path = place / "step_00000004" / "model.safetensors"
    save_file(change(load_file(path)), path)
    return place


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda found: {name: tensor for name, tensor in found.items() if not name.startswith("audio.")},
            "has no part 'audio' to begin with",
        ),
        (
            lambda found: {name: tensor for name, tensor in found.items() if not name.startswith("video_head.")},
            "has no part 'video_head' to begin with",
        ),
        (
            lambda found: {name: tensor for name, tensor in found.items() if name != "audio_head.bias"},
            "does not fit in part 'audio_head': bias is missing there; it was trained with --model-size tiny.",
        ),
        (
            lambda found: found | {"video.layers.9.weight": torch.zeros(1)},
            "does not fit in part 'video': layers.9.weight is there and not here",
        ),
        (
            lambda found: found | {"audio.layers.0.0.weight": torch.zeros(4, 4)},
            "does not fit in part 'audio': layers.0.0.weight is [4, 4] there, [16, 1, 7, 7] here",
        ),
    ],
)
def test_a_part_that_does_not_fit_is_named_and_the_run_stays_free(data, source, tmp_path, change, sentence):
    done = train(data, tmp_path / "run", "--init-from", harmed(source, tmp_path / "other", change))
    assert done.exit_code == 2
    assert sentence in done.output
    assert not (tmp_path / "run").exists()


def test_another_model_does_not_fit(data, source, tmp_path):
    done = train(data, tmp_path / "run", "--init-from", source, "--audio-model=cnn9")
    assert done.exit_code == 2
    assert "does not fit in part 'audio'" in done.output
    assert "there, [64, 1, 7, 7] here; it was trained with --model-size tiny." in done.output


def test_log_mel_of_another_kind_is_refused(source, tmp_path):
    clips = [Forged("abc"[row % 3]) for row in range(12)]
    other = forge_dataset(tmp_path / "data", clips, frame_size=32, mel_bands=32, preset="text-16k")
    done = train(other, tmp_path / "run", "--init-from", source)
    assert done.exit_code == 2
    assert "was trained on other log-mel than" in done.output
    assert not (tmp_path / "run").exists()


def test_a_learnt_temperature_is_taken_over_or_begins_anew(data, source, tmp_path):
    learnt = ("--learn-temperature", "--temperature=0.2")
    begun = first_weights(data, tmp_path / "a", "--init-from", source, *learnt)
    assert begun["temperature.log_scale"].exp().item() == pytest.approx(5, rel=1e-4)
    begun = first_weights(data, tmp_path / "b", "--init-from", tmp_path / "a", "--learn-temperature")
    assert begun["temperature.log_scale"].exp().item() == pytest.approx(5, rel=1e-4)
    begun = first_weights(data, tmp_path / "c", "--init-from", tmp_path / "a")
    assert "temperature.log_scale" not in begun


def test_an_audio_model_of_the_users_trains_and_is_rebuilt_to_be_measured(data, source, tmp_path, monkeypatch):
    (tmp_path / "my_sounds.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "run"
    assert train(data, run, "--audio-model=my_sounds:Sound").exit_code == 0
    assert saved(run)["config"]["audio_model"] == saved(run, 4)["config"]["audio_model"] == "my_sounds:Sound"
    found = checkpoint_of(run)
    assert load_audio_encoder(*found).num_features == load_two_tower(*found, 32).audio_head.in_features == 5
    options = ["--run", str(run), "--device=cpu", "--epochs=1"]
    for protocol in ("linear", "knn", "retrieval"):
        done = CliRunner().invoke(main, ["evaluate", str(data), "--protocol", protocol, *options])
        assert done.exit_code == 0, done.output
    result = json.loads((run / "eval" / "data-linear-s0" / "result.json").read_text())
    assert result["config"]["audio_model"] == "my_sounds:Sound"
    begun = first_weights(data, tmp_path / "next", "--init-from", run, "--audio-model=my_sounds:Sound")
    assert all(same(begun, weights(run, 4)).values())


def test_the_smaller_audio_model_beside_the_full_video_model_is_the_one_named(data, tmp_path):
    assert train(data, tmp_path / "run", "--audio-model=cnn9", "--max-steps=1").exit_code == 0
    assert load_audio_encoder(*checkpoint_of(tmp_path / "run")).num_features == 512


def test_an_encoder_from_scratch_is_the_one_named(data, tmp_path):
    options = [
        "--protocol=supervised",
        "--audio-model=tiny",
        "--epochs=1",
        "--device=cpu",
        "--out",
        str(tmp_path / "o"),
    ]
    done = CliRunner().invoke(main, ["evaluate", str(data), *options])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "o" / "result.json").read_text())["config"]["audio_model"] == "tiny"
