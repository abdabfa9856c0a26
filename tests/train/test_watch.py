"""The page of runs that go on: when it is written again, when watching ends, what its curves and pairs are."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import datetime

import numpy as np
import pytest

from avprep.dataset import Dataset
from avprep.shared import configs, store
from avtrain.config import PretrainConfig
from avtrain.data import Recipe, training_table
from avtrain.data.plans import strategy_of
from avtrain.data.reader import Reader
from avtrain.report.gather import read_run
from avtrain.report.watch import watch
from avtrain.report.watch.page import speed_of
from avtrain.report.watch.pairs import Position, drawn_pairs, position_of
from tests.pages import Page
from tests.train.forge import Forged, forge_dataset
from tests.train.reports import called, evaluation, rows_of, run_folder

NOON = datetime(2030, 1, 2, 12, 34, 56)


def log_update(run, step):
    line = {"step": step, "loss": 1.5, "seconds": 100.0, "waited_seconds": 0.5, "pairs": 8}
    with open(run / "metrics.jsonl", "ab") as file:
        file.write(store.json_line(line))


def reloads(page):
    """The seconds after which a page loads itself again, without and with scripts."""
    ways = [e.attributes["content"] for e in page.all("meta") if e.attributes.get("http-equiv") == "refresh"]
    return ways, [script.text.split("}, ")[1].split(")")[0] for script in page.all("script")]


def test_the_page_is_written_when_a_run_has_changed_until_all_have_ended(tmp_path):
    runs = [run_folder(tmp_path / name, "random", 0, status=status) for name, status in (("a", ""), ("b", "done"))]
    out, seen = tmp_path / "w.html", []

    def pause(_seconds):
        seen.append(Page(out))
        if len(seen) == 6:
            log_update(runs[0], 150)
        if len(seen) == 11:
            store.write_json(runs[0] / "exit.json", {"status": "interrupted", "code": 75, "sentence": ""})

    ended = watch(runs, out, interval_seconds=1, now=lambda: NOON, pause=pause)
    assert (ended.runs, ended.unfinished, ended.pages) == (2, 0, 3)
    assert len(seen) == 15  # five looks a second
    updates = [rows_of(page.all("div", "state")[0])[1][3] for page in (*seen, Page(out))]
    assert updates == ["150"] * 10 + ["151"] * 6
    assert all(reloads(page) == (["1"], ["1000"]) for page in seen)
    last = Page(out)
    assert reloads(last) == ([], [])
    assert "As of 2030-01-02 12:34:56. Watching has ended" in last.all("p", "lead")[0].text
    titles = [chart.attributes["aria-label"] for chart in last.all("div", "chart")]
    assert titles[-2:] == ["pairs a second", "waited for data, %"]
    assert titles[:2] == ["training loss, nats", "val class recall at 1"]
    assert "needs its dataset (dddddddd), given by --data DIR" in last.root.text


def test_watching_ends_when_asked_to(tmp_path):
    run = run_folder(tmp_path / "a", "random", 0, status="")
    asked = iter([False, False, True, True])
    ended = watch([run], tmp_path / "w.html", interval_seconds=60, stopping=lambda: next(asked), pause=lambda _: None)
    assert (ended.unfinished, ended.pages) == (1, 2)
    assert reloads(Page(tmp_path / "w.html")) == ([], [])


def test_speed_is_of_each_stretch_also_over_a_restart(tmp_path):
    run_folder(tmp_path / "a", "random", 0, batch_size=16)
    lines = [
        {"step": 0, "loss": 1.0, "seconds": 2.0, "waited_seconds": 1.0, "pairs": 10},
        {"step": 1, "loss": 1.0, "seconds": 4.0, "waited_seconds": 0.0},
        {"step": 2, "loss": 1.0, "seconds": 0.5, "waited_seconds": 0.25, "pairs": 10},
    ]
    store.write_json_lines(tmp_path / "a" / "metrics.jsonl", lines)
    updates, pairs_a_second, waited = speed_of(read_run(tmp_path / "a", "a"))
    assert updates.tolist() == [1, 2, 3]
    assert pairs_a_second.tolist() == [5, 8, 20]
    assert waited.tolist() == [50, 0, 50]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A dataset of two classes, one clip shorter than its windows, and a run that has a checkpoint after batch 1."""
    root = tmp_path_factory.mktemp("begun")
    clips = [Forged("ab"[n % 2], seconds=0.4 if n == 3 else 2.0) for n in range(12)]
    folder = forge_dataset(root / "data", clips)
    config = configs.to_dict(
        PretrainConfig(strategy="soft-positive", model_size="tiny", batch_size=4, epochs=3, seed=5)
    )
    digest = Dataset(folder).digest
    store.write_json(root / "run" / "config.json", {"config": config, "dataset_digest": digest})
    store.write_json(root / "run" / "step_00000004" / "meta.json", {"loader": {"epoch": 1, "step": 1}})
    log_update(root / "run", 3)
    return root / "run", folder


def test_pairs_are_those_that_are_trained_on_next(begun):
    run, folder = read_run(begun[0], "run"), begun[1]
    assert position_of(run) == Position(1, 1)
    dataset = Dataset(folder)
    table = training_table(dataset)
    strategy = strategy_of("soft-positive", dataset, table)
    recipe = Recipe(dataset=dataset, table=table, strategy=strategy, batch_size=4, seed=5)
    lengths = set()
    with Reader(dataset) as reader:
        for step, plan in recipe.plans(1, 0):
            batch = recipe.read(reader, recipe.buffers(), plan, 1, step)
            drawn = drawn_pairs(run, dataset, Position(1, step))
            assert [[pair.audio, pair.video] for pair in drawn] == plan.tolist()
            for pair, video, flip, audio in zip(
                drawn, batch.video.numpy(), batch.flip, batch.audio.numpy(), strict=True
            ):
                wanted = video[:, :, ::-1] if flip else video
                assert np.array_equal(pair.frames, wanted[: len(pair.frames)])
                assert np.array_equal(pair.logmel, audio[: len(pair.logmel)])
                lengths |= {len(pair.frames), len(pair.logmel)}
    assert lengths == {6, 8, 41, 100}  # one clip is shorter than its windows


def test_a_run_past_its_epochs_has_pairs_of_the_last(begun, tmp_path):
    run = read_run(begun[0], "run")
    store.write_json(run.folder / "step_00000010" / "meta.json", {"loader": {"epoch": 3, "step": 0}})
    assert position_of(run) == Position(2, 0)
    (run.folder / "step_00000010" / "meta.json").write_text("{")  # being removed
    assert position_of(run) == Position(0, 0)
    (run.folder / "step_00000010" / "meta.json").unlink()


@pytest.mark.slow
def test_ctrl_c_ends_watching_and_the_page_stays(begun, tmp_path):
    run, folder = begun
    out = tmp_path / "w.html"
    command = ["report", "--watch", run, "--data", folder, "--out", out, "--interval-seconds", 1]
    code = "from avtrain.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, command)], stdout=subprocess.PIPE, text=True)
    while not out.exists():
        assert process.poll() is None
        time.sleep(0.02)
    assert reloads(Page(out)) == (["1"], ["1000"])
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate()
    assert process.returncode == 0
    assert printed.startswith("1 of 1 runs go on; ")
    page = Page(out)
    assert reloads(page) == ([], [])
    assert [picture.attributes["class"] for picture in page.all("figure")] == ["drawn"] * 4
    assert "no sound: its shard does not name the source" in page.root.text


def test_mistakes_are_one_sentence(tmp_path):
    run, out = run_folder(tmp_path / "a", "random", 0), tmp_path / "w.html"
    evaluation(tmp_path / "scratch", 0.5, 0, "supervised")
    for arguments, sentence in (
        (["--watch", tmp_path / "none"], "none does not exist; give folders that 'avtrain pretrain' wrote"),
        (["--watch", tmp_path / "scratch"], "so there is nothing to watch"),
        (["--watch", run, "--folds"], "--folds is of results, which --watch does not show"),
        ([run, "--interval-seconds", 3], "--interval-seconds is for --watch"),
        ([run, "--root", tmp_path], "--root is for --watch"),
        (["--watch", run, "--interval-seconds", 0.5], "0.5 is not in the range"),
    ):
        done = called("report", *arguments, "--out", out)
        assert done.exit_code == 2, done.output
        assert sentence in done.stderr
        assert not out.exists()
