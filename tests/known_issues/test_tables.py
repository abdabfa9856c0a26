"""Tables as other programs write them: a header that comes again, numbers for ids, other encodings and separators."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from avprep.build.run import build_shards
from avprep.cli import main
from avprep.config import BuildConfig, Limits
from avprep.dataset import Dataset
from avprep.datasets.metadata_csv import read_rows
from avprep.errors import UserError
from avprep.labels.columns import labels_of_table
from avprep.manifest.read_write import Clip, read_manifest, write_manifest
from avtrain.data.plans import pairs_of
from avtrain.sampling import ClipTable
from tests.conftest import FIXTURES

IDS = ("1", "2", "10000000000")


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three clips whose ids are whole numbers."""
    folder = tmp_path_factory.mktemp("numbered")
    sound = str(FIXTURES / "audio" / "elec_blip.ogg")
    write_manifest(folder / "m.csv", [Clip(name, "x", audio_path=sound, end_seconds=0.2) for name in IDS])
    build_shards(folder / "m.csv", folder / "data", BuildConfig(), Limits())
    return Dataset(folder / "data")


def written(path: Path, columns: dict[str, list[object]]) -> Path:
    """A table as JSONL or Parquet, by the suffix; None is left out of JSONL."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        lines = [json.dumps({name: value for name, value in row.items() if value is not None}) for row in rows]
        path.write_text("\n".join(lines) + "\n")
    return path


# a header that comes again


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_header_that_comes_again_is_left_out_and_reported(tmp_path, caplog, mark):
    """Also of a file with a byte order mark, joined to another."""
    text = f"{mark}clip_id,label,audio_path\na,x,a.wav\n{mark}clip_id, label ,audio_path\nb,y,b.wav\n"
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    assert [(clip.clip_id, clip.label) for clip in read_manifest(tmp_path / "m.csv")] == [("a", "x"), ("b", "y")]
    assert "m.csv: line 3 repeats the header and was left out" in caplog.text


@pytest.mark.parametrize("second", ["label,clip_id,audio_path", "audio_path,label,clip_id"])
def test_a_header_of_another_order_is_an_error(tmp_path, second):
    """Else the rows below it would be read with their columns exchanged."""
    (tmp_path / "m.csv").write_text(f"clip_id,label,audio_path\na,x,a.wav\n{second}\nb,y,b.wav\n")
    with pytest.raises(UserError, match="line 3: another header"):
        read_manifest(tmp_path / "m.csv")


@pytest.mark.slow
def test_headers_in_the_middle_of_other_tables(tmp_path, numbered, caplog):
    (tmp_path / "t.csv").write_text("clip_id,label\n1,a\nclip_id,label\n2,b\n")
    assert labels_of_table(numbered, tmp_path / "t.csv").column.class_names == ["a", "b"]
    assert "line 3 repeats the header" in caplog.text
    (tmp_path / "v.csv").write_text("fname,label\n1.wav,dog\nfname,label\n2.wav,cat\n")
    assert [row["fname"] for row in read_rows(tmp_path / "v.csv", ("fname", "label"))] == ["1.wav", "2.wav"]


# numbers for ids and labels


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_whole_numbers_are_ids_and_labels_without_a_point(tmp_path, suffix):
    table = {"clip_id": [1.0, 2.0, 1e10], "label": [3.0, 4.0, 3.0], "audio_path": ["a", "b", "c"]}
    table |= {"group": [7.0, 7.0, 8.0], "start_seconds": [0.5, 1.0, 2.0]}
    clips = read_manifest(written(tmp_path / f"m.{suffix}", table))
    assert [clip.clip_id for clip in clips] == list(IDS)
    assert [(clip.label, clip.group, clip.start_seconds) for clip in clips] == [
        ("3", "7", 0.5), ("4", "7", 1.0), ("3", "8", 2.0),
    ]  # fmt: skip


def test_decimals_and_text_of_numbers(tmp_path):
    """A column of decimals is a column of numbers; text stays as it is written."""
    ids = pa.array([Decimal("1.00"), Decimal("2.00")])
    pq.write_table(pa.table({"clip_id": ids, "label": ["1.0", "01"], "audio_path": ["a", "b"]}), tmp_path / "m.parquet")
    assert [(clip.clip_id, clip.label) for clip in read_manifest(tmp_path / "m.parquet")] == [("1", "1.0"), ("2", "01")]
    (tmp_path / "m.csv").write_text("clip_id,label,audio_path\n1.0,01,a\n1,1,b\n")
    assert [(clip.clip_id, clip.label) for clip in read_manifest(tmp_path / "m.csv")] == [("1.0", "01"), ("1", "1")]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("clip_id", 1.5, "clip_id 1.5 is not a whole number; store it as text"),
        ("clip_id", float("nan"), "clip_id is NaN; store ids as text"),
        ("clip_id", float("inf"), "clip_id inf is not a whole number"),
        ("clip_id", 1e300, r"clip_id 1e\+300 is too large for a float to be exact"),
        ("label", 0.5, "label 0.5 is not a whole number"),
        ("label", float("nan"), "no label"),
        ("group", 2.5, "group 2.5 is not a whole number"),
    ],
)
def test_numbers_that_are_no_ids(tmp_path, suffix, column, value, words):
    table = {"clip_id": [1.0], "label": [1.0], "audio_path": ["a"], "group": [1.0], column: [value]}
    with pytest.raises(UserError, match=words):
        read_manifest(written(tmp_path / f"m.{suffix}", table))


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_tables_of_labels_take_the_same_numbers(tmp_path, numbered, suffix):
    table = written(tmp_path / f"t.{suffix}", {"clip_id": [1.0, 2.0, 1e10], "label": [5.0, 6.0, 5.0]})
    column = labels_of_table(numbered, table).column
    assert dict(zip(numbered.clip_ids, column.values.tolist(), strict=True)) == {"1": 0, "2": 1, "10000000000": 0}
    assert column.class_names == ["5", "6"]
    with pytest.raises(UserError, match=r"1: clip_id 1\.5 is not a whole number"):
        labels_of_table(numbered, written(tmp_path / f"u.{suffix}", {"clip_id": [1.5], "label": [5.0]}))


def test_pairs_take_the_same_numbers(tmp_path, numbered):
    table = ClipTable(np.arange(3), numbered.label)
    pairs = pairs_of(written(tmp_path / "p.parquet", {"audio": [1.0, 1e10], "video": [2, 1]}), numbered, table)
    ids = numbered.clip_ids
    assert [ids[row] for row in pairs.audio] == ["1", "10000000000"]
    assert [ids[row] for row in pairs.video] == ["2", "1"]
    with pytest.raises(UserError, match="clip ids in 'audio' that are not whole numbers"):
        pairs_of(written(tmp_path / "q.parquet", {"audio": [1.5], "video": ["1"]}), numbered, table)


# encodings, separators, advice


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_utf16_is_named_with_what_to_do(tmp_path, numbered, name, encoding):
    text = "clip_id,label,audio_path\n1,x,a.wav\n" if name == "m.csv" else '{"clip_id": "1", "label": "x"}\n'
    (tmp_path / name).write_text(text, encoding=encoding)
    words = f"{name} is UTF-16; convert it to UTF-8, such as with: iconv -f utf-16 -t utf-8 {name} > utf8-{name}"
    for read in (read_manifest, lambda path: labels_of_table(numbered, path), lambda path: read_rows(path, ("label",))):
        with pytest.raises(UserError) as caught:
            read(tmp_path / name)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (
            "video_path",
            "no column label or labels; it has video_path: add one, or have one renamed by 'avprep manifest table",
        ),
        ("label;video_path", "separate its columns by commas, not semicolons"),
        ("label\tvideo_path", "separate its columns by commas, not tabs"),
        ("label|video_path", "separate its columns by commas, not bars"),
    ],
)
def test_advice_fits_the_table(tmp_path, header, words):
    (tmp_path / "m.csv").write_text(f"{header}\na.mp4\n")
    done = CliRunner().invoke(main, ["build-shards", str(tmp_path / "m.csv"), "--out", str(tmp_path / "data")])
    assert (done.exit_code, words in done.output) == (2, True), done.output


def test_a_field_too_many_of_metadata_is_an_error(tmp_path):
    """Else a comma in a label would shift the columns behind it."""
    (tmp_path / "v.csv").write_text("fname,label,flag\n1.wav,dog, barking,1\n")
    with pytest.raises(UserError, match="line 2 has 4 fields, not 3; quote a field that holds a comma"):
        read_rows(tmp_path / "v.csv", ("fname", "label"))
