"""Evaluation by side: sounds, pictures, or both; a class that can be seen alone, and one that can be heard alone."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import EvaluateConfig, PretrainConfig
from avtrain.data.augment import Normalise
from avtrain.data.clips import picture_pieces, read_pictures
from avtrain.data.reader import Reader
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.features import Source, clip_features, window_features
from avtrain.evaluation.measure import measure
from avtrain.evaluation.retrieval import Among, retrieve
from avtrain.evaluation.sides import BothEncoders
from avtrain.models.audio import tiny_audio
from avtrain.models.two_tower import build_two_tower
from avtrain.models.video import build_video
from avtrain.runs import checkpoint
from avtrain.training.pretrain import pretrain
from tests.train import forge
from tests.train.forge import Forged, forge_dataset

KNN = EvaluateConfig(protocol="knn", model_size="tiny", windows_per_clip=2, test_windows=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three classes of clips of several lengths; `dark` looks unlike the others, `loud` sounds unlike the others."""
    original = forge.arrays

    def arrays(row, clip, frame_size, mel_bands):
        frames, logmel = original(row, clip, frame_size, mel_bands)
        return (frames // 4 if clip.label == "dark" else frames), logmel

    clips = [
        Forged(label, split, seconds=(0.4, 1.3, 2.0)[number % 3], level=30.0 if label == "loud" else 0.0)
        for split, count in (("train", 12), ("test", 6))
        for number in range(count)
        for label in ("dark", "loud", "plain")
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(forge, "arrays", arrays)
        return Dataset(forge_dataset(tmp_path_factory.mktemp("dataset") / "sides", clips, frame_size=32, mel_bands=16))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder whose checkpoint has fresh weights."""
    run = tmp_path_factory.mktemp("runs") / "untrained"
    torch.manual_seed(0)
    model = build_two_tower("tiny")
    checkpoint.save(run, 0, model, torch.optim.Adam(model.parameters()), {"config": {"model_size": "tiny"}})
    return run


def sources(dataset, reader, **settings):
    normalise = Normalise(dataset.logmel_mean, dataset.logmel_std)
    return {
        side: Source(dataset, reader, normalise, "cpu", side=side, **settings) for side in ("audio", "video", "both")
    }


@pytest.fixture(scope="module")
def accuracy(dataset, run, tmp_path_factory):
    """By side: the share of right predictions within each class."""
    found = {}
    for side in ("audio", "video", "both"):
        result = evaluate(dataset.folder, dataclasses.replace(KNN, side=side), run=run)
        found[side] = {row["class"]: row["accuracy"] for row in result["per_class"]}
        assert result["windows"]["window_seconds"] == (0.5 if side == "video" else 1.0)
        assert result["encoder"].startswith("run untrained, step 0")
    return found


def test_each_side_knows_what_can_be_told_by_it_and_both_know_all(accuracy):
    assert accuracy["audio"]["loud"] == accuracy["both"]["loud"] == 1
    assert accuracy["video"]["dark"] == accuracy["both"]["dark"] == 1
    assert accuracy["audio"]["dark"] < 1
    assert accuracy["video"]["loud"] < 1


@pytest.mark.parametrize("protocol", ["linear", "finetune", "supervised"])
def test_every_protocol_takes_both(dataset, run, protocol):
    config = EvaluateConfig(protocol=protocol, side="both", model_size="tiny", epochs=2, batch_size=8, test_windows=0)
    result = evaluate(dataset.folder, config, run=None if protocol == "supervised" else run)
    assert result["encoder"].endswith(", of sounds and pictures")
    assert len(result["interval_95"]) == 2


def test_features_of_both_are_those_of_each(dataset):
    audio, video = tiny_audio().eval(), build_video("tiny").eval()
    rows = dataset.rows_of("test")
    with Reader(dataset) as reader:
        by_side = sources(dataset, reader)
        both = clip_features(BothEncoders(audio, video), by_side["both"], rows)
        apart = [clip_features(audio, by_side["audio"], rows), clip_features(video, by_side["video"], rows)]
        torch.testing.assert_close(both, torch.cat(apart, dim=1))
        row = int(np.flatnonzero(dataset.num_frames[rows] == 32)[0])
        frames = read_pictures(dataset, reader, rows[row : row + 1], np.zeros(1, int), 32)
        with torch.no_grad():
            whole = video(by_side["video"].normalise.video(torch.from_numpy(frames)))
        torch.testing.assert_close(apart[1][row], whole[0])


def test_pictures_are_in_the_middle_of_their_sound(dataset):
    """As in training: pictures from t on go with sound from t - 0.25 s on."""
    long = np.flatnonzero(dataset.num_frames == 32)[:1]
    with Reader(dataset) as reader:
        source = sources(dataset, reader)["both"]
        assert source.amid(long, np.array([0])).tolist() == [4]
        assert source.amid(long, np.array([50])).tolist() == [12]
        logmel, pictures = source.windows(long, np.array([50]))
        torch.testing.assert_close(pictures, source.pictures(long, np.array([12]), 8))
        assert logmel.shape == (1, 1, 100, 16)
        short = np.flatnonzero(dataset.num_frames == 6)[:1]  # 0.4 s
        assert source.amid(short, np.array([0])).tolist() == [0]
        features, _ = window_features(BothEncoders(tiny_audio(), build_video("tiny")), source, short, 3)
        assert features.shape == (3, 128)


def test_pieces_cover_a_clip():
    clips, starts, lengths = picture_pieces(np.array([3, 20, 160, 161]), 8)
    assert clips.tolist()[:3] == [0, 1, 2]
    assert starts.tolist()[:3] == [0, 0, 0]
    assert lengths.tolist()[:3] == [8, 20, 160]
    covered = {picture for start in starts[3:].tolist() for picture in range(start, start + 8)}
    assert covered == set(range(161))
    own = picture_pieces(np.array([20]), 8, whole=False)
    assert [part.tolist() for part in own] == [[0, 0, 0], [0, 6, 12], [8, 8, 8]]


def test_a_side_that_is_not_there_is_refused(dataset, run, tmp_path):
    silent = forge_dataset(
        tmp_path / "sounds", [Forged(label, split, pictures=False) for label in "ababab" for split in ("train", "test")]
    )
    for side in ("video", "both"):
        with pytest.raises(UserError, match=rf"12 clips without picture, such as c[01]; --side {side} needs pictures"):
            evaluate(silent, dataclasses.replace(KNN, side=side), run=run)
    line = ["evaluate", str(dataset.folder), "--run", str(run), "--side", "video", "--device", "cpu"]
    for more, sentence in (
        (["--protocol", "retrieval"], "Retrieval uses both encoders"),
        (["--norm", "encoder"], "--norm is of log-mel"),
    ):
        done = CliRunner().invoke(main, [*line, *more])
        assert done.exit_code == 2
        assert sentence in done.output
    meta = {"config": {"model_size": "tiny", "loss": "audio-supcon"}}
    model = build_two_tower("tiny")
    checkpoint.save(tmp_path / "sound", 0, model, torch.optim.Adam(model.parameters()), meta)
    with pytest.raises(UserError, match="was trained by audio-supcon, which trains no video encoder"):
        evaluate(dataset.folder, dataclasses.replace(KNN, side="video"), run=tmp_path / "sound")


def test_pictures_of_another_size_are_refused(dataset, tmp_path):
    other = [Forged(label) for label in "abab"]
    folder = forge_dataset(tmp_path / "other", other, frame_size=16, mel_bands=16)
    pretrain(folder, tmp_path / "run", PretrainConfig(model_size="tiny", batch_size=4, max_steps=1), quiet=True)
    evaluate(dataset.folder, KNN, run=tmp_path / "run")
    with pytest.raises(UserError, match="frame_size: 16 -> 32"):
        evaluate(dataset.folder, dataclasses.replace(KNN, side="both"), run=tmp_path / "run")


def test_each_side_has_a_folder_and_a_line_of_its_own(dataset, run, tmp_path):
    line = ["evaluate", str(dataset.folder), "--run", str(run), "--protocol", "knn", "--device", "cpu"]
    for side, words in (("audio", "knn accuracy "), ("video", "knn accuracy of pictures "), ("both", "of sounds and")):
        done = CliRunner().invoke(main, [*line, "--side", side])
        assert done.exit_code == 0, done.output
        assert words in done.output
        folder = run / "eval" / f"sides-knn-s0{'' if side == 'audio' else f'-{side}'}"
        assert json.loads((folder / "result.json").read_text())["config"]["side"] == side


def test_retrieval_among_clips_of_ones_own(dataset, run, tmp_path):
    test = [dataset.clip_ids[row] for row in dataset.rows_of("test")]
    (tmp_path / "mine.txt").write_text("\n".join(test[::-2]))
    found = retrieve(dataset.folder, run, among=Among(str(tmp_path / "mine.txt")))
    assert (found["clips"], found["split"]) == (9, None)
    (tmp_path / "all.txt").write_text("\n".join(test))
    whole, listed = retrieve(dataset.folder, run), retrieve(dataset.folder, run, among=Among(str(tmp_path / "all.txt")))
    assert listed["audio_to_video"] == whole["audio_to_video"]
    assert listed["ids_digest"] != found["ids_digest"]
    settings = {"protocol": "retrieval", "ids": str(tmp_path / "mine.txt"), "per_class": 1, "seed": 3}
    scores, written = measure(dataset.folder, run, None, settings, device="cpu")
    assert written.endswith("sides-retrieval-s3-mine-per-class-1/result.json")
    assert scores["config"] == {
        "protocol": "retrieval",
        "checkpoint": "newest",
        "weights": "raw",
        "ids": "mine.txt",
        "per_class": 1,
        "seed": 3,
    }
    assert scores["clips"] == 3


def test_clips_of_each_class_are_the_same_whatever_else_there_is(dataset, run, monkeypatch):
    chosen = []
    monkeypatch.setattr(
        "avtrain.evaluation.retrieval._embedded",
        lambda _data, _loaded, rows, _device: chosen.append(rows) or (np.eye(len(rows)),) * 2,
    )
    for per_class, seed in ((5, 0), (2, 0), (2, 1), (99, 0)):
        retrieve(dataset.folder, run, among=Among(per_class=per_class, seed=seed))
    five, two, other, everything = chosen
    assert np.bincount(dataset.label[five]).tolist() == [5, 5, 5]
    assert set(two) < set(five) < set(everything) == set(dataset.rows_of("test"))
    assert set(two) != set(other)


def test_wrong_lists_are_refused(dataset, run, tmp_path):
    line = ["evaluate", str(dataset.folder), "--run", str(run), "--device", "cpu"]
    (tmp_path / "ids.txt").write_text("c0\nstranger\n")
    for more, sentence in (
        (["--protocol", "retrieval", "--ids", str(tmp_path / "ids.txt")], "names 1 id, such as 'stranger', which"),
        (["--protocol", "retrieval", "--ids", str(tmp_path / "none.txt")], "none.txt does not exist"),
        (["--protocol", "knn", "--per-class", "5"], "--per-class chooses the clips of --protocol retrieval; knn tests"),
        (["--protocol", "retrieval", "--per-class", "-1"], "per_class must be 0 or more, not -1."),
    ):
        done = CliRunner().invoke(main, [*line, *more])
        assert done.exit_code == 2
        assert sentence in done.output, done.output
