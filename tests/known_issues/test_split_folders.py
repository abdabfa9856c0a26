"""Folders of clips whose sub-folders are splits, or look like it; folders that systems and tools leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from avprep.cli import main
from avprep.manifest.read_write import read_manifest
from tests.train.servers import bucket_serving

CLASSES = {"cat", "dog"}


def tree(root: Path, *folders: str) -> Path:
    """A wav file in each of the folders."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder / "1.wav").write_bytes(b"x")
    return root


def nested(root: Path, *parts: str) -> Path:
    """Folders of the classes cat and dog in each of the folders."""
    return tree(root, *(f"{part}/{name}" for part in parts for name in sorted(CLASSES)))


def asked(root: Path | str, out: Path, *options: str) -> tuple[int, str]:
    words = ["manifest", "folder", "--root", str(root), "--out", str(out), "--overwrite", *options]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    return done.exit_code, done.output


def split_of(root: Path | str, out: Path, *options: str) -> dict[str, str]:
    """The split of each sub-folder, after a look at the labels."""
    code, said = asked(root, out, *options)
    assert code == 0, said
    clips = read_manifest(out)
    assert {clip.label for clip in clips} == CLASSES
    return {clip.clip_id.split("/")[0]: clip.split for clip in clips}


@pytest.mark.parametrize(
    "wanted",
    [
        {"train": "train", "validation": "val"},
        {"Train": "train", "Test": "test"},
        {"training": "train", "testing": "test"},
        {"TRAIN": "train", "valid": "val", "Evaluation": "test"},
        {"train": "train", "dev": "val", "eval": "test"},
        {"training": "train", "development": "val"},
        {"val": "val", "test": "test"},
    ],
    ids=" ".join,
)
def test_known_spellings_are_splits(tmp_path, wanted):
    assert split_of(nested(tmp_path / "root", *wanted), tmp_path / "m.csv") == wanted


@pytest.mark.parametrize(
    ("folders", "named"),
    [
        (("train", "extra"), ("train (train)", "extra", "--split-folder extra=train")),
        (("train", "test", "noisy"), ("noisy", "test (test)")),
        (("train_data", "test_data"), ("test_data", "train_data")),
        (("dev", "eval"), ("dev (val)", "eval (test)")),
        (("dev", "test"), ("dev (val)", "test (test)")),
        (("train", "val", "validation"), ("val (val)", "validation (val)")),
        (("train", "Train"), ("Train (train)", "train (train)")),
    ],
    ids=" ".join,
)
def test_what_is_half_like_splits_is_asked(tmp_path, folders, named):
    code, said = asked(nested(tmp_path / "root", *folders), tmp_path / "m.csv")
    assert code == 2
    for words in (*named, "--split-folder", "--no-split-folders", str(tmp_path / "root")):
        assert words in said
    assert not (tmp_path / "m.csv").exists()


def test_the_user_decides(tmp_path):
    root, out = nested(tmp_path / "root", "train", "dev", "extra"), tmp_path / "m.csv"
    assert split_of(root, out, "--split-folder", "extra=test") == {"train": "train", "dev": "val", "extra": "test"}
    assert split_of(root, out, "--split-folder", "dev=test") == {"train": "train", "dev": "test"}
    assert "extra/cat/1.wav (extra)" in asked(root, out, "--split-folder", "dev=test")[1]
    assert asked(root, out, "--no-split-folders")[0] == 0
    assert {clip.label for clip in read_manifest(out)} == {"train", "dev", "extra"}
    for wrong in (["--split-folder", "gone=test"], ["--split-folder", "dev=dev"], ["--split-folder", "dev"]):
        assert asked(root, out, *wrong)[0] == 2
    assert asked(root, out, "--split-folder", "dev=val", "--no-split-folders")[0] == 2


def test_classes_may_be_called_train(tmp_path):
    """Splits hold folders; a class holds its clips."""
    root = tree(tmp_path / "root", "train", "car", "test bench", "train horning")
    assert asked(root, tmp_path / "m.csv")[0] == 0
    assert {clip.label for clip in read_manifest(tmp_path / "m.csv")} == {"train", "car", "test bench", "train horning"}
    code, said = asked(tree(tmp_path / "flat", "train", "test"), tmp_path / "m.csv")
    assert (code, "hold no class sub-folders" in said) == (2, True)


def test_splits_below_classes_are_not_mixed_in_silence(tmp_path):
    root = tree(tmp_path / "root", *(f"{name}/{part}" for name in CLASSES for part in ("Train", "testing", "x")))
    code, said = asked(root, tmp_path / "m.csv")
    assert (code, "has splits below its classes" in said) == (2, True), said
    code, said = asked(root, tmp_path / "m.csv", "--no-split-folders")
    assert (code, {clip.label for clip in read_manifest(tmp_path / "m.csv")}) == (0, CLASSES), said


FOREIGN = ("__MACOSX", ".git", "@eaDir", ".ipynb_checkpoints", "lost+found", "System Volume Information")


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_folders_of_systems_and_tools_are_named_and_no_classes(tmp_path, place):
    root = nested(tmp_path / "root", "train", "test", *FOREIGN)
    for inside in ("train", "train/cat"):
        tree(root / inside, *FOREIGN)
    (root / "train/cat/._1.wav").write_bytes(b"x")
    (root / "Thumbs.db").write_bytes(b"x")
    (root / "notes").mkdir()
    out, wanted = tmp_path / "m.csv", {"train": "train", "test": "test"}
    if place == "folder":
        assert split_of(root, out) == wanted
        said = asked(root, out)[1]
    else:
        with bucket_serving("bucket") as bucket:
            for path in filter(Path.is_file, root.rglob("*")):
                bucket.put(path, f"c/{path.relative_to(root)}")
            assert split_of("s3://bucket/c", out) == wanted
            said = asked("s3://bucket/c", out)[1]
    assert len(read_manifest(out)) == 4
    assert f"{len(FOREIGN)} folders that a system or a tool made were skipped, such as .git" in said
    report = out.with_suffix(".report.json").read_text(encoding="utf-8")
    assert all(name in report for name in FOREIGN)


def test_other_adapters_do_not_look_there_either(tmp_path):
    root = tree(tmp_path / "root", "x", "__MACOSX", ".trash")
    for folder in ("x", "__MACOSX", ".trash"):
        (root / folder / f"{folder[-1] * 11}_000001.mp4").write_bytes(b"x")
    (tmp_path / "v.csv").write_text("".join(f"{name * 11},1,dog,train\n" for name in ("x", "X", "h")))
    words = ["manifest", "vggsound", "--root", root, "--metadata", tmp_path / "v.csv", "--out", tmp_path / "m.csv"]
    done = CliRunner().invoke(main, list(map(str, words)), catch_exceptions=False)
    assert [clip.clip_id for clip in read_manifest(tmp_path / "m.csv")] == ["xxxxxxxxxxx_000001"], done.output
    assert "2 folders that a system or a tool made" in done.output
