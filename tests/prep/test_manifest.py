"""Manifests: three formats, all problems told at once, seeded splits, the folder adapter."""

from __future__ import annotations

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avprep.build.run import build_shards, prepare
from avprep.build.shards import plan_shards
from avprep.config import BuildConfig, Limits, ShardSpec
from avprep.dataset import Dataset
from avprep.datasets.folder import clips_of_folder
from avprep.datasets.media_folder import LocalFolder
from avprep.errors import ManifestError, UserError
from avprep.manifest.checks import similar
from avprep.manifest.clips import Clips
from avprep.manifest.read_write import Clip, read_manifest, write_manifest

CLIPS = [
    Clip("a", "people, whispering", "train", "x/1.mp4", "", 0.1, 10.0, "g1"),
    Clip("b", 'dog "barking".', "test", "", "y/é 2.wav", None, None, "g2"),
    Clip("c", "音楽", "val", "x/3.mp4", "y/3.wav", 3.0, None, "g1"),
]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_what_is_written_is_read(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    write_manifest(path, CLIPS)
    clips = read_manifest(path)
    assert list(clips) == CLIPS
    assert [clips[row] for row in (0, 1, -1)] == CLIPS
    assert clips[1:] == CLIPS[1:]


def test_defaults(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("label,video_path,start_seconds,end_seconds,mood\nx,a.mp4,,,good\nx,a.mp4,2,4.5,\n")
    assert list(read_manifest(path)) == [
        Clip("a.mp4", "x", "train", "a.mp4", group="a.mp4"),
        Clip("a.mp4@2.0-4.5", "x", "train", "a.mp4", "", 2.0, 4.5, "a.mp4"),
    ]


def test_all_problems_are_reported_together(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(
        "clip_id,label,video_path,split,start_seconds,end_seconds\n"
        "a,x,1.mp4,train,,\na,x,2.mp4,train,,\nb,,3.mp4,,,\nc,x,,,,\nd,x,4.mp4,Bad Split,,\n"
        "e,x,5.mp4,,5,4\nf,x,6.mp4,,soon,\ng,x,7.mp4,,nan,\n"
    )
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    for word in ("'a' is in 2 rows", "no label", "neither", "'Bad Split'", "not after", "soon", "'nan'"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("m.csv", "", "no rows"),
        ("m.txt", "x", "ends in .csv"),
        ("m.jsonl", "{", "not readable"),
        ("m.parquet", "PAR", "not readable"),
        ("m.jsonl", "[1]\n", "line 1: not an object"),
        ("m.csv", b"label,video_path\nbl\xe9,a.mp4\n", "is not UTF-8; convert it"),
        ("m.jsonl", b'{"label": "bl\xe9", "video_path": "a.mp4"}\n', "is not UTF-8; convert it"),
        ("m.csv", "label,video_path,label\nx,a.mp4,y\n", "the column 'label' twice"),
        ("m.jsonl", '{"label": "x", "label": "y", "video_path": "a"}\n', "the column 'label' twice"),
        ("m.csv", "label;video_path\nx;a.mp4\n", "separate its columns by commas"),
        ("m.csv", "category,video_path\nx,a.mp4\n", "no column label or labels; it has category, video_path"),
        ("m.jsonl", '{"label": "x", "file": "a"}\n', "no column video_path or audio_path; it has label, file"),
        ("m.csv", 'label,video_path\nx,a.mp4\n"y,b.mp4\nz,c.mp4\n', "line 3 on: .* is a quote left open"),
        ("m.csv", 'label,video_path\nx,"' + "a" * 200_000 + '"\n', "more than 131072 characters"),
        ("m.csv", "label,video_path\nx,a.mp4,3\ny\n", "line 2: 3 fields, the header has 2(.|\n)*line 3: 1 fields"),
        ("m.csv", "label,video_path\n\nx,ftp://a/b.mp4\n", "line 3: an address of ftp://, which cannot be read"),
        ("m.csv", "label,video_path\nx,https://u:word@a/b.mp4\n", "line 2: an address with a query or credentials"),
        ("m.csv", "label,audio_path\nx,https://a/b.wav?token=word\n", "line 2: an address with a query or credentials"),
        ("m.csv", f"label,video_path\n{'x' * 1001},a.mp4\n", "a label of 1001 characters, the limit is 1000"),
        ("m.jsonl", '{"label": ["x"], "video_path": "a"}\n', "label is neither text nor a number"),
        ("m.jsonl", '{"label": true, "video_path": "a"}\n', "label is neither text nor a number"),
        ("m.jsonl", '{"label": null, "video_path": "a"}\n', "line 1: no label"),
        ("m.jsonl", '{"label": "x", "video_path": "\\ud800"}\n', "half a surrogate pair"),
        ("m.jsonl", '{"label": "x", "video_path": "a\\u0000"}\n', "a NUL character"),
        ("m.jsonl", '{"label": "x", "video_path": "a", "end_seconds": Infinity}\n', "'inf' is not a time"),
        ("m.csv", "label,video_path,start_seconds\nx,a.mp4,-1\n", "'-1' is not a time"),
    ],
)
def test_files_that_are_no_manifest(tmp_path, name, content, word):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=word):
        read_manifest(tmp_path / name)


def test_csv_as_windows_writes_it(tmp_path):
    (tmp_path / "m.csv").write_bytes("\ufefflabel, video_path\r\nd\u00e9j\u00e0 vu,a b.mp4\r\n\r\n".encode())
    assert list(read_manifest(tmp_path / "m.csv")) == [
        Clip("a b.mp4", "déjà vu", video_path="a b.mp4", group="a b.mp4")
    ]


def test_parquet_of_other_writers(tmp_path):
    """Dictionary, large, binary and whole-number columns, nulls, a column of lists that is none of ours, row groups."""
    table = pa.table(
        {
            "label": pa.array([1, 2, 1, 2]),
            "video_path": pa.array(["a", "b", None, "c"]).dictionary_encode(),
            "audio_path": pa.array([None, None, b"d", b"e"], pa.binary()),
            "split": pa.array(["train", None, "test", "val"], pa.large_string()),
            "start_seconds": pa.array([1, None, 3, 4], pa.int16()),
            "end_seconds": pa.array([2.5, None, None, 5], pa.float32()),
            "embedding": pa.array([[1.0], [2.0], None, []]),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet", row_group_size=3)
    assert list(read_manifest(tmp_path / "m.parquet")) == [
        Clip("a@1.0-2.5", "1", "train", "a", "", 1.0, 2.5, "a"),
        Clip("b", "2", "train", "b", group="b"),
        Clip("d@3.0-", "1", "test", "", "d", 3.0, None, "d"),
        Clip("c@4.0-5.0", "2", "val", "c", "e", 4.0, 5.0, "c"),
    ]
    twice = pa.Table.from_arrays([pa.array(["x"])] * 3, names=["label", "video_path", "label"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(ManifestError, match="'label' twice"):
        read_manifest(tmp_path / "twice.parquet")


def test_spaces_around_labels_are_dropped_and_reported(tmp_path, caplog):
    (tmp_path / "m.csv").write_text("label,video_path\n dog,a.mp4\ndog,b.mp4\n")
    assert {clip.label for clip in read_manifest(tmp_path / "m.csv")} == {"dog"}
    assert "spaces around the label were dropped in 1 rows" in caplog.text


def test_labels_that_look_alike():
    assert similar(["dog", "Dog", "cat", "caf\u00e9", "cafe\u0301", "a  b", "a b", "cats"]) == [
        "'Dog' / 'dog'", "'a  b' / 'a b'", "'cafe\\u0301' / 'caf\\xe9'",
    ]  # fmt: skip


ODD_LABELS = ["people, whispering.", 'dog "barking"', "rain; wind", "a.b/c\\d", "音楽 ♪", "x\ty", "-", "='1+1'", "#!"]


def test_labels_survive_to_the_dataset(tmp_path, videos):
    """Through a file of each format to the plan, and through one to dataset.json; clips are spans of one file."""
    shutil.copy(videos / "bbb_h264_aac.mp4", tmp_path / "bbb.mp4")
    clips = [Clip(f"c{n}", label, "train", "", "bbb.mp4", n / 20, n / 20 + 0.3) for n, label in enumerate(ODD_LABELS)]
    for suffix in ("jsonl", "parquet", "csv"):
        write_manifest(tmp_path / f"m.{suffix}", clips)
        assert prepare(tmp_path / f"m.{suffix}", BuildConfig()).plan["class_names"] == sorted(ODD_LABELS)
    build_shards(tmp_path / "m.csv", tmp_path / "out", BuildConfig(), Limits())
    dataset = Dataset(tmp_path / "out")
    assert dataset.class_names == sorted(ODD_LABELS)
    ids = pq.read_table(tmp_path / "out" / "index.parquet").column("clip_id").to_pylist()
    found = {name: dataset.class_names[label] for name, label in zip(ids, dataset.label, strict=True)}
    assert found == {clip.clip_id: clip.label for clip in clips}
    assert dataset.duration_seconds == pytest.approx(0.3)


def test_ten_thousand_classes_have_paths_of_their_own():
    """Class ids grow a fifth digit; labels of one slug stay apart."""
    names = sorted([f"class {n}" for n in range(10_000)] + ["a.b", "a,b"])
    planned = plan_shards(Clips(Clip(name, name) for name in names), names, ShardSpec())
    assert len({shard.path for shard in planned}) == len(names) == 10_002
    assert [shard.class_id for shard in planned] == list(range(10_002))
    assert planned[0].path == "shards/train/0000-a-b/000000.tar"
    assert planned[1].path == "shards/train/0001-a-b/000000.tar"
    assert planned[-1].path.startswith("shards/train/10001-class-")


def test_folder_of_classes(tmp_path, videos, sounds):
    for name in ("dog, barking", "cat"):
        folder = tmp_path / "root" / name
        folder.mkdir(parents=True)
        for number in range(5):
            shutil.copy(videos / "bbb_h264_aac.mp4", folder / f"{number}.mp4")
    shutil.copy(sounds / "elec_blip.ogg", tmp_path / "root" / "cat" / "s.ogg")
    (tmp_path / "root" / "cat" / "notes.txt").write_text("x")
    (tmp_path / "root" / "cat" / ".hidden.mp4").write_text("x")
    clips, _ = clips_of_folder(LocalFolder(tmp_path / "root", tmp_path), 0.2, 0)
    assert {clip.label for clip in clips} == {"dog, barking", "cat"}
    assert len(clips) == 11
    assert {clip.split for clip in clips} == {"train", "test"}
    assert all((tmp_path / clip.source).exists() for clip in clips)
    [sound] = [clip for clip in clips if clip.clip_id == "cat/s.ogg"]
    assert (sound.video_path, sound.audio_path) == ("", "root/cat/s.ogg")


def test_folder_reports_what_is_odd(tmp_path, sounds):
    """A folder beside the splits, a link into another split, a broken link: told together, none taken in silence."""
    for place in ("train/a", "test/a", "odd/a"):
        (tmp_path / "root" / place).mkdir(parents=True)
        shutil.copy(sounds / "elec_blip.ogg", tmp_path / "root" / place / "1.ogg")
    (tmp_path / "root/test/a/2.ogg").symlink_to(tmp_path / "root/train/a/1.ogg")
    (tmp_path / "root/train/a/3.ogg").symlink_to("nowhere.ogg")
    (tmp_path / "root/train/a/loop").symlink_to(tmp_path / "root/train/a")
    clips, report = clips_of_folder(LocalFolder(tmp_path / "root", tmp_path), given_splits={"train": "train"})
    assert [clip.clip_id for clip in clips] == ["test/a/1.ogg", "test/a/2.ogg", "train/a/1.ogg"]
    assert report.unknown_splits == ["odd/a/1.ogg (odd)"]
    assert report.leaks == ["root/train/a/1.ogg"]
    assert report.missing == ["train/a/3.ogg"]


def test_folder_with_splits(tmp_path, videos):
    for place in ("train/a", "train/b", "test/a"):
        (tmp_path / place).mkdir(parents=True)
        shutil.copy(videos / "bbb_h264_aac.mp4", tmp_path / place / "1.mp4")
    clips, _ = clips_of_folder(LocalFolder(tmp_path, tmp_path))
    found = [(clip.clip_id, clip.label, clip.split) for clip in clips]
    assert found == [("test/a/1.mp4", "a", "test"), ("train/a/1.mp4", "a", "train"), ("train/b/1.mp4", "b", "train")]
