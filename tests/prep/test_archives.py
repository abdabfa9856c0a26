"""Clips inside tar and zip files: listed, read by offset, the same dataset as from files; damage of either kind."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import avprep
from avprep.build.fetch import copied
from avprep.build.run import build_shards
from avprep.build.sources import check_any
from avprep.cli import main
from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec
from avprep.errors import ClipError, UserError
from avprep.manifest.addresses import address_of, wrong_address
from avprep.manifest.clips import Clip
from avprep.manifest.read_write import read_manifest, write_manifest
from avprep.preview.content import write_preview
from avprep.shared import archives
from avprep.shared.urls import in_archive, split_address
from avprep.verify.sources import Sources
from avtrain.runs.trained_on import _one_source
from tests.train.servers import bucket_serving, serving

VIDEOS = ("bbb_h264_aac.mp4", "bbb_mpeg1_mp2.mpg", "bbb_rot90.mp4", "bbb_vfr.mkv", "bbb_vp9_opus.webm")
SOUNDS = ("bass_hit_c.ogg", "drum_cowbell.ogg", "elec_beep.ogg", "elec_bell.ogg", "tabla_dhec.ogg")
SMALL = BuildConfig(video=VideoSpec(frame_size=16), shards=ShardSpec(clips_per_shard=5))


def run(*words: object, status: int = 0) -> str:
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == status, done.output
    return done.output


def write_tar(path: Path, members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return path


def member(path: Path, name: str, root: Path, limits: Limits = Limits(), to: str = "copy") -> bytes:  # noqa: B008
    """What a build decodes of a member of an archive in the folder `root`."""
    written = in_archive(path.suffix[1:], name, path.name)
    return copied(str(root), written, root / to, limits).read_bytes()


def contents(folder: Path) -> dict[str, object]:
    """The members of all shards; of KEY.json what is not the name of a source."""
    found: dict[str, object] = {}
    for shard in sorted(folder.rglob("*.tar")):
        with tarfile.open(shard) as tar:
            for info in tar:
                data = tar.extractfile(info).read()
                if info.name.endswith(".json"):
                    data = {k: v for k, v in json.loads(data).items() if k not in ("video_path", "audio_path", "group")}
                found[f"{shard.relative_to(folder)}: {info.name}"] = data
    return found


@pytest.fixture(scope="module")
def built(videos, sounds, tmp_path_factory):
    """Ten real files in a tar and a zip, the manifest of these, that of the files, and both datasets."""
    base = tmp_path_factory.mktemp("archives")
    (base / "in").mkdir()
    shard: dict[str, bytes] = {}
    for number, name in enumerate(VIDEOS):
        key = f"./{number:09}"
        shard[key + Path(name).suffix] = (videos / name).read_bytes()
        shard[key + ".json"] = json.dumps({"key": f"{number:09}", "kind": ["bunny", "film"][: 1 + number % 2]}).encode()
    write_tar(base / "in" / "train-00000.tar", shard)
    write_zip(base / "in" / "test.zip", {f"set/bunny/{name}": (sounds / name).read_bytes() for name in SOUNDS})
    avprep.manifest_of_archives([base / "in" / "train-00000.tar"], base / "t.csv", label="kind", split="archive")
    avprep.manifest_of_archives([str(base / "in" / "test.zip")], base / "z.csv", split="archive")
    clips = [clip for name in ("t.csv", "z.csv") for clip in read_manifest(base / name)]
    write_manifest(base / "archives.csv", clips)

    def as_file(written: str) -> str:
        if not written:
            return ""
        name = split_address(written).as_path
        path = base / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        number, own = Path(name).stem, Path(name).name
        path.write_bytes((sounds / own if own in SOUNDS else videos / VIDEOS[int(number)]).read_bytes())
        return f"files/{name}"

    plain = [
        dataclasses.replace(c, video_path=as_file(c.video_path), audio_path=as_file(c.audio_path), group="")
        for c in clips
    ]
    write_manifest(base / "files.csv", plain)
    for name in ("archives", "files"):
        build_shards(base / f"{name}.csv", base / name / "data", SMALL, Limits(), workers=1)
    return base


@pytest.mark.slow
def test_clips_in_archives_make_the_dataset_of_the_same_files(built):
    clips = read_manifest(built / "archives.csv")
    assert [clip.split for clip in clips] == ["train"] * 5 + ["test"] * 5
    assert clips[1].video_path == "tar://000000001.mpg::in/train-00000.tar"
    assert (clips[1].clip_id, clips[1].labels) == ("in/train-00000/000000001", "bunny;film")
    assert clips[5].audio_path == "zip://set/bunny/bass_hit_c.ogg::in/test.zip"
    assert clips[5].label == "bunny"
    ours, theirs = contents(built / "archives" / "data"), contents(built / "files" / "data")
    assert len(ours) == 5 * 3 + 5 * 2
    assert ours == theirs


@pytest.mark.slow
def test_sources_in_archives_are_there_for_verify_and_preview(built):
    sources = Sources(built)
    clip = read_manifest(built / "archives.csv")[0]
    assert sources.has(clip)
    assert not sources.has(dataclasses.replace(clip, video_path=clip.video_path.replace("00.mp4", "99.mp4")))
    shown = write_preview(built / "archives" / "data", built / "p.html", root=built, split="test", per_class=1)
    assert "source file" not in str(shown)
    assert "audio/mpeg" in (built / "p.html").read_text()


@pytest.mark.slow
def test_behind_s3_and_http_members_are_ranges_of_the_archive(built, tmp_path):
    with bucket_serving("bucket") as bucket:
        for name in ("train-00000.tar", "test.zip"):
            bucket.put(built / "in" / name, f"in/{name}")
        run("manifest", "archive", "s3://bucket/in/train-00000.tar", "--label", "kind", "--out", "s3://bucket/m.csv")
        run("manifest", "archive", "s3://bucket/in/test.zip", "--out", tmp_path / "far.csv")
        (tmp_path / "m.csv").write_bytes(bucket.files()["m.csv"])
        near, far = read_manifest(tmp_path / "m.csv")[1].video_path, read_manifest(tmp_path / "far.csv")[0].audio_path
        assert near == "tar://000000001.mpg::in/train-00000.tar"
        assert far == "zip://set/bunny/bass_hit_c.ogg::s3://bucket/in/test.zip"
        for written, folder in ((near, "s3://bucket"), (far, "/nowhere")):
            here = copied(folder, written, tmp_path / "copy", Limits())
            assert here.read_bytes() == copied(str(built), local(written), tmp_path / "own", Limits()).read_bytes()
        check_any([Clip("a", "x", audio_path=far)], "/nowhere", "m.csv")
    with serving(built) as server:
        url = server.url
        written = in_archive("zip", "set/bunny/elec_beep.ogg", "in/test.zip")
        assert copied(url, written, tmp_path / "web", Limits()).stat().st_size == 4113
        with pytest.raises(ClipError, match="missing: of the archive, no such file"):
            copied(url, written.replace("test", "none"), tmp_path / "web", Limits())


def local(written: str) -> str:
    kind, name, file = split_address(written)
    return in_archive(kind, name, file.removeprefix("s3://bucket/"))


def test_a_damaged_member_is_one_failed_clip(tmp_path):
    data = os.urandom(5000)
    path = write_zip(tmp_path / "a.zip", {"a.ogg": data, "b.ogg": data * 2, "c.ogg": b""})
    assert member(path, "b.ogg", tmp_path) == data * 2
    assert member(path, "c.ogg", tmp_path) == b""
    known = archives.members(path, "zip")["a.ogg"]
    with open(path, "r+b") as file:
        file.seek(known.begin + 30 + len("a.ogg") + 2000)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 255]))
    with pytest.raises(ClipError, match="damaged: the member of the archive"):
        member(path, "a.ogg", tmp_path)
    assert member(path, "b.ogg", tmp_path, to="other") == data * 2
    with pytest.raises(ClipError, match="missing: the archive has no such member"):
        member(path, "z.ogg", tmp_path)
    with pytest.raises(ClipError, match="missing: the archive is not there"):
        member(tmp_path / "gone.zip", "a.ogg", tmp_path)
    with pytest.raises(ClipError, match="too-large: 10000 bytes"):
        member(path, "b.ogg", tmp_path, Limits(max_file_bytes=9000))
    squeezed = write_zip(tmp_path / "b.zip", {"a.ogg": data}, zipfile.ZIP_BZIP2)
    with pytest.raises(ClipError, match="damaged: compressed by method 12"):
        member(squeezed, "a.ogg", tmp_path)
    raw = bytearray(write_zip(tmp_path / "c.zip", {"a.ogg": data}).read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "c.zip").write_bytes(raw)
    with pytest.raises(ClipError, match="encrypted: the member"):
        member(tmp_path / "c.zip", "a.ogg", tmp_path)


def test_a_member_that_unpacks_to_more_than_recorded_ends_there(tmp_path):
    raw = bytearray(write_zip(tmp_path / "a.zip", {"a.ogg": bytes(30_000_000)}).read_bytes())
    struct.pack_into("<I", raw, raw.index(b"PK\1\2") + 24, 1000)
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(ClipError, match=r"damaged: .*another size than recorded"):
        member(tmp_path / "a.zip", "a.ogg", tmp_path)
    assert (tmp_path / "copy" / "a.ogg").stat().st_size == 0


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_every_form_of_tar(tmp_path, form):
    long = "/".join(["a" * 60] * 2) + ".ogg" if form == tarfile.USTAR_FORMAT else "é" * 120 + ".ogg"
    path = write_tar(tmp_path / "a.tar", {"./x.ogg": b"first", long: b"second", "x.ogg": b"last"}, form)
    assert member(path, long, tmp_path) == b"second"
    assert member(path, "x.ogg", tmp_path) == b"last"
    write_tar(path, {"x.ogg": b"written anew"}, form)
    assert member(path, "x.ogg", tmp_path) == b"written anew"


def test_a_damaged_archive_is_one_sentence(tmp_path):
    whole = write_tar(tmp_path / "a.tar", {f"{n}.ogg": bytes([n]) * 3000 for n in range(1, 5)}).read_bytes()
    member_bytes = 512 + 3072
    broken = bytearray(whole)
    broken[2 * member_bytes + 148 : 2 * member_bytes + 156] = b"99999999"
    cases = {
        "cut.tar": (whole[: 2 * member_bytes + 1000], "is no tar file, cut off or damaged"),
        "broken.tar": (bytes(broken), f"no header of a member at byte {2 * member_bytes}"),
        "joined.tar": (whole + whole, "several tar files were joined"),
        "zipped.tar": (b"\x1f\x8b" + bytes(1000), "is a compressed tar"),
        "text.tar": (b"no tar at all" * 100, "is no tar file"),
        "empty.tar": (b"", "is no tar file"),
        "cut.zip": (write_zip(tmp_path / "z.zip", {"a.ogg": b"x" * 900}).read_bytes()[:-30], "is no zip file"),
    }
    split = bytearray((tmp_path / "z.zip").read_bytes())
    split[split.index(b"PK\1\2") + 34] = 2
    cases["split.zip"] = (
        bytes(split),
        r"one part of a zip file that was split .* 'zip -s 0 split.zip --out whole.zip'",
    )
    for name, (data, words) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=words):
            archives.members(tmp_path / name, name[-3:])


def test_a_build_ends_where_an_archive_is_damaged(tmp_path):
    write_tar(tmp_path / "a.tar", {"a.ogg": b"x" * 3000})
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data[:1000])
    (tmp_path / "m.csv").write_text("label,audio_path\nx,tar://a.ogg::a.tar\n")
    text = run("build-shards", tmp_path / "m.csv", "--out", tmp_path / "o", "--workers", 1, status=2)
    assert "a.tar is no tar file, cut off or damaged" in text
    (tmp_path / "m.csv").write_text("label,audio_path\nx,tar://b.ogg::b.tar\n")
    text = run("build-shards", tmp_path / "m.csv", "--out", tmp_path / "o", "--workers", 1, status=2)
    assert "such as b.ogg in" in text


def test_labels_of_members(tmp_path):
    about = {"label": "dog's bark", "who": 7, "many": ["a;b", "c"], "none": None}
    path = write_tar(
        tmp_path / "a.tar",
        {
            "k.left.mp4": b"x",
            "k.json": json.dumps(about).encode(),
            "k.txt": b"rain\n",
            "n.mp4": b"x",
            "n.wav": b"x",
            "n.json": b'{"label": "", "many": ["c", "d"]}',
            "__MACOSX/n.mp4": b"x",
            ".n.mp4": b"x",
        },
    )

    def listed(*options: str, status: int = 0) -> str:
        return run("manifest", "archive", path, "--out", tmp_path / "m.csv", *options, status=status)

    assert "1 clips have no label and were left out, such as a/n" in listed("--label", "label")
    (clip,) = read_manifest(tmp_path / "m.csv")
    assert (clip.clip_id, clip.label, clip.video_path) == ("a/k.left", "dog's bark", "tar://k.left.mp4::a.tar")
    listed("--label", ".txt")
    assert [clip.label for clip in read_manifest(tmp_path / "m.csv")] == ["rain"]
    assert "k.left.mp4 in" in (text := listed(status=2))
    assert "is in no folder of a class; give --label, --split or --group one of: label, who, many, none, .txt" in text
    assert "n.mp4 in" in listed("--label", "who", status=2)
    assert "The label 'a;b'" in listed("--label", "many", status=2)
    assert "nor its name begins with train" in listed("--label", "label", "--split", "archive", status=2)
    assert "is not named like an archive" in run(
        "manifest", "archive", tmp_path / "m.csv", "--out", tmp_path / "n.csv", status=2
    )
    other = write_zip(tmp_path / "train.zip", {"c/n.mp4": b"", "c/n.wav": b"", "d/1.mkv": b""})
    run("manifest", "archive", other, "--out", tmp_path / "o.csv")
    (pair, _) = read_manifest(tmp_path / "o.csv")
    assert (pair.video_path, pair.audio_path) == ("zip://c/n.mp4::train.zip", "zip://c/n.wav::train.zip")
    empty = write_zip(tmp_path / "e.zip", {"readme.md": b""})
    assert "has no media among its 1 members" in run(
        "manifest", "archive", empty, "--out", tmp_path / "p.csv", status=2
    )


META = "filename,fold,target,category,esc10,src_file,take\n1-1-A-0.wav,1,0,dog,True,1,A\n2-2-A-1.wav,2,1,cat,True,2,A\n"


def test_a_dataset_is_read_from_the_zips_in_which_it_is_handed_out(tmp_path):
    def listed(dataset: str, *options: object, status: int = 0) -> list[str]:
        run("manifest", dataset, "--out", tmp_path / "m.csv", *options, status=status)
        return [clip.audio_path for clip in read_manifest(tmp_path / "m.csv")]

    (tmp_path / "esc").mkdir()
    members = {f"audio/{name}": b"x" for name in ("1-1-A-0.wav", "2-2-A-1.wav")} | {"meta/esc50.csv": META.encode()}
    write_zip(tmp_path / "esc" / "master.zip", {f"ESC-50-master/{name}": data for name, data in members.items()})
    paths = listed("esc50", "--root", tmp_path / "esc", "--archives", "--test-fold", 1)
    assert paths == [f"zip://ESC-50-master/audio/{name}::esc/master.zip" for name in ("1-1-A-0.wav", "2-2-A-1.wav")]
    (tmp_path / "fsd" / "FSDnoisy18k.meta").mkdir(parents=True)
    for split, names in (("train", ["1.wav", "2.wav"]), ("test", ["3.wav", "lost.wav"])):
        rows = "".join(f"{name},Bass,1,0\n" for name in names)
        (tmp_path / "fsd" / "FSDnoisy18k.meta" / f"{split}.csv").write_text(
            f"fname,label,manually_verified,noisy_small\n{rows}"
        )
        folder = f"FSDnoisy18k.audio_{split}"
        write_zip(
            tmp_path / "fsd" / f"{folder}.zip", {f"{folder}/{n}": b"x" for n in [*names, "more.wav"] if n != "lost.wav"}
        )
    text = run("manifest", "fsdnoisy18k", "--root", tmp_path / "fsd", "--archives", "--out", tmp_path / "f.csv")
    assert "1 clips have no file" in text
    assert "2 media files below --root are in no row" in text
    assert read_manifest(tmp_path / "f.csv")[2].audio_path == (
        "zip://FSDnoisy18k.audio_test/3.wav::fsd/FSDnoisy18k.audio_test.zip"
    )
    none = ("esc50", "--root", tmp_path / "fsd" / "FSDnoisy18k.meta", "--test-fold", 1, "--out", tmp_path / "n.csv")
    assert "holds no .tar or .zip file" in run("manifest", *none, "--archives", status=2)


def test_addresses_of_members():
    assert split_address("tar://a::b/c.mp4::x/y.tar") == ("tar", "a::b/c.mp4", "x/y.tar")
    assert split_address("x/tar://y.mp4").kind == ""
    assert address_of("s3://b/d", "zip://m#1.mp4::../x.zip") == "s3://b/x.zip"
    assert address_of("/d", "zip://m.mp4::x.zip") == ""
    assert wrong_address("zip://m.mp4::x.zip") == ""
    assert wrong_address("zip://m.mp4::https://h/x%231.zip") == ""
    assert "'#'" in wrong_address("zip://m.mp4::https://h/x#1.zip")
    for wrong in ("zip://m.mp4", "zip://::x.zip", "tar://../m.mp4::x.tar", "tar://m.mp4::"):
        assert "MEMBER::ARCHIVE" in wrong_address(wrong)
    assert _one_source("tar://k.mp4::../a/x.tar", "tar://k.mp4::b/a/x.tar")
    assert not _one_source("tar://k.mp4::../a/x.tar", "tar://k.mp4::a/y.tar")


def test_a_table_moves_what_its_addresses_begin_from(tmp_path):
    (tmp_path / "in").mkdir()
    write_tar(tmp_path / "in" / "a.tar", {"k.mp4": b"x"})
    (tmp_path / "in" / "t.csv").write_text("label,video_path\nx,tar://k.mp4::a.tar\ny,tar://k.mp4::gone.tar\n")
    text = run("manifest", "table", tmp_path / "in" / "t.csv", "--out", tmp_path / "m.csv")
    assert "1 clips have no file" in text
    assert [clip.video_path for clip in read_manifest(tmp_path / "m.csv")] == ["tar://k.mp4::in/a.tar"]
