"""An output is never an input, and replaces no file that its command did not write: one mechanism for every command."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import avprep.cli
import avtrain.cli
from avprep.datasets.registry import ADAPTERS
from avprep.shared import html
from avprep.shared.outputs import Output
from tests.known_issues.command_lines import commands
from tests.train.forge import Forged, forge_dataset

OUTPUTS = {
    "avprep manifest archive": {"out"},
    "avprep manifest folder": {"out"},
    **{f"avprep manifest {name}": {"out"} for name in ADAPTERS},
    "avprep manifest table": {"out"},
    "avprep demo": {"out_dir"},
    "avprep build-shards": {"out"},
    "avprep merge": {"out"},
    "avprep preview": {"out"},
    "avprep duplicates": {"out", "page", "surplus"},
    "avprep select": {"others"},
    "avtrain pretrain": {"run", "cache"},
    "avtrain import-released": {"run"},
    "avtrain evaluate": {"out"},
    "avtrain report": {"out"},
    "avtrain errors": {"out"},
    "avtrain embed": {"out"},
    "avtrain export": {"out"},
    "avtrain neighbours": {"out"},
    "avtrain demo": {"out"},
    "avtrain reproduce av-digits": {"out"},
    "avtrain reproduce grid": {"out"},
    "avtrain reproduce table1": {"out"},
    "avtrain reproduce table2": {"out"},
    "avtrain bench": {"cache"},
    "avtrain benchmark": {"out"},
}
CHANGING = ("finalize", "pseudo-label", "add-labels", "add-noise", "exclude", "quality", "append", "relabel", "split")
IN_PLACE = {f"avprep {name}" for name in (*CHANGING, "card")} | {
    f"avtrain {name}" for name in ("average", "clean-labels", "propagate-labels", "hide-labels", "cluster")
}
UPLOADING = {"avprep publish"}
PRINTING = {f"avprep {name}" for name in ("verify", "inspect", "doctor", "completion")} | {
    f"avtrain {name}" for name in ("plan", "compare", "doctor", "completion")
}
MEANT_FOR_WRITING = {"out", "out_dir", "cache", "run_dir", "output", "report"}


def test_every_output_of_every_command_goes_through_the_mechanism():
    """A new command stands in one of the lists above before this passes; a new --out has the type Output."""
    found = {}
    for name, command in commands():
        outputs = {str(param.name) for param in command.params if isinstance(param.type, Output)}
        if outputs:
            found[name] = outputs
        else:
            assert name in IN_PLACE | UPLOADING | PRINTING, name
        left = {str(param.name) for param in command.params} & MEANT_FOR_WRITING
        assert left <= outputs, (name, left - outputs)
        is_file = any(isinstance(param.type, Output) and param.type.suffixes for param in command.params)
        replaces = is_file or name == "avprep card"  # whose two files have names of their own
        assert replaces == any("--overwrite" in param.opts for param in command.params), name
    assert found == OUTPUTS


def test_every_path_of_every_command_has_a_type_that_the_mechanism_knows():
    """An input of another type would not be seen as one."""
    for name, command in commands():
        for param in command.params:
            metavar = param.metavar or ""
            looks_like_a_path = metavar.strip("[].").split(".")[0] in ("DIR", "FILE", "FOLDER", "OUT", "RUN", "PATH")
            is_several_words = metavar == "RUN..."  # of compare, which writes nothing
            if looks_like_a_path and not is_several_words:
                assert isinstance(param.type, click.Path), (name, param.name)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The working directory, with a table of sound files, their folder and a dataset."""
    for number, name in enumerate("abcd"):
        path = tmp_path / "clips" / "xy"[number % 2] / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    rows = "".join(f"{name},{'xy'[n % 2]},clips/{'xy'[n % 2]}/{name}.wav,mine\n" for n, name in enumerate("abcd"))
    (tmp_path / "my.csv").write_text("clip_id,label,audio_path,remark\n" + rows)
    forge_dataset(tmp_path / "data", [Forged("ab"[row % 2], split) for row in range(4) for split in ("train", "test")])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def state(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refused(line: str) -> str:
    """The one line in which a command refuses; whatever lies around is as it was."""
    before = state(Path.cwd())
    package, *words = line.split()
    done = CliRunner().invoke({"avprep": avprep.cli.main, "avtrain": avtrain.cli.main}[package], words)
    assert done.exit_code == 2, (done.output, done.exception)
    assert done.output.startswith("error: ")
    assert done.output.count("\n") == 1, done.output
    assert state(Path.cwd()) == before
    return done.output


def done(line: str) -> str:
    package, *words = line.split()
    ended = CliRunner().invoke({"avprep": avprep.cli.main, "avtrain": avtrain.cli.main}[package], words)
    assert ended.exit_code == 0, (ended.output, ended.exception)
    return ended.output


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("avprep manifest table my.csv --out my.csv --overwrite", "my.csv is what the command reads (FILE)"),
        ("avprep manifest table my.csv --out link.csv --overwrite", "link.csv is what the command reads (FILE)"),
        ("avprep manifest table my.csv --out sub/../my.csv", "is what the command reads (FILE)"),
        ("avprep manifest table s3://b/m.csv --out s3://b/m.csv", "s3://b/m.csv is what the command reads (FILE)"),
        ("avprep manifest vggsound --root . --metadata my.csv --out my.csv", "is what the command reads (--metadata)"),
        ("avprep manifest vggsound --root . --metadata l --exclude my.csv --out my.csv", "command reads (--exclude)"),
        ("avprep build-shards my.csv --out clips --root clips", "clips is what the command reads (--root)"),
        ("avprep demo clips --kind av-digits --root clips", "clips is what the command reads (--root)"),
        ("avtrain embed my.parquet --run r --out my.parquet --overwrite", "my.parquet is what the command reads"),
        ("avtrain embed data x.failures.jsonl --run r --out x.parquet", "x.failures.jsonl is what the command reads"),
        ("avtrain export --run data --out data", "data is what the command reads (--run)"),
        ("avtrain pretrain data --run data", "data is what the command reads (DIR); choose another --run."),
        ("avtrain pretrain s3://b/d --run s3://b/d/", "s3://b/d/ is what the command reads (DIR)"),
        ("avtrain pretrain data --init-from clips --run clips", "clips is what the command reads (--init-from)"),
        ("avtrain pretrain s3://b/d --run new --cache new", "new is given twice, as"),
        ("avtrain evaluate data --run clips --out clips", "clips is what the command reads (--run)"),
        ("avtrain reproduce av-digits clips --fsdd clips", "clips is what the command reads (--fsdd)"),
        ("avtrain reproduce grid clips --root clips", "clips is what the command reads (--root)"),
        ("avtrain reproduce table1 --tau clips --out clips", "clips is what the command reads (--tau)"),
    ],
)
def test_what_is_read_is_not_written(root, line, sentence):
    (root / "link.csv").symlink_to("my.csv")
    (root / "sub").mkdir()
    (root / "x.failures.jsonl").write_text("{}\n")
    assert sentence in refused(line)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("avprep preview data --out clip.mp4", "clip.mp4 must end in .html or .htm, by which its format is known."),
        ("avtrain report data --out page.pdf", "page.pdf must end in .html or .htm"),
        ("avtrain embed clips --run r --out clip.mp4", "clip.mp4 must end in .parquet"),
        ("avtrain embed clips --run r --out vectors.csv", "vectors.csv must end in .parquet"),
        ("avprep manifest folder --root clips --out clips.txt", "clips.txt must end in .csv or .jsonl or .parquet"),
        ("avprep manifest folder --root clips --out s3://b/clips", "s3://b/clips must end in .csv"),
        (
            "avtrain export --run r --out encoder.onnx",
            "encoder.onnx is named like a file, and the command",
        ),
        ("avprep build-shards my.csv --out my.parquet", "my.parquet is named like a file"),
        ("avprep preview data --out s3://b/page.html", "s3://b/page.html is a URL; give a path of this machine"),
        ("avtrain export --run r --out s3://b/encoder", "s3://b/encoder is a URL"),
    ],
)
def test_the_name_must_fit_what_is_written(root, line, sentence):
    (root / "clip.mp4").write_bytes(b"a film")
    assert sentence in refused(line)


FOREIGN = [
    ("avprep preview data --out notes.html", "notes.html"),
    ("avtrain report data --out notes.html", "notes.html"),
    ("avprep preview data --out report.html", "report.html"),
    ("avprep manifest folder --root clips --out my.csv", "my.csv"),
    ("avprep manifest folder --root clips --out mine.jsonl", "mine.jsonl"),
    ("avprep manifest folder --root clips --out mine.parquet", "mine.parquet"),
    ("avprep manifest folder --root clips --out new.csv", "new.report.json"),
    ("avtrain embed clips --run r --out mine.parquet", "mine.parquet"),
    ("avtrain embed clips --run r --out new.parquet", "new.failures.jsonl"),
]


@pytest.fixture
def foreign(root):
    """Files of somebody's own where outputs would go."""
    (root / "notes.html").write_text("<html>my notes</html>")
    (root / "report.html").write_text(html.page("t", "l", [], kind="report"))
    (root / "mine.jsonl").write_text('{"clip_id": "a", "video": "b.mp4"}\n')
    pq.write_table(pa.table({"clip_id": ["a"], "score": [1.0]}), root / "mine.parquet")
    (root / "new.report.json").write_text('{"my": "report"}')
    (root / "new.failures.jsonl").write_text('{"clip_id": "a"}\n')
    return root


@pytest.mark.parametrize(("line", "file"), FOREIGN)
def test_a_file_that_the_command_did_not_write_stays(foreign, line, file):
    assert f"{file} is there, and this command did not write it; choose another name or --overwrite." in refused(line)


def test_overwrite_replaces_it_but_no_part_of_an_input(foreign):
    assert "4 clips" in done("avprep manifest folder --root clips --out mine.jsonl --overwrite")
    line = "avtrain embed data --run r --out data/index.parquet --overwrite"
    assert "index.parquet is a part of what the command reads (data); choose another --out." in refused(line)
    shutil.copy("my.csv", "clips/notes.csv")
    line = "avprep manifest folder --root clips --out clips/notes.csv --overwrite"
    assert "notes.csv is a part of what the command reads (clips)" in refused(line)


def test_a_manifest_among_the_clips_is_written_again(root):
    done("avprep manifest folder --root clips --out clips/m.csv")
    assert "unchanged" in done("avprep manifest folder --root clips --out clips/m.csv")
    (root / "clips" / "x" / "e.wav").write_bytes(b"e")
    assert "unchanged" not in done("avprep manifest folder --root clips --out clips/m.csv --overwrite")


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.parquet"])
def test_the_manifest_that_a_dataset_was_built_from_is_kept(root, name):
    """Clips that came since are in a new manifest; the one before gets a name of its own."""
    line = f"avprep manifest folder --root clips --out {name}"
    assert "unchanged" not in done(line)
    written = (root / name).stat().st_mtime_ns
    assert done(line).splitlines()[0].endswith("; unchanged")
    assert (root / name).stat().st_mtime_ns == written
    for more in ("e", "f"):
        (root / "clips" / "x" / f"{more}.wav").write_bytes(more.encode())
    os.remove(root / "clips" / "y" / "b.wav")
    before = (root / name).read_bytes()
    kept = name.replace("m.", "m.1.")
    assert "2 came, 1 went" in done(line)
    assert (root / kept).read_bytes() == before
    (root / "clips" / "x" / "f.wav").unlink()
    assert f"1 went; the manifest before is kept as {name.replace('m.', 'm.2.')}" in done(line)
    assert (root / kept).read_bytes() == before
    (root / "clips" / "x" / "e.wav").unlink()
    assert "kept" not in done(f"{line} --overwrite")
    assert not (root / name.replace("m.", "m.3.")).exists()
    assert not [path.name for path in root.iterdir() if path.name.startswith(".")]


def test_an_empty_file_is_nothing_to_lose(root):
    (root / "m.csv").touch()
    assert "4 clips" in done("avprep manifest folder --root clips --out m.csv")


def test_a_folder_is_no_page(root):
    (root / "page.html").mkdir()
    assert "is a directory" in refused("avprep preview data --out page.html")


@pytest.mark.parametrize("line", ["avtrain reproduce table1 --tau clips", "avtrain export --run r"])
def test_a_folder_of_other_things_is_not_written_into(root, line):
    (root / "mine").mkdir()
    (root / "mine" / "settings.json").write_text('{"my": "settings"}')
    assert "mine" in refused(f"{line} --out mine")


def test_jobs_do_not_replace_scripts_of_other_makers(root):
    (root / "table1-slurm").mkdir()
    (root / "table1-slurm" / "submit.sh").write_text("#!/bin/sh\necho mine\n")
    line = "avtrain reproduce table1 --tau clips --out new --emit slurm"
    assert "table1-slurm is not empty and holds no jobs of this table; work in another folder." in refused(line)
    (root / "table1-slurm" / "submit.sh").unlink()
    assert done(line) == done(line)


def test_jobs_leave_the_file_that_was_edited_for_the_cluster(root):
    line = "avtrain reproduce table1 --tau /clips/tau --out /runs/new --emit k8s"
    done(line)
    edited = root / "table1-k8s" / "cluster" / "kustomization.yaml"
    edited.write_text(edited.read_text().replace("registry.example.com", "registry.my-lab.org"))
    done(line)
    assert "registry.my-lab.org" in edited.read_text()
