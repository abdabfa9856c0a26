"""Embeddings as a table: the same from a dataset and from its files, every bad file told, nothing written by halves."""

from __future__ import annotations

import json
import multiprocessing

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits
from avprep.dataset import Dataset
from avprep.manifest.read_write import Clip, write_manifest
from avprep.shared.errors import Interrupted, UserError
from avtrain.cli import main
from avtrain.embed import embed, embed_file, load_encoder
from avtrain.runs import checkpoint
from tests.prep.test_audio_features import write_wav
from tests.train.forge import Forged, forge_dataset
from tests.train.test_encoder import OWN, save_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with seven wavs, their manifest, the dataset `data` made of it, and the run `run` on that."""
    folder = tmp_path_factory.mktemp("embed")
    lengths = {"a": 0.4, "b": 1.0, "c": 2.5, "d": 3.0, "e": 1.7, "f": 2.5, "g": 6.0}
    clips = []
    for number, (name, seconds) in enumerate(lengths.items()):
        write_wav(folder / "clips" / f"{name}.wav", seconds, 16_000, number) if number else (folder / "clips").mkdir()
        cut = {"start_seconds": 1.25, "end_seconds": 4.0} if name == "g" else {}
        label, split = ("odd", "test") if number % 2 else ("even", "train")
        clips.append(Clip(name, label, split, audio_path=f"clips/{name}.wav", **cut))
    write_wav(folder / "clips" / "a.wav", lengths["a"], 16_000, 0)
    write_manifest(folder / "clips.csv", clips)
    build_shards(folder / "clips.csv", folder / "data", BuildConfig(), Limits(), workers=1)
    save_run(folder / "run", Dataset(folder / "data"))
    return folder


@pytest.fixture(scope="module")
def encoder(place):
    return load_encoder(place / "run")


def rows_of(path):
    return {(row["clip_id"], row["start_seconds"]): row for row in pq.read_table(path).to_pylist()}


@pytest.mark.slow
def test_a_dataset_and_the_files_it_was_built_from_give_the_same(place, encoder, tmp_path):
    embed(encoder, [place / "data"], tmp_path / "data.parquet")
    embed(encoder, [place / "clips.csv"], tmp_path / "files.parquet", workers=1)
    built, heard = rows_of(tmp_path / "data.parquet"), rows_of(tmp_path / "files.parquet")
    assert [key for key, _ in heard] == list("abcdefg")
    assert built.keys() == heard.keys()
    for key, row in heard.items():
        assert row == built[key] | {"path": f"clips/{key[0]}.wav"}
    assert heard["g", 0.0]["end_seconds"] == 2.75
    assert (heard["d", 0.0]["label"], heard["d", 0.0]["split"]) == ("odd", "test")
    assert all(np.linalg.norm(row["embedding"]) > 0 for row in heard.values())
    assert len({tuple(row["embedding"]) for row in heard.values()}) == 7


def test_the_table_records_what_it_is_of(place, encoder, tmp_path):
    embed(encoder, [place / "data"], tmp_path / "out.parquet", splits=["test"])
    table = pq.read_table(tmp_path / "out.parquet")
    assert [(field.name, str(field.type)) for field in table.schema][4:] == [
        ("start_seconds", "double"),
        ("end_seconds", "double"),
        ("embedding", "fixed_size_list<element: float>[64]"),
    ]
    assert sorted(table.column("clip_id").to_pylist()) == ["b", "d", "f"]
    about = json.loads(table.schema.metadata[b"encoder"])
    assert (about["training"]["run"], about["training"]["step"], about["model"]) == ("run", 7, "tiny")
    assert about["audio"] == Dataset(place / "data").info["audio"]
    dataset, features = Dataset(place / "data"), {row[0]: row for row in rows_of(tmp_path / "out.parquet")}
    assert features.keys() == {dataset.clip_ids[row] for row in dataset.rows_of("test")}


def test_windows_follow_one_another_and_the_last_ends_with_the_clip(place, encoder, tmp_path):
    found = embed(encoder, [place / "data"], tmp_path / "out.parquet", window_seconds=1.0)
    rows = rows_of(tmp_path / "out.parquet")
    spans = {}
    for (clip_id, start), row in rows.items():
        spans.setdefault(clip_id, []).append((start, row["end_seconds"]))
    assert spans["a"] == [(0.0, 0.4)]
    assert spans["b"] == [(0.0, 1.0)]
    assert spans["c"] == [(0.0, 1.0), (1.0, 2.0), (1.51, 2.51)]
    assert spans["d"] == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    assert found.rows == len(rows) == 16
    assert found.clips == 7
    dataset = Dataset(place / "data")
    logmel = dataset.read_clip(dataset.clip_ids.index("d")).logmel
    np.testing.assert_allclose(rows["d", 1.0]["embedding"], encoder.encode(logmel[None, 100:200])[0], atol=1e-6)


def test_windows_of_less_than_a_second_end_with_the_clip_too(place, encoder, tmp_path):
    embed(encoder, [place / "data"], tmp_path / "out.parquet", window_seconds=0.25, splits=["train", "train"])
    rows = rows_of(tmp_path / "out.parquet")
    assert [(start, row["end_seconds"]) for (name, start), row in rows.items() if name == "a"] == [
        (0.0, 0.25),
        (0.16, 0.41),
    ]
    logmel = Dataset(place / "data").read_clip(Dataset(place / "data").clip_ids.index("a")).logmel[:25]
    whole = np.pad(logmel, ((0, 75), (0, 0)), constant_values=logmel.min())
    np.testing.assert_allclose(rows["a", 0.0]["embedding"], encoder.encode(whole[None])[0], rtol=1e-5, atol=1e-6)


def test_long_windows_go_through_the_encoder_few_at_a_time(place, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("avtrain.embed.rows.WHOLE_FRAMES", 250)
    given, encode = [], type(encoder).encode
    monkeypatch.setattr(type(encoder), "encode", lambda self, some: given.append(len(some)) or encode(self, some))
    embed(encoder, [place / "data"], tmp_path / "out.parquet", window_seconds=1.0)
    assert max(given) == 2


def test_one_file_by_the_python_api(place, encoder, tmp_path):
    embed(encoder, [place / "data"], tmp_path / "out.parquet")
    row = rows_of(tmp_path / "out.parquet")["e", 0.0]
    np.testing.assert_array_equal(embed_file(encoder, place / "clips" / "e.wav"), np.float32(row["embedding"]))
    with pytest.raises(UserError, match=r"no\.wav cannot be used: missing: no such file"):
        embed_file(encoder, place / "no.wav")


@pytest.mark.slow
def test_a_bad_file_costs_a_sentence_and_a_line(place, videos, tmp_path):
    out = tmp_path / "out.parquet"
    sources = [
        place / "clips" / "a.wav",
        tmp_path / "no.wav",
        videos / "bbb_noaudio.mp4",
        videos / "bbb_vp9_opus.webm",
    ]
    options = ["--run", place / "run", "--out", out, "--device", "cpu", "--workers", 1]
    done = CliRunner().invoke(main, ["embed", *map(str, [*sources, *options])])
    assert done.exit_code == 0, done.output
    assert "2 embeddings of 2 clips, 2 failed" in done.stdout
    assert f"no-audio: {videos / 'bbb_noaudio.mp4'} (no audio track)" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "out.failures.jsonl").read_text().splitlines()]
    assert lines == [
        {
            "clip_id": str(tmp_path / "no.wav"),
            "path": str(tmp_path / "no.wav"),
            "reason": "missing",
            "detail": "no such file",
        },
        {
            "clip_id": str(videos / "bbb_noaudio.mp4"),
            "path": str(videos / "bbb_noaudio.mp4"),
            "reason": "no-audio",
            "detail": "no audio track",
        },
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.failures.jsonl", "out.parquet"]


@pytest.mark.slow
def test_nothing_but_bad_files_is_a_users_error(encoder, tmp_path):
    with pytest.raises(UserError, match=r"Not one of 1 clips .*no\.wav: missing: no such file; .*out\.failures\.jsonl"):
        embed(encoder, [tmp_path / "no.wav"], tmp_path / "out.parquet", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["out.failures.jsonl"]


def test_log_mel_of_another_kind_is_refused_with_the_difference(encoder, tmp_path):
    forge_dataset(tmp_path / "other", [Forged("a")], mel_bands=6)
    with pytest.raises(UserError, match=r"another kind than the encoder(.|\n)*num_mel_bands: 128 -> 6"):
        embed(encoder, [tmp_path / "other"], tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_ones_own_encoder_embeds_long_sounds_by_windows(place, tmp_path, monkeypatch):
    (tmp_path / "my_sound_models.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("avtrain.inference.encoder.WHOLE_FRAMES", 260)
    save_run(tmp_path / "run", Dataset(place / "data"), "my_sound_models:mean")
    own = load_encoder(tmp_path / "run")
    found = embed(own, [place / "data"], tmp_path / "whole.parquet")
    assert {(one["clip_id"], one["reason"]) for one in found.failures} == {("d", "too-long"), ("g", "too-long")}
    assert "--window-seconds" in found.failures[0]["detail"]
    assert embed(own, [place / "data"], tmp_path / "windows.parquet", window_seconds=2).failures == []


def test_an_encoder_that_gives_no_numbers_writes_none(place, tmp_path):
    model = save_run(tmp_path / "run", Dataset(place / "data"))
    with torch.no_grad():
        model.audio.layers[-1][0].weight.fill_(float("nan"))
    meta = checkpoint.read_meta(checkpoint.latest(tmp_path / "run"))
    checkpoint.save(tmp_path / "run", 8, model, torch.optim.Adam(model.parameters()), meta | {"step": 8})
    with pytest.raises(UserError, match=r"Not one of 7 clips could be embedded; .*not-finite"):
        embed(load_encoder(tmp_path / "run"), [place / "data"], tmp_path / "out.parquet")


@pytest.mark.slow
def test_stopped_it_writes_nothing_and_leaves_no_process(place, encoder, tmp_path):
    asked, before = iter([False, False, True]), multiprocessing.active_children()
    with pytest.raises(Interrupted):
        embed(encoder, [place / "clips"], tmp_path / "out.parquet", workers=1, stopping=lambda: next(asked))
    assert set(multiprocessing.active_children()) <= set(before)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_embedded_is_reported_in_a_sentence(place, encoder, tmp_path):
    with pytest.raises(UserError, match=r"is a dataset; embed it alone"):
        embed(encoder, [place / "data", place / "clips"], tmp_path / "out.parquet")
    with pytest.raises(UserError, match=r"has no split 'val'; it has"):
        embed(encoder, [place / "data"], tmp_path / "out.parquet", splits=["val"])
    with pytest.raises(UserError, match=r"Nothing in .*clips\.csv is of split val"):
        embed(encoder, [place / "clips.csv"], tmp_path / "out.parquet", splits=["val"])
    assert list(tmp_path.iterdir()) == []
