"""Lists of ids as programs save them: byte order mark, quotes, CSV, UTF-16, comments; ids that name nothing."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from avprep.cli import main
from avprep.errors import UserError
from avprep.manifest.id_lists import read_ids
from avprep.manifest.read_write import read_manifest
from tests.train.forge import Forged, forge_dataset

A, B = "aaaaaaaaaaa", "bbbbbbbbbbb"
FORMS = {
    "plain": f"{A}\n".encode(),
    "no end of line": A.encode(),
    "byte order mark": f"\ufeff{A}\n".encode(),
    "quotes": f'"{A}"\n'.encode(),
    "ends of lines of Windows": f"{A}\r\n\r\n".encode(),
    "ends of lines of old": f"\r{A}\r".encode(),
    "blanks around": f"  {A} \t\n".encode(),
    "a comment": f"# asked for\n\n{A}\n".encode(),
    "a csv": f"{A},1\n".encode(),
    "a csv with header": f"\ufeff# x\nstart,youtube_id,why\n1,{A},\n".encode(),
    "a csv joined by cat": f'\ufeffyoutube_id,why\n\ufeffyoutube_id,why\n{A},"no, thanks"\n'.encode(),
    "a csv of Excel": f"\ufeffyoutube_id;why\r\n{A};x, y\r\n".encode(),
    "tabs": f"why\tclip_id\nx\t{A}_000001\n".encode(),
}


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(map(str, words)), catch_exceptions=False)
    return done.exit_code, done.output


@pytest.fixture
def vggsound(tmp_path: Path) -> tuple[object, ...]:
    """The command for a manifest of two clips."""
    (tmp_path / "clips").mkdir()
    for name in (f"{A}_000001.mp4", f"{B}_000002.mp4"):
        (tmp_path / "clips" / name).write_bytes(b"x")
    (tmp_path / "v.csv").write_text(f"{A},1,dog,train\n{B},2,cat,train\n")
    base = ("manifest", "vggsound", "--metadata", tmp_path / "v.csv", "--root", tmp_path / "clips")
    return (*base, "--out", tmp_path / "m.csv", "--exclude")


@pytest.mark.parametrize("form", FORMS)
def test_an_exclusion_list_of_any_form_excludes(tmp_path, vggsound, form):
    (tmp_path / "ids.csv").write_bytes(FORMS[form])
    code, said = run(*vggsound, tmp_path / "ids.csv")
    assert code == 0, said
    assert [clip.clip_id for clip in read_manifest(tmp_path / "m.csv")] == [f"{B}_000002"]
    assert "name no clip" not in said


def test_ids_that_name_nothing_are_reported(tmp_path, vggsound):
    """A spreadsheet's #NAME?, which stood for an id such as -aaaaaaaaaa, is no comment."""
    (tmp_path / "ids.txt").write_text(f"zzzzzzzzzzz\n{A}\n#NAME?,1\n")
    code, said = run(*vggsound, tmp_path / "ids.txt")
    assert code == 0
    assert "2 ids of the exclusion list name no clip of the metadata, such as zzzzzzzzzzz" in said
    assert json.loads((tmp_path / "m.report.json").read_bytes())["strangers"] == ["zzzzzzzzzzz", "#NAME?"]
    with open(tmp_path / "v.csv", "a", encoding="utf-8") as lines:
        lines.write("# a comment,x\n#NAME?,7,cat,train\n")
    assert run(*vggsound, tmp_path / "ids.txt", "--overwrite")[0] == 0
    assert "#NAME?_000007" in json.loads((tmp_path / "m.report.json").read_bytes())["excluded"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"zzzzzzzzzzz\n", "ids.txt excludes nothing of"),
        (b"\n# none\n", "ids.txt names no id"),
        (f"{A}\n".encode("utf-16"), "ids.txt is UTF-16; convert it to UTF-8, such as with: iconv -f utf-16"),
        (f"{A}\n".encode("utf-16-le"), "ids.txt is UTF-16"),
        (b"caf\xe9\n", "ids.txt is not UTF-8; convert it to UTF-8, such as with: iconv -f latin1"),
        (None, "ids.txt does not exist"),
    ],
)
def test_a_list_that_excludes_nothing_is_one_sentence(tmp_path, vggsound, content, words):
    if content is not None:
        (tmp_path / "ids.txt").write_bytes(content)
    code, said = run(*vggsound, tmp_path / "ids.txt")
    assert (code, said.count("\n")) == (2, 1), said
    assert words in said
    assert not (tmp_path / "m.csv").exists()


def test_a_line_that_is_an_id_as_it_is_is_that_id(tmp_path):
    """Ids are paths by default, with commas, quotes and '#' in them."""
    known = ("dog, loud/1.wav", '"x".wav', "#1.wav", "a;b", "clip_id", "a\u2028b", "c")
    path = tmp_path / "ids.txt"
    path.write_text("\n".join([*known[:6], '"c"', "#2.wav"]), encoding="utf-8")
    assert read_ids(path, known, ("clip_id",)) == read_ids(path, set(known), ("clip_id",))
    assert read_ids(path, known, ("clip_id",)).known == list(known)
    path.write_text('clip_id,why\n"dog, loud/1.wav",x\nc,y\n', encoding="utf-8")
    assert read_ids(path, known[:4], ("clip_id",)).known == ["dog, loud/1.wav"]
    assert read_ids(path, known[:4], ("clip_id",)).unknown == ["c"]


def test_a_list_may_be_a_pipe(tmp_path):
    """As of --ids <(grep ...)."""
    os.mkfifo(tmp_path / "ids")
    writing = threading.Thread(target=(tmp_path / "ids").write_text, args=("a\nb\n",))
    writing.start()
    assert read_ids(tmp_path / "ids", ["b"], ("clip_id",)).known == ["b"]
    writing.join()


def test_a_list_may_be_a_table(tmp_path):
    (tmp_path / "ids.jsonl").write_text('{"clip_id": 7.0, "reason": "x"}\n{"clip_id": "b"}\n')
    pq.write_table(pa.table({"clip_id": [7.0, 8.0]}), tmp_path / "ids.parquet")
    pq.write_table(pa.table({"name": [7.0]}), tmp_path / "other.parquet")
    assert read_ids(tmp_path / "ids.jsonl", ["7", "b"], ("clip_id",)).known == ["7", "b"]
    assert read_ids(tmp_path / "ids.parquet", ["7"], ("clip_id",)).unknown == ["8"]
    with pytest.raises(UserError, match=r"other.parquet has no column clip_id; it has name"):
        read_ids(tmp_path / "other.parquet", ["7"], ("clip_id",))


@pytest.mark.parametrize("form", ["byte order mark", "quotes", "a csv", "a csv with header", "ends of lines of old"])
def test_avprep_exclude_reads_the_same_forms(tmp_path, form):
    data = forge_dataset(tmp_path / "data", [Forged("x"), Forged("x")])
    (tmp_path / "ids.csv").write_bytes(FORMS[form].replace(A.encode(), b"c1").replace(b"youtube_id", b"clip_id"))
    code, said = run("exclude", data, "--ids", tmp_path / "ids.csv", "--reason", "x")
    assert (code, "1 clips excluded, 0 already were; 1 clips left" in said) == (0, True), said


def test_validation_locations_of_any_form(tmp_path):
    names = ("bus-lyon-1-1", "bus-lyon-2-2")
    for name in names:
        for path in (tmp_path / f"tau/audio/{name}.wav", tmp_path / f"tau/video/{name}.mp4"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    rows = "".join(f"audio/{name}.wav\tvideo/{name}.mp4\n" for name in names)
    (tmp_path / "train.csv").write_text(f"\ufefffilename_audio\tfilename_video\n{rows}", encoding="utf-8")
    (tmp_path / "test.csv").write_text("test_dataname\nbus-lyon-3-3.wav\n")
    base = ("manifest", "tau2021", "--root", tmp_path / "tau", "--train", tmp_path / "train.csv")
    base = (*base, "--test", tmp_path / "test.csv", "--out", tmp_path / "m.csv", "--val-locations", tmp_path / "v.txt")
    (tmp_path / "v.txt").write_text('\ufeff# of the paper\n"bus-lyon-1",x\n', encoding="utf-8")
    code, said = run(*base)
    assert code == 0, said
    assert {clip.clip_id: clip.split for clip in read_manifest(tmp_path / "m.csv")} == {
        "bus-lyon-1-1": "val", "bus-lyon-2-2": "train",
    }  # fmt: skip
    (tmp_path / "v.txt").write_text("bus-lyon-1\nbus-oslo-9\n")
    code, said = run(*base)
    assert (code, "no list has a segment of 1 id, such as 'bus-oslo-9'" in said) == (2, True), said
    (tmp_path / "train.csv").write_text(f"filename_audio\tfilename_video\n{rows}", encoding="utf-16")
    assert "train.csv is UTF-16; convert it" in run(*base)[1]
