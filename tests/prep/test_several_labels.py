"""Manifests with several labels a clip: tables of any form, public datasets in miniature, the column that they make."""

from __future__ import annotations

import hashlib
import json
import wave
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from avprep import schema
from avprep.build.exclude import exclude
from avprep.build.finalize import finalize
from avprep.build.parts import manifest_digest
from avprep.cli import main
from avprep.dataset import Dataset
from avprep.errors import UserError
from avprep.labels.multi_label import write_lists
from avprep.manifest.clips import Clip, Clips
from avprep.manifest.read_write import read_manifest, write_manifest
from avtrain.cli import main as avtrain
from tests.train.forge import Forged, forge_dataset

WANTED = {"a": ["cat", "rain, heavy"], "b": ["dog"], "c": ["dog", "cat"]}
AUDIOSET = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=3, num_segs=3, num_unique_labels=3, num_positive_labels=5
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 0.000, 1.200, "/m/09x0r,/t/dd00088"
-0RWZT-miFs, 0.000, 1.200, "/t/dd00088"
0a2-3CF_ab1, 0.100, 1.300, "/m/0jbk,/m/09x0r"
"""
ONTOLOGY = [
    {"id": "/m/09x0r", "name": "Speech", "child_ids": ["/t/dd00088"]},
    {"id": "/t/dd00088", "name": "Gush", "child_ids": []},
    {"id": "/m/0jbk", "name": "Animal, \u201cwild\u201d", "child_ids": []},
]
LINEAR = ["--model-size", "tiny", "--epochs", "1", "--windows-per-clip", "1", "--device", "cpu"]


def run(*arguments: object) -> Result:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code in (0, 2), done.output
    return done


def sound(path: Path, number: int) -> None:
    """A second and a half of a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 8000 * np.sin(np.arange(24_000) / 16_000 * 2 * np.pi * 200 * (number + 1))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.astype("<i2").tobytes())


def lists_of(folder: Path, name: str = "labels") -> dict[str, list[str] | None]:
    dataset = Dataset(folder)
    return dict(zip(dataset.clip_ids, dataset.label_lists(name), strict=True))


@pytest.mark.parametrize("form", ["csv", "csv,", "jsonl", "parquet"])
def test_a_table_with_lists_of_any_form_makes_one_manifest(tmp_path, form):
    rows = [(clip, f"{clip}.mp4", names) for clip, names in WANTED.items()]
    table, out = tmp_path / f"t.{form.strip(',')}", tmp_path / "m.csv"
    if form == "jsonl":
        table.write_text(
            "".join(json.dumps({"clip_id": c, "video_path": p, "labels": names}) + "\n" for c, p, names in rows)
        )
    elif form == "parquet":
        ids, paths, lists = zip(*rows, strict=True)
        pq.write_table(pa.table({"clip_id": ids, "video_path": paths, "labels": lists}), table)
    else:
        mark = "|" if form == "csv," else ";"
        lines = [f'{c},{p},"{mark.join(names)}"' for c, p, names in rows]
        table.write_text("\n".join(["clip_id,video_path,labels", *lines]) + "\n")
    options = ["--separator", "|"] if form == "csv," else []
    done = run("manifest", "table", table, "--out", out, "--missing", "keep", *options)
    assert done.exit_code == 0, done.output
    assert "3 clips, 2 classes of the first label, 3 labels in all (1.7 a clip)" in done.output
    clips = read_manifest(out)
    assert {clip.clip_id: clip.all_labels for clip in clips} == WANTED
    assert [clip.label for clip in clips] == ["cat", "dog", "dog"]
    again = tmp_path / "again.parquet"
    write_manifest(again, list(clips))
    assert list(read_manifest(again)) == list(clips)


def test_other_manifests_keep_their_bytes_and_digests(tmp_path):
    one = Clips([Clip("a", "x", video_path="a.mp4", group="a")])
    assert one.table().column_names[-1] == "group"
    values = ["a", "x", "train", "a.mp4", "", None, None, "a"]  # as before there were lists
    assert manifest_digest(one) == hashlib.sha256(json.dumps([values], separators=(",", ":")).encode()).hexdigest()
    cluster = Clips([Clip("a", "x", video_path="a.mp4", group="a", cluster="k")])
    listed = Clips([Clip("a", "x", video_path="a.mp4", group="a", labels="x;y")])
    assert cluster.table().column_names[-2:] == ["group", "cluster"]
    assert listed.table().column_names[-2:] == ["group", "labels"]
    assert len({manifest_digest(clips) for clips in (one, cluster, listed)}) == 3


def test_a_dataset_has_the_lists_as_a_column_and_keeps_one_of_the_users_own(tmp_path):
    clips = [Forged("cat", labels="cat;dog"), Forged("dog", labels="dog"), Forged("cat"), Forged("dog", "test")]
    folder = forge_dataset(tmp_path / "data", clips)
    assert lists_of(folder) == {"c0": ["cat", "dog"], "c1": ["dog"], "c2": ["cat"], "c3": ["dog"]}
    column = Dataset(folder).labels("labels")
    assert (column.class_names, column.values.tolist()) == (["cat", "dog"], Dataset(folder).label.tolist())
    exclude(folder, ["c1"], "asked", "2026-01-01")
    assert lists_of(folder).keys() == {"c0", "c2", "c3"}
    assert "labels    labels: 2 classes, 4 clips, 5 labels" in run("inspect", folder).output
    write_lists(folder / schema.labels_path("labels"), ["c0"], [["mine"]], {"command": "add-labels"})
    finalize(folder)
    assert lists_of(folder)["c0"] == ["mine"]


@pytest.mark.slow
def test_audiosets_csv_goes_all_the_way(tmp_path):
    """Segments without a header, comments, ids that begin with a dash, quoted lists of ids, names by the ontology."""
    (tmp_path / "segments.csv").write_text(AUDIOSET)
    (tmp_path / "ontology.json").write_text(json.dumps(ONTOLOGY))
    for number, name in enumerate(("--PJHxphWEs_0", "-0RWZT-miFs_0", "0a2-3CF_ab1_0")):
        sound(tmp_path / "clips" / f"{name}.wav", number)
    words = ["--columns", "YTID,start_seconds,end_seconds,positive_labels", "--rename", "positive_labels=labels"]
    words += ["--rename", "YTID=group", "--separator", ",", "--label-names", tmp_path / "ontology.json"]
    words += ["--audio-path", "clips/{YTID}_{start_seconds:.0f}.wav"]
    done = run("manifest", "table", tmp_path / "segments.csv", "--out", tmp_path / "m.csv", *words)
    assert done.exit_code == 0, done.output
    assert "3 clips, 3 classes of the first label, 3 labels in all (1.7 a clip), 3 train" in done.output
    clips = {clip.group: clip for clip in read_manifest(tmp_path / "m.csv")}
    assert clips["--PJHxphWEs"].all_labels == ["Speech", "Gush"]
    assert (clips["0a2-3CF_ab1"].label, clips["0a2-3CF_ab1"].start_seconds) == ("Animal, \u201cwild\u201d", 0.1)
    done = run("build-shards", tmp_path / "m.csv", "--out", tmp_path / "data", "--workers", 1)
    assert done.exit_code == 0, done.output
    assert sorted(map(len, lists_of(tmp_path / "data").values())) == [1, 2, 2]


@pytest.mark.slow
def test_metadata_as_of_fsd50k_goes_all_the_way(tmp_path):
    """Its folder as it is distributed, to a multi-label evaluation."""
    meta = tmp_path / "FSD50K.ground_truth"
    meta.mkdir()
    draw = np.random.default_rng(0)
    names = ["Bark", "Dog", "Domestic_animals_and_pets"]
    (meta / "vocabulary.csv").write_text("".join(f"{row},{name},/m/{row}\n" for row, name in enumerate(names)))
    for part, first, header in (("dev", 0, "fname,labels,mids,split"), ("eval", 6, "fname,labels,mids")):
        rows = [header]
        for number in range(first, first + 6):
            own = ",".join(names[number % 3 :])
            sound(tmp_path / f"FSD50K.{part}_audio" / f"{number}.wav", int(draw.integers(9)))
            ends = (',"val"' if number > 3 else ',"train"') if part == "dev" else ""
            rows.append(f'{number},"{own}","/m/{number}"{ends}')
        (meta / f"{part}.csv").write_text("\n".join(rows) + "\n")
    done = run("manifest", "fsd50k", "--root", tmp_path, "--out", tmp_path / "m.csv")
    assert done.exit_code == 0, done.output
    done = run("build-shards", tmp_path / "m.csv", "--out", tmp_path / "data", "--workers", 1)
    assert done.exit_code == 0, done.output
    dataset = Dataset(tmp_path / "data")
    assert {split: len(dataset.rows_of(split)) for split in dataset.splits} == {"train": 4, "val": 2, "test": 6}
    assert dataset.labels("labels").class_names == names
    assert run("verify", tmp_path / "data").exit_code == 0
    words = ["evaluate", str(tmp_path / "data"), "--labels", "labels", "--out", str(tmp_path / "out"), *LINEAR]
    done = CliRunner().invoke(avtrain, words)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "result.json").read_text())["test_clips"] == 6


@pytest.mark.slow
def test_metadata_as_of_fsdnoisy18k_goes_all_the_way(tmp_path):
    rows = ["fname,label,aso_id,manually_verified,noisy_small"]
    for number in range(4):
        sound(tmp_path / "FSDnoisy18k.audio_train" / f"{number}.wav", number)
        rows.append(f"{number}.wav,{'Acoustic_guitar' if number % 2 else 'Bass_guitar'},/m/042v_gx,1,0")
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    words = ["--audio-path", "FSDnoisy18k.audio_train/{fname}", "--test-share", 0.5]
    done = run("manifest", "table", tmp_path / "train.csv", "--out", tmp_path / "m.csv", *words)
    assert done.exit_code == 0, done.output
    done = run("build-shards", tmp_path / "m.csv", "--out", tmp_path / "data", "--workers", 1)
    assert done.exit_code == 0, done.output
    assert Dataset(tmp_path / "data").class_names == ["Acoustic_guitar", "Bass_guitar"]
    assert not (tmp_path / "data" / "labels").exists()


def test_names_come_from_a_csv_too(tmp_path):
    (tmp_path / "t.csv").write_text('id,labels\nx,"/m/1,/m/2"\n')
    (tmp_path / "names.csv").write_text('index,mid,display_name\n0,/m/1,"Speech, loud"\n1,/m/2,Music\n')
    words = ["--separator", ",", "--audio-path", "{id}.wav", "--missing", "keep"]
    done = run(
        "manifest",
        "table",
        tmp_path / "t.csv",
        "--out",
        tmp_path / "m.csv",
        "--label-names",
        tmp_path / "names.csv",
        *words,
    )
    assert done.exit_code == 0, done.output
    (clip,) = read_manifest(tmp_path / "m.csv")
    assert (clip.label, clip.labels, clip.audio_path) == ("Speech, loud", "Speech, loud;Music", "x.wav")


@pytest.mark.parametrize(
    ("rows", "words", "sentence"),
    [
        ("id,label,labels\nx,cow,cat;dog", [], "the label 'cow' is not among its labels, 'cat;dog'"),
        ("id,labels\nx,/m/1", ["--label-names", "names.csv"], "--label-names has no name for '/m/1'"),
        ("id,labels\nx,a", ["--audio-path", "{name}.wav"], "has no column 'name' to make a path of; it has id, labels"),
        ("id,labels\nx,a", ["--audio-path", "x.wav"], "names no column in braces, such as {clip_id}"),
        ("id,labels\nx,a", ["--audio-path", "{.wav"], "cannot be used: "),
        ("id,labels\nx,a|b;c", ["--separator", "|"], "the label 'b;c' of several has a ';', which is between them"),
        ("id,labels\nx,a", ["--label-names", "t.csv"], "has no columns id and name, or mid and display_name"),
        ("x,a\ny,b,c", ["--columns", "id,labels"], "line 2: 3 fields, --columns names 2"),
        ("id,labels\nx,a", ["--separator", ""], "separator is empty"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path, monkeypatch, rows, words, sentence):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(rows + "\n")
    Path("names.csv").write_text("mid,display_name\n/m/9,x\n")
    paths = [] if "--audio-path" in words else ["--audio-path", "{id}.wav"]
    done = run("manifest", "table", "t.csv", "--out", "m.csv", "--missing", "keep", *paths, *words)
    assert done.exit_code == 2, done.output
    assert sentence in done.output
    assert not Path("m.csv").exists()


def test_columns_are_for_csv_alone(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"id": "x", "label": "a"}\n')
    words = ["--columns", "id,label", "--audio-path", "{id}.wav", "--out", tmp_path / "m.csv"]
    assert (
        "has names of its columns; leave --columns out" in run("manifest", "table", tmp_path / "t.jsonl", *words).output
    )
    with pytest.raises(UserError, match="does not exist"):
        read_manifest(tmp_path / "gone.csv")
