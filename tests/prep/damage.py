"""Ways to damage a dataset folder of three clips a shard, what verify must name then, and words it must say."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from avprep import schema
from avprep.manifest.read_write import read_manifest, write_manifest
from avprep.shared import store

LABELS = ("bell bars", "hiss triangle")
SHARD = "shards/train/0001-hiss-triangle/000001.tar"
MARKER = schema.marker_path(SHARD)
Damage = Callable[[Path], None]


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


def swap_header(change: Callable[[tarfile.TarInfo], None]) -> Damage:
    """The first member's tar header, changed, its checksum right."""

    def damage(folder: Path) -> None:
        found = member(folder, 0)
        change(found)
        data = bytearray((folder / SHARD).read_bytes())
        data[:512] = found.tobuf(format=tarfile.USTAR_FORMAT)
        (folder / SHARD).write_bytes(data)
        seal(folder)

    return damage


def later(found: tarfile.TarInfo) -> None:
    found.mtime = 1_700_000_000


def renamed(found: tarfile.TarInfo) -> None:
    found.name = f"x{found.name}"


def shorter(found: tarfile.TarInfo) -> None:
    found.size -= 1


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


def label_column(*rows: tuple[str | None, int]) -> Damage:
    """A label column of (clip id, None for one of the dataset; label) rows and one class name."""

    def damage(folder: Path) -> None:
        known = pq.read_table(folder / schema.INDEX).column("clip_id")[0].as_py()
        ids, labels = [known if name is None else name for name, _ in rows], [label for _, label in rows]
        table = pa.table({"clip_id": ids, "label": pa.array(labels, pa.int32())})
        (folder / "labels").mkdir()
        names = {schema.LABEL_NAMES_KEY: b'["a"]'}
        pq.write_table(table.replace_schema_metadata(names), folder / schema.labels_path("x"))

    return damage


def label_lists(*rows: tuple[str | None, list[str | None]]) -> Damage:
    """A multi-label column of (clip id, None for one of the dataset; names) rows."""

    def damage(folder: Path) -> None:
        known = pq.read_table(folder / schema.INDEX).column("clip_id")[0].as_py()
        columns = {"clip_id": [name or known for name, _ in rows], "labels": [names for _, names in rows]}
        (folder / "labels").mkdir()
        pq.write_table(pa.table(columns, schema.LABEL_LISTS_SCHEMA), folder / schema.labels_path("x"))

    return damage


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
    "name, digests too": (swap_header(renamed), SHARD, "at byte 0, where"),
    "size, digests too": (swap_header(shorter), SHARD, "uint8 ["),
    "tar time, digests too": (swap_header(later), SHARD, "tar header that avprep does not write"),
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
    "index rows": (swap_index, schema.INDEX, "in row 0, the done-marker has"),
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
    "plan manifest": (remanifest, schema.PLAN_MANIFEST, "its rows are not"),
    "label of a stranger": (label_column(("no such clip", 0)), "labels/x.parquet", "the manifest does not have"),
    "label beyond its names": (label_column((None, 1)), "labels/x.parquet", "beyond its 1 class names"),
    "list of a stranger": (label_lists(("no such clip", ["a"])), "labels/x.parquet", "the manifest does not have"),
    "label without a name": (label_lists((None, ["a", None])), "labels/x.parquet", "has a label without a name"),
    "two lists of a clip": (label_lists((None, ["a"]), (None, [])), "labels/x.parquet", "names a clip twice"),
    "two labels of a clip": (label_column((None, 0), (None, -1)), "labels/x.parquet", "names a clip twice"),
}
