"""Manifests: three formats, all problems told at once, seeded splits, the folder adapter."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avprep.datasets.folder import clips_of_folder
from avprep.errors import ManifestError
from avprep.manifest import Clip, held_out_by_class, read_manifest, write_manifest

CLIPS = [
    Clip("a", "people, whispering", "train", "x/1.mp4", "", 0.1, 10.0, "g1"),
    Clip("b", 'dog "barking".', "test", "", "y/é 2.wav", None, None, "g2"),
    Clip("c", "音楽", "val", "x/3.mp4", "y/3.wav", 3.0, None, "g1"),
]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_what_is_written_is_read(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    write_manifest(path, CLIPS)
    assert read_manifest(path) == CLIPS


def test_defaults(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("label,video_path,start_seconds,end_seconds,mood\nx,a.mp4,,,good\nx,a.mp4,2,4.5,\n")
    assert read_manifest(path) == [
        Clip("a.mp4", "x", "train", "a.mp4", group="a.mp4"),
        Clip("a.mp4@2.0-4.5", "x", "train", "a.mp4", "", 2.0, 4.5, "a.mp4"),
    ]


def test_all_problems_are_told_together(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(
        "clip_id,label,video_path,split,start_seconds,end_seconds\n"
        "a,x,1.mp4,train,,\na,x,2.mp4,train,,\nb,,3.mp4,,,\nc,x,,,,\nd,x,4.mp4,Bad Split,,\n"
        "e,x,5.mp4,,5,4\nf,x,6.mp4,,soon,\ng,x,7.mp4,,nan,\n"
    )
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    for word in ("'a' stands 2 times", "no label", "neither", "'Bad Split'", "not after", "soon", "'nan'"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("m.csv", "", "no rows"),
        ("m.txt", "x", "ends in .csv"),
        ("m.jsonl", "{", "not readable"),
        ("m.parquet", "PAR", "not readable"),
        ("m.jsonl", "[1]\n", "not an object"),
    ],
)
def test_files_that_are_no_manifest(tmp_path, name, content, word):
    (tmp_path / name).write_text(content)
    with pytest.raises(ManifestError, match=word):
        read_manifest(tmp_path / name)


@given(st.lists(st.sampled_from("abc"), max_size=40), st.floats(0.05, 0.9), st.integers(0, 5))
def test_held_out_clips_are_stratified(labels, share, seed):
    chosen = held_out_by_class(labels, share, seed)
    assert chosen == held_out_by_class(labels, share, seed)
    for label in set(labels):
        count, held = labels.count(label), sum(c for c, other in zip(chosen, labels, strict=True) if other == label)
        assert held == min(max(round(share * count), 1), count - 1)


def test_another_seed_holds_out_others():
    labels = ["a"] * 50
    assert held_out_by_class(labels, 0.2, 0) != held_out_by_class(labels, 0.2, 1)


def test_folder_of_classes(tmp_path, videos, sounds):
    for name in ("dog, barking", "cat"):
        folder = tmp_path / "root" / name
        folder.mkdir(parents=True)
        for number in range(5):
            shutil.copy(videos / "bbb_h264_aac.mp4", folder / f"{number}.mp4")
    shutil.copy(sounds / "elec_blip.ogg", tmp_path / "root" / "cat" / "s.ogg")
    (tmp_path / "root" / "cat" / "notes.txt").write_text("x")
    (tmp_path / "root" / "cat" / ".hidden.mp4").write_text("x")
    clips = clips_of_folder(tmp_path / "root", tmp_path, 0.2, 0)
    assert {clip.label for clip in clips} == {"dog, barking", "cat"}
    assert len(clips) == 11
    assert sorted(clip.split for clip in clips).count("test") == 2
    assert all((tmp_path / clip.source).exists() for clip in clips)
    [sound] = [clip for clip in clips if clip.clip_id == "cat/s.ogg"]
    assert (sound.video_path, sound.audio_path) == ("", "root/cat/s.ogg")


def test_folder_with_splits(tmp_path, videos):
    for place in ("train/a", "train/b", "test/a"):
        (tmp_path / place).mkdir(parents=True)
        shutil.copy(videos / "bbb_h264_aac.mp4", tmp_path / place / "1.mp4")
    clips = clips_of_folder(tmp_path, tmp_path, 0.5, 0)
    found = [(clip.clip_id, clip.label, clip.split) for clip in clips]
    assert found == [("test/a/1.mp4", "a", "test"), ("train/a/1.mp4", "a", "train"), ("train/b/1.mp4", "b", "train")]
