"""verify: a good dataset passes; whatever is altered, cut, lacking or foreign is named, and the exit code is 1."""

from __future__ import annotations

import json
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from avprep import schema
from avprep.build import build_shards
from avprep.cli import main
from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec
from avprep.finalize import finalize
from avprep.manifest import Clip, read_manifest, write_manifest
from avprep.shared import configs, store
from avprep.verify import verify

LABELS = ("bell bars", "hiss triangle")
SHARD = "shards/train/0001-hiss-triangle/000001.tar"
MARKER = schema.marker_path(SHARD)
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def whole(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 8 px frames, three clips a shard, in which one clip has failed."""
    out = tmp_path_factory.mktemp("verify") / "whole"
    manifest = demo_clips.parent / "verify.csv"
    bad = demo_clips.parent / "bad.mp4"
    bad.write_bytes(b"no media at all")
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


def flip(path: Path, position: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def edit(path: Path, change: Callable[[dict], object]) -> None:
    """Change a JSON file by hand, written as avprep writes it."""
    value = json.loads(path.read_text())
    change(value)
    store.write_json(path, value)


def member(folder: Path, number: int) -> tarfile.TarInfo:
    with tarfile.open(folder / SHARD) as tar:
        return tar.getmembers()[number]


def cut_at_a_member(folder: Path) -> None:
    with open(folder / SHARD, "r+b") as tar:
        tar.truncate(member(folder, 3).offset)


def cut_and_end(folder: Path) -> None:
    """A tar that every tar reader takes as whole: cut at a member, then ended properly."""
    cut_at_a_member(folder)
    with open(folder / SHARD, "ab") as tar:
        tar.write(schema.tar_ending(tar.tell()))


def cut_with_marker(folder: Path) -> None:
    """The same, with size and digest of the marker and of dataset.json made to fit."""
    cut_and_end(folder)
    seal(folder)


def seal(folder: Path) -> None:
    """Make digest and size of the altered shard true everywhere."""
    now = {"bytes": (folder / SHARD).stat().st_size, "sha256": store.sha256(folder / SHARD)}
    edit(folder / MARKER, lambda marker: marker.update(now))
    edit(folder / schema.DATASET, lambda info: info["shards"].update({SHARD: now}))


def swap_dtype(folder: Path) -> None:
    """An npy header that says float16 of one more axis order: only the walk can tell."""
    start = member(folder, 1).offset_data
    data = bytearray((folder / SHARD).read_bytes())
    data[start : start + 128] = data[start : start + 128].replace(b"'<f2'", b"'<i2'")
    (folder / SHARD).write_bytes(data)
    seal(folder)


def swap_owner(folder: Path) -> None:
    """A tar header with a time, its checksum right."""
    found = member(folder, 0)
    found.mtime = 1_700_000_000
    data = bytearray((folder / SHARD).read_bytes())
    data[:512] = found.tobuf(format=tarfile.USTAR_FORMAT)
    (folder / SHARD).write_bytes(data)
    seal(folder)


def swap_sound(folder: Path) -> None:
    flip(folder / SHARD, member(folder, 1).offset_data + 1000, bit=1)
    seal(folder)


def swap_meta(folder: Path) -> None:
    data = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(data.replace(b'"split": "train"', b'"split": "trial"', 1))
    seal(folder)


def swap_index(folder: Path) -> None:
    """Two rows change places with their offsets; the digest is made to fit."""
    table = pq.read_table(folder / schema.INDEX)
    pq.write_table(table.take([1, 0, *range(2, table.num_rows)]), folder / schema.INDEX)
    edit(folder / schema.DATASET, lambda info: info.update(index_sha256=store.sha256(folder / schema.INDEX)))


def swap_labels(folder: Path) -> None:
    column = pa.table({"clip_id": ["no such clip"], "label": pa.array([0], pa.int32())})
    (folder / "labels").mkdir()
    pq.write_table(column.replace_schema_metadata({schema.LABEL_NAMES_KEY: b'["a"]'}), folder / schema.labels_path("x"))


def shift_label(folder: Path) -> None:
    swap_labels(folder)
    table = pq.read_table(folder / schema.labels_path("x"))
    known = pq.read_table(folder / schema.INDEX).column("clip_id")[:1]
    table = table.set_column(0, "clip_id", known).set_column(1, "label", pa.array([1], pa.int32()))
    pq.write_table(table, folder / schema.labels_path("x"))


def replan(folder: Path) -> None:
    def change(plan: dict) -> None:
        plan["config"]["video"]["frame_size"] = 16

    edit(folder / schema.PLAN_BUILD, change)


def drop_failure(folder: Path) -> None:
    """Marker and failures.jsonl forget the failed clip together."""
    for path in folder.glob("shards/*/*/*.json"):
        edit(path, lambda marker: marker.update(failures=[]))
    store.write_bytes(folder / schema.FAILURES, b"")


def remanifest(folder: Path) -> None:
    clips = read_manifest(folder / schema.PLAN_MANIFEST)
    write_manifest(folder / schema.PLAN_MANIFEST, clips[:-1])


DAMAGES: dict[str, tuple[Damage, str, str]] = {
    "bit in a picture": (lambda d: flip(d / SHARD, member(d, 0).offset_data + 200), SHARD, "bytes were altered"),
    "bit in a sound": (lambda d: flip(d / SHARD, member(d, 1).offset_data + 999), SHARD, "log-mel values"),
    "bit in the padding": (lambda d: flip(d / SHARD, member(d, 3).offset - 1), SHARD, "bytes were altered"),
    "bit in the ending": (lambda d: flip(d / SHARD, -1), SHARD, "does not end after the last clip"),
    "bit in a tar header": (lambda d: flip(d / SHARD, member(d, 3).offset + 3), SHARD, "is due"),
    "bit in an npy header": (lambda d: flip(d / SHARD, member(d, 0).offset_data + 20), SHARD, "npy header"),
    "cut at a member": (cut_at_a_member, SHARD, "ends at byte"),
    "cut and ended": (cut_and_end, SHARD, "ends its members at byte"),
    "cut, digests too": (cut_with_marker, SHARD, "ends its members at byte"),
    "dtype, digests too": (swap_dtype, SHARD, "npy header that is not of float16"),
    "tar time, digests too": (swap_owner, SHARD, "tar header that avprep does not write"),
    "sound, digests too": (swap_sound, SHARD, "log-mel values"),
    "split, digests too": (swap_meta, SHARD, "split 'trial'"),
    "longer": (lambda d: (d / SHARD).write_bytes((d / SHARD).read_bytes() + bytes(512)), SHARD, "bytes, not"),
    "missing shard": (lambda d: (d / SHARD).unlink(), SHARD, "is missing"),
    "missing marker": (lambda d: (d / MARKER).unlink(), MARKER, "is missing"),
    "foreign shard": (
        lambda d: shutil.copy(d / SHARD, d / SHARD.replace("000001", "000009")),
        SHARD.replace("000001", "000009"),
        "foreign",
    ),
    "marker offset": (
        lambda d: edit(d / MARKER, lambda m: m["clips"][1].update(logmel_offset=m["clips"][1]["logmel_offset"] + 2)),
        SHARD,
        "does not fit its marker",
    ),
    "marker sum": (
        lambda d: edit(d / MARKER, lambda m: m["logmel"]["sum"].__setitem__(5, 1.5)),
        SHARD,
        "does not fit its marker",
    ),
    "marker digest": (lambda d: edit(d / MARKER, lambda m: m.update(sha256="0" * 64)), MARKER, "does not have"),
    "marker of another build": (
        lambda d: edit(d / MARKER, lambda m: m.update(config_digest="0" * 64)),
        MARKER,
        "config_digest",
    ),
    "marker loses a clip": (lambda d: edit(d / MARKER, lambda m: m["clips"].pop()), MARKER, "other manifest rows"),
    "marker renames a clip": (
        lambda d: edit(d / MARKER, lambda m: m["clips"][0].update(clip_id="x")),
        MARKER,
        "the manifest",
    ),
    "marker in other words": (
        lambda d: (d / MARKER).write_text(json.dumps(json.loads((d / MARKER).read_text()))),
        MARKER,
        "was altered",
    ),
    "index bit": (lambda d: flip(d / schema.INDEX, 300), schema.INDEX, "another sha256"),
    "index rows": (swap_index, schema.INDEX, "in row 0, the done-marker says"),
    "dataset statistics": (
        lambda d: edit(d / schema.DATASET, lambda i: i["logmel"]["mean"].__setitem__(3, 0.0)),
        schema.DATASET,
        "logmel.mean",
    ),
    "dataset counts": (
        lambda d: edit(d / schema.DATASET, lambda i: i["counts"]["train"].update({"hiss triangle": 7})),
        schema.DATASET,
        "counts.train.hiss triangle",
    ),
    "dataset shard table": (
        lambda d: edit(d / schema.DATASET, lambda i: i["shards"].pop(SHARD)),
        schema.DATASET,
        f"shards.{SHARD}",
    ),
    "failure line lost": (lambda d: store.write_bytes(d / schema.FAILURES, b""), schema.FAILURES, "does not list"),
    "failure lost everywhere": (drop_failure, "shards/train/0000-bell-bars/000002.json", "other manifest rows"),
    "plan options": (replan, schema.PLAN_BUILD, "config_digest"),
    "plan shards": (
        lambda d: edit(d / schema.PLAN_BUILD, lambda p: p["shards"].pop()),
        schema.PLAN_BUILD,
        "other shards",
    ),
    "plan manifest": (remanifest, schema.PLAN_MANIFEST, "was altered"),
    "label of a stranger": (swap_labels, "labels/x.parquet", "the manifest does not have"),
    "label beyond its names": (shift_label, "labels/x.parquet", "beyond its 1 class names"),
}


def test_a_good_dataset_passes(whole):
    done = command(whole)
    assert done.exit_code == 0, done.output
    found = verify(whole, 2, quiet=True)
    assert (found.problems, found.notes) == ([], [])
    assert found.clips == 20
    assert found.bytes == sum(path.stat().st_size for path in whole.glob("shards/*/*/*.tar"))


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(copy, name):
    damage, path, words = DAMAGES[name]
    damage(copy)
    done = command(copy)
    assert done.exit_code == 1, done.output
    lines = [line for line in done.stdout.splitlines() if line.startswith(f"{path}: ")]
    assert any(words in line for line in lines), done.output


def test_any_flipped_bit_is_found(copy):
    """120 random bits: 20 in tars, 100 in everything else."""
    generator = random.Random(0)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    tars = [path for path in files if path.suffix == ".tar"]
    others = [path for path in files if path.suffix != ".tar"]
    for number in range(120):
        path = generator.choice(tars if number % 6 == 0 else others)
        before = path.read_bytes()
        position, bit = generator.randrange(len(before)), generator.randrange(8)
        flip(path, position, bit)
        assert verify(copy, 1, quiet=True).problems, (path, position, bit)
        path.write_bytes(before)


def test_all_problems_are_told_at_once(copy):
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


def test_decode_compares_with_the_sources(whole, sources, tmp_path):
    """Equal sources pass; an exchanged or broken one is named; those that are gone are counted."""
    root, clips = sources
    options = ["--decode", "--root", root, "--decode-per-shard", 3]
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
    done = command(copy, "--decode", "--root", root, "--decode-per-shard", 3)
    assert done.exit_code == 0, done.output
    assert "note: built with other versions, so that bytes may differ: numpy: '1.0' -> " in done.stdout
    assert f"{clips[0].clip_id} decodes to other bytes now" in done.stdout
