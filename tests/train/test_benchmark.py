"""Benchmarks task by task: what has run is kept, what cannot run is named, mistakes are one sentence."""

from __future__ import annotations

import csv
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import sys
import tarfile
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.io import wavfile

from avprep.dataset import Dataset
from avprep.errors import ClipError
from avprep.shared.errors import UserError
from avtrain.adapters.benchmark import clips, jobs, run
from avtrain.adapters.benchmark.settings import Score, Settings
from avtrain.cli import main
from tests.train.forge import Forged, forge_dataset
from tests.train.test_encoder import save_run

SUITE = """
from avprep.shared.errors import UserError
from avtrain.adapters.benchmark.settings import Score
SIDES = ("audio",)
RAN = []
def known(settings):
    return ["esc50", "gtzan", "broken", "not_finite", "gone", "refused"]
def expanded(name, settings):
    return [name]
def run_task(job):
    RAN.append(job.task)
    (job.work / "scratch").write_text("x")
    print("a line of the suite")
    if job.task == "gone":
        raise ConnectionError("no esc50 (OfflineModeIsEnabled)")
    if job.task == "refused":
        raise UserError("x has no tar; lay it there.")
    if job.task == "broken":
        raise RuntimeError("no such file\\nmore")
    return Score("accuracy", float("nan") if job.task == "not_finite" else 0.75, {"k-NN": 0.5, "ap": float("nan")})
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """`soft` and `other`, runs of one dataset; `clips.csv`, a manifest of eight wavs in three splits."""
    root = tmp_path_factory.mktemp("benchmark")
    forged = [Forged("a", seconds=1.0), Forged("b", seconds=1.0)]
    dataset = Dataset(forge_dataset(root / "pets", forged, mel_bands=128, frame_size=32))
    for name in ("soft", "other"):
        save_run(root / name, dataset)
    write_clips(root)
    return root


def write_clips(root, splits=("train", "train", "val", "test")):
    rows = ["clip_id,label,split,audio_path,group"]
    for number in range(8):
        samples = 0.1 * np.random.default_rng(number).standard_normal(800 + number).astype(np.float32)
        wavfile.write(root / f"{number}.wav", 8_000, samples)
        rows.append(f"c{number},{'cat' if number < 4 else 'dog'},{splits[number % 4]},{number}.wav,g{number}")
    (root / "clips.csv").write_text("\n".join(rows))
    return root / "clips.csv"


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A suite of four tasks that stands in for X-ARES, run in this process."""
    (tmp_path / "pretended_suite.py").write_text(SUITE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pretended_suite", raising=False)
    monkeypatch.setitem(jobs.SUITES, "xares", ("pretended_suite", ("json",)))
    monkeypatch.setattr(run, "map_processes", lambda function, items, _workers, _stopping: map(function, items))
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: "1.0")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    (tmp_path / "data").mkdir()
    return importlib.import_module("pretended_suite")


def call(runs, tmp_path, *words, run_name="soft", name="xares"):
    options = ["--suite", name, "--out", tmp_path / "out", "--data", tmp_path / "data", "--device", "cpu"]
    return CliRunner().invoke(main, ["benchmark", *map(str, [runs / run_name, *options, *words])])


def test_results_grow_and_what_has_run_is_not_run_again(runs, tmp_path, suite):
    done = call(runs, tmp_path, "--tasks", "esc50")
    assert done.exit_code == 0, done.output
    assert "esc50: accuracy 0.7500" in done.stdout
    assert "a line of the suite" not in done.output
    assert (tmp_path / "out" / "logs" / "esc50.log").read_text() == "a line of the suite\n"
    assert call(runs, tmp_path, "--tasks", "esc50", "--tasks", "gtzan").exit_code == 0
    assert suite.RAN == ["esc50", "gtzan"]
    assert not list((tmp_path / "out" / "work").iterdir())
    with open(tmp_path / "out" / "results.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["task"], row["metric"], row["score"], row["further"]) for row in rows] == [
        ("esc50", "accuracy", "0.75", "k-NN 0.5"),
        ("gtzan", "accuracy", "0.75", "k-NN 0.5"),
    ]
    assert (rows[0]["run"], rows[0]["step"], rows[0]["suite"], rows[0]["version"]) == ("soft", "7", "xares", "1.0")
    page = (tmp_path / "out" / "results.html").read_text()
    assert "gtzan" in page
    assert "2 tasks of X-ARES 1.0 for soft, step 7, audio." in page


def test_a_task_that_fails_is_named_and_the_others_run(runs, tmp_path, suite):
    done = call(runs, tmp_path, "--tasks", "broken", "--tasks", "not_finite", "--tasks", "gtzan")
    assert done.exit_code == 2
    assert "gtzan: accuracy 0.7500" in done.stdout
    assert "2 of the tasks did not run, broken among them (RuntimeError: no such file; see " in done.stderr
    page = (tmp_path / "out" / "results.html").read_text()
    assert "its accuracy is nan, which is no result" in page
    assert [path.name for path in (tmp_path / "out" / "tasks").iterdir()] == ["gtzan.json"]
    assert call(runs, tmp_path, "--tasks", "broken").exit_code == 2
    assert suite.RAN == ["broken", "not_finite", "gtzan", "broken"]


def test_data_that_is_not_here_stops_no_other_task(runs, tmp_path, suite):
    names = ["--tasks", "gone", "--tasks", "refused", "--tasks", "esc50"]
    done = call(runs, tmp_path, *names)
    assert done.exit_code == 2
    assert "esc50: accuracy 0.7500" in done.stdout
    page = (tmp_path / "out" / "results.html").read_text()
    assert "OfflineModeIsEnabled); --download fetches data; see" in page
    assert "x has no tar; lay it there; see" in page
    assert "--download fetches data" not in call(runs, tmp_path, "--tasks", "gone", "--download").stderr


@pytest.mark.parametrize(("name", "what"), [("xares", "audio tars"), ("hear", "task folders")])
def test_suites_that_read_a_folder_ask_for_it(name, what, runs, tmp_path, suite, monkeypatch):
    monkeypatch.setitem(jobs.SUITES, name, ("pretended_suite", ("json",)))
    words = [runs / "soft", "--suite", name, "--tasks", "esc50", "--out", tmp_path / "out", "--device", "cpu"]
    done = CliRunner().invoke(main, ["benchmark", *map(str, words)])
    assert done.exit_code == 2
    assert f"--suite {name} reads {what}; give the folder that holds them as --data." in done.stderr


def test_a_kill_costs_the_running_task_alone(runs, tmp_path, suite, monkeypatch):
    assert call(runs, tmp_path, "--tasks", "esc50").exit_code == 0
    monkeypatch.setattr(suite, "run_task", lambda job: (job.work / "half").write_text("x") and sys.exit(9))
    assert call(runs, tmp_path, "--tasks", "esc50", "--tasks", "gtzan").exit_code != 0
    assert (tmp_path / "out" / "work" / "gtzan" / "half").exists()
    monkeypatch.setattr(suite, "run_task", lambda job: Score("accuracy", float(len(list(job.work.iterdir())))))
    done = call(runs, tmp_path, "--tasks", "esc50", "--tasks", "gtzan")
    assert "gtzan: accuracy 0.0000" in done.stdout  # its folder was empty again
    assert "esc50: accuracy 0.7500" in done.stdout


def test_another_encoder_or_version_takes_another_folder(runs, tmp_path, suite, monkeypatch):
    assert call(runs, tmp_path, "--tasks", "esc50").exit_code == 0
    done = call(runs, tmp_path, "--tasks", "gtzan", run_name="other")
    assert done.exit_code == 2
    assert "holds a benchmark of other settings" in done.stderr
    assert "run: 'soft' -> 'other'" in done.stderr
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: "1.1")
    assert "version: '1.0' -> '1.1'" in call(runs, tmp_path, "--tasks", "gtzan").stderr


def test_clips_that_changed_are_measured_again(runs, tmp_path, suite):
    manifest = write_clips(tmp_path)
    assert call(runs, tmp_path, "--tasks", manifest).exit_code == 0
    assert call(runs, tmp_path, "--tasks", manifest).exit_code == 0
    manifest.write_text(manifest.read_text().replace("cat", "cow"))
    assert call(runs, tmp_path, "--tasks", manifest).exit_code == 0
    assert [str(manifest)] * 2 == suite.RAN


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--tasks", "esc_50"), "--suite xares has no task 'esc_50'; did you mean 'esc50'?"),
        (("--tasks", "zzz"), "--suite xares has no task 'zzz'; there are esc50, gtzan, broken"),
        ((), "Give --tasks: esc50, gtzan, broken, not_finite, gone, refused."),
        (("--tasks", "esc50", "--side", "both"), "--suite xares takes sounds alone; leave --side both out."),
        (("--tasks", "esc50", "--projection"), "takes the encoder's own features; leave --projection out."),
        (("--tasks", "esc50", "--data", "nowhere"), "nowhere is no folder; give the one that holds the suite's task"),
        (("--tasks", "no_such_module:task"), "no_such_module:task cannot be imported"),
        (("--tasks", "nowhere.csv"), "nowhere.csv"),
        (("--tasks", "esc50", "--out", "setup.cfg"), "setup.cfg"),
    ],
)
def test_mistakes(words, sentence, runs, tmp_path, suite):
    done = call(runs, tmp_path, *words)
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert suite.RAN == []


def test_a_folder_that_is_no_run_and_a_suite_that_is_none(runs, tmp_path, suite):
    assert (
        "holds no checkpoint and no exported encoder"
        in call(runs, tmp_path, "--tasks", "esc50", run_name="pets").stderr
    )
    done = call(runs, tmp_path, "--tasks", "esc50", name="mtebb")
    assert done.exit_code == 2
    assert "'mtebb' is not one of 'mteb', 'xares', 'hear'" in done.stderr


@pytest.mark.parametrize(("name", "package"), [("mteb", "mteb"), ("xares", "xares"), ("hear", "heareval")])
def test_a_missing_package_is_named_with_its_extra(name, package, runs, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda one: None if one == package else find(one))
    (tmp_path / "data").mkdir()
    done = call(runs, tmp_path, "--tasks", "x", name=name)
    assert done.exit_code == 2
    assert f"--suite {name} needs {package}: pip install 'avprep-avtrain[{name}]'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_clips_of_a_manifest_keep_their_splits_and_labels(runs, tmp_path):
    own = clips.own_clips(runs / "clips.csv", validation=True)
    assert {name: len(some) for name, some in own.splits.items()} == {"train": 4, "val": 2, "test": 2}
    assert own.labels == ["cat", "dog"]
    sounds = clips.write_sounds(own, 16_000, tmp_path)
    rate_hz, samples = wavfile.read(sounds["test"][1][0])
    assert (rate_hz, samples.dtype, samples.shape, sounds["test"][1][1]) == (16_000, np.float32, (2 * 807,), 1)
    clips.as_tar(sounds["test"], tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames() == ["000000.wav", "000000.json", "000001.wav", "000001.json"]
        assert json.load(tar.extractfile("000001.json")) == {"label": 1}


def test_a_manifest_without_val_has_a_fifth_of_its_groups_held_out(tmp_path):
    manifest = write_clips(tmp_path, ("train", "train", "train", "test"))
    assert "val" not in clips.own_clips(manifest, validation=False).splits
    own = clips.own_clips(manifest, validation=True)
    assert len(own.splits["train"]) + len(own.splits["val"]) == 6
    assert {clip.label for clip in own.splits["val"]} == {"cat", "dog"}
    assert not {clip.group for clip in own.splits["val"]} & {clip.group for clip in own.splits["train"]}


@pytest.mark.parametrize(
    ("splits", "change", "sentence"),
    [
        (
            ("train", "train", "val", "val"),
            ("", ""),
            "has no clip of split test; a task needs",
        ),
        (("train", "train", "val", "test"), ("c7,dog", "c7,cow"), "has no train clip of 'cow'"),
        (("train", "train", "val", "test"), ("dog", "cat"), "has one class alone"),
    ],
)
def test_manifests_that_are_no_task(splits, change, sentence, tmp_path):
    manifest = write_clips(tmp_path, splits)
    manifest.write_text(manifest.read_text().replace(*change))
    with pytest.raises(UserError, match=sentence):
        clips.own_clips(manifest, validation=True)


def test_a_clip_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    manifest, broken = write_clips(tmp_path), ClipError("not-media", "no sound", "c3")
    monkeypatch.setattr(clips, "file_samples", lambda sounds, **_: (broken for _ in sounds))
    with pytest.raises(UserError, match=r"clips.csv: c0 cannot be used \(not-media: no sound\)"):
        clips.write_sounds(clips.own_clips(manifest, validation=True), 16_000, tmp_path / "sounds")


def test_scores_of_heareval_are_of_the_test_split_or_the_mean_over_folds():
    from avtrain.adapters.benchmark.with_hear import score_of

    one = {"test": {"test_loss": 1.5, "test_score": 0.6, "test_top1_acc": 0.6, "epoch": 3}, "hparams": {}}
    assert score_of(one, "top1_acc") == Score("top1_acc", 0.6, {"loss": 1.5, "top1_acc": 0.6})
    folds = {"fold00": {"test_score": 0.5}, "aggregated_scores": {"test_score_mean": 0.55, "test_score_std": 0.1}}
    assert score_of(folds, "top1_acc") == Score("top1_acc", 0.55, {"score_std": 0.1})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mteb", "xares", "hear"])
def test_the_real_suites_take_a_manifest(name, runs, tmp_path, monkeypatch):
    for package in jobs.SUITES[name][1]:
        pytest.importorskip(package)
    if name == "hear":
        stand_in = ModuleType("tensorflow")
        stand_in.Module = type("Module", (), {})
        monkeypatch.setitem(sys.modules, "tensorflow", stand_in)
        monkeypatch.setattr("heareval.predictions.task_predictions.PARAM_GRID", short_grid())
    monkeypatch.setattr(run, "map_processes", lambda function, items, _workers, _stopping: map(function, items))
    monkeypatch.setattr(os, "environ", os.environ.copy())
    settings = Settings(suite=name, run="")
    done = run.benchmark(runs / "soft", tmp_path / "out", [str(runs / "clips.csv")], settings)
    assert done.failures == {}
    assert 0 <= done.results[0]["score"] <= 1


def short_grid():
    """heareval's grid with two epochs."""
    from heareval.predictions.task_predictions import PARAM_GRID

    return PARAM_GRID | {"max_epochs": [2], "check_val_every_n_epoch": [1], "hidden_layers": [1], "lr": [1e-3]}
