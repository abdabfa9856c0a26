"""What an update is: loss and labels, temperature, learning rate, clipping, precision, and what stops it."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import avtrain.training.gradient
from avprep.dataset import Dataset
from avprep.shared.errors import Interrupted
from avtrain.cli import main
from avtrain.config import LOSS_NAMES, PretrainConfig
from avtrain.evaluation.retrieval import retrieve
from avtrain.models.two_tower import tower_of
from avtrain.runs import folder as run_folder
from avtrain.runs.load import checkpoint_of, load_two_tower
from avtrain.training.losses import LOSSES, info_nce
from avtrain.training.optimizer import learning_rate_at, optimiser_of
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset, write_labels

SETTINGS = {"model_size": "tiny", "batch_size": 6, "epochs": 2, "learning_rate": 1e-3}
OWN = """
from torch import nn
def dropping():
    return nn.Sequential(nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(24, 7), nn.Dropout(0.5))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 training clips of four classes, a column `other` of three, 4 test clips."""
    clips = [Forged("abcd"[row % 4]) for row in range(24)] + [Forged("a", split="test")] * 4
    folder = forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)
    write_labels(folder, "other", {f"c{row}": row % 3 for row in range(20)}, ["x", "y", "z"])
    return folder


def trained(folder, run, **settings):
    """Lines of metrics.jsonl of a run."""
    pretrain(folder, run, PretrainConfig(**(SETTINGS | settings)), quiet=True)
    return run_folder.read_metrics(run)


def values(lines, name):
    return [line[name] for line in lines]


def newest(run):
    return max(run.glob("step_*"))


def test_the_loss_has_the_labels_of_sounds_and_pictures_in_the_column(folder, tmp_path, monkeypatch):
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.table({"audio": [f"c{n}" for n in range(24)], "video": [f"c{n}" for n in range(24)][::-1]}), path)
    met, heard = [], []
    augment, mask = avtrain.training.gradient.Augment.forward, LOSSES["mask"]
    monkeypatch.setattr(
        avtrain.training.gradient.Augment, "forward", lambda self, batch: met.append(batch.plan) or augment(self, batch)
    )
    monkeypatch.setitem(
        LOSSES,
        "mask",
        lambda *given: heard.append((given[2].labels.tolist(), given[2].rows.tolist(), given[3])) or mask(*given),
    )
    trained(folder, tmp_path / "run", strategy=f"pairs:{path}", labels="other", loss="mask", temperature=0.3)
    ids = Dataset(folder).clip_ids
    numbers = [[[int(ids[row][1:]) for row in pair] for pair in plan] for plan in met]
    assert sorted(np.concatenate(numbers[:4])[:, 0]) == list(range(24))
    wanted = [[[number % 3 if number < 20 else -1 for number in pair] for pair in batch] for batch in numbers]
    assert heard == [(labels, plan.tolist(), 0.3) for labels, plan in zip(wanted, met, strict=True)]


def test_each_loss_trains_in_its_own_way(folder, tmp_path):
    curves = {loss: values(trained(folder, tmp_path / loss, loss=loss), "loss") for loss in LOSS_NAMES}
    assert curves["mask"][0] < curves["info-nce"][0]  # the same model, fewer negatives
    assert curves["supcon"][0] != curves["info-nce"][0]
    assert np.isfinite(list(curves.values())).all()


def test_a_learnt_temperature_is_trained_without_decay_and_comes_back(folder, tmp_path):
    run = tmp_path / "run"
    temperatures = values(trained(folder, run, learn_temperature=True, learning_rate=1e-2), "temperature")
    assert temperatures[0] == pytest.approx(0.07)
    assert len(set(temperatures)) == 8
    model = load_two_tower(*checkpoint_of(run), 32)
    assert model.temperature().item() == pytest.approx(temperatures[-1], rel=0.05)
    assert model.temperature().item() != pytest.approx(0.07, rel=1e-4)
    assert retrieve(folder, run)["clips"] == 4
    config = PretrainConfig(model_size="tiny", learn_temperature=True, weight_decay=0.5)
    groups = optimiser_of(tower_of({"model_size": "tiny", "learn_temperature": True, "temperature": 0.1}, 32), config)
    weights, alone = groups.param_groups
    assert (weights["weight_decay"], alone["weight_decay"]) == (0.5, 0.0)
    assert [tensor.shape for tensor in alone["params"]] == [()]
    assert set(values(trained(folder, tmp_path / "fixed", temperature=0.2), "temperature")) == {0.2}
    assert not any("temperature" in name for name in load_file(newest(tmp_path / "fixed") / "model.safetensors"))


def test_the_learning_rate_rises_and_falls_as_set(folder, tmp_path):
    options = {"warmup_steps": 4, "schedule": "cosine", "learning_rate": 0.1}
    config = PretrainConfig(**options)
    rates = [learning_rate_at(step, 12, config) for step in range(12)]
    assert rates[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert rates[8] == pytest.approx(0.05)
    assert rates[11] == pytest.approx(0.05 * (1 + math.cos(math.pi * 7 / 8)))
    assert learning_rate_at(11, 12, PretrainConfig(warmup_steps=4, learning_rate=0.1)) == 0.1
    assert learning_rate_at(0, 12, PretrainConfig(learning_rate=0.1)) == 0.1
    lines = trained(folder, tmp_path / "run", **options)
    assert values(lines, "learning_rate") == [learning_rate_at(step, 8, config) for step in range(8)]
    still = trained(folder, tmp_path / "still", learning_rate=1e-30, max_steps=3)
    moved = trained(folder, tmp_path / "moved", learning_rate=1e-2, max_steps=3)
    slow = trained(folder, tmp_path / "slow", learning_rate=1e-2, max_steps=3, warmup_steps=1000000)
    assert values(slow, "loss") == pytest.approx(values(still, "loss"), rel=1e-3)
    assert values(moved, "loss") != pytest.approx(values(still, "loss"), rel=1e-3)


def test_a_gradient_is_made_no_longer_than_set(folder, tmp_path):
    options = {"max_steps": 1, "weight_decay": 0.0}
    (free,) = trained(folder, tmp_path / "free", **options)
    trained(folder, tmp_path / "short", grad_clip_norm=1e-3, **options)
    trained(folder, tmp_path / "long", grad_clip_norm=1e6, **options)

    def length(run):  # Adam's first mean is a tenth of the first gradient
        state = load_file(newest(tmp_path / run) / "optim.safetensors")
        means = [tensor.double() for name, tensor in state.items() if name.endswith("exp_avg")]
        return 10 * torch.sqrt(sum(mean.square().sum() for mean in means)).item()

    assert length("free") == length("long") == pytest.approx(free["gradient_norm"], rel=1e-4)
    assert length("short") == pytest.approx(1e-3, rel=1e-3)


def test_half_precision_is_near_full(folder, tmp_path):
    full = values(trained(folder, tmp_path / "full", max_steps=3), "loss")
    half = values(trained(folder, tmp_path / "half", max_steps=3, precision="bf16"), "loss")
    assert half != full
    assert half == pytest.approx(full, rel=0.05)


def test_layers_that_draw_do_so_alike_after_a_stop(folder, tmp_path, monkeypatch):
    (tmp_path / "my_dropping_model.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    options = {"video_model": "my_dropping_model:dropping", "video_pool": "auto"}
    whole = values(trained(folder, tmp_path / "whole", **options), "loss")
    asked = iter([False, False, True])
    with pytest.raises(Interrupted, match="step 3 of 8"):
        pretrain(
            folder, tmp_path / "run", PretrainConfig(**SETTINGS, **options), stopping=lambda: next(asked), quiet=True
        )
    assert values(trained(folder, tmp_path / "run", **options), "loss") == whole
    assert load_two_tower(*checkpoint_of(tmp_path / "run"), 32).video_head.in_features == 7


def damage(folder, clip_id):
    """Make all of a clip's log-mel NaN."""
    dataset = Dataset(folder)
    row = dataset.clip_ids.index(clip_id)
    nans = np.full((dataset.num_mel_frames[row], 32), np.nan, np.float16).tobytes()
    shard = next(path for path in folder.rglob("*.tar") if f"{clip_id}.json".encode() in path.read_bytes())
    with open(shard, "r+b") as tar:
        os.pwrite(tar.fileno(), nans, int(dataset.logmel_offset[row]))


def test_a_clip_whose_sound_is_no_number_is_named_before_it_spoils_the_weights(tmp_path):
    folder = forge_dataset(tmp_path / "data", [Forged("ab"[n % 2]) for n in range(24)], frame_size=32, mel_bands=32)
    damage(folder, "c13")
    with pytest.raises(FloatingPointError, match=r"loss nan at step \d, epoch 0.* media of c13 are not finite \(1"):
        trained(folder, tmp_path / "run", checkpoint_every_steps=1)
    for path in (tmp_path / "run").glob("step_*/*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(path).values())
    told = json.loads((tmp_path / "run" / "exit.json").read_text())
    assert (told["status"], told["code"]) == ("failed", 1)
    assert "c13" in told["sentence"]


def test_a_gradient_that_is_no_number_is_not_applied(folder, tmp_path, monkeypatch):
    steep = torch.tensor(1.0, requires_grad=True)

    def infinite_slope(*arguments):
        return info_nce(*arguments) + 0 * steep + torch.sqrt(arguments[1].sum() * 0)

    monkeypatch.setitem(LOSSES, "info-nce", infinite_slope)
    with pytest.raises(FloatingPointError, match=r"loss 1.* at step 0, epoch 0, gradient nan: all media are finite"):
        trained(folder, tmp_path / "run")
    assert not list((tmp_path / "run").glob("step_*"))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (["--video-model=r2plus2d"], "There is no video model 'r2plus2d'"),
        (["--video-model=no_such_package:net"], "no_such_package:net cannot be imported"),
        (["--video-pool=least"], "There is no pool 'least'"),
        (["--learn-temperature", "--temperature=2"], "A learnt temperature starts between 0.01 and 1"),
        (["--loss=mask", "--strategy=hard-negative"], "Batches of hard-negative are of one label"),
        (["--warmup-steps=-1"], "warmup_steps and grad_clip_norm must be 0 or more"),
    ],
)
def test_a_wrong_name_is_one_sentence_and_leaves_no_folder(folder, tmp_path, wrong, sentence):
    command = ["pretrain", str(folder), "--run", str(tmp_path / "run"), "--model-size=tiny", "--batch-size=4", *wrong]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert sentence in done.output
    assert len(done.output.splitlines()) == 1
    assert not (tmp_path / "run").exists()
