"""The report, parsed as a browser would: every figure against the files it comes from."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from avtrain.evaluation.compare import compare, p_text, points
from avtrain.evaluation.metrics import mean_interval
from avtrain.evaluation.significance import holm, paired_t
from avtrain.report import write_report
from avtrain.report.runs import seconds_of
from avtrain.runs.folder import read_lines
from tests.pages import Page
from tests.train.reports import (
    CHANCE,
    EVIL,
    NAMES,
    called,
    evaluation,
    forest_rows,
    percent,
    rows_of,
    run_folder,
    shown,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three kinds of three seeds, one of one seed, one that failed, one without an end, and one from scratch."""
    root = tmp_path_factory.mktemp("runs")
    kinds = {"random": 0.4, "soft-positive": 0.9, "soft-positive:p=0.5": 0.42}
    found = [
        run_folder(root / f"{place}-s{seed}", name, seed, {"linear": rate + 0.02 * seed, "knn": 0.5})
        for place, (name, rate) in enumerate(kinds.items())
        for seed in range(3)
    ]
    found.append(run_folder(root / "one", "pairs:<x>&.parquet", 0, {"linear": 0.75}))
    found.append(run_folder(root / "failed <b>", "easy-negative", 0, status="failed", sentence="no <space> left"))
    found.append(run_folder(root / "open", "hard-negative", 0, status=""))
    (root / "open" / "eval" / "bad").mkdir(parents=True)
    (root / "open" / "eval" / "bad" / "result.json").write_text('{"accuracy": ')
    evaluation(root / "scratch", 0.6, 0, "supervised")
    return [*found, root / "scratch"]


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "r.html"
    write_report(runs, out)
    return Page(out)


def results(run, protocol="linear"):
    return json.loads((run / "eval" / f"shapes-{protocol}-s0" / "result.json").read_text())


def predicted(run):
    return run / "eval" / "shapes-linear-s0" / "predictions.parquet"


def test_means_and_intervals_are_those_of_the_files(page, runs):
    rows = forest_rows(page, "linear, shapes")
    assert list(rows) == ["random", "soft-positive", "soft-positive:p=0.5", "pairs:<x>&.parquet"]
    for place, name in enumerate(list(rows)[:3]):
        mean, half = mean_interval([results(run)["accuracy"] for run in runs[3 * place : 3 * place + 3]])
        wanted = f"{100 * mean:.1f}{100 * (mean - half):.1f} to {100 * min(1, mean + half):.1f}"
        assert shown(rows[name], "span", "value").text == wanted
    result = results(runs[9])
    low, high = result["interval_95"]
    value = shown(rows["pairs:<x>&.parquet"], "span", "value").text
    assert value == f"{100 * result['accuracy']:.1f}{100 * low:.1f} to {100 * high:.1f}"
    assert list(forest_rows(page, "supervised")) == ["supervised"]


def test_dots_are_where_they_belong_on_the_axis(page, runs):
    rows = forest_rows(page, "linear, shapes")
    (forest,) = [box for box in page.all("div", "forest") if box.attributes["data-measurement"].startswith("linear")]
    at = [(percent(span), float(span.text)) for span in shown(forest, "div", "axis").all("span")]
    scale = np.polyfit(*zip(*at, strict=True), 1)
    row = rows["soft-positive"]
    accuracies = [100 * results(run)["accuracy"] for run in runs[3:6]]
    assert np.polyval(scale, [percent(dot) for dot in row.all("i", "one")]) == pytest.approx(accuracies, abs=0.02)
    mean, half = mean_interval(accuracies)
    assert np.polyval(scale, percent(row.all("i", "mean")[0])) == pytest.approx(mean, abs=0.02)
    bar = row.all("i", "bar")[0]
    ends = percent(bar), percent(bar) + percent(bar, "width")
    assert np.polyval(scale, ends) == pytest.approx([mean - half, mean + half], abs=0.05)


def test_marks_are_by_paired_t_and_mcnemar_after_holm(page, runs):
    rows = forest_rows(page, "linear, shapes")
    base, *others = (np.array([results(run)["accuracy"] for run in runs[3 * kind : 3 * kind + 3]]) for kind in range(3))
    tests = [paired_t(base, other) for other in others]
    single = compare(predicted(runs[0]), predicted(runs[9]))
    corrected = holm(np.array([*(test.p for test in tests), single["p"]]))
    ends = [(t.mean, t.low, t.high) for t in tests] + [(single["difference"], *single["difference_95"])]
    for row, p, (mean, low, high) in zip(list(rows.values())[1:], corrected, ends, strict=True):
        gap = shown(row, "span", "gap")
        assert shown(gap, "span", "figure").text == f"{points(mean)} [{points(low)}, {points(high)}]"
        assert f"p {p_text(p)}, " in gap.text
        assert shown(gap, "span", "mark").text == ("○" if p >= 0.05 else "▲" if mean > 0 else "▼")
    assert [shown(row, "span", "mark").text for row in list(rows.values())[1:]] == ["▲", "○", "▲"]
    assert "McNemar" in shown(rows["pairs:<x>&.parquet"], "span", "gap").text


def test_every_run_has_its_row(page, runs):
    header, *rows = rows_of(page.all("div", "runs")[0])
    assert [row[0] for row in rows] == [run.name for run in runs[:10]]
    for row, run in zip(rows, runs, strict=False):
        result = results(run)
        told = dict(zip(header, row, strict=True))
        assert told["accuracy, %"] == f"{100 * result['accuracy']:.1f}"
        assert told["mAP, %"] == f"{100 * result['mean_average_precision']:.1f}"
        assert told["balanced, %"] == f"{100 * result['balanced_accuracy']:.1f}"
        assert (told["top 5, %"], told["test clips"], told["at update"]) == ("", "120", "60")


def test_runs_are_held_against_each_other_clip_by_clip(page, runs):
    _, *rows = rows_of(page.all("div", "pairs-of-runs")[0])
    pairs = [(runs[3 * kind + seed], runs[seed]) for kind in (1, 2) for seed in range(3)] + [(runs[9], runs[0])]
    found = [compare(predicted(base), predicted(run)) for run, base in pairs]
    corrected = holm(np.array([one["p"] for one in found]))
    for row, (run, base), one, p in zip(rows, pairs, found, corrected, strict=True):
        low, high = one["difference_95"]
        alone = f"{one['mcnemar']['second_only']} : {one['mcnemar']['first_only']}"
        wanted = [points(one["difference"]), f"{points(low)} to {points(high)}", alone, p_text(one["p"]), p_text(p)]
        assert row == [run.name, base.name, *wanted]


def test_curves_are_those_of_metrics_jsonl(page, runs):
    loss, validation, _ = page.all("div", "chart")
    titles = [chart.attributes["aria-label"] for chart in page.all("div", "chart")]
    assert titles == ["training loss, nats", "val class recall at 1", "val other"]
    for chart, name, wanted in (
        (loss, "loss", lambda values: [part.mean() for part in np.array_split(values, 60)]),
        (validation, "val_class_recall_at_1", list),
    ):
        ticks = [(percent(span, "bottom"), float(span.text)) for span in shown(chart, "div", "y").all("span")]
        scale = np.polyfit(*zip(*ticks, strict=True), 1)
        paths = {path.attributes["data-run"]: path.attributes["d"] for path in chart.all("path")}
        assert list(paths) == [run.name for run in runs[:12]]
        for run in (runs[0], runs[4]):
            values = np.array([line[name] for line in read_lines(run) if name in line])
            points = np.array([pair.split() for pair in paths[run.name][1:].split("L")], float)
            found = np.polyval(scale, 100 - points[:, 1])
            assert found == pytest.approx(wanted(values), abs=0.01 * (values.max() - values.min()))
            assert points[-1, 0] == pytest.approx(100, abs=2)


def test_chance_is_a_level_in_the_chart_of_its_recall(page):
    dashes = [chart.all("line", "chance") for chart in page.all("div", "chart")]
    assert list(map(len, dashes)) == [1, 1, 0]  # ln(batch) in the loss
    ticks = [
        (percent(span, "bottom"), float(span.text))
        for span in shown(page.all("div", "chart")[1], "div", "y").all("span")
    ]
    at = [100 - float(dashes[1][0].attributes[side]) for side in ("y1", "y2")]
    assert np.polyval(np.polyfit(*zip(*ticks, strict=True), 1), at) == pytest.approx([CHANCE] * 2, abs=1e-4)
    assert 0 <= at[0] <= 100
    assert "Grey dashes: chance." in page.root.text


def test_matrices_and_classes_are_sums_and_means_over_runs(page, runs):
    cards = {card.attributes["data-kind"]: card for card in page.all("figure", "matrix")[:4]}
    wanted = np.sum([results(run)["confusion"] for run in runs[3:6]], axis=0)
    rows = rows_of(cards["soft-positive"])[1:]
    assert [[int(cell or 0) for cell in row[1:]] for row in rows] == wanted.tolist()
    assert [row[0] for row in rows] == [f"{name} {place + 1}" for place, name in enumerate(NAMES)]
    header, *rows = rows_of(page.all("div", "classes")[0])
    assert header == ["class", "test clips", *cards]
    shares = [
        np.mean([[entry["accuracy"] for entry in results(run)["per_class"]] for run in group], axis=0)
        for group in (runs[0:3], runs[3:6], runs[6:9], runs[9:10])
    ]
    order = np.argsort(-np.mean(shares, axis=0), kind="stable")
    assert [row[0] for row in rows] == [NAMES[place] for place in order]
    for row, place in zip(rows, order, strict=True):
        assert row[2:] == [f"{100 * values[place]:.1f}" for values in shares]


def test_unfinished_runs_and_runs_without_evaluation_are_shown_as_such(page, runs):
    header, *rows = rows_of(page.all("div", "state")[0])
    told = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert list(told) == [run.name for run in runs]
    assert told["0-s0"]["state"] == "done"
    assert told["failed <b>"]["state"] == "failed: no <space> left"
    assert told["open"]["state"].startswith("unfinished")
    assert told["open"]["evaluations"] == "none yet"
    assert "open: bad/result.json cannot be read." in page.root.text
    assert (told["0-s0"]["updates"], told["0-s0"]["minutes"]) == ("150", "1.2")
    assert (told["0-s0"]["waited for data, %"], told["0-s0"]["pairs/s"]) == ("25.0", "16")
    assert "not finished2" in shown(page, "dl", "facts").text.replace("\n", "")


def test_settings_and_environment_are_shown_once_or_by_run(page):
    same = dict(row for box in page.all("div", "same") for row in rows_of(box)[1:])
    assert (same["batch size"], same["torch"], same["git commit"]) == ("8", "2.4", "<abc>")
    (settings, environment) = (rows_of(box) for box in page.all("div", "differing"))
    assert settings[0] == ["run", "strategy", "seed"]
    assert settings[10] == ["one", "pairs:<x>&.parquet", "0"]
    assert environment[0] == ["run", "cpus"]
    assert [row[1] for row in environment[1:4]] == ["2", "3", "4"]


def test_the_page_needs_nothing_else_and_runs_nothing(page):
    assert page.all("script") == []
    assert page.all("b") == page.all("link") == page.all("iframe") == []
    assert all("style" in e.attributes for e in page.all("i"))
    assert EVIL in page.root.text
    policies = [e.attributes["content"] for e in page.all("meta") if "http-equiv" in e.attributes]
    assert policies[0].startswith("default-src 'none'")
    assert not re.search(r"(?:src|href)=(?!\"(?:#|data:))", page.source)
    assert "@import" not in page.source
    assert "url(" not in page.source
    assert "prefers-color-scheme: dark" in page.source
    assert "max-width: 45rem" in page.source
    assert all(e.attributes["href"][1:] in {h.attributes["id"] for h in page.all("h2")} for e in page.all("a"))


def test_what_needs_the_dataset_is_named_without_it(page):
    missing = [note.text for note in page.all("p", "missing")]
    assert any(
        note.startswith("random, soft-") and "the dataset (dddddddd) was not given; --data DIR" in note
        for note in missing
    )
    assert any(note.startswith("soft-positive: needs its dataset (dddddddd), given by --data") for note in missing)


def test_seconds_count_over_restarts():
    class Resumed:
        losses = tuple({"seconds": now, "waited_seconds": waited} for now, waited in ((3.0, 1), (5.0, 0), (2.0, 2)))

    assert seconds_of(Resumed) == (7, 3)


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path, runs):
    (tmp_path / "other").mkdir()
    for folder, sentence in [(tmp_path / "other", "is neither a run nor an evaluation"), (tmp_path / "no", "exist")]:
        done = called("report", folder, "--out", tmp_path / "r.html")
        assert done.exit_code == 2
        assert sentence in done.output
        assert not (tmp_path / "r.html").exists()


def test_runs_without_any_evaluation_make_a_page(tmp_path, runs):
    write_report([runs[11]], tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    assert "None of these runs has been evaluated yet." in page.root.text
    assert "'avtrain evaluate DIR --run RUN' does" in page.root.text
