"""The report: ties called the best, names of ten lines, no level of chance, one stray file that stopped it, and colours
and classes that could not be told apart."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from avprep.shared import store
from avtrain.config import EvaluateConfig
from avtrain.evaluation.compare import compare_groups, compare_runs, printed
from avtrain.evaluation.evaluate import evaluate
from avtrain.report import write_report
from avtrain.report.style import style_of
from avtrain.runs.changes import FILE as CHANGES
from tests.pages import Page
from tests.train.forge import Forged, forge_dataset
from tests.train.reports import NAMES, called, evaluation, forest_rows, percent, rows_of, run_folder, shown

OTHER = {
    "learning_rate": 1e-4,
    "schedule": "cosine",
    "warmup_steps": 10,
    "batch_size": 32,
    "epochs": 60,
    "weight_decay": 1e-4,
    "precision": "bf16",
    "grad_clip_norm": 1.0,
    "temperature": 0.1,
    "labels": "pseudo",
}


def page_of(folders, out, **options):
    write_report(folders, out, **options)
    return Page(out)


def lead(page):
    return shown(page, "p", "lead").text


def scored(folder, accuracy, evaluation_name="shapes-linear-s0", **more):
    """Set the accuracy in a result of `run_folder`."""
    path = folder / "eval" / evaluation_name / "result.json"
    store.write_json(path, json.loads(path.read_text()) | {"accuracy": accuracy} | more)


def test_kinds_that_are_tied_are_not_the_best(tmp_path):
    runs = [run_folder(tmp_path / name, name, 0, {"linear": 0.3}) for name in ("random", "easy-negative")]
    for run in runs:
        scored(run, 0.25)
    said = lead(page_of(runs, tmp_path / "r.html"))
    assert said == (
        "Linear, shapes: all 2 kinds of run reach an accuracy of 25.0 % (chance: 25.0 %); none is the best."
    )


def test_the_highest_mean_is_called_no_more_than_that(tmp_path):
    runs = [run_folder(tmp_path / name, name, 0, {"linear": rate}) for name, rate in (("random", 0.9), ("soft", 0.3))]
    runs.append(run_folder(tmp_path / "third", "third", 0, {"linear": 0.8}))
    said = lead(page_of(runs, tmp_path / "r.html"))
    assert said.startswith("Linear, shapes: random reaches an accuracy of ")
    assert said.endswith("(chance: 25.0 %), the highest mean; 1 of 2 others are shown to be worse.")


def test_names_of_mixed_kinds_are_short_and_differ(tmp_path):
    runs = [run_folder(tmp_path / "plain", "soft-positive", 0, learning_rate=1e-3)]
    runs.append(run_folder(tmp_path / "mixed", "soft-positive", 0, **OTHER))
    runs.append(run_folder(tmp_path / "half", "soft-positive", 0, **{**OTHER, "labels": "label"}))
    page = page_of(runs, tmp_path / "r.html")
    _, *rows = rows_of(page.all("div", "state")[0])
    assert [row[1] for row in rows] == [
        "soft-positive, batch size 8, labels label",
        "soft-positive, batch size 32, labels pseudo and 8 more",
        "soft-positive, batch size 32, labels label and 8 more",
    ]
    settings = rows_of(page.all("div", "differing")[0])
    assert {"warmup steps", "temperature", "precision"} <= set(settings[0])  # all are listed there


def test_chance_is_a_line_in_scores_and_curves(tmp_path):
    runs = [
        run_folder(tmp_path / name, name, 0, {"linear": 0.6}, batch_size=size) for name, size in (("a", 8), ("b", 32))
    ]
    runs.append(run_folder(tmp_path / "c", "random", 0, {"linear": 0.6}, loss="supcon", batch_size=99))
    runs.append(run_folder(tmp_path / "d", "hard-negative", 0, {"linear": 0.6}, batch_size=98))
    page = page_of(runs, tmp_path / "r.html")
    (forest,) = page.all("div", "forest")
    axis = [(percent(span), float(span.text)) for span in shown(forest, "div", "axis").all("span")]
    lines = forest.all("i", "chance")
    assert len(lines) == 4
    assert np.polyval(np.polyfit(*zip(*axis, strict=True), 1), [percent(line) for line in lines]) == pytest.approx(
        [25] * 4, abs=0.02
    )
    assert "chance, 25.0 %, is to name the most frequent test class always." in page.root.text
    loss = page.all("div", "chart")[0]
    ticks = [(percent(span, "bottom"), float(span.text)) for span in shown(loss, "div", "y").all("span")]
    at = [100 - float(line.attributes["y1"]) for line in loss.all("line", "chance")]
    wanted = [math.log(8), math.log(32)]  # neither of supcon nor of batches of one class
    assert np.polyval(np.polyfit(*zip(*ticks, strict=True), 1), at) == pytest.approx(wanted, abs=0.02)
    assert "(ln 8 = 2.08, ln 32 = 3.47)" in page.root.text


def test_what_is_no_run_is_skipped_and_named(tmp_path):
    """As README calls it, `runs/*`: a stray file, an empty folder, and the demo's untrained run, which counts."""
    runs = tmp_path / "runs"
    run_folder(runs / "one", "random", 0, {"linear": 0.6})
    (runs / "notes.txt").write_text("mine")
    (runs / "empty").mkdir()
    untrained = runs / "cue-1-untrained-s0" / "eval"
    evaluation(untrained / "linear-s0", 0.3, 0)
    store.write_json(untrained / "cell.json", {"accuracy": 0.3})
    done = called("report", *sorted(runs.iterdir()), "--out", tmp_path / "r.html", "--device", "cpu")
    assert done.exit_code == 0, done.output
    page = Page(tmp_path / "r.html")
    for name in ("notes.txt", "empty"):
        assert f"skipped: {runs / name} is neither a run nor an evaluation" in done.output
        assert f"Left out: {runs / name} is neither" in page.root.text
    assert list(forest_rows(page, "linear")) == ["untrained", "random"]
    (runs / "one").rename(tmp_path / "away")
    for given, sentence in (([runs / "notes.txt", runs / "empty"], "is neither"), ([runs / "one"], "does not exist")):
        done = called("report", *given, "--out", tmp_path / "none.html")
        assert (done.exit_code, (tmp_path / "none.html").exists()) == (2, False)
        assert sentence in done.output


def test_one_colour_is_one_kind_and_nothing_else(tmp_path):
    runs = [run_folder(tmp_path / f"r{n:02}", f"s{n:02}", 0, {"linear": 0.5}) for n in range(20)]
    page = page_of(runs, tmp_path / "r.html")
    values = {}
    for scheme in re.findall(r":root \{[^}]*--k\d[^}]*\}", page.source):
        for name, colour in re.findall(r"--(k\d+): ([^;]+);", scheme):
            values.setdefault(name, []).append(colour)
    assert sorted(values, key=lambda name: int(name[1:])) == [f"k{n}" for n in range(20)]
    for colours in zip(*values.values(), strict=True):  # light, dark
        assert len(set(colours)) == 20
    used = [row.all("i", "mean")[0].attributes["style"] for row in forest_rows(page, "linear").values()]
    assert [re.search(r"--k(\d+)", style)[1] for style in used] == [str(n) for n in range(20)]
    hues = re.sub(r"--k\d+: [^;]+;", "", style_of(20))
    for red, green, blue in re.findall(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", hues):
        levels = [int(part, 16) for part in (red, green, blue)]
        assert max(levels) - min(levels) < 32  # the rest of the page is grey
    assert "--good" not in page.source


def test_columns_of_the_confusion_matrix_are_named(tmp_path):
    page = page_of([run_folder(tmp_path / "one", "random", 0, {"linear": 0.6})], tmp_path / "r.html")
    (card,) = page.all("figure", "matrix")
    header, *rows = rows_of(card)
    assert header[1:] == [row[0] for row in rows] == [f"{name} {number}" for number, name in enumerate(NAMES, 1)]


def test_results_by_class_have_the_names(tmp_path):
    clips = [Forged("ab"[number % 2], split) for split, count in (("train", 8), ("test", 4)) for number in range(count)]
    data = forge_dataset(tmp_path / "data", clips, frame_size=32, mel_bands=32)
    result = evaluate(data, EvaluateConfig(protocol="knn", model_size="tiny", windows_per_clip=1))
    assert [entry["class"] for entry in result["per_class"]] == ["a", "b"]


def test_classes_that_were_not_fitted_are_on_the_page(tmp_path):
    run = run_folder(tmp_path / "one", "random", 0, {"linear": 0.6})
    unfitted = {"classes": ["<z>"], "clips": 3, "fitted_clips": 117}
    scored(run, 0.5, unfitted=unfitted)
    page = page_of([run], tmp_path / "r.html")
    wanted = "3 of 120 test clips are of 1 class without a clip to fit on (<z>); no such class can be predicted."
    assert wanted in page.root.text


def change(run, step, **changed):
    """Put a change on record in a forged run that has its new settings."""
    config = json.loads((run / "config.json").read_text())
    config["config"] |= {name: after for name, (_, after) in changed.items()}
    store.write_json(run / "config.json", config)
    store.write_json(run / CHANGES, [{"step": step, "changed": {name: list(pair) for name, pair in changed.items()}}])


def test_a_run_that_was_changed_is_of_another_kind_named_so(tmp_path):
    runs = [run_folder(tmp_path / f"r{n}", "random", n, {"linear": 0.6}, learning_rate=1.0, epochs=9) for n in range(4)]
    change(runs[1], 60, learning_rate=(0.5, 1.0))
    change(runs[2], 70, epochs=(4, 9))  # at a constant rate this is the run that always had 9
    page = page_of(runs, tmp_path / "r.html")
    said = "learning rate 0.5 -> 1.0 from update 60 on"
    rows = {row[0]: row for row in rows_of(page.all("div", "state")[0])[1:]}
    assert rows["r1"][1:3] == [f"random, changes {said}", "done, changed (below)"]
    assert rows["r2"][1:3] == ["random, changes none", "done, changed (below)"]
    assert rows["r0"][2] == "done"
    for name, change_of in (("r1", said), ("r2", "epochs 4 -> 9 from update 70 on")):
        assert f"{name} was changed while it was trained: {change_of}." in page.root.text
    assert f"changed     r1: {said}" in re.sub(r" {6,}", " " * 5, printed(compare_runs(runs[:2])))
    assert f"r1: {said}" in printed(compare_groups(runs[:2], [runs[2:]]))
    assert "changed" not in printed(compare_runs([runs[0], runs[3]]))


def test_results_of_before_and_after_a_new_setting_are_one_measurement(tmp_path):
    runs = [run_folder(tmp_path / f"r{n}", "random", n, {"linear": 0.6}) for n in range(3)]
    scored(runs[1], 0.5, config={"protocol": "linear", "epochs": 3, "seed": 0, "labels": "label", "test_windows": 8})
    scored(runs[2], 0.5, config={"protocol": "linear", "epochs": 3, "seed": 0, "labels": "other"})
    page = page_of(runs, tmp_path / "r.html")
    names = [box.attributes["data-measurement"] for box in page.all("div", "forest")]
    assert names == ["linear, labels label, shapes", "linear, labels other, shapes"]
