"""Optimisers, what decays, and projection heads: what a config makes of them, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import PretrainConfig
from avtrain.evaluation.retrieval import retrieve
from avtrain.models.two_tower import tower_of
from avtrain.runs import folder as run_folder
from avtrain.runs.load import checkpoint_of, load_two_tower
from avtrain.training.optimizer import optimiser_of
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset

SETTINGS = {"model_size": "tiny", "batch_size": 6, "max_steps": 3, "learning_rate": 1e-3}
TUNED = {"projection": "mlp", "projection_hidden": 9, "embedding_dim": 5, "optimizer": "adamw", "decay_norms": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 training clips of four classes, 4 test clips."""
    clips = [Forged("abcd"[row % 4], split="train" if row < 24 else "test") for row in range(28)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


def groups_of(**settings):
    """(shape of each weight, weight decay) by name, of the optimiser of a tiny model with a learnt temperature."""
    config = PretrainConfig(model_size="tiny", learn_temperature=True, weight_decay=0.5, **settings)
    model = tower_of({"model_size": "tiny", "learn_temperature": True, "temperature": 0.1}, 32)
    optimiser = optimiser_of(model, config)
    decay = {id(weights): group["weight_decay"] for group in optimiser.param_groups for weights in group["params"]}
    return optimiser, {name: decay[id(weights)] for name, weights in model.named_parameters()}


def test_all_but_the_temperature_decay_unless_norms_and_biases_shall_not():
    usual, decay = groups_of()
    assert type(usual) is torch.optim.Adam
    assert {name for name, value in decay.items() if value == 0} == {"temperature.log_scale"}
    adamw, spared = groups_of(optimizer="adamw", decay_norms=False)
    assert type(adamw) is torch.optim.AdamW
    free = {name for name, value in spared.items() if value == 0}
    assert {"temperature.log_scale", "video_head.bias", "audio.layers.0.1.weight", "audio.layers.0.1.bias"} <= free
    assert {"video_head.weight", "audio.layers.0.0.weight"} & free == set()
    assert all(value in (0, 0.5) for value in spared.values())


def test_decay_of_adamw_shrinks_weights_apart_from_the_gradient(folder, tmp_path):
    def of(run, **settings):
        pretrain(folder, tmp_path / run, PretrainConfig(**SETTINGS, **settings), quiet=True)
        return load_two_tower(*checkpoint_of(tmp_path / run), 32).state_dict()

    plain, decayed, spared = (
        of("plain", weight_decay=0.0, optimizer="adamw"),
        of("decayed", weight_decay=10.0, optimizer="adamw"),
        of("spared", weight_decay=10.0, optimizer="adamw", decay_norms=False),
    )
    # three updates at 0.001 with decay 10 keep 0.99 ** 3 of a weight, where gradients are the same
    kept = (decayed["audio.layers.0.1.weight"] / plain["audio.layers.0.1.weight"]).mean().item()
    assert kept == pytest.approx(0.99**3, abs=0.004)
    assert (spared["audio.layers.0.1.weight"] / plain["audio.layers.0.1.weight"]).mean().item() > 0.99


def test_heads_are_those_of_the_config_and_are_built_again_from_a_checkpoint(folder, tmp_path):
    run = tmp_path / "run"
    pretrain(folder, run, PretrainConfig(**SETTINGS, **TUNED), quiet=True)
    model = load_two_tower(*checkpoint_of(run), 32)
    first, _, second = model.audio_head
    assert (first.in_features, first.out_features, second.out_features, model.embedding_dim) == (64, 9, 5, 5)
    assert [first.out_features, second.in_features] == [9, 9]
    assert retrieve(folder, run)["clips"] == 4
    pretrain(folder, tmp_path / "more", PretrainConfig(**SETTINGS, **TUNED, init_from=str(run)), quiet=True)
    named = "--model-size tiny --projection mlp --projection-hidden 9 --embedding-dim 5"
    with pytest.raises(UserError, match=rf"does not fit in part 'video_head'.*{named}\."):
        pretrain(folder, tmp_path / "other", PretrainConfig(**SETTINGS, init_from=str(run)), quiet=True)
    assert tower_of({"model_size": "tiny", "projection": "mlp"}, 32).video_head[0].out_features == 64


def test_chunks_train_and_heads_and_decayed_weights_stay_what_they_were(folder, tmp_path):
    run = tmp_path / "run"
    pretrain(folder, run, PretrainConfig(**SETTINGS, chunk_size=2, accumulate=2, precision="bf16"), quiet=True)
    assert len(run_folder.read_metrics(run)) == 3
    for name, value in {"projection": "mlp", "embedding_dim": 64, "decay_norms": False}.items():
        with pytest.raises(UserError, match=rf"which cannot change in a run(.|\n)*{name}"):
            pretrain(folder, run, PretrainConfig(**SETTINGS, **{name: value}), change=True, quiet=True)


def test_a_batch_in_one_chunk_is_the_batch(folder, tmp_path):
    curves = []
    for size in (0, 6, 99):
        config = PretrainConfig(**SETTINGS, chunk_size=size, learn_temperature=True)
        pretrain(folder, tmp_path / str(size), config, quiet=True)
        curves.append([line["loss"] for line in run_folder.read_metrics(tmp_path / str(size))])
    assert curves[1] == curves[2] == pytest.approx(curves[0], rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"optimizer": "sgd"}, "optimizer must be one of adam, adamw, not 'sgd'"),
        ({"projection": "deep"}, "projection must be one of linear, mlp, not 'deep'"),
        ({"projection_hidden": 64}, "choose --projection mlp too, or leave it out"),
        ({"embedding_dim": 0}, "embedding_dim must be 1 to 65,536, not 0"),
        ({"chunk_size": 1}, "chunk_size must be 2 or more, or 0"),
    ],
)
def test_settings_that_cannot_be_are_a_sentence(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        PretrainConfig(**settings)


def test_a_wrong_option_ends_with_two(folder, tmp_path):
    command = ["pretrain", str(folder), "--run", str(tmp_path / "run"), "--model-size=tiny", "--chunk-size=1"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "chunk_size must be 2 or more" in done.output


def test_a_checkpoint_that_claims_a_head_of_any_width_is_refused(folder, tmp_path):
    run = tmp_path / "run"
    pretrain(folder, run, PretrainConfig(**SETTINGS), quiet=True)
    meta = next(run.glob("step_*")) / "meta.json"
    saved = json.loads(meta.read_text())
    for name, value in {"embedding_dim": 2**40, "projection": "deep", "ema": "0.9"}.items():
        meta.write_text(json.dumps({**saved, "config": {**saved["config"], name: value}}))
        with pytest.raises(UserError, match="is not what avprep writes"):
            checkpoint_of(run)
