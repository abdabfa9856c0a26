"""A checkpoint in the layout of the authors' code becomes a run, whose features are those of the code's layers."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections import OrderedDict
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from safetensors.torch import load_file

from avprep.config import LOGMEL_PRESETS
from avtrain.cli import main
from avtrain.models.released import ReleasedVideo, our_name
from avtrain.runs.import_released import LOGMEL
from avtrain.runs.load import checkpoint_of, load_audio_encoder
from tests.train.forge import Forged, forge_dataset

WIDTHS = (64, 128, 256, 512)
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@cache
def released_state(seed=0):
    """Every name of a released checkpoint, with weights small enough that nothing overflows."""
    draw = torch.Generator().manual_seed(seed)
    state = OrderedDict()

    def convolution(name, *shape):
        fan_in = torch.tensor(shape[1:]).prod().item()
        state[f"{name}.weight"] = torch.randn(shape, generator=draw) * (2 / fan_in) ** 0.5

    def norm(name, width):
        values = [torch.rand(width, generator=draw) + 0.5, torch.randn(width, generator=draw)]
        values += [torch.randn(width, generator=draw), torch.rand(width, generator=draw) + 0.5, torch.tensor(7)]
        state.update({f"{name}.{part}": value for part, value in zip(NORM, values, strict=True)})

    convolution("video_model.conv1.0", 64, 3, 3, 7, 7)
    norm("video_model.conv1.1", 64)
    for stage, width in enumerate(WIDTHS, start=2):
        for block in range(2):
            name, inputs = f"video_model.conv{stage}x.{block}", width if block or stage == 2 else width // 2
            convolution(f"{name}.spt_conv1", width, inputs, 1, 3, 3)
            norm(f"{name}.spt_bn1", width)
            convolution(f"{name}.tmp_conv1", width, width, 3, 1, 1)
            norm(f"{name}.tmp_bn1", width)
            convolution(f"{name}.spt_conv2", width, width, 1, 3, 3)
            norm(f"{name}.spt_bn2", width)
            convolution(f"{name}.tmp_conv2", width, width, 3, 1, 1)
            norm(f"{name}.out_bn", width)
            if inputs != width:
                convolution(f"{name}.res_conv", width, inputs, 1, 1, 1)
    convolution("audio_model.conv1.0", 64, 1, 7, 7)
    norm("audio_model.conv1.1", 64)
    for block, width in enumerate(WIDTHS, start=1):
        inputs = max(width // 2, 64)
        convolution(f"audio_model.block{block}.conv1", width, inputs, 3, 3)
        norm(f"audio_model.block{block}.bn1", width)
        convolution(f"audio_model.block{block}.conv2", width, width, 3, 3)
        norm(f"audio_model.block{block}.bn2", width)
    return state


CLIPS = [Forged("ab"[row % 2], "train" if row < 8 else "test", 1.0) for row in range(10)]


def normed(state, name, media):
    weight, bias, mean, var = (state[f"{name}.{part}"] for part in NORM[:4])
    return F.batch_norm(media, mean, var, weight, bias)


def video_features(state, media):
    """The released video network as a formula over the released names."""

    def space(name, media, stride=1):
        return F.conv3d(media, state[f"{name}.weight"], None, (1, stride, stride), (0, 1, 1))

    def time(name, media, stride=1):
        return F.conv3d(media, state[f"{name}.weight"], None, (stride, 1, 1), (1, 0, 0))

    media = F.conv3d(media, state["video_model.conv1.0.weight"], None, (1, 2, 2), (1, 3, 3))
    media = normed(state, "video_model.conv1.1", media).relu()
    for stage in (2, 3, 4, 5):
        for block in (0, 1):
            name, stride = f"video_model.conv{stage}x.{block}", 2 if stage > 2 and block == 0 else 1
            inner = normed(state, f"{name}.spt_bn1", space(f"{name}.spt_conv1", media, stride)).relu()
            inner = normed(state, f"{name}.tmp_bn1", time(f"{name}.tmp_conv1", inner, stride)).relu()
            inner = normed(state, f"{name}.spt_bn2", space(f"{name}.spt_conv2", inner)).relu()
            inner = time(f"{name}.tmp_conv2", inner)
            if stride > 1:
                media = F.conv3d(media, state[f"{name}.res_conv.weight"], None, stride)
            media = normed(state, f"{name}.out_bn", inner + media).relu()
    return media.amax(dim=(2, 3, 4))


def audio_features(state, media):
    """The released audio network as a formula over the released names."""
    media = F.conv2d(media, state["audio_model.conv1.0.weight"], None, 2, 3)
    media = normed(state, "audio_model.conv1.1", media).relu()
    for block, stride in ((1, 1), (2, 2), (3, 2), (4, 1)):
        name = f"audio_model.block{block}"
        media = normed(state, f"{name}.bn1", F.conv2d(media, state[f"{name}.conv1.weight"], None, stride, 1)).relu()
        media = normed(state, f"{name}.bn2", F.conv2d(media, state[f"{name}.conv2.weight"], None, 1, 1)).relu()
    return media.amax(dim=(2, 3))


def avtrain(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset") / "data"
    return forge_dataset(folder, CLIPS, frame_size=16, mel_bands=128, preset="released-code")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """(released state, run) of a file as DataParallel on four GPUs leaves it."""
    root = tmp_path_factory.mktemp("released")
    state = OrderedDict((f"module.{name}", tensor) for name, tensor in released_state().items())
    saved = {"epoch": 100, "state_dict": state, "optimizer": {"state": {}, "param_groups": []}, "training_loss": [5.7]}
    torch.save(saved, root / "checkpoint.pt")
    done = avtrain("import-released", root / "checkpoint.pt", "--run", root / "run")
    assert done.exit_code == 0, done.output
    assert "--logmel-preset released-code" in done.output
    return released_state(), root / "run"


def test_the_encoders_give_what_the_released_layers_give(imported):
    state, run = imported
    found = load_file(run / "step_00000000" / "model.safetensors")
    draw = torch.Generator().manual_seed(1)
    pictures, sounds = torch.randn(2, 3, 8, 32, 32, generator=draw), torch.randn(2, 1, 50, 32, generator=draw)
    video = ReleasedVideo().eval()
    video.load_state_dict(
        {name.removeprefix("video."): tensor for name, tensor in found.items() if name.startswith("video.")}
    )
    with torch.no_grad():
        torch.testing.assert_close(video(pictures), video_features(state, pictures), rtol=1e-4, atol=1e-4)
        expected = audio_features(state, sounds)
        torch.testing.assert_close(load_audio_encoder(*checkpoint_of(run))(sounds), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1
    assert len(found) == len(state)


def test_the_run_records_what_it_is(imported):
    meta = json.loads((imported[1] / "step_00000000" / "meta.json").read_text())
    assert (meta["step"], meta["config"]["video_model"], meta["config"]["audio_model"]) == (
        0,
        "r2plus1d_18_released",
        "cnn9",
    )
    assert meta["imported"]["file"] == "checkpoint.pt"
    assert len(meta["imported"]["sha256"]) == 64
    assert sorted(path.name for path in (imported[1] / "step_00000000").iterdir()) == ["meta.json", "model.safetensors"]


@pytest.mark.parametrize("protocol", ["linear", "knn", "finetune"])
def test_it_is_measured(imported, data, tmp_path, protocol):
    options = ("--run", imported[1], "--out", tmp_path / "out", "--epochs=1", "--windows-per-clip=1", "--device=cpu")
    done = avtrain("evaluate", data, "--protocol", protocol, *options)
    assert done.exit_code == 0, done.output


def test_the_log_mel_is_that_of_the_preset():
    assert dataclasses.asdict(LOGMEL_PRESETS["released-code"]) == LOGMEL


def test_log_mel_of_another_kind_is_refused(imported, tmp_path):
    other = forge_dataset(tmp_path / "paper", CLIPS, mel_bands=128)
    options = ("--run", imported[1], "--out", tmp_path / "out", "--device=cpu")
    done = avtrain("evaluate", other, "--protocol", "linear", *options)
    assert done.exit_code == 2
    assert "was trained on other log-mel than" in done.output
    assert "sample_rate_hz: 16000 -> 48000" in done.output


def test_retrieval_refuses_it(imported, data, tmp_path):
    done = avtrain("evaluate", data, "--protocol=retrieval", "--run", imported[1], "--out", tmp_path, "--device=cpu")
    assert done.exit_code == 2
    assert "was imported without its projection" in done.output
    assert len(done.output.splitlines()) == 1


def test_the_report_shows_it(imported, tmp_path):
    done = avtrain("report", imported[1], "--out", tmp_path / "r.html", "--device=cpu")
    assert done.exit_code == 0, done.output
    assert "imported checkpoint.pt" in (tmp_path / "r.html").read_text()


def test_a_run_begins_with_it_and_with_heads_of_its_own(imported, data, tmp_path):
    command = ("pretrain", data, "--init-from", imported[1], "--batch-size=2", "--max-steps=1", "--device=cpu")
    tiny = avtrain(*command, "--run", tmp_path / "tiny", "--model-size=tiny")
    assert tiny.exit_code == 2
    assert "it was trained with --model-size full --video-model r2plus1d_18_released --audio-model cnn9." in tiny.output
    small = ("--learning-rate=1e-30", "--weight-decay=0", "--video-model=r2plus1d_18_released")
    done = avtrain(*command, "--run", tmp_path / "run", *small)
    assert done.exit_code == 0, done.output
    before = load_file(imported[1] / "step_00000000" / "model.safetensors")
    after = load_file(tmp_path / "run" / "step_00000001" / "model.safetensors")
    assert set(after) - set(before) == {
        f"{side}_head.{part}" for side in ("video", "audio") for part in ("weight", "bias")
    }
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items() if name.endswith("weight"))


def test_the_same_import_again_changes_nothing_and_another_is_refused(imported, tmp_path):
    run = imported[1]
    before = (run / "step_00000000" / "model.safetensors").read_bytes()
    assert avtrain("import-released", run.parent / "checkpoint.pt", "--run", run).exit_code == 0
    assert (run / "step_00000000" / "model.safetensors").read_bytes() == before
    torch.save({"state_dict": released_state(seed=1)}, tmp_path / "other.pt")
    done = avtrain("import-released", tmp_path / "other.pt", "--run", run)
    assert done.exit_code == 2
    assert "holds a run of other settings" in done.output
    assert "'checkpoint.pt' -> 'other.pt'" in done.output


class Mischief:
    def __reduce__(self):
        return (print, ("mischief",))


def changed(**values):
    """A released checkpoint with other entries: one number for each weight, in its shape, takes no room in the file."""
    state = OrderedDict((name, tensor.new_zeros(()).expand(tensor.shape)) for name, tensor in released_state().items())
    for name, value in values.items():
        name = name.replace("__", ".")
        state.pop(name, None)
        if value is not None:
            state[name] = value
    return {"state_dict": state}


@pytest.mark.parametrize(
    ("saved", "sentence"),
    [
        ({"epoch": 3}, "has no 'state_dict'"),
        ([1], "has no 'state_dict'"),
        ({"state_dict": [1]}, "has no 'state_dict'"),
        ({"state_dict": {}}, "is missing there"),
        (lambda: changed(audio_model__block4__bn2__bias=None), "audio.layers.8.1.bias is missing there"),
        (lambda: changed(audio_model__conv1__0__weight=torch.zeros(64, 3, 7, 7)), "is [64, 3, 7, 7] there, [64, 1"),
        (lambda: changed(video_proj__0__weight=torch.zeros(1)), "holds 'video_proj.0.weight', which is no weight of"),
        (lambda: changed(video_model__conv2x__0__bn__bias=torch.zeros(1)), "which is no weight of the released models"),
        (lambda: changed(audio_model__conv1__0__weight=3), "which is no weight of the released models"),
        ({"state_dict": Mischief()}, "is no whole torch file of tensors and plain values"),
    ],
)
def test_a_file_that_is_none_is_refused_and_leaves_nothing(tmp_path, capfd, saved, sentence):
    torch.save(saved() if callable(saved) else saved, tmp_path / "file.pt")
    done = avtrain("import-released", tmp_path / "file.pt", "--run", tmp_path / "run")
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
    assert sentence in done.output
    assert "mischief" not in done.output + capfd.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("data", [b"", b"text", pickle.dumps({"state_dict": {}}, 2), pickle.dumps(Mischief(), 2)])
def test_other_files_are_refused(tmp_path, capfd, data):
    (tmp_path / "file.pt").write_bytes(data)
    done = avtrain("import-released", tmp_path / "file.pt", "--run", tmp_path / "run")
    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1
    assert "mischief" not in done.output + capfd.readouterr().out


def test_half_a_file_is_refused(imported, tmp_path):
    whole = (imported[1].parent / "checkpoint.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    done = avtrain("import-released", tmp_path / "half.pt", "--run", tmp_path / "run")
    assert done.exit_code == 2
    assert "is no whole torch file" in done.output


def test_names_that_are_none_of_the_released_ones_have_no_name_here():
    for name in ("video_model.conv6x.0.out_bn.bias", "audio_model.block5.conv1.weight", "x.video_model.conv1.0.weight"):
        assert our_name(name) is None
    assert len({our_name(name) for name in released_state()}) == len(released_state())
