"""Clips in rows of Parquet files: listed, read by row group, the same dataset as from files; damage of either kind."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import avprep
from avprep.build.fetch import copied, holds
from avprep.build.run import build_shards
from avprep.config import Limits
from avprep.errors import ClipError, UserError
from avprep.manifest.read_write import read_manifest, write_manifest
from avprep.shared import parquet_rows
from avprep.shared.urls import split_address
from tests.prep.test_archives import SMALL, SOUNDS, VIDEOS, contents, run, write_tar, write_zip
from tests.train.servers import bucket_serving, serving

MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LABELS = {"label": {"names": ["bunny", "film"], "_type": "ClassLabel"}}


def write_parquet(
    path: Path, columns: dict[str, tuple[pa.DataType, list]], features: dict | None = None, rows: int = 3
) -> Path:
    """A file of such columns as `datasets` writes it, `rows` a row group."""
    table = pa.table({name: pa.array(values, kind) for name, (kind, values) in columns.items()})
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=rows)
    return path


def media(folder: Path, names: tuple[str, ...]) -> tuple[pa.DataType, list]:
    return MEDIA, [{"bytes": (folder / name).read_bytes(), "path": name} for name in names]


@pytest.mark.slow
def test_clips_in_files_tars_zips_and_parquet_here_and_at_urls_make_one_dataset(videos, sounds, tmp_path):
    """But for the names of the sources."""
    base = tmp_path
    for name in (*VIDEOS, *SOUNDS):
        (base / name).write_bytes(((videos if name in VIDEOS else sounds) / name).read_bytes())
    labels = [row % 2 for row in range(5)]
    pictures = write_parquet(
        base / "v.parquet", {"video": media(videos, VIDEOS), "label": (pa.int64(), labels)}, LABELS, rows=2
    )
    heard = write_parquet(base / "a.parquet", {"audio": media(sounds, SOUNDS), "label": (pa.int64(), labels)}, LABELS)
    avprep.manifest_of_archives([pictures, str(heard)], base / "parquet.csv")
    rows = read_manifest(base / "parquet.csv")
    assert [clip.label for clip in rows] == ["bunny", "film", "bunny", "film", "bunny"] * 2
    assert rows[1].clip_id == "v/bbb_mpeg1_mp2"
    assert rows[1].video_path == "parquet://video/1.mpg::v.parquet"
    assert rows[7].audio_path == "parquet://audio/2.ogg::a.parquet"
    write_tar(base / "c.tar", {name: (base / name).read_bytes() for name in (*VIDEOS, *SOUNDS)})
    write_zip(base / "c.zip", {name: (base / name).read_bytes() for name in (*VIDEOS, *SOUNDS)})
    mixed, plain = [], []
    with bucket_serving("bucket") as bucket, serving(base) as server:
        forms = (
            "tar://{}::c.tar",
            "zip://{}::c.zip",
            "",
            "s3://bucket/{}",
            "s3://bucket/",
            "zip://{}::s3://bucket/c.zip",
            f"tar://{{}}::{server.url}/c.tar",
            f"zip://{{}}::{server.url}/c.zip",
            "tar://{}::s3://bucket/c.tar",
        )  # the names of files alone: rows
        for name in (*VIDEOS, *SOUNDS, "v.parquet", "a.parquet", "c.tar", "c.zip"):
            bucket.put(base / name, name)
        for row, (clip, name) in enumerate(zip(rows, (*VIDEOS, *SOUNDS), strict=True)):
            kind, member, file = split_address(clip.video_path or clip.audio_path)
            form = forms[row % len(forms)]
            written = form.format(name) if "{}" in form else f"{kind}://{member}::{form}{file}"
            field = "video_path" if clip.video_path else "audio_path"
            mixed.append(dataclasses.replace(clip, group="", **{field: written}))
            plain.append(dataclasses.replace(clip, group="", **{field: name}))
        for title, clips in (("mixed", mixed), ("plain", plain)):
            write_manifest(base / f"{title}.csv", clips)
            build_shards(base / f"{title}.csv", base / "data" / title, SMALL, Limits(), workers=1)
    ours = contents(base / "data" / "mixed")
    assert len(ours) == 5 * 3 + 5 * 2
    assert ours == contents(base / "data" / "plain")


def test_rows_by_their_numbers(tmp_path):
    """Of row groups that are kept and of those that are too large for that, in any order; what is not there."""
    items = [bytes([row]) * (100 + row) for row in range(20)]
    values = [{"bytes": None if row == 7 else item, "path": f"{row}.ogg"} for row, item in enumerate(items)]
    columns = {"audio": (MEDIA, values), "raw": (pa.large_binary(), items), "n": (pa.int32(), [*range(20)])}
    path = write_parquet(tmp_path / "x.parquet", columns, rows=6)
    for most in (1 << 20, 800, 0):  # all kept, one kept, none
        parquet_rows._columns.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parquet_rows, "KEPT_BYTES", most)
            for row in (19, 0, 6, 5, 18, 1, 11):
                assert bytes(parquet_rows.data_of(path, f"audio/{row}.ogg")) == items[row]
                assert bytes(parquet_rows.data_of(path, f"raw/{row}")) == items[row]
            assert sum(column.nbytes for column in parquet_rows._columns.values()) <= most
    assert holds(path, "parquet", "audio/19.mp4")
    for member in ("audio/20", "audio/-1", "audio/x", "audio", "n/1", "gone/1", "audio/²"):
        assert not holds(path, "parquet", member), member
    for written, why in (
        ("parquet://audio/7.ogg::x.parquet", "missing: the row has no bytes"),
        ("parquet://audio/99.ogg::x.parquet", "missing: the archive has no such member"),
        ("parquet://audio/1.ogg::gone.parquet", "missing: the archive is not there"),
    ):
        with pytest.raises(ClipError, match=why):
            copied(str(tmp_path), written, tmp_path / "copy", Limits())
    with pytest.raises(ClipError, match="too-large: 119 bytes"):
        copied(str(tmp_path), "parquet://raw/19::x.parquet", tmp_path / "copy", Limits(max_file_bytes=118))
    path.write_bytes(write_parquet(tmp_path / "y.parquet", {"raw": (pa.binary(), [b"anew"])}).read_bytes())
    assert bytes(parquet_rows.data_of(path, "raw/0")) == b"anew"


def test_damage_of_a_row_group_and_of_the_file(tmp_path):
    values = [{"bytes": b"%d" % row * 5000, "path": f"{row}.ogg"} for row in range(4)]
    path = write_parquet(tmp_path / "x.parquet", {"audio": (MEDIA, values)}, rows=2)
    raw = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(1).column(0)
    begin = column.dictionary_page_offset or column.data_page_offset
    raw[begin : begin + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(raw)
    with pytest.raises(ClipError, match="damaged: "):
        copied(str(tmp_path), "parquet://audio/3.ogg::x.parquet", tmp_path / "copy", Limits())
    assert copied(str(tmp_path), "parquet://audio/1.ogg::x.parquet", tmp_path / "copy", Limits()).stat().st_size == 5000
    for data in (b"", b"no parquet at all", bytes(raw[: len(raw) // 2])):
        (tmp_path / "cut.parquet").write_bytes(data)
        with pytest.raises(UserError, match=r"cut.parquet is no Parquet file, cut off or damaged"):
            copied(str(tmp_path), "parquet://audio/1::cut.parquet", tmp_path / "copy", Limits())


def test_what_rows_say_of_their_clips(tmp_path):
    video = [{"bytes": b"x", "path": f"clips/{name}.mp4"} for name in "abcd"]
    columns = {
        "clip": (MEDIA, video),
        "still": (MEDIA, [{"bytes": b"x", "path": "p.jpg"}] * 4),
        "audio": (pa.binary(), [b"x"] * 4),
        "label": (pa.int64(), [1, 0, -1, None]),
        "tags": (pa.list_(pa.int64()), [[0, 1], [1], [0], [0]]),
        "part": (pa.string(), ["dev", "test", "train", "train"]),
        "who": (pa.int64(), [7, 7, 8, 9]),
    }
    features = LABELS | {"tags": {"feature": LABELS["label"], "_type": "List"}, "still": {"_type": "Image"}}
    path = write_parquet(tmp_path / "x.parquet", columns, features)

    def listed(*options: str, status: int = 0) -> str:
        return run("manifest", "archive", path, "--out", tmp_path / "m.csv", *options, status=status)

    assert "2 clips have no label and were left out, such as x/c" in listed("--split", "part", "--group", "who")
    one, two = read_manifest(tmp_path / "m.csv")
    assert (one.clip_id, one.label, one.split, one.group) == ("x/a", "film", "val", "7")
    assert (one.video_path, one.audio_path) == ("parquet://clip/0.mp4::x.parquet", "parquet://audio/0::x.parquet")
    assert (two.label, two.split) == ("bunny", "test")
    listed("--label", "tags")
    assert [clip.labels for clip in read_manifest(tmp_path / "m.csv")] == ["bunny;film", "", "", ""]
    text = listed("--label", "kind", status=2)
    assert "has no column 'kind' of text or numbers" in text
    assert "one of: label, tags, part, who" in text
    assert "nor its name begins with train" in listed("--split", "archive", status=2)


def test_files_of_rows_that_are_refused(tmp_path):
    label = {"label": (pa.string(), ["a"])}
    one = {"bytes": b"x", "path": "a.mp4"}
    cases = {
        "none": (label, None, "has no column of bytes"),
        "images": (label | {"image": (MEDIA, [{"bytes": b"x", "path": "a.png"}])}, None, "has no column of media"),
        "two": (label | {"v": (MEDIA, [one]), "w": (MEDIA, [one])}, None, "several columns of one kind of media"),
        "odd": (label | {"../v": (MEDIA, [one])}, None, "has no column of media whose name is plain text"),
        "class": ({"v": (MEDIA, [one]), "label": (pa.int64(), [2])}, LABELS, "has the class 2, of 2 names"),
    }
    for name, (columns, features, words) in cases.items():
        path = write_parquet(tmp_path / f"{name}.parquet", columns, features)
        text = run("manifest", "archive", path, "--out", tmp_path / "m.csv", status=2)
        assert words in " ".join(text.split()), text
    (tmp_path / "text.parquet").write_text("text")
    text = run("manifest", "archive", tmp_path / "text.parquet", "--out", tmp_path / "m.csv", status=2)
    assert "text.parquet is no Parquet file" in text
