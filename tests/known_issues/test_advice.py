"""What an error says is true, and what it advises can be typed."""

from __future__ import annotations

import ast
import json
import re
import shutil
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

import avprep.cli
from avprep.dataset import Dataset
from avprep.shared import configs, store
from avprep.shared.errors import BusyError, UserError
from avtrain.cli import main
from avtrain.runs import checkpoint
from tests.conftest import REPOSITORY
from tests.known_issues.command_lines import commands
from tests.source import tree_of
from tests.train.forge import Forged, forge_dataset, write_labels

OTHERS = {"--nproc-per-node"}  # torchrun's
RAISING = {"UserError", "ManifestError", "BusyError", "UsageError", "BadParameter", "Interrupted", "check", "Wanted"}
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
TINY = ("--model-size=tiny", "--device=cpu", "--threads=1")


@cache
def options_of() -> dict[str, set[str]]:
    """The long options of each command, by the words that call it."""
    return {
        name: {opt for param in command.params for opt in (*param.opts, *param.secondary_opts) if opt[:2] == "--"}
        | {"--help"}
        for name, command in commands()
    }


@cache
def sentences() -> list[tuple[Path, str, str]]:
    """(file, name of the function around it, text) of every text that goes into an error for the user."""
    found = []
    for package in ("avprep", "avtrain"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            tree = tree_of(path)
            around = {
                id(node): function.name
                for function in ast.walk(tree)
                if isinstance(function, ast.FunctionDef)
                for node in ast.walk(function)
            }
            for call in ast.walk(tree):
                if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] in RAISING:
                    words = [
                        node.value
                        for argument in (*call.args, *(keyword.value for keyword in call.keywords))
                        for node in ast.walk(argument)
                        if isinstance(node, ast.Constant) and isinstance(node.value, str)
                    ]
                    found.append((path, around.get(id(call), ""), "".join(words)))
    return found


@pytest.mark.slow
def test_every_option_that_an_error_names_exists():
    known = set().union(*options_of().values()) | OTHERS
    texts = sentences()
    assert len(texts) > 200
    wrong = [(path.name, option) for path, _, text in texts for option in OPTION.findall(text) if option not in known]
    assert wrong == []


def test_every_command_that_an_error_names_exists_and_has_the_options_beside_it():
    options = options_of()
    named = 0
    for path, _, text in sentences():
        for quoted in re.findall(r"'(av(?:prep|train) [^']*)'", text):
            words = quoted.split()
            name = next((" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in options), None)
            assert name is not None or "{" in quoted or quoted.strip() in ("avprep manifest",), (path.name, quoted)
            named += 1
            if name is not None:
                assert set(OPTION.findall(quoted)) <= options[name], (path.name, quoted)
    assert named > 20


def test_a_command_advises_options_of_its_own():
    """Errors in the function of a command; elsewhere a module serves several."""
    functions = {
        (Path(command.callback.__code__.co_filename).resolve(), command.callback.__name__): name
        for name, command in commands()
        if command.callback is not None
    }
    options, seen = options_of(), 0
    for path, function, text in sentences():
        name = functions.get((path.resolve(), function))
        if name is not None:
            seen += 1
            assert set(OPTION.findall(text)) <= options[name], (name, text)
    assert seen >= 5


@pytest.mark.parametrize(
    "line",
    [
        "avprep build-shards mine.csv --out new",
        "avprep build-shards gone.csv --out new",
        "avtrain evaluate data --labels heard --protocol knn --out new",
        "avtrain evaluate data --audible single --out new",
        "avtrain evaluate data --protocol finetune --out new",
        "avtrain plan data --labels nothing",
        "avtrain embed clip.wav --run data --out new.parquet",
    ],
)
def test_what_a_refused_call_advises_can_be_typed(data, line, monkeypatch):
    """Outside the words of another command in quotes, options are those of the command that was called."""
    monkeypatch.chdir(data.parent)
    (data.parent / "mine.csv").write_text("filename,category\na.wav,x\n")
    add_multi(data, "heard")
    write_labels(data, "single", {"c0": 0}, ["a"])
    package, *words = line.split()
    done = CliRunner().invoke({"avprep": avprep.cli.main, "avtrain": main}[package], words)
    assert done.exit_code == 2, done.output
    own = options_of()[f"{package} {words[0]}"]
    assert set(OPTION.findall(re.sub(r"'av[^']*'", "", done.output))) <= own
    for quoted in re.findall(r"'(av[^']*)'", done.output):
        name = next(" ".join(quoted.split()[:n]) for n in (3, 2) if " ".join(quoted.split()[:n]) in options_of())
        assert set(OPTION.findall(quoted)) <= options_of()[name]


@pytest.fixture
def data(tmp_path) -> Path:
    clips = [Forged("ab"[row % 2], split) for row in range(8) for split in ("train", "test")]
    return forge_dataset(tmp_path / "data", clips, frame_size=32, mel_bands=32)


def add_multi(data: Path, name: str) -> None:
    (data.parent / "heard.csv").write_text("clip_id,label\n" + "".join(f"c{row},a;b\n" for row in range(16)))
    from avprep.labels.multi_label import add_label_lists

    add_label_lists(Dataset(data), data.parent / "heard.csv", name)


def test_a_column_of_the_other_kind_is_called_what_it_is(data):
    add_multi(data, "heard")
    write_labels(data, "single", {"c0": 0}, ["a"])
    dataset = Dataset(data)
    with pytest.raises(UserError, match=r"single.parquet holds one label a clip; .*'avprep add-labels --multi' writes"):
        dataset.label_lists("single")
    with pytest.raises(UserError, match=r"has no label column 'x'; it has label, heard, single\.$"):
        dataset.labels("x")
    with pytest.raises(UserError, match=r"has no multi-label column 'label'; it has heard\.$"):
        dataset.label_lists("label")
    (data / "labels" / "heard.parquet").unlink()
    with pytest.raises(
        UserError, match=r"has no multi-label column 'label'; 'avprep add-labels --multi' writes one\.$"
    ):
        dataset.label_lists("label")


@pytest.fixture
def run(data) -> Path:
    folder = data.parent / "run"
    train(data, folder)
    return folder


def train(data: Path, folder: Path) -> None:
    words = ["pretrain", str(data), "--run", str(folder), *TINY, "--batch-size=4", "--max-steps=2", "--epochs=2"]
    done = CliRunner().invoke(main, [*words, "--checkpoint-every-steps=1"])
    assert done.exit_code == 0, done.output


def evaluate(data: Path, *words: object):
    fixed = ["evaluate", str(data), "--epochs=1", "--device=cpu", "--threads=1"]
    return CliRunner().invoke(main, [*fixed, *map(str, words)])


def test_a_checkpoint_is_measured_as_its_run_is(data, run):
    """It `holds no checkpoint`, said evaluate, where embed and --init-from take it."""
    first, last = checkpoint.checkpoints(run)
    done = evaluate(data, "--run", first)
    assert done.exit_code == 0, done.output
    result = json.loads((run / "eval" / f"data-linear-s0-{first.name}" / "result.json").read_text())
    assert (result["run"], result["step"]) == ("run", 1)
    assert evaluate(data, "--run", run).exit_code == 0
    assert json.loads((run / "eval" / "data-linear-s0" / "result.json").read_text())["step"] == 2
    best = evaluate(data, "--run", last, "--checkpoint", "best")
    assert best.exit_code == 2
    assert f"{last.name} is one checkpoint; give its run to have the best, or leave --checkpoint out." in best.output
    assert [path.name for path in last.iterdir() if path.name == "eval"] == []


def test_an_evaluation_that_was_interrupted_does_not_block_the_next(data, run):
    out = run / "eval" / "mine"
    assert evaluate(data, "--run", run, "--out", out).exit_code == 0
    (out / "result.json").unlink()  # as where the process was ended before
    other = evaluate(data, "--run", run, "--out", out, "--seed", "1")
    assert other.exit_code == 0, other.output
    assert json.loads((out / "config.json").read_text())["config"]["seed"] == 1
    finished = evaluate(data, "--run", run, "--out", out)
    assert "mine holds an evaluation of other settings" in finished.output
    assert finished.exit_code == 2


def test_an_evaluation_at_work_is_not_taken_for_an_interrupted_one(tmp_path):
    path = tmp_path / "out" / "config.json"
    with configs.held(path, {"seed": 0}, "evaluation", "result.json"):
        with (
            pytest.raises(BusyError, match="Another process is making the evaluation in"),
            configs.held(path, {"seed": 1}, "evaluation", "result.json"),
        ):
            pass
        assert store.read_json(path) == {"seed": 0}


def test_a_damaged_shard_at_a_url_is_not_for_verify_on_this_machine():
    from avprep.dataset import repair
    from avprep.shared.remote import RemotePath

    assert repair(Path("data")) == "'avprep verify' prints how to repair it"
    assert repair(RemotePath("memory://bucket/data")) == "copy it there again"


def test_the_folder_of_what_an_error_speaks_of_is_not_left_behind(data, run, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    done = evaluate(data, "--run", run, "--out", foreign)
    assert "foreign is not empty and holds no evaluation; choose another folder." in done.output
    assert [path.name for path in foreign.iterdir()] == ["notes.txt"]
    shutil.rmtree(foreign)
