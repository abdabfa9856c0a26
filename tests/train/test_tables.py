"""avtrain reproduce table1 and table2 in miniature: the same code with other settings, over folders as handed out."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from avprep.dataset import Dataset
from avprep.shared import configs, store
from avtrain.reproduce.tables import published
from avtrain.reproduce.tables.matrix import Matrix, Site, Step, matrix_of
from avtrain.reproduce.tables.settings import SUPERVISED, TABLES, read_settings
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from avtrain.runs.load import checkpoint_at
from tests import warm
from tests.train.roots import Roots, miniature, render_roots
from tests.train.tablemaking import refused, reproduce

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 300


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> Roots:
    return render_roots(tmp_path_factory.mktemp("roots"))


@pytest.fixture(scope="module")
def words(roots, tmp_path_factory) -> list[object]:
    """Options of table 1 at miniature, but --out."""
    config = tmp_path_factory.mktemp("config") / "table1.json"
    store.write_json(config, configs.to_dict(miniature("table1")))
    return [*roots.options, "--config", config, "--workers", 2, "--device", "cpu"]


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory) -> tuple[Path, str]:
    """(OUT of table 1 that was made without disturbance, what the command printed)."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("table1") / "out"
    return out, reproduce("table1", *words, "--out", out)


def matrix(roots: Roots, out: Path) -> Matrix:
    """The matrix that the command makes of the fixture's words."""
    folders = {"vggsound": roots.vggsound, "tau2021": roots.tau, "fsdnoisy18k": roots.fsd}
    return matrix_of(miniature("table1"), Site(roots=folders, out=out, workers=2, device="cpu"))


def table_of(out: Path, name: str = "table1") -> dict:
    return json.loads((out / f"{name}.json").read_text())


def stamps(out: Path) -> dict[str, int]:
    """When each file of data, runs and results was written."""
    folders = [out / name for name in ("manifests", "datasets", "runs", "supervised")]
    return {str(path): path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*") if path.is_file()}


def copied(out: Path, to: Path) -> Path:
    """A copy of OUT that shares its files, none of which is ever written in place."""
    return Path(shutil.copytree(out, to, copy_function=os.link))


def test_every_cell_is_made_and_shown_beside_the_published_one(whole):
    out, printed = whole
    found = table_of(out)
    assert [row["row"] for row in found["rows"]] == [*published.ACCURACY["table1"], SUPERVISED]
    page = (out / "table1.md").read_text()
    for row in found["rows"]:
        for place, figure in enumerate(row["figures"]):
            if row["row"] == SUPERVISED and place % 2:
                assert (figure["accuracy"], figure["published"], figure["seeds"]) == (None, None, [])
                continue
            low, high = figure["interval_95"]
            assert 0 <= low <= figure["accuracy"] <= high <= 1
            assert low < high
            here = f"{100 * figure['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
            there = f"{100 * figure['published']:.1f} ["
            for text in (printed, page):
                assert here in text
                assert there in text
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert len(rows) == 7 * 6 + 3
    assert {(row["dataset"], row["column"]) for row in rows if row["sampling"] == SUPERVISED} == {
        (name, SUPERVISED) for name in ("vggsound", "tau2021", "fsdnoisy18k")
    }
    soft = next(row for row in rows if (row["sampling"], row["column"]) == ("soft-positive", "finetune"))
    assert soft["published"] == "0.323"
    assert (soft["fit_clips"], soft["validation_clips"], soft["test_clips"]) == ("19", "5", "12")
    for words in ("CAV-MAE reaches 59.5 %", "31.7 %", "24 train", "12 test", "of the lists have no file"):
        assert words in printed
        assert words in page


def test_losses_are_shown_beside_the_logged_ones(whole):
    out, printed = whole
    lines = list(csv.DictReader((out / "losses.csv").read_text().splitlines()))
    assert [line["epoch"] for line in lines] == ["1", "2"] * 7
    for run, log in zip(table_of(out)["losses"], published.LOGS.values(), strict=True):
        first, last = run["epochs"]
        assert [float(line["loss"]) for line in lines if line["sampling"] == run["row"]] == [first, last]
        told = f"{first:.2f} {log.first:.2f} {last:.2f} epoch 2 {log.last:.2f} epoch 100"
        assert any(" ".join(line.split()).endswith(told) for line in printed.splitlines())


def test_each_step_was_made_in_the_settings_that_key_it(whole, roots):
    """What the commands saved is what the digests are over; runs of one seed share nothing but the data."""
    out, _ = whole
    steps = matrix(roots, out).steps
    assert [step.kind for step in steps].count("evaluate") == 45
    saved = {
        "build": lambda step: store.read_json(step.folder / "plan" / "build.json")["config"],
        "pretrain": lambda step: store.read_json(step.folder / run_folder.CONFIG)["config"],
        "evaluate": lambda step: store.read_json(step.ends_with)["config"],
    }
    for step in steps:
        assert step.is_done, step.name
        if step.kind in saved:
            wanted = dict(step.settings)
            if step.kind == "evaluate":
                wanted["weights"] = "raw"  # what `auto` is where there is no average
            assert saved[step.kind](step) == wanted, step.name
    assert len({step.digest for step in steps}) == len({step.ends_with for step in steps}) == len(steps)
    labels = {step.name: step.settings["labels"] for step in steps if step.kind == "pretrain"}
    vggsound = next(step for step in steps if step.name == "build-vggsound").folder
    for name, column in (("pretrain-pl-soft-positive-s0", "pseudo-label-"), ("pretrain-sp70-s0", "add-noise-")):
        assert labels.pop(name).startswith(column)
    assert set(labels.values()) == {"label"}
    dataset = Dataset(vggsound)
    (noise,) = [path.stem for path in (vggsound / "labels").glob("add-noise-*")]
    train = dataset.rows_of("train")
    assert (dataset.labels(noise).values[train] != dataset.label[train]).sum() == round(24 * 36 / 123)


def test_what_is_finished_is_never_made_again(whole, words):
    out, printed = whole
    before = stamps(out)
    assert reproduce("table1", *words, "--out", out) in printed
    assert stamps(out) == before


def test_a_changed_setting_makes_its_own_cells_again_and_no_others(whole, words, tmp_path):
    out = copied(whole[0], tmp_path / "out")
    settings = configs.to_dict(miniature("table1"))
    settings["fsdnoisy18k"]["columns"][1]["evaluate"]["learning_rate"] = 3e-2
    store.write_json(tmp_path / "changed.json", settings)
    before, old = stamps(out), table_of(out)
    words = [tmp_path / "changed.json" if str(word).endswith("table1.json") else word for word in words]
    reproduce("table1", *words, "--out", out)
    after, new = stamps(out), table_of(out)
    assert after.items() >= before.items()
    made = {Path(path).parent for path in set(after) - set(before)}
    assert {path.name.rpartition("-")[0] for path in made} == {
        f"{row}-fsdnoisy18k-finetune-s0"
        for row in ("random", "easy-negative", "hard-negative", "soft-positive-50", "soft-positive",
                    "pl-soft-positive", "sp70")
    }  # fmt: skip
    for row, changed in zip(old["rows"], new["rows"], strict=True):
        assert row["figures"][:5] == changed["figures"][:5]
    assert old["rows"][0]["figures"][5] != new["rows"][0]["figures"][5]


def started(words: list[object], out: Path, stream: int) -> subprocess.Popen[bytes]:
    command = [*warm.python(), "-c", "from avtrain.cli import main; main()", "reproduce", "table1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*command, *map(str, words), "--out", str(out)], stdin=stream, **quiet)


def interrupted(process: subprocess.Popen[bytes], step: Step, begun: str, number: signal.Signals) -> int:
    """The exit code after a signal, once the file `begun` of a step is there; on a busy machine a step later."""
    begin = time.monotonic()
    while not (step.folder / begun).exists():
        assert process.poll() is None
        assert time.monotonic() < begin + PATIENCE_SECONDS
        time.sleep(0.002)
    process.send_signal(number)
    return process.wait(PATIENCE_SECONDS)


def test_a_run_that_is_killed_goes_on_to_the_same_table(whole, words, roots, tmp_path):
    """While a run trains; while a classifier is fitted, and asked to stop."""
    out = copied(whole[0], tmp_path / "out")
    steps = {step.name: step for step in matrix(roots, out).steps}
    run, fitting = steps["pretrain-soft-positive-s0"], steps["evaluate-soft-positive-vggsound-linear-s0"]
    shutil.rmtree(run.folder)
    kept = stamps(out)
    for step, begun, number in (
        (run, "step_00000002/meta.json", signal.SIGKILL),
        (fitting, "config.json", signal.SIGTERM),
    ):
        with warm.all_gone() as stream:
            code = interrupted(started(words, out, stream), step, begun, number)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 75)
    reproduce("table1", *words, "--out", out)
    assert table_of(out) == table_of(whole[0])
    assert (out / "results.csv").read_bytes() == (whole[0] / "results.csv").read_bytes()
    assert stamps(out).items() >= kept.items()


def test_table_2_of_one_dataset_with_several_seeds(roots, tmp_path):
    """All of VGGSound by its own list; few labels; a mean over seeds; what is left out is said."""
    settings = configs.to_dict(miniature("table2"))
    settings["rows"] = settings["rows"][1:]
    settings["pseudo_labels"] = ["--model", "efficientnet_b0"]
    store.write_json(tmp_path / "table2.json", settings)
    out = tmp_path / "out"
    options = ["--config", tmp_path / "table2.json", "--seeds", "0,2", "--workers", 2, "--device", "cpu"]
    printed = reproduce("table2", "--vggsound", roots.vggsound, *options, "--out", out)
    found = table_of(out, "table2")
    soft, pseudo, supervised = found["rows"]
    for figure in [*soft["figures"][:3], supervised["figures"][0]]:
        one, two = figure["seeds"]
        assert (one["seed"], two["seed"]) == (0, 2)
        assert figure["accuracy"] == pytest.approx((one["accuracy"] + two["accuracy"]) / 2)
        assert figure["interval_95"][0] <= figure["accuracy"] <= figure["interval_95"][1]
    assert [figure["column"] for figure in soft["figures"][:3]] == ["linear", "finetune 5 %", "finetune"]
    fit = [figure["seeds"][0]["fit_clips"] for figure in soft["figures"][:3]]
    assert (fit[0], fit[2]) == (19, 19)
    assert fit[1] == 4  # one of each class
    assert all(figure["accuracy"] is None for figure in [*soft["figures"][3:], *pseudo["figures"]])
    assert soft["figures"][1]["published"] == 0.206
    assert found["losses"][0]["logged_first"] is None
    for words in (
        "TAU: its folder was not given",
        "FSD: its folder was not given",
        "--pseudo-weights",
        "2 of the list",
    ):
        assert words in printed
    assert "Student's 95 % interval over seeds" in printed
    runs = [checkpoint.read_meta(checkpoint_at(path))["config"]["seed"] for path in (out / "runs").iterdir()]
    assert sorted(runs) == [0, 2]


@pytest.mark.parametrize("table", TABLES)
def test_settings_are_read_back_as_they_are_written(table, tmp_path):
    path = tmp_path / "settings.json"
    store.write_json(path, configs.to_dict(miniature(table)))
    assert read_settings(path, table) == miniature(table)
    store.write_json(path, {"vggsound": {"columns": [{"name": "finetune", "evaluate": {"epochs": 3}}]}})
    (column,) = read_settings(path, table).vggsound.columns
    assert (column.evaluate.epochs, column.evaluate.protocol, column.evaluate.split) == (3, "finetune", "released")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"nonsense": 1}, "sets 'nonsense', which there is not"),
        ({"pretext": {"epoch": 1}}, "pretext sets 'epoch'"),
        ({"pretext": {"epochs": "two"}}, "epochs is 'two', where something like 100 is needed"),
        ({"pretext": 3}, "pretext is 3, where something like an object"),
        ({"rows": [{"labels": "mine"}]}, "labels must be one of label, pseudo, noise"),
        ({"rows": ["random"]}, "rows is 'random'"),
        ({"table": "table2"}, "holds no settings of table1"),
        ([], "holds no settings"),
    ],
)
def test_settings_that_cannot_be(roots, tmp_path, content, words):
    store.write_json(tmp_path / "settings.json", content)
    options = [*roots.options, "--out", tmp_path / "out", "--config", tmp_path / "settings.json"]
    assert words in refused(*options)


def test_folders_and_files_that_are_not_there(roots, tmp_path):
    out = ["--out", tmp_path / "out"]
    assert "No dataset is given" in refused(*out)
    assert "is not a folder" in refused("--vggsound", tmp_path / "none", *out)
    assert "gone.pth does not exist" in refused(*roots.options, *out, "--pseudo-weights", tmp_path / "gone.pth")
    assert "names no seeds" in refused(*roots.options, *out, "--seeds", "x")
    assert not (tmp_path / "out").exists()
    assert "vggsound.csv does not exist" in refused("--vggsound", roots.tau, *out, table="table2")
