"""Windows of other sizes than the paper's: where they lie, what is read of them, runs and checkpoints of them."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import avtrain.evaluation.retrieval
from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import EvaluateConfig, PlanConfig, PretrainConfig
from avtrain.data import Loader, Reader, training_table
from avtrain.data.bench import BenchConfig, measure
from avtrain.data.plan_survey import survey
from avtrain.data.survey_text import printed
from avtrain.data.window_sizes import sentence_of, window_of
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.retrieval import retrieve
from avtrain.models.audio import AudioCNN
from avtrain.models.two_tower import TwoTower
from avtrain.models.video import build_video
from avtrain.sampling import SoftPositive
from avtrain.sampling.windows import WindowSpec, aligned_windows, draw_windows
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, forge_dataset

TINY = {"model_size": "tiny", "batch_size": 4, "max_steps": 2, "learning_rate": 1e-3}
SPECS = [
    WindowSpec(16, 100),
    WindowSpec(16, 100, frame_stride=2),
    WindowSpec(8, 1000),
    WindowSpec(16, 1000, frame_stride=2),
    WindowSpec(5, 96, frame_stride=3),
    WindowSpec(1, 30),
    WindowSpec(24, 50, frame_stride=4),
    WindowSpec(12, 100, 24),
    WindowSpec(7, 31, 25, 2),
]


def exact(rows):
    return np.stack([rows, rows], axis=1)


def drawn(spec, num_frames, **changed):
    plan = exact(np.arange(len(num_frames)))
    return draw_windows(plan, num_frames, spec, **{"seed": 3, "epoch": 0, "step": 1} | changed)


def forged(place, codec):
    """Clips of 4 to 40 pictures in two classes; two to validate on, two to test."""
    seconds = (0.3, 1.1, 1.7, 2.0, 2.5, 0.9)
    clips = [Forged(label, seconds=length) for label in "ab" for length in seconds]
    clips += [Forged(label, split=split) for split in ("val", "test") for label in "ab"]
    return forge_dataset(place, clips, 4, codec, frame_size=32, mel_bands=32)


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def folder(request, tmp_path_factory):
    """A dataset of either codec."""
    return forged(tmp_path_factory.mktemp("windows") / request.param, request.param)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A dataset."""
    return forged(tmp_path_factory.mktemp("raw") / "data", "raw")


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_both_windows_fit_and_have_one_middle(spec):
    longer = np.arange(400) // 10
    num_frames = spec.span_frames + longer
    seconds = num_frames / spec.frame_rate_hz
    windows = drawn(spec, num_frames)
    assert windows.frame_stride == spec.frame_stride
    last = windows.frame + (spec.num_frames - 1) * spec.frame_stride
    assert (windows.frame >= 0).all()
    assert (last < num_frames).all()
    assert (windows.mel_frame >= 0).all()
    assert (windows.mel_frame + spec.num_mel_frames <= 1 + np.floor(100 * seconds)).all()
    of_pictures = (windows.frame + last + 1) / 2 / spec.frame_rate_hz
    of_sound = (windows.mel_frame + spec.num_mel_frames / 2) / 100
    assert np.abs(of_pictures - of_sound).max() <= 0.5 / spec.frame_rate_hz + 0.006
    shortest = windows.frame[longer == 0]  # clips with no room to choose
    assert len(np.unique(shortest)) == 1
    roomy = windows.frame[longer == 39]
    assert len(np.unique(roomy)) > 4


def test_clips_shorter_than_the_pictures_have_all_their_sound_in_the_window():
    spec = WindowSpec(40, 100)
    num_frames = np.array([3, 15, 16, 20, 30, 39])
    windows = drawn(spec, num_frames)
    assert windows.frame.tolist() == [0] * 6
    sound_left = 1 + np.floor(100 * num_frames / 16) - windows.mel_frame
    assert (sound_left >= np.minimum(100, 1 + np.floor(100 * num_frames / 16))).all()
    assert drawn(spec, np.array([200])).mel_frame[0] > 0


def test_the_middle_of_a_clip_as_long_as_its_sound():
    windows = aligned_windows(np.array([160]), np.array([0.5]), WindowSpec(16, 1000, frame_stride=2))
    assert (windows.frame[0], windows.mel_frame[0]) == (64, 0)  # 31 pictures in the middle of 160


@pytest.mark.parametrize("sizes", [{"num_frames": 0}, {"num_mel_frames": 0}, {"frame_stride": 0}])
def test_a_size_below_one_is_none(sizes):
    with pytest.raises(ValueError, match="each must be 1 or more"):
        WindowSpec(**sizes)


def padded(array, count, last):
    return np.concatenate([array, np.repeat(last[None], count - len(array), axis=0)])


def cut(dataset, plan, windows, spec):
    """The windows of a plan cut from whole clips."""
    video, audio = [], []
    for (audio_row, video_row), frame, mel in zip(plan, windows.frame, windows.mel_frame, strict=True):
        pictures = dataset.read_clip(video_row).frames[frame :: spec.frame_stride][: spec.num_frames]
        video.append(padded(pictures, spec.num_frames, pictures[-1]))
        whole = dataset.read_clip(audio_row).logmel
        sound = whole[mel : mel + spec.num_mel_frames]
        audio.append(padded(sound, spec.num_mel_frames, np.full(whole.shape[1], sound.min())))
    return np.stack(video), np.stack(audio)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("spec", [WindowSpec(6, 140, frame_stride=3), WindowSpec(12, 40, frame_stride=2), SPECS[0]])
def test_every_nth_picture_of_either_codec_is_that_of_whole_clips(folder, spec, threads):
    dataset = Dataset(folder)
    table = training_table(dataset)
    settings = {"batch_size": 6, "epochs": 2, "seed": 5, "window": spec, "threads": threads}
    loader = Loader(dataset, table, SoftPositive(1.0), **settings)
    for batch in loader:
        windows = loader.recipe.windows(batch.plan, batch.epoch, batch.step)
        video, audio = cut(dataset, batch.plan, windows, spec)
        np.testing.assert_array_equal(batch.video, video)
        np.testing.assert_array_equal(batch.audio, audio)
    for world_size in (2, 3):
        ranks = [
            Loader(dataset, table, SoftPositive(1.0), **settings, rank=r, world_size=world_size)
            for r in range(world_size)
        ]
        for whole, *parts in zip(Loader(dataset, table, SoftPositive(1.0), **settings), *ranks, strict=True):
            np.testing.assert_array_equal(whole.video, torch.cat([part.video for part in parts]))
            np.testing.assert_array_equal(whole.audio, torch.cat([part.audio for part in parts]))


def test_pictures_from_any_start_and_past_the_end(folder):
    dataset = Dataset(folder)
    rows = dataset.rows_of("train")
    starts = np.arange(len(rows)) % 7
    out = np.empty((len(rows), 5, 32, 32, 3), np.uint8)
    with Reader(dataset) as reader:
        reader.read_frames(rows, starts, out, frame_stride=4)
    for row, start, pictures in zip(rows, starts, out, strict=True):
        wanted = dataset.read_clip(row).frames[start::4][:5]
        wanted = padded(wanted, 5, wanted[-1]) if len(wanted) else np.zeros_like(pictures)
        np.testing.assert_array_equal(pictures, wanted)


def seen_shapes(monkeypatch):
    """Shapes of what both encoders of a run are given, as (pictures, sound), in training and evaluation."""
    shapes = {True: set(), False: set()}
    for name, side in (("embed_video", 0), ("embed_audio", 1)):
        original = getattr(TwoTower, name)

        def met(self, given, original=original, side=side):
            shapes[self.training].add((side, tuple(given.shape[1:])))
            return original(self, given)

        monkeypatch.setattr(TwoTower, name, met)
    return shapes


@pytest.mark.parametrize(
    ("clips", "sizes", "options", "pictures", "sound"),
    [
        ([1.2], {"frame_size": 224}, {"window_frames": 16, "max_steps": 1}, (3, 16, 224, 224), (1, 100, 32)),
        ([10.0, 11.0], {}, {"audio_seconds": 10.0}, (3, 8, 32, 32), (1, 1000, 32)),
        ([2.0, 0.5], {}, {"window_frames": 6, "frame_stride": 4, "audio_seconds": 0.5}, (3, 6, 32, 32), (1, 50, 32)),
    ],
    ids=["16 pictures of 224 px", "10 s of sound", "strided, shorter sound"],
)
def test_a_run_trains_validates_and_retrieves_by_its_windows(
    clips, sizes, options, pictures, sound, tmp_path, monkeypatch
):
    every = [Forged("ab"[row % 2], seconds=clips[row // 2 % len(clips)]) for row in range(8)]
    every += [Forged(label, split=split, seconds=clips[0]) for split in ("val", "test") for label in "ab"]
    data = forge_dataset(tmp_path / "data", every, **{"frame_size": 32, "mel_bands": 32} | sizes)
    shapes = seen_shapes(monkeypatch)
    config = PretrainConfig(**TINY | options)
    pretrain(data, tmp_path / "run", config, quiet=True)
    wanted = {(0, pictures), (1, sound)}
    assert shapes == {True: wanted, False: wanted}
    meta = json.loads((tmp_path / "run" / f"step_{config.max_steps:08d}" / "meta.json").read_text())
    stride = options.get("frame_stride", 1)
    assert meta["data"]["window"] == {"num_frames": pictures[1], "frame_stride": stride, "num_mel_frames": sound[1]}
    shapes[False].clear()
    retrieve(data, tmp_path / "run")
    assert shapes[False] == wanted


def test_a_checkpoint_that_records_no_windows_has_the_paper_s(raw, tmp_path, monkeypatch):
    pretrain(raw, tmp_path / "run", PretrainConfig(**TINY), quiet=True)
    path = tmp_path / "run" / "step_00000002" / "meta.json"
    meta, scores = json.loads(path.read_text()), retrieve(raw, tmp_path / "run")
    del meta["data"]["window"]
    path.write_text(json.dumps(meta))
    shapes = seen_shapes(monkeypatch)
    assert retrieve(raw, tmp_path / "run") == scores
    assert shapes[False] == {(0, (3, 8, 32, 32)), (1, (1, 100, 32))}


def test_a_run_of_other_windows_resumes_bit_for_bit_and_is_told_from_the_paper_s(raw, tmp_path):
    options = TINY | {"window_frames": 5, "frame_stride": 2, "audio_seconds": 1.4, "strategy": "soft-positive"}
    pretrain(raw, tmp_path / "whole", PretrainConfig(**options | {"max_steps": 4}), quiet=True)
    for steps in (1, 4):
        pretrain(raw, tmp_path / "parts", PretrainConfig(**options | {"max_steps": steps}), quiet=True)
    one, two = (load_file(tmp_path / run / "step_00000004" / "model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = PretrainConfig(**options | {"max_steps": 4, "audio_seconds": 1.0})
    with pytest.raises(UserError, match=r"(?s)other settings.*audio_seconds: 1.4 -> 1.0"):
        pretrain(raw, tmp_path / "whole", other, quiet=True)
    assert pretrain(raw, tmp_path / "whole", other, quiet=True, change=True).steps == 4


def test_altered_windows_of_a_checkpoint_are_a_sentence(raw, tmp_path):
    pretrain(raw, tmp_path / "run", PretrainConfig(**TINY), quiet=True)
    path = tmp_path / "run" / "step_00000002" / "meta.json"
    meta = json.loads(path.read_text())
    for altered in ({"num_frames": 10**9}, {"frame_stride": 0}, {"num_mel_frames": "many"}):
        path.write_text(json.dumps({**meta, "data": {**meta["data"], "window": altered}}))
        with pytest.raises(UserError, match=r"meta.json is not what avprep writes"):
            retrieve(raw, tmp_path / "run")


def strides_read(monkeypatch):
    """(strides, numbers of pictures) that Reader.read_frames is asked for from now on."""
    strides, lengths, read = set(), set(), Reader.read_frames

    def read_frames(self, rows, starts, out, frame_stride=1):
        strides.add(frame_stride)
        lengths.add(out.shape[1])
        read(self, rows, starts, out, frame_stride)

    monkeypatch.setattr(Reader, "read_frames", read_frames)
    return strides, lengths


def test_evaluation_of_pictures_takes_them_as_the_run_did(raw, tmp_path, monkeypatch):
    config = PretrainConfig(**TINY, window_frames=3, frame_stride=4)
    pretrain(raw, tmp_path / "run", config, quiet=True)
    asked = strides_read(monkeypatch)
    result = evaluate(raw, EvaluateConfig(protocol="knn", side="video", test_windows=2), run=tmp_path / "run")
    assert asked == ({4}, {3, 8})  # windows, and every fourth of the 32 pictures of the test clips
    assert result["windows"]["window_seconds"] == 9 / 16


@pytest.mark.parametrize("frozen", ["video", "audio"])
def test_features_of_a_frozen_encoder_are_of_the_run_s_windows(raw, tmp_path, monkeypatch, frozen):
    pretrain(raw, tmp_path / "first", PretrainConfig(**TINY | {"max_steps": 1}), quiet=True)
    asked = strides_read(monkeypatch)
    sizes = {"window_frames": 3, "frame_stride": 4, "audio_seconds": 0.7}
    config = PretrainConfig(**TINY, **sizes, freeze=frozen, frozen_windows=2, init_from=str(tmp_path / "first"))
    assert pretrain(raw, tmp_path / "run", config, quiet=True).steps == 2
    assert asked == ({4}, {3})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--audio-seconds", "20"],
            "No clip to train on has 20 s of sound, the longest has 2.51 s; use a smaller --audio",
        ),
        (
            ["--window-frames", "41"],
            "41 pictures, every 1st, go over 41 stored ones, but no clip .* more than 40; use few",
        ),
        (["--frame-stride", "11"], "8 pictures, every 11th, go over 78 stored ones, but no clip .* more than 40"),
        (["--window-frames", "-1"], "window_frames must be 0, for the paper's, to 1000, not -1"),
        (["--frame-stride", "0"], "frame_stride must be 1 to 1000, not 0"),
        (["--audio-seconds", "0.05"], "audio_seconds must be 0, for the paper's, or 0.1 to 60, not 0.05"),
        (["--audio-seconds", "nan"], "audio_seconds must be"),
    ],
)
def test_windows_that_cannot_be_are_one_sentence(raw, options, sentence, tmp_path):
    for command in (["plan"], ["pretrain", "--run", str(tmp_path / "run"), "--model-size", "tiny"]):
        done = CliRunner().invoke(main, [command[0], str(raw), *command[1:], "--batch-size", "4", *options])
        assert done.exit_code == 2, done.output
        assert re.search(sentence, done.stderr), done.stderr
        assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--video-model", "s3d", "--window-frames", "4"], "s3d takes 5 pictures or more; use more --window-frames"),
        (["--read-threads", "0"], "0 is not in the range x>=1"),
        (["--log-every", "0"], "log_every must be 1 or more, not 0"),
    ],
)
def test_options_of_training_that_cannot_be(raw, options, sentence, tmp_path):
    run = tmp_path / "run"
    done = CliRunner().invoke(main, ["pretrain", str(raw), "--run", str(run), "--batch-size", "4", *options])
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert not (run / "config.json").exists()


def test_short_clips_alone_are_still_padded_to_the_paper_s_windows(tmp_path):
    data = forge_dataset(tmp_path / "data", [Forged("a", seconds=0.2)] * 4, frame_size=32, mel_bands=32)
    assert window_of(Dataset(data)) == WindowSpec()
    assert survey(Dataset(data), PlanConfig(batch_size=2, epochs=1))["windows"]["shorter_clips"] == {
        "pictures": 4,
        "sound": 4,
    }


def test_the_plan_counts_what_is_read_and_padded(folder):
    dataset = Dataset(folder)
    config = PlanConfig(batch_size=12, epochs=1, window_frames=6, frame_stride=4, audio_seconds=2.0)
    found = survey(dataset, config)
    assert found["windows"] == {
        **{"num_frames": 6, "frame_stride": 4, "num_mel_frames": 200, "frame_rate_hz": 16},
        "shorter_clips": {"pictures": 6, "sound": 8},
    }
    rows = dataset.rows_of("train")
    if dataset.frame_codec == "raw":
        pictures = np.minimum(6, -(-dataset.num_frames[rows] // 4)).sum() * 32 * 32 * 3
    else:  # those between are read too
        pictures = (
            np.minimum(21, dataset.num_frames[rows]) / dataset.num_frames[rows] * dataset.frames_bytes[rows]
        ).sum()
    assert found["bytes_per_epoch"] == round(pictures + np.minimum(200, dataset.num_mel_frames[rows]).sum() * 64)
    line = (
        "windows     6 pictures, every 4th stored one (1.31 s), in the middle of 2 s of sound; clips that are too short"
    )
    assert f"{line} and padded: 6 for the pictures, 8 for the sound" in printed(found)
    assert sentence_of(WindowSpec(32, 50)) == "32 pictures (2 s), and 0.5 s of sound in the middle of them"


def test_bench_measures_the_windows_it_is_given(folder):
    config = BenchConfig(
        strategies=("random",), batch_size=4, batches=2, rounds=1, window_frames=4, frame_stride=3, audio_seconds=0.5
    )
    figures = measure(Dataset(folder), config)["strategies"]["random"]
    assert all(value > 0 for value in figures.values())
    assert folder.name == "jpeg" or figures["bytes_per_pair"] <= 4 * 32 * 32 * 3 + 50 * 32 * 2
    with pytest.raises(UserError, match="frame_stride must be"):
        dataclasses.replace(config, frame_stride=0)


@pytest.mark.parametrize("pool", ["average", "max"])
def test_the_paper_s_encoders_take_any_window(pool):
    """Shapes alone: nothing is computed on torch's meta device."""
    with torch.device("meta"), torch.no_grad():
        video = build_video("r2plus1d_18", pool).eval()
        for frames, size in ((16, 224), (1, 112), (5, 32)):
            assert video(torch.empty(2, 3, frames, size, size)).shape == (2, 512)
        audio = AudioCNN().eval()
        for mel_frames in (1000, 10, 6000):
            assert audio(torch.empty(2, 1, mel_frames, 128)).shape == (2, 512)


def test_an_encoder_of_ones_own_is_tried_on_the_windows_of_the_run(monkeypatch, tmp_path):
    (tmp_path / "fixed_encoder.py").write_text(
        "import torch\n"
        "class Sixteen(torch.nn.Module):\n"
        "    def forward(self, video):\n"
        "        assert video.shape[2] == 16, 'only 16 pictures'\n"
        "        return video.mean(dim=(3, 4)).flatten(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert build_video("fixed_encoder:Sixteen", frame_size=32, num_frames=16).num_features == 48
    with pytest.raises(UserError, match=r"cannot encode \[2, 3, 8, 32, 32\] .*only 16 pictures"):
        build_video("fixed_encoder:Sixteen", frame_size=32)


def test_pictures_embedded_at_once_are_bounded_and_the_paper_s_blocks_are_as_before():
    blocks = avtrain.evaluation.retrieval.blocks_of
    assert [len(block) for block in blocks(40, WindowSpec())] == [14, 13, 13]
    assert [len(block) for block in blocks(10, WindowSpec(num_frames=64))] == [2] * 5
    assert [len(block) for block in blocks(3, WindowSpec(num_frames=500))] == [1] * 3


def test_a_rate_without_quarters_of_a_second_needs_its_number_of_pictures(raw, tmp_path):
    dataset = Dataset(raw)
    dataset.info["video"]["frame_rate_hz"] = 15
    with pytest.raises(UserError, match=r"15 frames a second; the paper's windows need a multiple of 4. Set --window-"):
        window_of(dataset)
    assert window_of(dataset, window_frames=8) == WindowSpec(8, 100, 15)
