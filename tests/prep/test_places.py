"""Datasets that lie at URLs: the manifest is what it would be on this machine, and leads to the clips."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from avprep.cli import main
from avprep.manifest.addresses import address_of
from avprep.manifest.read_write import read_manifest
from tests.train.servers import bucket_serving

SCENES = ("airport-lyon-1-1", "tram-lyon-1-2", "tram-paris-3-4")
TREE = {
    "sorted/train/dog's bark/b, c.wav": "x",
    "sorted/train/dog's bark/sub/a.mp4": "x",
    "sorted/train/dog's bark/sub-b/a.mp4": "x",
    "sorted/train/cat/é.mp4": "x",
    "sorted/test/cat/1.MP4": "x",
    "sorted/test/cats/1.mp4": "x",
    "sorted/test/cat/.hidden.mp4": "x",
    "sorted/test/.cache/2.mp4": "x",
    "sorted/other/notes.txt": "x",
    "plain/dog/1.wav": "x",
    "plain/dog/2.wav": "x",
    "plain/cat/1.wav": "x",
    "plain/cat/2.wav": "x",
    "plain/lost.wav": "x",
    "vgg/x/aaaaaaaaaaa_30000_40000.mp4": "x",
    "vgg/x/y/bbbbb_bbbbb_000001.mp4": "x",
    "lists/vggsound.csv": 'aaaaaaaaaaa,30,"dog, far",train\nccccccccccc,2,cat,train\nbbbbb_bbbbb,1,dog,test\n',
    "lists/subset.csv": "aaaaaaaaaaa,30,sing,train\n",
    "lists/exclude.txt": "bbbbb_bbbbb\n",
    **{f"tau/audio/{name}.wav": "x" for name in SCENES},
    **{f"tau/video/{name}.mp4": "x" for name in SCENES[:2]},
    "lists/train.csv": f"filename_audio\tfilename_video\naudio/{SCENES[0]}.wav\tvideo/{SCENES[0]}.mp4\n",
    "lists/test.csv": "test_dataname\n" + "".join(f"{name}.wav\n" for name in SCENES[1:]),
    "lists/val.txt": "airport-lyon-1\n",
    "fsd/FSDnoisy18k.meta/train.csv": "fname,label,manually_verified,noisy_small\n1.wav,Bass,1,0\n2.wav,Rain,0,1\n",
    "fsd/FSDnoisy18k.meta/test.csv": "fname,label\n3.wav,Bass\n4.wav,Rain\n",
    "fsd/FSDnoisy18k.audio_train/1.wav": "x",
    "fsd/FSDnoisy18k.audio_train/2.wav": "x",
    "fsd/FSDnoisy18k.audio_test/3.wav": "x",
    "lists/table.csv": "category,video_path\ndog,../plain/dog/1.wav\ncat,../vgg/x/../x/y/bbbbb_bbbbb_000001.mp4\n"
    "cat,http://host/1.mp4\n",
}
"""every adapter's folders and lists, with what is odd in each"""
COMMANDS = (
    "folder --root {at}/sorted",
    "folder --root {at}/plain --test-share 0.5 --seed 3",
    "vggsound --root {at}/vgg --metadata {at}/lists/vggsound.csv",
    "vggsound --root {at}/vgg --metadata {at}/lists/vggsound.csv --subset {at}/lists/subset.csv "
    "--exclude {at}/lists/exclude.txt",
    "tau2021 --root {at}/tau --train {at}/lists/train.csv --test {at}/lists/test.csv "
    "--val-locations {at}/lists/val.txt",
    "fsdnoisy18k --root {at}/fsd --subset clean",
    "table {at}/lists/table.csv --rename category=label",
    "table {at}/lists/table.csv --rename category=label --root {at}/vgg",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    for name, content in TREE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def bucket(tree):
    with bucket_serving("bucket") as bucket:
        for name in TREE:
            bucket.put(tree / name, f"data/{name}")
        bucket.client.put_object(Bucket="bucket", Key="data/sorted/train/empty/", Body=b"")  # as consoles make folders
        yield bucket


def called(command, *more, status=0):
    done = CliRunner().invoke(main, ["manifest", *command.split(" "), *map(str, more)], catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.output


@pytest.mark.parametrize("command", COMMANDS)
def test_a_manifest_in_a_bucket_is_what_it_is_on_this_machine(tree, bucket, command):
    """The same bytes, the same findings, relative paths in both."""
    said = called(command.format(at=tree), "--out", tree / "made" / "it.csv")
    there = called(command.format(at="s3://bucket/data"), "--out", "s3://bucket/data/made/it.csv")
    made = {path.name: path.read_bytes() for path in (tree / "made").iterdir()}
    assert b"\n" in made["it.csv"].strip()
    assert bucket.files("data/made/") == made
    assert there == said.replace(str(tree), "s3://bucket/data")
    for name in made:
        (tree / "made" / name).unlink()
        bucket.client.delete_object(Bucket="bucket", Key=f"data/made/{name}")


def paths(manifest):
    return [clip.source for clip in read_manifest(manifest)]


def test_far_from_its_clips_a_manifest_names_them_whole(tree, bucket, tmp_path):
    """Clips in a bucket by URLs, those of this machine by absolute paths, of a web server as the table has it."""
    called("vggsound --root s3://bucket/data/vgg --metadata", tree / "lists/vggsound.csv", "--out", tmp_path / "m.csv")
    names = ["x/aaaaaaaaaaa_30000_40000.mp4", "x/y/bbbbb_bbbbb_000001.mp4"]
    assert paths(tmp_path / "m.csv") == [f"s3://bucket/data/vgg/{name}" for name in names]
    called(f"folder --root {tree}/plain --test-share 0 --out s3://bucket/far/m.jsonl")
    rows = [json.loads(line) for line in bucket.files("far/")["m.jsonl"].splitlines()]
    assert [row["audio_path"] for row in rows] == [
        f"{tree.resolve()}/plain/{name}.wav" for name in ("cat/1", "cat/2", "dog/1", "dog/2")
    ]
    (tmp_path / "t.csv").write_text("label,audio_path\ndog,a%20b.wav\n")
    called("table", tmp_path / "t.csv", "--root", "https://host/c", "--out", tmp_path / "w.csv")
    assert paths(tmp_path / "w.csv") == ["https://host/c/a%2520b.wav"], "a name of a file is no text of a URL"


def test_names_that_are_no_paths_spoil_no_other(tree, bucket, tmp_path, caplog):
    """'#' is part of a name; a doubled or last '/', a dot alone and a question mark cost their own clip."""
    for name in ("a/1.wav", "a/2.wav", "b/1.wav", "/lost.wav", "a//3.wav", "a/../4.wav", "a/what?.wav"):
        bucket.put(tree / "plain/dog/1.wav", f"odd #1/{name}")
    for out in (tmp_path / "m.csv", "s3://bucket/x#/y/m.csv"):
        called("folder --test-share 0 --root", "s3://bucket/odd #1", "--out", out)
    assert "4 names below s3://bucket/odd #1 are not plain paths and were left out, such as '/lost.wav'" in caplog.text
    names = ("a/1.wav", "a/2.wav", "b/1.wav")
    assert paths(tmp_path / "m.csv") == [f"s3://bucket/odd #1/{name}" for name in names]
    written = [row.split(",")[4] for row in bucket.files("x#/y/")["m.csv"].decode().splitlines()[1:]]
    assert [address_of("s3://bucket/x#/y", path) for path in written] == paths(tmp_path / "m.csv")


def test_a_link_to_itself_is_no_folder(tmp_path):
    touched = tmp_path / "in" / "cat" / "1.wav"
    touched.parent.mkdir(parents=True)
    touched.touch()
    (tmp_path / "in" / "loop").symlink_to("loop")
    called("folder --root", tmp_path / "in", "--out", tmp_path / "m.csv")
    assert paths(tmp_path / "m.csv") == ["in/cat/1.wav"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("folder --root s3://bucket/nothing --out s3://bucket/m.csv", "s3://bucket/nothing holds no files"),
        ("folder --root s3://bucket/data/lists --out s3://bucket/m.csv", "s3://bucket/data/lists has no media files"),
        ("folder --root s3://bucket/data/plain --out http://host/m.csv", "http://host/m.csv cannot be written to"),
        ("folder --root http://host/c --out m.csv", "http://host/c cannot be listed"),
        ("folder --root ftp://host/c --out m.csv", "an address of ftp://, which cannot be read"),
        ("folder --root s3://key:secret@bucket/c --out m.csv", "with a query or credentials"),
        ("folder --root s3://bucket/data/plain --out s3://m.csv", "s3://m.csv names no file"),
        ("folder --root s3://bucket/data/plain --out s3://bucket/m.csv/", "names no file"),
        ("folder --root s3://bucket/data/plain --out s3://bucket/m.txt", "s3://bucket/m.txt"),
        (
            "vggsound --root s3://bucket/data/vgg --metadata s3://bucket/no.csv --out m.csv",
            "s3://bucket/no.csv does not",
        ),
        ("vggsound --root s3://bucket/data/vgg --metadata s3://bucket/data/lists/val.txt --out m.csv", "lists/val.txt"),
        (
            "fsdnoisy18k --root s3://bucket/data/vgg --out m.csv",
            "vgg has no FSDnoisy18k.meta/train.csv; --root is",
        ),
        ("table s3://bucket/no.csv --out m.csv", "s3://bucket/no.csv does not exist"),
        ("table s3://bucket/data/lists/test.csv --out m.csv", "s3://bucket/data/lists/test.csv"),
    ],
)
def test_refusals_name_the_url(bucket, tmp_path, monkeypatch, command, words):
    monkeypatch.chdir(tmp_path)
    said = called(command, status=2)
    assert words in said
    assert "/tmp" not in said
    assert "secret" not in said
    assert not list(tmp_path.iterdir())
