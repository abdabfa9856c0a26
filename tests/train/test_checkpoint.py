"""A checkpoint is whole or not there, holds every bit, and is never a pickle."""

from __future__ import annotations

import contextlib
import json
import resource

import pytest
import torch

from avprep.shared.errors import UserError
from avtrain.models.two_tower import audio_encoder, build_two_tower
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder


def trained(seed, steps):
    """A tiny pair and its Adam after some updates."""
    torch.manual_seed(seed)
    model = build_two_tower("tiny").to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-2)
    for step in range(steps):
        update(model, optimiser, step)
    return model, optimiser


def update(model, optimiser, step):
    draw = torch.Generator().manual_seed(step)
    video, audio = model(torch.randn(4, 3, 4, 32, 32, generator=draw), torch.randn(4, 1, 50, 16, generator=draw))
    optimiser.zero_grad(set_to_none=True)
    ((video - audio.roll(1, 0)) ** 2).sum().backward()
    optimiser.step()


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert torch.equal(tensor, other[name]), name


def names(run):
    return [folder.name for folder in checkpoint.checkpoints(run)]


def test_model_and_adam_come_back_bit_for_bit(tmp_path):
    model, optimiser = trained(seed=1, steps=3)
    folder = checkpoint.save(tmp_path, 3, model, optimiser, {"note": "x"})
    other, other_optimiser = trained(seed=2, steps=0)
    checkpoint.load_model(folder, other)
    checkpoint.load_optimiser(folder, other_optimiser)
    assert_same_bits(model.state_dict(), other.state_dict())
    mine, theirs = (found.state_dict() for found in (optimiser, other_optimiser))
    assert mine["param_groups"] == theirs["param_groups"]
    assert mine["state"].keys() == theirs["state"].keys()
    for number, state in mine["state"].items():
        assert set(state) == {"step", "exp_avg", "exp_avg_sq"}
        assert_same_bits(state, theirs["state"][number])
    assert checkpoint.read_meta(folder)["note"] == "x"
    assert checkpoint.read_meta(folder)["step"] == 3


def test_training_goes_on_from_a_checkpoint_as_if_nothing_had_happened(tmp_path):
    model, optimiser = trained(seed=1, steps=2)
    folder = checkpoint.save(tmp_path, 2, model, optimiser, {})
    other, other_optimiser = trained(seed=2, steps=0)
    checkpoint.load_model(folder, other)
    checkpoint.load_optimiser(folder, other_optimiser)
    for step in range(2, 5):
        update(model, optimiser, step)
        update(other, other_optimiser, step)
    assert_same_bits(model.state_dict(), other.state_dict())


def test_the_learning_rate_is_the_configs_not_the_checkpoints(tmp_path):
    folder = checkpoint.save(tmp_path, 1, *trained(seed=1, steps=1), {})
    optimiser = torch.optim.Adam(build_two_tower("tiny").parameters(), lr=7e-3)
    checkpoint.load_optimiser(folder, optimiser)
    assert optimiser.param_groups[0]["lr"] == 7e-3


def test_the_last_ones_stay(tmp_path):
    model, optimiser = trained(seed=1, steps=1)
    for step in (5, 10, 100, 1000):
        checkpoint.save(tmp_path, step, model, optimiser, {}, keep=2)
    assert names(tmp_path) == ["step_00000100", "step_00001000"] == sorted(entry.name for entry in tmp_path.iterdir())
    checkpoint.save(tmp_path, 1001, model, optimiser, {}, keep=1)
    assert names(tmp_path) == ["step_00001001"]


def test_what_a_kill_left_behind_is_no_checkpoint_and_no_hindrance(tmp_path):
    model, optimiser = trained(seed=1, steps=1)
    assert checkpoint.latest(tmp_path) is None
    checkpoint.save(tmp_path, 5, model, optimiser, {})
    left = tmp_path / ".step_00000010.tmp"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    (left / "meta.json").write_text("{}")
    (tmp_path / "step_00000007").mkdir()  # half removed: its meta.json is gone
    assert names(tmp_path) == ["step_00000005"]
    assert checkpoint.latest(tmp_path).name == "step_00000005"
    folder = checkpoint.save(tmp_path, 10, model, optimiser, {})
    assert not left.exists()
    assert checkpoint.latest(tmp_path) == folder
    checkpoint.load_model(folder, model)


@pytest.mark.parametrize("failing", ["save_file", "store.write_json", "os.replace"])
def test_a_save_that_fails_at_any_point_leaves_the_checkpoint_before_it(tmp_path, monkeypatch, failing):
    model, optimiser = trained(seed=1, steps=1)
    checkpoint.save(tmp_path, 5, model, optimiser, {}, keep=1)

    def fail(*_arguments):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(f"avtrain.runs.checkpoint.{failing}", fail)
        with pytest.raises(OSError, match="disk full"):
            checkpoint.save(tmp_path, 10, model, optimiser, {}, keep=1)
    assert names(tmp_path) == ["step_00000005"]
    checkpoint.load_model(checkpoint.latest(tmp_path), model)


@contextlib.contextmanager
def files_of_at_most(size):
    """No file may grow beyond these bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("part", ["model.safetensors", "optim.safetensors", "meta.json"])
def test_a_full_disk_is_one_sentence_and_leaves_the_checkpoint_before_it(tmp_path, part):
    model, optimiser = trained(seed=1, steps=1)
    meta = {"long": "x" * (4 << 20)}
    whole = checkpoint.save(tmp_path, 5, model, optimiser, meta, keep=1)
    room = (whole / part).stat().st_size - 1
    with (
        files_of_at_most(room),
        pytest.raises(UserError, match=r"step_00000010.* cannot be written \(File too large\)"),
    ):
        checkpoint.save(tmp_path, 10, model, optimiser, meta if part == "meta.json" else {}, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000005"]
    checkpoint.load_model(checkpoint.latest(tmp_path), model)


def test_a_full_disk_takes_no_line_of_metrics_and_is_reported(tmp_path):
    metrics = run_folder.Metrics(tmp_path, 0)
    metrics.write(step=0, loss=1.0)
    metrics.flush()
    metrics.write(step=1, loss=1.0)
    full = pytest.raises(UserError, match=r"metrics.jsonl cannot be written \(File too large\)")
    with files_of_at_most((tmp_path / "metrics.jsonl").stat().st_size), full:
        metrics.flush()
    metrics.close()
    assert [line["step"] for line in run_folder.read_metrics(tmp_path)] == [0, 1]


def test_only_safetensors_and_json_are_written(tmp_path):
    folder = checkpoint.save(tmp_path, 1, *trained(seed=1, steps=1), {})
    assert sorted(path.name for path in folder.iterdir()) == ["meta.json", "model.safetensors", "optim.safetensors"]


def test_a_foreign_format_is_refused(tmp_path):
    folder = checkpoint.save(tmp_path, 1, *trained(seed=1, steps=1), {})
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"format": "avtrain-checkpoint/9"}))
    with pytest.raises(UserError, match="'avtrain-checkpoint/9'; this version reads avtrain-checkpoint/1"):
        checkpoint.read_meta(folder)


def test_one_encoder_of_a_pair_and_one_that_does_not_fit(tmp_path):
    model, optimiser = trained(seed=1, steps=1)
    folder = checkpoint.save(tmp_path, 1, model, optimiser, {})
    encoder = audio_encoder("tiny")
    checkpoint.load_model(folder, encoder, prefix="audio.")
    assert_same_bits(encoder.state_dict(), model.audio.state_dict())
    with pytest.raises(UserError, match=f"{folder} does not fit the model"):
        checkpoint.load_model(folder, audio_encoder("full"), prefix="audio.")
