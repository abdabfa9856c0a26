"""Which runs of a report are of one kind, and what it compares."""

from __future__ import annotations

import json

import numpy as np
import pytest

from avprep.shared import store
from avtrain.evaluation.compare import p_text
from avtrain.evaluation.metrics import mean_interval
from avtrain.evaluation.significance import paired_t
from avtrain.report import write_report
from avtrain.runs.import_released import MODELS
from tests.pages import Page
from tests.train.reports import called, evaluation, forest_rows, percent, rows_of, run_folder, shown


def test_folds_are_pairs(tmp_path):
    """Two kinds on three folds, whose datasets differ: one measurement, compared fold by fold."""
    folders, scores = [], {}
    for kind, rate in (("random", 0.5), ("soft-positive", 0.7)):
        for fold in range(3):
            folder = run_folder(tmp_path / f"{kind}-{fold}", kind, 0)
            result = evaluation(folder / "eval" / "linear", rate, fold)
            store.write_json(folder / "eval" / "linear" / "result.json", result | {"dataset_digest": f"fold{fold}"})
            config = json.loads((folder / "config.json").read_text())
            store.write_json(folder / "config.json", config | {"dataset_digest": f"fold{fold}"})
            folders.append(folder)
            scores.setdefault(kind, []).append(result["accuracy"])
    write_report(folders, tmp_path / "r.html", folds=True)
    rows = forest_rows(Page(tmp_path / "r.html"), "linear, 3 folds")
    wanted = paired_t(np.array(scores["random"]), np.array(scores["soft-positive"]))
    assert list(rows) == ["random", "soft-positive"]
    assert f"p {p_text(wanted.p)}, paired t, 3 pairs" in shown(rows["soft-positive"], "span", "gap").text
    write_report(folders, tmp_path / "r.html")
    assert len(Page(tmp_path / "r.html").all("div", "forest")) == 3


def imported_run(folder, file, sha256):
    """The folder of a released checkpoint, without weights."""
    store.write_json(folder / "config.json", {"config": MODELS, "imported": {"file": file, "sha256": 8 * sha256}})
    store.write_json(folder / "step_00000000" / "meta.json", {"step": 0})
    return folder


def test_all_that_lies_in_a_folder_of_runs_is_shown(tmp_path):
    """As README calls it: a run, three imported ones, of two files, and the runs of several seeds."""
    runs = tmp_path / "runs"
    run_folder(runs / "one", "random", 0, {"linear": 0.4})
    result = evaluation(imported_run(runs / "a", "c.pt", "12345678") / "eval" / "shapes-linear-s0", 0.6, 0)
    imported_run(runs / "b", "c.pt", "87654321")
    imported_run(runs / "c", "d.pt", "12345678")
    for seed in (0, 2, 10):
        run_folder(runs / "seeds" / f"seed-{seed}", "soft-positive", seed, {"linear": 0.9})
    (runs / "seeds" / "seed-11").mkdir()  # not begun
    done = called("report", *sorted(runs.iterdir()), "--out", tmp_path / "r.html", "--device", "cpu")
    assert done.exit_code == 0, done.output
    page = Page(tmp_path / "r.html")
    _, *rows = rows_of(page.all("div", "state")[0])
    assert [row[0] for row in rows] == ["a", "b", "c", "one", "seed-0", "seed-2", "seed-10"]
    named = ["imported c.pt, imported sha256 12345678", "imported c.pt, imported sha256 87654321", "imported d.pt"]
    assert [row[1] for row in rows] == [*named, "random", *(["soft-positive"] * 3)]
    assert [row[2] for row in rows[:3]] == ["imported, not trained here"] * 3
    kinds = forest_rows(page, "linear, shapes")
    assert list(kinds) == [named[0], "random", "soft-positive"]
    assert shown(kinds[named[0]], "span", "value").text.startswith(f"{100 * result['accuracy']:.1f}")
    assert not any("imported" in note.text for note in page.all("p", "missing"))
    assert "not finished" not in page.root.text


def test_runs_of_other_models_are_compared(tmp_path):
    """Three runs that differ in their models, and an untrained encoder: one measurement."""
    models = [{"model_size": "full", "audio_model": name} for name in ("", "tiny")] + [{"model_size": "tiny"}]
    for place, model in enumerate(models):
        folder = run_folder(tmp_path / f"run-{place}", "random", 0, **model) / "eval" / "shapes-linear-s0"
        result = evaluation(folder, 0.5, place)
        store.write_json(folder / "result.json", result | {"config": {**result["config"], **model}})
    result = evaluation(tmp_path / "scratch", 0.5, 7)
    store.write_json(tmp_path / "scratch" / "result.json", result | {"config": {**result["config"], "audio_model": ""}})
    write_report(sorted(tmp_path.iterdir()), tmp_path / "r.html")
    assert len(forest_rows(Page(tmp_path / "r.html"), "linear, shapes")) == 4


def recalls(folder, recall, **config):
    """A result of retrieval; `config` as the command wrote it."""
    pair = {"recall_at_1": recall, "recall_at_5": recall, "recall_at_10": recall, "median_rank": 3.0}
    way = {"pair": pair, "class": pair}
    scores = {"audio_to_video": way, "video_to_audio": way, "chance": way, "clips": 12}
    result = {"protocol": "retrieval", **scores, "config": config, "dataset_digest": "d" * 64}
    store.write_json(folder / "result.json", result)


def test_one_run_retrieving_more_than_once_is_one_run(tmp_path):
    for seed, recall in ((0, 0.2), (1, 0.6)):
        found = run_folder(tmp_path / f"random-{seed}", "random", seed) / "eval"
        recalls(found / "shapes-retrieval-s0", recall, checkpoint="newest")
        recalls(found / "shapes-retrieval-s1", recall + 0.1, checkpoint="newest")
        recalls(found / "shapes-retrieval-s0-best", 0.9, checkpoint="best")
    write_report(sorted(tmp_path.iterdir()), tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    (newest,), (best,) = (rows_of(box)[1:-1] for box in page.all("div", "retrieval"))
    mean, half = mean_interval([25.0, 65.0])
    assert newest[:3] == ["random", "2", f"{mean:.1f} ± {half:.1f}"]
    assert best[:3] == ["random", "2", "90.0 ± 0.0"]
    heads = [head.text for head in page.all("h3") if head.text.startswith("retrieval")]
    assert heads == [f"retrieval, checkpoint {which}, shapes, 12 clips" for which in ("newest", "best")]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_runs_that_are_always_right_or_never_have_an_axis(tmp_path, share):
    for seed in range(2):
        folder = run_folder(tmp_path / f"random-{seed}", "random", seed)
        result = evaluation(folder / "eval" / "shapes-linear-s0", 0.5, seed)
        store.write_json(folder / "eval" / "shapes-linear-s0" / "result.json", result | {"accuracy": share})
    write_report(sorted(tmp_path.iterdir()), tmp_path / "r.html")
    row = forest_rows(Page(tmp_path / "r.html"), "linear")["random"]
    assert percent(shown(row, "i", "mean")) == 100 * share
    assert [percent(dot) for dot in row.all("i", "one")] == [100 * share] * 2


def test_differences_that_are_all_the_same_are_marked_untested(tmp_path):
    for kind, accuracy in (("random", 0.5), ("soft-positive", 0.6)):
        for seed in range(3):
            folder = run_folder(tmp_path / f"{kind}-{seed}", kind, seed, {"linear": 0.5})
            path = folder / "eval" / "shapes-linear-s0" / "result.json"
            store.write_json(path, json.loads(path.read_text()) | {"accuracy": accuracy + seed / 10})
    write_report(sorted(tmp_path.iterdir()), tmp_path / "r.html")
    gap = shown(forest_rows(Page(tmp_path / "r.html"), "linear")["soft-positive"], "span", "gap")
    assert (shown(gap, "span", "mark").text, shown(gap, "span", "figure").text) == ("-", "+10.0")
    assert "all differences are the same" in gap.text


def test_kinds_of_one_strategy_are_named_by_the_settings_that_differ(tmp_path):
    settings = (("mask", 1.0), ("mask", 2.0), ("supcon", 1.0))
    runs = [run_folder(tmp_path / f"{a}-{b}", "random", 0, loss=a, learning_rate=b) for a, b in settings]
    runs.append(run_folder(tmp_path / "soft", "soft-positive", 0, loss="mask", learning_rate=3.0))
    write_report(runs, tmp_path / "r.html")
    _, *rows = rows_of(Page(tmp_path / "r.html").all("div", "state")[0])
    assert [row[1] for row in rows] == [
        "random, learning rate 1.0, loss mask",
        "random, learning rate 2.0, loss mask",
        "random, learning rate 1.0, loss supcon",
        "soft-positive",
    ]


def test_what_is_audible_is_shown_beside_the_accuracy(tmp_path):
    """One of two evaluations has scores by a multi-label column: one measurement, and a row of its figures."""
    for seed in range(2):
        path = run_folder(tmp_path / f"random-{seed}", "random", seed, {"linear": 0.5}) / "eval" / "shapes-linear-s0"
        result = json.loads((path / "result.json").read_text())
        result["config"]["audible"] = "heard" if seed else ""
        if seed:
            scores = {"clips": 1080, "accuracy": 0.75, "interval_95": [0.7, 0.8]}
            scores |= {"hit_clips": 1100, "hit": 0.625, "hit_interval_95": [0.6, 0.65]}
            result["audible"] = {"column": "heard <b>", **scores}
        store.write_json(path / "result.json", result)
    write_report(sorted(tmp_path.iterdir()), tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    assert len(page.all("div", "forest")) == 1
    assert len(rows_of(page.all("div", "runs")[0])) == 3
    _, row = rows_of(shown(page, "div", "audible"))
    wanted = ["75.0", "70.0 to 80.0", "1,080", "62.5", "60.0 to 65.0", "1,100"]
    assert row == ["random-1", "random", "heard <b>", *wanted]


def test_without_audible_scores_there_is_no_table_of_them(tmp_path):
    write_report([run_folder(tmp_path / "random", "random", 0, {"linear": 0.5})], tmp_path / "r.html")
    assert "heard" not in Page(tmp_path / "r.html").root.text
