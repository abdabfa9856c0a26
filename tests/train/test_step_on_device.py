"""What a GPU does in its own way, tried on the CPU: copies ahead, one pass over pictures, fused updates, the guard."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

import avtrain.data.augment
import avtrain.training.setup
from avprep.dataset import Dataset
from avtrain.config import PretrainConfig
from avtrain.data import Loader, training_table
from avtrain.data.augment import Normalise
from avtrain.data.device_copies import copies_to
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from avtrain.sampling import Random
from avtrain.training import optimizer
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset
from tests.train.late_copies import LateCopies
from tests.train.test_training import damage

SETTINGS = {"model_size": "tiny", "batch_size": 4, "epochs": 3, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    clips = [Forged("ab"[row % 2]) for row in range(16)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


def trained(folder, run, **settings):
    pretrain(folder, run, PretrainConfig(**SETTINGS | settings), quiet=True)
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in run_folder.read_metrics(run)]


def test_batches_that_are_copied_ahead_are_those_that_were_read_and_the_position_is_of_those_taken(folder):
    dataset, copies = Dataset(folder), LateCopies()
    options = {"batch_size": 4, "epochs": 2, "prefetch": 2}
    plain = [
        (batch.video.clone(), batch.audio.clone(), batch.plan.tolist())
        for batch in Loader(dataset, training_table(dataset), Random(), **options)
    ]
    loader = Loader(dataset, training_table(dataset), Random(), copies=copies, **options)
    kept = []
    for number, batch in enumerate(loader, 1):
        kept.append(batch)
        assert loader.state_dict() == {"epoch": number // 4, "step": number % 4}
        if number == 1:
            ahead = len(copies.begun)
    assert ahead >= 1
    assert copies.given == copies.begun == [0, 1, 2, 3, 0, 1, 2, 3]
    for batch, (video, audio, plan) in zip(kept, plain, strict=True):  # kept: memory of their own
        assert torch.equal(batch.video, video)
        assert torch.equal(batch.audio, audio)
        assert batch.plan.tolist() == plan


def test_a_run_with_copies_ahead_goes_on_after_a_kill_as_one_without(folder, tmp_path, monkeypatch):
    assert copies_to("cpu") is None
    whole = trained(folder, tmp_path / "whole")
    monkeypatch.setattr(avtrain.training.setup, "copies_to", lambda device: LateCopies())
    write = run_folder.Metrics.write

    def killed(self, **values):
        write(self, **values)
        if values["step"] == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_folder.Metrics, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(folder, tmp_path / "run", checkpoint_every_steps=5)
    meta = checkpoint.read_meta(checkpoint.latest(tmp_path / "run"))
    assert meta["loader"] == {"epoch": 1, "step": 1}
    assert trained(folder, tmp_path / "run", checkpoint_every_steps=5) == whole


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("crop_size", [0, 5])
def test_pictures_in_one_pass_are_those_in_several(monkeypatch, dtype, crop_size):
    draw = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (3, 2, 8, 8, 3), dtype=torch.uint8, generator=draw)
    flip = torch.tensor([True, False, True])
    normalise = Normalise([0.0], [1.0], crop_size)
    wanted = normalise.video(frames, flip)
    monkeypatch.setattr(avtrain.data.augment, "ONE_PASS_ON", ("cpu",))
    found = normalise.video(frames, flip, dtype)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(found.float(), wanted, rtol=1e-5 if dtype == torch.float32 else 2**-8, atol=1e-5)


@pytest.fixture
def fused(monkeypatch):
    """Updates as on a GPU, by the fused optimiser of the CPU."""
    monkeypatch.setattr(optimizer, "FUSED_ON", ("cpu",))


def test_updates_are_fused_on_a_gpu_alone(folder, tmp_path, monkeypatch):
    plain = trained(folder, tmp_path / "plain", optimizer="adamw")
    assert "fused" not in _options(tmp_path, monkeypatch, folder)
    monkeypatch.setattr(optimizer, "FUSED_ON", ("cpu",))
    assert _options(tmp_path, monkeypatch, folder)["fused"]
    found = trained(folder, tmp_path / "fused", optimizer="adamw")
    for one, other in zip(found, plain, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def _options(tmp_path, monkeypatch, folder):
    """What the optimiser of a run is made with."""
    given = {}

    def adam(groups, **options):
        given.update(options)
        return torch.optim.Adam(groups, **options)

    with monkeypatch.context() as patch:
        patch.setitem(optimizer.OPTIMIZERS, "adam", adam)
        trained(folder, tmp_path / f"run{len(list(tmp_path.iterdir()))}", max_steps=1)
    return given


@pytest.mark.usefixtures("fused")
def test_numbers_that_are_looked_at_later_are_the_same_and_so_is_a_run_that_went_on(folder, tmp_path, monkeypatch):
    each = trained(folder, tmp_path / "each", ema=0.9, learn_temperature=True)
    calls = []
    numbers = avtrain.training.books.numbers_of
    with monkeypatch.context() as patch:
        patch.setattr(avtrain.training.books, "numbers_of", lambda values: calls.append(1) or numbers(values))
        trained(folder, tmp_path / "rare", ema=0.9, learn_temperature=True, log_every=4)
    assert len(calls) == 3
    files = {name: _end(tmp_path / name) for name in ("each", "rare")}
    assert files["each"] == files["rare"]
    lines = run_folder.read_metrics(tmp_path / "rare")
    assert [line["loss"] for line in lines] == pytest.approx(
        [sum(loss for _, loss, _ in each[first : first + 4]) / 4 for first in (0, 4, 8)]
    )
    singles = run_folder.read_metrics(tmp_path / "each")
    assert [line["temperature"] for line in lines] == [singles[step]["temperature"] for step in (3, 7, 11)]
    asked = iter([False] * 5 + [True])
    with pytest.raises(avtrain.Interrupted):
        pretrain(
            folder,
            tmp_path / "stopped",
            PretrainConfig(**SETTINGS, ema=0.9, learn_temperature=True, log_every=4),
            quiet=True,
            stopping=lambda: next(asked, False),
        )
    trained(folder, tmp_path / "stopped", ema=0.9, learn_temperature=True, log_every=4)
    assert _end(tmp_path / "stopped") == files["rare"]


def _end(run):
    return {path.name: path.read_bytes() for path in checkpoint.latest(run).glob("*.safetensors")}


@pytest.mark.usefixtures("fused")
def test_what_is_not_finite_is_named_at_the_next_look_and_has_changed_no_weight(tmp_path, monkeypatch):
    folder = forge_dataset(tmp_path / "data", [Forged("ab"[n % 2]) for n in range(24)], frame_size=32, mel_bands=32)
    damage(folder, "c13")
    weights = []
    step = torch.optim.Adam.step

    def spied(self, *arguments):
        step(self, *arguments)
        weights.append([group.detach().clone() for each in self.param_groups for group in each["params"]])

    monkeypatch.setattr(torch.optim.Adam, "step", spied)
    with pytest.raises(FloatingPointError, match=r"loss nan at step \d+, epoch 0.* media of c13 are not finite \(1"):
        trained(folder, tmp_path / "run", log_every=100, checkpoint_every_steps=6, seed=2)
    assert len(weights) == 6
    assert all(tensor.isfinite().all() for each in weights for tensor in each)
    bad = int(json.loads((tmp_path / "run" / "exit.json").read_text())["sentence"].split("step ")[1].split(",")[0])
    assert bad == 2
    for later in weights[bad:]:
        assert all(torch.equal(*pair) for pair in zip(later, weights[bad - 1], strict=True))
    assert not list((tmp_path / "run").glob("step_*"))


def test_the_state_of_the_optimiser_has_the_memory_order_of_its_weights_again(tmp_path):
    weights = torch.nn.Parameter(torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last))
    model = torch.nn.Module()
    model.weights = weights
    optimiser = torch.optim.Adam([weights])
    weights.grad = torch.randn_like(weights)
    optimiser.step()
    folder = checkpoint.save(tmp_path, 1, model, optimiser, {})
    again = torch.optim.Adam([weights])
    checkpoint.load_optimiser(folder, again)
    state = again.state[weights]
    assert state["exp_avg"].stride() == weights.stride()
    assert torch.equal(state["exp_avg"], optimiser.state[weights]["exp_avg"])
    assert load_file(folder / "optim.safetensors")["0.exp_avg"].is_contiguous()
