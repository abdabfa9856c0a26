"""Names that come with data lead to no file outside the folder that they came with."""

from __future__ import annotations

import ast
import contextlib
import copy
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avprep import schema
from avprep.build.finalize import finalize
from avprep.dataset import Dataset
from avprep.datasets.media_folder import LocalFolder
from avprep.inspect import inspect
from avprep.manifest.addresses import check_local
from avprep.manifest.clips import Clip, Clips
from avprep.shared import mirror, names
from avprep.shared.errors import UserError
from avprep.shared.remote import RemotePath
from avprep.verify.dataset import verify
from avtrain.config import PlanConfig
from avtrain.data.plan_survey import survey
from avtrain.data.reader import Reader
from avtrain.inference.encoder import load_encoder
from avtrain.report.gather import read_run
from avtrain.runs.load import checkpoint_of, load_audio_encoder
from tests.conftest import REPOSITORY
from tests.known_issues.hostile import NAMES, VICTIM, Stage, tree
from tests.source import tree_of
from tests.train.forge import write_labels

OPENED: list[str] = []
LISTENING: list[bool] = []


def _hear(event, arguments):
    if LISTENING and (event == "open" or event.startswith(("os.", "shutil.", "glob."))):
        OPENED.extend(str(one) for one in arguments if isinstance(one, (str, bytes, Path)) and VICTIM in str(one))


sys.addaudithook(_hear)


@contextlib.contextmanager
def listening():
    """The paths with a victim in them that Python opens, lists or changes meanwhile."""
    OPENED.clear()
    LISTENING.append(True)
    try:
        yield OPENED
    finally:
        LISTENING.clear()


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with Stage(tmp_path_factory.mktemp("names")) as found:
        yield found


@pytest.mark.parametrize("case", NAMES, ids=lambda case: case.name)
def test_a_hostile_name_ends_in_a_sentence(stage, case):
    found = stage.play(case)
    assert found.refused, found


@pytest.mark.parametrize("name", ["a", "a/b.c", "shards/train/0000-a/000000.tar", "..a", "ü/%2e%2e", "#?"])
def test_a_plain_name_is_a_path_below(name):
    assert names.inside(Path("/x"), name) == Path("/x") / name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/a",
        "a/",
        "a//b",
        "a/../b",
        "./a",
        "a\\..\\b",
        "a\0b",
        "a\nb",
        "\ud800",
        "a" * 256,
        "a/" * 600,
        7,
        None,
    ],
)
def test_any_other_name_is_refused(name):
    with pytest.raises(UserError, match="which avprep never writes there"):
        names.inside(Path("/x"), name)
    with pytest.raises(UserError, match="which avprep never writes there"):
        RemotePath("http://127.0.0.1:9/x") / name


def hostile(text, place):
    """What stands in the place of a name: up, absolute, by links of its own kind."""
    kinds = (
        f"../../{VICTIM}",
        f"/tmp/{VICTIM}",
        f"shards/../../{VICTIM}.tar",
        f"a\0{VICTIM}",
        f"{text}/../../../../{VICTIM}",
    )
    return kinds[place % len(kinds)]


def spoilt(values, skipped=("versions", "environment")):
    """`values` with one text or key at a time made hostile; the first of several alike."""

    def places(value, way):
        if isinstance(value, dict):
            for name, below in value.items():
                if name not in skipped:
                    yield (*way, name), True
                    yield from places(below, (*way, name))
        elif isinstance(value, list):
            for number, below in enumerate(value[:2]):
                yield from places(below, (*way, number))
        elif isinstance(value, str):
            yield way, False

    for number, (way, is_key) in enumerate(places(values, ())):
        changed = copy.deepcopy(values)
        inner = changed
        for step in way[:-1]:
            inner = inner[step]
        if is_key:
            inner[hostile(str(way[-1]), number)] = inner.pop(way[-1])
        else:
            inner[way[-1]] = hostile(inner[way[-1]], number)
        yield "/".join(map(str, way)), changed


def read_dataset(folder):
    dataset = Dataset(folder)
    with Reader(dataset, threads=1) as reader:
        reader.read_logmel(np.arange(2), np.zeros(2, int), np.empty((2, 100, dataset.num_mel_bands), np.float16))
    survey(dataset, PlanConfig(batch_size=4, epochs=1))
    dataset.labels("other")


def read_run_folder(folder):
    load_audio_encoder(*checkpoint_of(folder))
    load_encoder(folder)
    read_run(folder, "name")


def check(folder):
    verify(folder, 1, quiet=True)


READERS = {
    schema.DATASET: ("raw", (read_dataset, check, inspect)),
    schema.PLAN_BUILD: ("raw", (inspect, check, finalize)),
    schema.marker_path("shards/train/0000-a/000000.tar"): ("raw", (inspect, check, finalize)),
    "step_00000001/meta.json": ("run", (read_run_folder,)),
    "config.json": ("run", (read_run_folder,)),
    "encoder.json": ("encoder", (load_encoder,)),
}


def all_of(readers, folder):
    """Each reader, on what it is given; that a reader refuses is well."""
    for reader in readers:
        with contextlib.suppress(UserError):
            reader(folder)


@pytest.mark.slow
@pytest.mark.parametrize("file", READERS)
def test_no_text_of_a_file_leads_anywhere(stage, file, tmp_path):
    """Every text and key in turn: none is a path that is opened, and around the folder nothing changes."""
    template, readers = READERS[file]
    folder = tmp_path / "a/b/data"
    shutil.copytree(stage.templates / template, folder)
    if template == "raw":
        write_labels(folder, "other", {"c0": 0}, ["x"])
    values = json.loads((folder / file).read_text())
    cases = list(spoilt(values))
    assert len(cases) > 5
    with listening() as opened:
        for way, changed in cases:
            (folder / file).write_text(json.dumps(changed, indent=1, sort_keys=True) + "\n")
            all_of(readers, folder)
            assert not opened, (way, opened)
    assert [path.name for path in tmp_path.rglob("*") if VICTIM in path.name] == []
    assert sorted(path.name for path in (tmp_path, tmp_path / "a", tmp_path / "a/b") for path in path.iterdir()) == [
        "a",
        "b",
        "data",
    ]


def test_no_text_of_a_table_leads_anywhere(stage, tmp_path):
    folder = tmp_path / "a/b/data"
    shutil.copytree(stage.templates / "raw", folder)
    write_labels(folder, "other", {"c0": 0}, [f"../../{VICTIM}"])
    index = pq.read_table(folder / schema.INDEX)
    with listening() as opened:
        for number, name in enumerate(("clip_id", "key", "split", "shard")):
            old = [str(one) for one in index.column(name).to_pylist()]
            new = pa.array([hostile(old[0], number + 3 * len(old)), *old[1:]])
            place = index.column_names.index(name)
            kind = index.schema.field(name).type
            changed = index.set_column(place, name, new.dictionary_encode() if pa.types.is_dictionary(kind) else new)
            pq.write_table(changed, folder / schema.INDEX)
            all_of((read_dataset, check), folder)
            assert not opened, name


def test_the_search_above_finds_a_join_that_is_not_checked(stage, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    shutil.copytree(stage.templates / "raw", folder)
    values = json.loads((folder / schema.PLAN_BUILD).read_text())
    values["shards"][0] |= {"path": f"../{VICTIM}.tar", "split": f"{VICTIM}.tar"}
    (folder / schema.PLAN_BUILD).write_text(json.dumps(values))
    (tmp_path / f"{VICTIM}.json").write_text("{}")
    monkeypatch.setattr(names, "is_plain", lambda *_: True)
    with listening() as opened:
        all_of((inspect,), folder)
        assert opened


JOINED = re.compile(
    r"shards\[|\.shard\b|\.path\b|marker_path\(|sizes_path\(|\[['\"](path|shard|file|name|source|[a-z]+_path)['\"]\]"
)


def test_names_of_data_are_joined_to_folders_by_one_function():
    """Shards, markers and what JSON calls a path or file: `folder / name` in names.py alone (RemotePath checks too)."""
    found = []
    for package in ("avprep", "avtrain"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and path.name != "names.py":
                    joined = ast.unparse(node.right)
                    if JOINED.search(joined) and "remote" not in ast.unparse(node.left):
                        found.append(f"{path.relative_to(REPOSITORY)}:{node.lineno}: {ast.unparse(node)}")
    assert found == []


def test_what_a_marker_names_is_joined_by_that_function_too():
    """An append joined the files of a marker as `staging / name`: no text in the line shows that it is one's name."""
    found = []
    for path in sorted((REPOSITORY / "avprep").rglob("*.py")):
        for function in ast.walk(tree_of(path)):
            if not isinstance(function, ast.FunctionDef) or "marked_files(" not in ast.unparse(function):
                continue
            nodes = list(ast.walk(function))
            loops = [node for node in nodes if isinstance(node, ast.For) and "marked_files(" in ast.unparse(node.iter)]
            risky = {"marker", *(ast.unparse(loop.target) for loop in loops)}
            joined = [node for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)]
            found += [f"{path.name}: {ast.unparse(node)}" for node in joined if ast.unparse(node.right) in risky]
    assert [line for line in found if "remote" not in line] == []


def test_a_link_that_a_user_laid_is_the_users_layout(stage, tmp_path):
    """DIR/shards on another disk."""
    folder = tmp_path / "data"
    shutil.copytree(stage.templates / "raw", folder)
    write_labels(folder, "other", {"c0": 0}, ["x"])
    (folder / "shards").rename(tmp_path / "elsewhere")
    (folder / "shards").symlink_to(tmp_path / "elsewhere")
    read_dataset(folder)
    finalize(folder)
    assert not [problem for problem in verify(folder, 1, quiet=True).problems if "names" in problem]


def test_verify_reports_a_shard_that_leads_out_and_does_not_read_it(stage, tmp_path):
    folder = tmp_path / "a/data"
    shutil.copytree(stage.templates / "raw", folder)
    (tmp_path / f"{VICTIM}.tar").write_bytes(b"somebody's own")
    values = json.loads((folder / schema.DATASET).read_text())
    values["shards"][f"../../{VICTIM}.tar"] = values["shards"].pop("shards/train/0000-a/000000.tar")
    (folder / schema.DATASET).write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
    before = tree(tmp_path)
    with listening() as opened:
        problems = verify(folder, 1, quiet=True).problems
    assert any(f"dataset.json names '../../{VICTIM}.tar'" in problem for problem in problems)
    assert not opened
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", [f"../{VICTIM}", f"/tmp/{VICTIM}", "a/../../b", "a//b"])
def test_a_mirror_takes_no_name_of_a_listing_that_leads_out(tmp_path, name):
    here = mirror.Mirror(RemotePath("memory://x"), tmp_path / "a/b")
    for call in (lambda: here.pull([name]), lambda: here.pull_together([name]), lambda: here.push(name)):
        with pytest.raises(UserError, match="which avprep never writes there"):
            call()
    assert list(tmp_path.iterdir()) == []


LOCAL = ["/etc/passwd", "../up.wav", "a/../../up.wav"]
BELOW = ["a.wav", "a/../b.wav", "..a.wav"]


@pytest.mark.parametrize("root", ["/data", "https://host/data"])
@pytest.mark.parametrize("path", [*LOCAL, *BELOW, "https://other/x.wav"])
def test_a_manifest_at_a_url_names_files_below_the_root_alone(root, path):
    clips = Clips([Clip("c", "x", audio_path=path)])
    check_local(clips, Path("/m.csv"), root)
    refused = path in (LOCAL if root == "/data" else LOCAL[:1])
    with pytest.raises(UserError, match="--allow-local-paths") if refused else contextlib.nullcontext():
        check_local(clips, "https://host/m.csv", root)


def test_nothing_is_ever_unpickled():
    for path in [*(REPOSITORY / "avprep").rglob("*.py"), *(REPOSITORY / "avtrain").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        for call in re.findall(r"(?:np|torch)\.load\(.*", text):
            assert "allow_pickle=False" in call or "weights_only=True" in call, (path, call)
        assert not re.search(r"^import pickle|pickle\.load", text, re.MULTILINE), path
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs" / "pages").rglob("*.md")]
    examples = re.findall(r"webdataset\.WebDataset\(.*", "".join(page.read_text(encoding="utf-8") for page in pages))
    assert examples
    assert all("only=" in example for example in examples)


def test_a_list_names_no_file_outside_the_folder_of_its_dataset(tmp_path):
    """A dataset's own csv may come from a URL; what it writes into a manifest would be opened later."""
    (tmp_path / "root/audio").mkdir(parents=True)
    for path in (f"{VICTIM}.wav", "root/audio/a.wav"):
        (tmp_path / path).write_bytes(b"sound")
    place = LocalFolder(tmp_path / "root", tmp_path)
    assert [place.holds(name) for name in ("audio/a.wav", "./audio/../audio/a.wav")] == [True, True]
    assert not any(
        place.holds(name) for name in (f"../{VICTIM}.wav", str(tmp_path / f"{VICTIM}.wav"), f"audio/../../{VICTIM}.wav")
    )
