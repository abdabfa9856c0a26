"""Updates of several batches, of a compiled model, and their numbers in TensorBoard."""

from __future__ import annotations

import functools
import json
import os
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import avtrain.training.gradient
import avtrain.training.loop
from avprep.dataset import Dataset
from avprep.shared.errors import Interrupted, UserError
from avtrain.cli import main
from avtrain.config import PlanConfig, PretrainConfig
from avtrain.data import Augment, Loader, strategy_of, training_table
from avtrain.data.plan_survey import survey
from avtrain.data.survey_text import printed
from avtrain.models.encoder import place
from avtrain.models.two_tower import build_two_tower, tower_of
from avtrain.runs import folder as run_folder
from avtrain.sampling.accumulation import position_of, updates_per_epoch
from avtrain.training.compiling import compile_in_place
from avtrain.training.determinism import determinism
from avtrain.training.losses import LOSSES, info_nce
from avtrain.training.optimizer import learning_rate_at
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset
from tests.train.pairwise import pairs_of

SETTINGS = {"model_size": "tiny", "batch_size": 6, "epochs": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 training clips of four classes: four batches of six; four clips to validate on."""
    clips = [Forged("abcd"[row % 4], split="train" if row < 24 else "val") for row in range(28)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=32)


def trained(folder, run, **settings):
    """Lines of updates in metrics.jsonl of a run."""
    pretrain(folder, run, PretrainConfig(**(SETTINGS | settings)), quiet=True)
    return run_folder.read_metrics(run)


def losses(lines):
    return [line["loss"] for line in lines]


def test_positions_of_batches_in_updates_never_cross_an_epoch():
    found = [position_of(step, 7, 3) for step in range(7)]
    assert [place.begins for place in found] == [True, False, False, True, False, False, True]
    assert [place.ends for place in found] == [False, False, True, False, False, True, True]
    assert [place.batches for place in found] == [3, 3, 3, 3, 3, 3, 1]
    assert [updates_per_epoch(7, several) for several in (1, 2, 3, 7, 9)] == [7, 4, 3, 1, 1]
    assert all(position_of(step, 7, 1) == position_of(0, 1, 5) for step in range(7))


def of_batches(folder, count):
    """(mean loss, mean gradient by the number of its weight) of the first batches, each by itself on fresh weights."""
    torch.manual_seed(0)
    dataset = Dataset(folder)
    table = training_table(dataset)
    model = tower_of({"model_size": "tiny"}, 32).train()
    loader = Loader(dataset, table, strategy_of("random", dataset, table), batch_size=6, epochs=1)
    augment, values = Augment(dataset), []
    for batch, _ in zip(loader, range(count), strict=False):
        seen, heard = model(*augment(batch))
        loss = info_nce(seen, heard, pairs_of(torch.zeros(6)))
        (loss / count).backward()
        values.append(loss.item())
    return sum(values) / count, {str(number): weights.grad for number, weights in enumerate(model.parameters())}


def test_an_update_takes_the_mean_gradient_of_its_batches(folder, tmp_path):
    (line,) = trained(folder, tmp_path / "run", accumulate=3, max_steps=1, weight_decay=0.0)
    value, gradients = of_batches(folder, 3)
    assert line["loss"] == pytest.approx(value, rel=1e-6)
    norm = torch.sqrt(sum(gradient.double().square().sum() for gradient in gradients.values())).item()
    assert line["gradient_norm"] == pytest.approx(norm, rel=1e-5)
    state = load_file(tmp_path / "run" / "step_00000001" / "optim.safetensors")
    for number, gradient in gradients.items():  # Adam's first mean is a tenth of the first gradient
        difference = 10 * state[f"{number}.exp_avg"] - gradient
        assert difference.abs().max() <= 1e-3 * gradient.abs().max(), number
    meta = json.loads((tmp_path / "run" / "step_00000001" / "meta.json").read_text())
    assert meta["loader"] == {"epoch": 0, "step": 3}


def test_steps_and_schedule_count_updates_and_a_stop_falls_between_them(folder, tmp_path, monkeypatch):
    met = []
    augment = avtrain.training.gradient.Augment.forward
    monkeypatch.setattr(
        avtrain.training.gradient.Augment,
        "forward",
        lambda self, batch: met.append(batch.plan.tolist()) or augment(self, batch),
    )
    options = {"accumulate": 3, "warmup_steps": 2, "schedule": "cosine", "strategy": "soft-positive"}
    lines = trained(folder, tmp_path / "whole", **options)
    config = PretrainConfig(**SETTINGS, **options)
    assert [(line["step"], line["epoch"]) for line in lines] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert [line["pairs"] for line in lines] == [18, 6, 18, 6]
    assert [line["learning_rate"] for line in lines] == [learning_rate_at(step, 4, config) for step in range(4)]
    batches = met.copy()
    met.clear()
    trained(folder, tmp_path / "single", **options | {"accumulate": 1})
    assert met == batches
    assert [line["step"] for line in run_folder.read_validation(tmp_path / "whole")] == [1, 3]
    found = survey(Dataset(folder), PlanConfig(batch_size=6, epochs=2, accumulate=3))
    assert (found["updates"], found["batches"], found["steps_per_epoch"]) == (4, 8, 4)
    assert "updates     4, of 3 steps each" in printed(found)
    asked = iter([True])
    with pytest.raises(Interrupted, match="checkpoint at step 1 of 4"):
        pretrain(folder, tmp_path / "run", config, stopping=lambda: next(asked, False), quiet=True)
    assert losses(trained(folder, tmp_path / "run", **options)) == losses(lines)


def test_a_loss_of_nan_stops_the_run_before_the_update_and_names_its_batch(folder, tmp_path, monkeypatch):
    """Losses leave the device once an update, so the update's other batches are still computed."""
    calls, batches = [], []
    augment = avtrain.training.gradient.Augment.forward
    monkeypatch.setattr(
        avtrain.training.gradient.Augment,
        "forward",
        lambda self, batch: batches.append(batch.plan) or augment(self, batch),
    )

    def second_fails(*arguments):
        calls.append(1)
        return info_nce(*arguments) * (float("nan") if len(calls) == 2 else 1)

    monkeypatch.setitem(LOSSES, "info-nce", second_fails)
    with pytest.raises(FloatingPointError, match="loss nan at step 0") as stopped:
        trained(folder, tmp_path / "run", accumulate=3)
    assert str(stopped.value).endswith(
        f"sounds {', '.join(Dataset(folder).clip_ids[row] for row in batches[1][:5, 0])}"
    )
    assert len(calls) == 3
    assert not list((tmp_path / "run").glob("step_*"))


@pytest.mark.parametrize(
    ("wanted", "device", "within"),
    [
        (True, "cuda:0", (True, False, True)),
        (None, "cuda", (False, True, False)),
        (False, "cuda", (False, True, False)),
        (True, "cpu", None),
    ],
)
def test_determinism_is_an_option_that_outlives_no_run(wanted, device, within):
    def flags():
        cudnn = torch.backends.cudnn
        return cudnn.deterministic, cudnn.benchmark, torch.are_deterministic_algorithms_enabled(), dict(os.environ)

    before = flags()
    with determinism(wanted, device):
        assert flags()[:3] == (within or before[:3])
    assert flags() == before


@pytest.mark.slow
def test_a_compiled_model_has_the_same_losses_and_names_of_weights(folder, tmp_path, monkeypatch):
    """Traced, and run by torch's own operators: to generate C++ for it takes a minute."""
    graphs = torch._dynamo.utils.counters["stats"]
    before = graphs["unique_graphs"]
    monkeypatch.setattr(
        avtrain.training.gradient, "compile_in_place", functools.partial(compile_in_place, backend="eager")
    )
    plain = trained(folder, tmp_path / "plain", max_steps=3)
    assert graphs["unique_graphs"] == before
    compiled = trained(folder, tmp_path / "compiled", max_steps=3, compile=True)
    assert graphs["unique_graphs"] == before + 2  # the model, and the sum that is tried first
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-4)
    names = [load_file(tmp_path / run / "step_00000003" / "model.safetensors").keys() for run in ("plain", "compiled")]
    assert names[0] == names[1]


@pytest.mark.slow
def test_no_compiler_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no-such-compiler"))
    torch._dynamo.reset()
    with pytest.raises(
        UserError, match=r"--compile cannot be used here \(.*no-such-compiler.*install a C\+\+ compiler"
    ):
        compile_in_place(torch.nn.Linear(2, 2), "cpu")


def scalars(run):
    """{name: [(step, value)]} as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return {name: [(event.step, event.value) for event in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_tensorboard_shows_the_numbers_of_metrics_once_each(folder, tmp_path, monkeypatch):
    run, config = tmp_path / "run", PretrainConfig(**SETTINGS)
    save, write = avtrain.training.loop.checkpoint.save, run_folder.Metrics.write
    asked = iter([False, True])
    with pytest.raises(Interrupted):
        pretrain(folder, run, config, stopping=lambda: next(asked), log=["tensorboard"], quiet=True)

    def killed_at_step_6(self, **values):
        write(self, **values)
        if values["step"] == 6:
            self.flush()
            raise KeyboardInterrupt

    monkeypatch.setattr(avtrain.training.loop.checkpoint, "save", lambda *_: None)
    monkeypatch.setattr(run_folder.Metrics, "write", killed_at_step_6)
    with pytest.raises(KeyboardInterrupt):
        pretrain(folder, run, config, log=["tensorboard"], quiet=True)
    monkeypatch.setattr(avtrain.training.loop.checkpoint, "save", save)
    monkeypatch.setattr(run_folder.Metrics, "write", write)
    pretrain(folder, run, config, log=["tensorboard"], quiet=True)
    lines, shown = run_folder.read_metrics(run), scalars(run)
    assert [line["step"] for line in lines] == list(range(8))
    assert set(lines[0]) | set(run_folder.read_validation(run)[0]) == set(shown) | {"step", "epoch"}
    for name in set(lines[0]) - {"step", "epoch"}:
        assert shown[name] == [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines], name
    assert [step for step, _ in shown["val_class_recall_at_1"]] == [3, 7]
    trained(folder, tmp_path / "without", max_steps=1)
    assert not (tmp_path / "without" / "tensorboard").exists()


def test_no_tensorboard_is_a_sentence(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    command = ["pretrain", str(folder), "--run", str(tmp_path / "run"), "--model-size=tiny", "--tensorboard"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "pip install 'avprep-avtrain[tensorboard]'" in done.output
    assert not (tmp_path / "run").exists()


def test_convolutions_over_log_mel_run_in_channels_last_order():
    audio = place(build_two_tower("tiny"), "cpu").audio
    orders = []
    for layer in audio.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(
                lambda layer, _, out: orders.append(
                    [tensor.is_contiguous(memory_format=torch.channels_last) for tensor in (layer.weight, out)]
                )
            )
    audio(torch.randn(2, 1, 100, 32))
    assert len(orders) == 9
    assert np.all(orders[1:])  # the first has one channel, whose order is none
