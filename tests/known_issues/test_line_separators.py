"""Characters that Unicode counts as ends of lines, inside of ids, labels and paths: lines of data end at newlines."""

from __future__ import annotations

import ast
import json

import pytest

from avprep.build.exclude import ids_to_exclude
from avprep.dataset import Dataset
from avprep.labels.columns import labels_of_table
from avprep.manifest.read_write import Clip, read_manifest, write_manifest
from avprep.preview.content import write_preview
from avprep.shared import store
from avtrain.runs.folder import read_lines
from tests.source import expressions
from tests.train.forge import Forged, forge_dataset

SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"
ODD = f"a{SEPARATORS}b"


def test_no_data_is_split_by_splitlines():
    assert [place for place, node in expressions(ast.Attribute) if node.attr == "splitlines"] == []


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_manifests_keep_them(tmp_path, suffix):
    clips = [
        Clip(ODD, f"x{SEPARATORS}y", video_path=f"{ODD}.mp4", group="g"),
        Clip("c", "x", video_path="c", group="g"),
    ]
    write_manifest(tmp_path / f"m.{suffix}", clips)
    assert list(read_manifest(tmp_path / f"m.{suffix}")) == clips


def test_a_page_of_failures_with_such_ids(tmp_path):
    folder = forge_dataset(tmp_path / "data", [Forged("x")], mel_bands=8)
    failures = [
        {"clip_id": f"{name}-{ODD}", "path": "x", "reason": "missing", "detail": "no such file"} for name in "12"
    ]
    store.write_json_lines(folder / "failures.jsonl", failures)
    assert write_preview(folder, tmp_path / "p.html").failures == failures


def test_lists_and_tables_of_such_ids(tmp_path):
    folder = forge_dataset(tmp_path / "data", [Forged("x"), Forged("x")])
    write_manifest(folder / "plan/manifest.parquet", [Clip("c0", "x", video_path="a"), Clip(ODD, "x", video_path="b")])
    (tmp_path / "ids.txt").write_text(f"{ODD}\nc0\n", encoding="utf-8")
    assert ids_to_exclude(folder, tmp_path / "ids.txt") == [ODD, "c0"]
    for name, text in (
        ("t.csv", f"clip_id,label\n{ODD},x\nc0,u{SEPARATORS}v\n"),
        ("t.jsonl", f"{json.dumps({'clip_id': ODD, 'label': 'x'}, ensure_ascii=False)}\n"
                    f"{json.dumps({'clip_id': 'c0', 'label': f'u{SEPARATORS}v'}, ensure_ascii=False)}\n"),
    ):  # fmt: skip
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert labels_of_table(Dataset(folder), tmp_path / name).column.class_names == [f"u{SEPARATORS}v"]


def test_metrics_with_such_text(tmp_path):
    lines = [{"step": number, "note": ODD} for number in range(3)]
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(map(store.json_line, lines)) + b'{"step": 3, "no')
    assert read_lines(tmp_path) == lines
