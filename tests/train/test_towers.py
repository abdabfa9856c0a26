"""Either encoder on its own: its own features or its projection, over time, as a table, and exported to ONNX."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from avprep.dataset import Dataset
from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.data.augment import Normalise
from avtrain.embed import embed, embed_file_frames
from avtrain.inference import load_encoder, load_video_encoder
from avtrain.models.audio import AudioCNN, tiny_audio
from tests.prep.test_audio_features import write_wav
from tests.train.forge import Forged, forge_dataset
from tests.train.test_encoder import save_run

OWN = """
from torch import nn
class Eight(nn.Module):
    def forward(self, pictures):
        assert pictures.shape[2] == 8
        return pictures.mean(dim=(2, 3)).flatten(1)
def eight(): return Eight()
class Mean(nn.Module):
    def forward(self, logmel):
        return logmel.mean(dim=2)[:, 0]
def mean(): return Mean()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    clips = [Forged("ab"[number % 2], seconds=seconds) for number, seconds in enumerate((0.3, 1.0, 2.5, 11.0))]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=32, mel_bands=128)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """(run folder, its model)"""
    run = tmp_path_factory.mktemp("runs") / "run"
    return run, save_run(run, Dataset(data))


def clip(data, number):
    """Clip c0, c1, c2 or c3; a dataset has them by class."""
    dataset = Dataset(data)
    return dataset.read_clip(dataset.clip_ids.index(f"c{number}"))


def table_of(path):
    """Rows by the number of their clip."""
    return sorted(pq.read_table(path).to_pylist(), key=lambda row: (row["clip_id"], row["start_seconds"]))


def test_each_encoder_gives_what_the_model_gives(data, trained):
    run, model = trained
    dataset, one = Dataset(data), clip(data, 1)
    normalise = Normalise(dataset.logmel_mean, dataset.logmel_std)
    video = normalise.video(torch.from_numpy(one.frames[None]))
    audio = normalise.audio(torch.from_numpy(one.logmel[None]))
    with torch.no_grad():
        wanted = {
            ("audio", False): model.audio(audio),
            ("video", False): model.video(video),
            ("audio", True): model.embed_audio(audio),
            ("video", True): model.embed_video(video),
        }
    for (side, projection), features in wanted.items():
        load, media = (load_encoder, one.logmel) if side == "audio" else (load_video_encoder, one.frames)
        encoder = load(run, projection=projection)
        found = encoder.encode(media[None])
        np.testing.assert_allclose(found, features.numpy(), rtol=1e-5, atol=1e-6)
        assert encoder.num_features == found.shape[1] == (128 if projection else 64)


def test_clips_beyond_10_s_are_the_mean_of_windows_that_cover_them(data, trained):
    run, model = trained
    frames = clip(data, 3).frames
    assert len(frames) == 176
    found = load_video_encoder(run).encode(frames[None])
    normalise = Normalise(np.zeros(1), np.ones(1))
    with torch.no_grad():
        parts = [model.video(normalise.video(torch.from_numpy(frames[None, at : at + 8]))) for at in range(0, 176, 8)]
    np.testing.assert_allclose(found, torch.stack(parts).mean(0).numpy(), rtol=1e-5, atol=1e-6)
    short = clip(data, 0).frames  # 4 pictures, padded with the last
    padded = np.concatenate([short, np.repeat(short[-1:], 8 - len(short), axis=0)])
    np.testing.assert_array_equal(
        load_video_encoder(run).encode(short[None]), load_video_encoder(run).encode(padded[None])
    )


def test_every_second_picture_where_it_was_trained_on_those(data, trained):
    run, model = trained
    encoder, frames = load_video_encoder(run), clip(data, 2).frames
    encoder.description.training["config"] |= {"frame_stride": 2, "window_frames": 4}
    assert encoder.window_pictures == 4
    video = Normalise(np.zeros(1), np.ones(1)).video(torch.from_numpy(frames[None, ::2]))
    with torch.no_grad():
        wanted = model.video(video)
        torch.testing.assert_close(encoder(torch.from_numpy(frames[None])), wanted)
    np.testing.assert_allclose(encoder.encode(frames[None]), wanted.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("network", "hop"), [(AudioCNN, 8), (tiny_audio, 16)], ids=["full", "tiny"])
def test_features_over_time_are_centred_where_they_should_be(trained, monkeypatch, network, hop):
    """What changes with one log-mel frame lies evenly on both sides of the output that is centred there."""
    encoder = load_encoder(trained[0])
    encoder.network = network().eval()
    assert encoder.hop_mel_frames == hop
    logmel = np.random.default_rng(0).uniform(-80, 0, (1, 801, 128)).astype(np.float32)
    whole = encoder.encode_frames(logmel)
    assert whole.shape[1] == -(-801 // hop)
    centre = 400 // hop
    other = logmel.copy()
    other[0, centre * hop] += 20
    changed = np.flatnonzero(np.abs(encoder.encode_frames(other) - whole).max(axis=(0, 2)) > 1e-6)
    assert changed[0] + changed[-1] == 2 * centre
    assert changed[0] < centre
    monkeypatch.setattr("avtrain.inference.encoder.WHOLE_FRAMES", 64)
    np.testing.assert_allclose(encoder.encode_frames(logmel), whole, rtol=1e-4, atol=1e-5)


def test_the_table_of_features_over_time(data, trained, tmp_path):
    encoder = load_encoder(trained[0])
    embed(encoder, [data], tmp_path / "frames.parquet", frame_level=True)
    table = pq.read_table(tmp_path / "frames.parquet")
    assert str(table.schema.field("embedding").type) == "list<element: fixed_size_list<element: float>[64]>"
    rows = table_of(tmp_path / "frames.parquet")
    assert [len(row["embedding"]) for row in rows] == [2, 7, 16, 69]  # 31, 101, 251 and 1,101 log-mel frames
    assert {row["hop_seconds"] for row in rows} == {0.16}
    wanted = encoder.encode_frames(clip(data, 2).logmel[None])[0]
    np.testing.assert_allclose(np.array(rows[2]["embedding"]), wanted, rtol=1e-6)
    about = json.loads(table.schema.metadata[b"encoder"])
    assert (about["hop_mel_frames"], about["side"], about["projection"]) == (16, "audio", False)


def test_features_over_time_of_a_file(trained, tmp_path):
    write_wav(tmp_path / "a.wav", 2.0, 16_000, 1)
    features, hop_seconds = embed_file_frames(load_encoder(trained[0]), tmp_path / "a.wav")
    assert (features.shape, hop_seconds) == ((13, 64), 0.16)
    write_wav(tmp_path / "b.wav", 0.5, 16_000, 1)
    assert embed_file_frames(load_encoder(trained[0]), tmp_path / "b.wav")[0].shape == (4, 64)


def test_a_table_of_pictures(data, trained, tmp_path):
    encoder = load_video_encoder(trained[0], projection=True)
    embed(encoder, [data], tmp_path / "video.parquet")
    rows = table_of(tmp_path / "video.parquet")
    assert [row["end_seconds"] for row in rows] == [0.3, 1.0, 2.5, 11.0]
    np.testing.assert_allclose(np.linalg.norm([row["embedding"] for row in rows], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(rows[2]["embedding"], encoder.encode(clip(data, 2).frames[None])[0], rtol=1e-5)
    embed(encoder, [data], tmp_path / "windows.parquet", window_seconds=1.0)
    rows = table_of(tmp_path / "windows.parquet")
    spans = [(row["start_seconds"], row["end_seconds"]) for row in rows if row["clip_id"] == "c2"]
    assert spans == [(0.0, 1.0), (1.0, 2.0), (1.5, 2.5)]


def test_ones_own_encoder_takes_windows_of_training(data, tmp_path, monkeypatch):
    (tmp_path / "my_towers.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    save_run(tmp_path / "run", Dataset(data), "my_towers:mean", video_model="my_towers:eight")
    encoder = load_video_encoder(tmp_path / "run")
    frames = clip(data, 2).frames
    assert encoder.encode(frames[None]).shape == (1, 3 * 32)
    with pytest.raises(UserError, match="my_towers:mean gives one vector a sound; leave --frame-level out"):
        embed(load_encoder(tmp_path / "run"), [data], tmp_path / "out.parquet", frame_level=True)


def test_what_does_not_go_together_is_refused(data, trained, tmp_path):
    run, out = trained[0], str(tmp_path / "out.parquet")
    line = ["embed", str(data), "--run", str(run), "--out", out, "--device", "cpu"]
    for more, sentence in (
        (["--frame-level", "--side", "video"], "--frame-level gives features of the sound over time"),
        (["--frame-level", "--projection"], "The projection is of whole clips"),
        (["--frame-level", "--window-seconds", "1"], "leave --window-seconds out"),
    ):
        done = CliRunner().invoke(main, [*line, *more])
        assert done.exit_code == 2
        assert sentence in done.output
    write_wav(tmp_path / "a.wav", 1.0, 16_000, 1)
    done = CliRunner().invoke(main, ["embed", str(tmp_path / "a.wav"), *line[2:], "--side", "video"])
    assert done.exit_code == 2
    assert "a.wav is no dataset; --side video embeds datasets" in done.output
    other = forge_dataset(tmp_path / "other", [Forged("a")], frame_size=16, mel_bands=128)
    with pytest.raises(UserError, match=r"(?s)pictures of another kind .* build it .*frame_size: 32 -> 16"):
        embed(load_video_encoder(run), [other], tmp_path / "other.parquet")


@pytest.mark.slow
@pytest.mark.parametrize(("side", "projection"), [("audio", True), ("video", False)])
def test_either_side_as_onnx_gives_what_torch_gives(data, trained, tmp_path, side, projection):
    run = trained[0]
    store.write_json(
        run / "eval" / "data-linear-s0-video" / "result.json",
        {"step": 7, "accuracy": 0.6, "interval_95": [0.5, 0.7], "test_clips": 40, "config": {"side": "video"}},
    )
    out = tmp_path / "encoder"
    line = ["export", "--run", str(run), "--out", str(out), "--side", side, *(["--projection"] * projection)]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "encoder.json",
        f"{side}_encoder.onnx",
        f"{side}_encoder.safetensors",
    }
    load, name, media = (
        (load_encoder, "logmel", clip(data, 2).logmel.astype(np.float32))
        if side == "audio"
        else (load_video_encoder, "frames", clip(data, 2).frames)
    )
    session = onnxruntime.InferenceSession(str(out / f"{side}_encoder.onnx"))
    for few in (media[:16][None].repeat(3, axis=0), media[None]):
        wanted = load(run, projection=projection).encode(few)
        (found,) = session.run(["embedding"], {name: few})
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
        np.testing.assert_array_equal(load(out).encode(few), wanted)
    card = (out / "README.md").read_text()
    assert f"# {side.capitalize()} encoder of run" in card
    assert ("data-linear-s0-video" in card) == (side == "video")
    assert ("unit vectors" in card) == projection
    with pytest.raises(UserError, match=rf"is an exported {side} encoder; give --side {side}"):
        (load_video_encoder if side == "audio" else load_encoder)(out)
    with pytest.raises(UserError, match="export the run again to have the other"):
        load(out, projection=not projection)
