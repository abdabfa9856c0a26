"""verify: a good dataset passes; whatever is altered, cut, lacking or foreign is named, and the exit code is 1."""

from __future__ import annotations

import json
import random
import shutil
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from avprep import schema
from avprep.build.finalize import finalize
from avprep.build.run import build_shards
from avprep.cli import main
from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec
from avprep.manifest.read_write import Clip, read_manifest, write_manifest
from avprep.shared import configs, store
from avprep.verify.dataset import verify
from tests.prep.damage import DAMAGES, LABELS, MARKER, SHARD, edit, flip, label_column, label_lists


@pytest.fixture(scope="module")
def whole(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 8 px frames, three clips a shard, in which one clip has failed."""
    out = tmp_path_factory.mktemp("verify") / "whole"
    source = Path(shutil.copytree(demo_clips.parent, out.parent / "clips"))
    manifest = source / "verify.csv"
    (source / "bad.mp4").write_bytes(b"no media at all")
    some = [clip for clip in read_manifest(demo_clips) if clip.label in LABELS]
    write_manifest(manifest, [*some, Clip("bad", "bell bars", video_path="bad.mp4", group="bad")])
    build_shards(manifest, out, config(), Limits(), workers=2)
    assert (out / SHARD).is_file()
    return out


def config() -> BuildConfig:
    return BuildConfig(video=VideoSpec(frame_size=8), shards=ShardSpec(clips_per_shard=3))


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "set"))


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, arguments)])


def test_a_good_dataset_passes(copy):
    """A label column and an empty folder do no harm."""
    label_column((None, 0))(copy)
    (copy / "shards" / "train" / "empty").mkdir()
    done = command(copy)
    assert done.exit_code == 0, done.output
    found = verify(copy, 2, quiet=True)
    assert (found.problems, found.notes) == ([], [])
    assert found.clips == 20
    assert found.bytes == sum(path.stat().st_size for path in copy.glob("shards/*/*/*.tar"))


@pytest.mark.parametrize("names", [["a", "no class"], [], None])
def test_a_good_multi_label_column_passes(copy, names):
    label_lists((None, names))(copy)
    found = verify(copy, 2, quiet=True)
    assert (found.problems, found.notes) == ([], [])


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(copy, name):
    damage, path, words = DAMAGES[name]
    damage(copy)
    done = command(copy)
    assert done.exit_code == 1, done.output
    lines = [line for line in done.stdout.splitlines() if line.startswith(f"{path}: ")]
    assert any(words in line for line in lines), done.output


@pytest.mark.slow
def test_any_flipped_bit_is_reported(copy):
    """120 random bits: 20 in tars, 100 in everything else but the reports of runs, which are no part of the data."""
    generator = random.Random(0)
    files = sorted(path for path in copy.rglob("*") if path.is_file() and path.parent.name != "reports")
    files.remove(copy / store.LOCK)  # empty
    tars = [path for path in files if path.suffix == ".tar"]
    others = [path for path in files if path.suffix != ".tar"]
    for number in range(120):
        path = generator.choice(tars if number % 6 == 0 else others)
        before = path.read_bytes()
        position, bit = generator.randrange(len(before)), generator.randrange(8)
        flip(path, position, bit)
        assert verify(copy, 1, quiet=True).problems, (path, position, bit)
        path.write_bytes(before)


def test_each_clip_is_indexed_failed_or_excluded(copy):
    """Excluded clips, a failed one among them, stand in excluded.jsonl alone; in two places, or in none, is told."""
    gone = [pq.read_table(copy / schema.INDEX).column("clip_id")[3].as_py(), "bad"]
    lines = [{"clip_id": clip_id, "reason": "asked for", "date": "2026-01-01"} for clip_id in gone]
    store.write_json_lines(copy / schema.EXCLUDED, lines)
    named = {line.split(": ")[0] for line in verify(copy, 2, quiet=True).problems}
    assert named == {schema.INDEX, schema.FAILURES, schema.DATASET}
    finalize(copy)
    found = verify(copy, 2, quiet=True)
    assert (found.problems, found.clips) == ([], 19)
    facts = json.loads(CliRunner().invoke(main, ["inspect", str(copy), "--json"]).stdout)
    assert (facts["excluded"], sum(split["clips"] for split in facts["splits"].values())) == (2, 19)
    for extra, words in ({"clip_id": "no such"}, "names no clip of"), (lines[0], "names a clip twice"):
        store.write_json_lines(copy / schema.EXCLUDED, [*lines, extra])
        problems = verify(copy, 2, quiet=True).problems
        assert any(line.startswith(f"{schema.EXCLUDED}: {words}") for line in problems), problems
    (copy / schema.EXCLUDED).unlink()
    assert {schema.INDEX, schema.FAILURES} <= {line.split(": ")[0] for line in verify(copy, 2, quiet=True).problems}


def test_all_problems_are_reported_at_once(copy):
    for name in ("bit in a picture", "missing marker", "foreign shard", "failure line lost", "label of a stranger"):
        DAMAGES[name][0](copy)
    other = "shards/test/0000-bell-bars/000000.tar"
    (copy / other).unlink()
    named = {line.split(": ")[0] for line in command(copy).stdout.splitlines()}
    assert {SHARD, MARKER, SHARD.replace("000001", "000009"), other, "labels/x.parquet"} <= named


def test_leftovers_are_notes(copy):
    (copy / SHARD).with_name(".000007.tar.tmp").write_bytes(b"half")
    done = command(copy)
    assert done.exit_code == 0
    assert "note: shards/train/0001-hiss-triangle/.000007.tar.tmp" in done.stdout


def test_no_dataset_is_a_user_error(tmp_path, copy):
    assert command(tmp_path).exit_code == 2
    (copy / schema.DATASET).unlink()
    done = command(copy)
    assert done.exit_code == 2
    assert "not finalized" in done.stderr


@pytest.fixture
def sources(whole: Path, demo_clips: Path, tmp_path: Path) -> tuple[Path, list[Clip]]:
    """A folder with the source files of one class alone, and its clips."""
    root = tmp_path / "sources"
    clips = [clip for clip in read_manifest(whole / schema.PLAN_MANIFEST) if clip.label == LABELS[1]]
    for clip in clips:
        (root / clip.video_path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(demo_clips.parent / clip.video_path, root / clip.video_path)
    return root, clips


@pytest.mark.slow
def test_decode_compares_with_the_sources(whole, sources, tmp_path):
    """Equal sources pass; an exchanged or broken one is named; those that are gone are counted."""
    root, clips = sources
    options = ["--decode", "--root", root, "--decode-per-shard", 3, "--workers", 1]
    done = command(whole, *options)
    assert done.exit_code == 0, done.output
    assert "note: 10 clips decoded again; the sources of 10 are not" in done.stdout
    one, other, broken, gone = (root / clip.video_path for clip in clips[:4])
    shutil.copy(other, one)
    broken.write_bytes(b"no media")
    gone.unlink()
    done = command(whole, *options)
    assert done.exit_code == 1
    assert f"{clips[0].clip_id} decodes to other bytes now" in done.stdout
    assert f"{clips[2].clip_id} can no longer be decoded (not-media" in done.stdout
    assert "note: 9 clips decoded again; the sources of 11 are not" in done.stdout
    assert "2 problems" in done.stdout
    nowhere = command(whole, "--decode", "--root", tmp_path)
    assert nowhere.exit_code == 2
    assert "--root" in nowhere.stderr


def test_one_clip_of_each_shard_is_decoded_again(whole, sources):
    root, _ = sources
    done = command(whole, "--decode", "--root", root, "--workers", 1)
    shards = len(list(whole.glob("shards/*/0001-*/*.tar")))
    assert f"note: {shards} clips decoded again; the sources of 10 are not" in done.stdout


def test_other_versions_make_other_bytes_a_note(copy, sources):
    """A dataset that names another numpy as its maker: bytes that differ are no fault of the sources."""
    root, clips = sources

    def change(plan: dict) -> None:
        plan["versions"]["numpy"] = "1.0"
        plan["config_digest"] = configs.digest({k: plan[k] for k in plan if k not in ("config_digest", "shards")})

    edit(copy / schema.PLAN_BUILD, change)
    digest = json.loads((copy / schema.PLAN_BUILD).read_text())["config_digest"]
    for path in copy.glob("shards/*/*/*.json"):
        edit(path, lambda marker: marker.update(config_digest=digest))
    finalize(copy)
    shutil.copy(root / clips[1].video_path, root / clips[0].video_path)
    done = command(copy, "--decode", "--root", root, "--decode-per-shard", 3, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert "note: built with other versions, so that bytes may differ: numpy: '1.0' -> " in done.stdout
    assert f"{clips[0].clip_id} decodes to other bytes now" in done.stdout


@pytest.fixture(scope="module")
def whole_jpeg(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips of one class as JPEG, two shards."""
    out = tmp_path_factory.mktemp("verify") / "jpeg"
    manifest = out.parent / "jpeg.csv"
    write_manifest(manifest, [clip for clip in read_manifest(demo_clips) if clip.label == LABELS[1]])
    video = VideoSpec(frame_size=16, frame_codec="jpeg")
    config = BuildConfig(video=video, shards=ShardSpec(clips_per_shard=6))
    build_shards(manifest, out, config, Limits(), root=demo_clips.parent, workers=2)
    return out


JPEG_SHARD = "shards/train/0000-hiss-triangle/000000.tar"
JPEG_SIZES = schema.sizes_path(JPEG_SHARD)


def overwrite_picture(folder: Path, skip: int, data: bytes) -> None:
    """Put `data` into the second picture of the shard's first clip; all digests are made to fit."""
    with tarfile.open(folder / JPEG_SHARD) as tar:
        start = tar.getmembers()[0].offset_data
    with open(folder / JPEG_SHARD, "r+b") as tar:
        tar.seek(start + int.from_bytes((folder / JPEG_SIZES).read_bytes()[128:132], "little") + skip)
        tar.write(data)
    seal_jpeg(folder)


def resize_picture(folder: Path) -> None:
    """One size is other by one; all digests are made to fit."""
    flip(folder / JPEG_SIZES, 128 + 4 * 2)
    seal_jpeg(folder)


def seal_jpeg(folder: Path) -> None:
    now = {"sha256": store.sha256(folder / JPEG_SHARD), "sizes_sha256": store.sha256(folder / JPEG_SIZES)}
    edit(folder / schema.marker_path(JPEG_SHARD), lambda marker: marker.update(now))
    edit(folder / schema.DATASET, lambda info: info["shards"][JPEG_SHARD].update(now))


JPEG_DAMAGES = {
    "bit in a size": (lambda d: flip(d / JPEG_SIZES, 140), JPEG_SIZES, "bytes were altered"),
    "bit in the sizes' header": (lambda d: flip(d / JPEG_SIZES, 12), JPEG_SIZES, "npy header"),
    "missing sizes": (lambda d: (d / JPEG_SIZES).unlink(), JPEG_SIZES, "is missing"),
    "foreign sizes": (
        lambda d: shutil.copy(d / JPEG_SIZES, d / JPEG_SIZES.replace("000000.", "000007.")),
        JPEG_SIZES.replace("000000.", "000007."),
        "foreign",
    ),
    "bit in a picture": (lambda d: flip(d / JPEG_SHARD, 900), JPEG_SHARD, "bytes were altered"),
    "size, digests too": (resize_picture, JPEG_SHARD, "frame sizes add up to"),
    "no JPEG, digests too": (lambda d: overwrite_picture(d, 0, b"no"), JPEG_SHARD, "no JPEG as picture 1"),
}


def test_a_good_jpeg_dataset_passes(whole_jpeg):
    done = command(whole_jpeg, "--decode")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", JPEG_DAMAGES)
def test_damage_of_jpeg_is_named(whole_jpeg, tmp_path, name):
    damage, path, words = JPEG_DAMAGES[name]
    copy = Path(shutil.copytree(whole_jpeg, tmp_path / "set"))
    damage(copy)
    done = command(copy)
    assert done.exit_code == 1, done.output
    assert any(line.startswith(f"{path}: ") and words in line for line in done.stdout.splitlines()), done.output


def test_decode_decodes_each_jpeg(whole_jpeg, tmp_path):
    """A picture that begins and ends as a JPEG but is none: --decode alone tells."""
    copy = Path(shutil.copytree(whole_jpeg, tmp_path / "set"))
    overwrite_picture(copy, 2, bytes(200))
    assert command(copy).exit_code == 0
    done = command(copy, "--decode")
    assert done.exit_code == 1
    assert "with a picture that cannot be decoded" in done.stdout
