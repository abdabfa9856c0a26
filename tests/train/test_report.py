"""The report, parsed as a browser would: every figure against the files it comes from."""

from __future__ import annotations

import io
import json
import re
import shutil

import matplotlib.image
import numpy as np
import pytest
from click.testing import CliRunner

from avprep.dataset import Dataset
from avprep.shared import store
from avtrain import rundir
from avtrain.cli import main
from avtrain.compare import compare, p_text, points
from avtrain.config import EvaluateConfig, PlanConfig, PretrainConfig
from avtrain.evaluate import evaluate
from avtrain.metrics import classification_scores, mean_interval
from avtrain.plan import survey
from avtrain.predictions import predictions_of, write_predictions
from avtrain.pretrain import pretrain
from avtrain.ranking import retrieval_scores
from avtrain.released import MODELS
from avtrain.report import write_report
from avtrain.report.runs import seconds_of
from avtrain.retrieval import embed_rows, retrieve
from avtrain.significance import holm, paired_t
from tests.pages import Page, data_of
from tests.train.forge import Forged, forge_dataset

EVIL = 'dog, "big" <script>alert(1)</script> & <b>loud</b>'
NAMES = ["Größe 音", EVIL, "<i>rain", "a&amp;b"]
CLIPS = 120
CHANCE = 0.0625


def rows_of(box):
    """The cells of a table, by row; the header first."""
    return [[cell.text for cell in row.inside if cell.tag in ("th", "td")] for row in box.all("tr")]


def shown(page, tag, css):
    (found,) = page.all(tag, css)
    return found


def evaluation(folder, rate, seed, protocol="linear", groups=None):
    """An evaluation of CLIPS clips of four classes, right with chance `rate`."""
    draw = np.random.default_rng(int(1000 * rate) + seed)
    label = np.arange(CLIPS) % 4
    guess = np.where(draw.random(CLIPS) < rate, label, draw.integers(0, 4, CLIPS))
    found = predictions_of([f"c{n}" for n in range(CLIPS)], label, np.eye(4)[guess] * 0.7 + 0.075, NAMES, groups)
    result = {
        "protocol": protocol,
        **classification_scores(found.probabilities, found.label, 0, found.groups),
        "test_clips": CLIPS,
        "step": 60,
        "config": {"protocol": protocol, "epochs": 3, "seed": 0, "model_size": "tiny"},
        "dataset_digest": "d" * 64,
        "class_names": NAMES,
    }
    store.write_json(folder / "result.json", result)
    write_predictions(folder / "predictions.parquet", found)
    return result


def run_folder(folder, strategy, seed, rates=None, status="done", sentence="", **settings):
    """A run's folder without weights: 60 updates over two starts, validation, evaluations by protocol."""
    config = {"strategy": strategy, "labels": "label", "batch_size": 8, "epochs": 4, "seed": seed} | settings
    store.write_json(folder / "config.json", {"config": config, "dataset_digest": "d" * 64, "plan_digest": "p"})
    store.write_json(folder / "env.json", {"torch": "2.4", "cpus": 2 + seed, "git_commit": "<abc>"})
    if status:
        store.write_json(folder / "exit.json", {"status": status, "code": 0, "sentence": sentence})
    draw = np.random.default_rng(seed)
    lines = []
    for step in range(150):
        line = {"step": step, "loss": 4 - step / 50 + draw.normal() / 9, "waited_seconds": 0.125}
        line["seconds"] = 0.5 * (step + 1 if step < 100 else step - 99)  # started again after 100 updates
        lines.append(line)
        if step % 30 == 29:
            scores = {"val_class_recall_at_1": 0.1 + step / 300, "val_other": 0.3, "val_note": "text"}
            scores |= {"val_class_chance_at_1": CHANCE, "val_clips": 40, "val_seconds": 1.5 + step}
            lines.append({"step": step, "epoch": step // 30, **scores})
    store.write_json_lines(folder / "metrics.jsonl", lines)
    for protocol, rate in (rates or {}).items():
        evaluation(folder / "eval" / f"shapes-{protocol}-s0", rate, seed, protocol)
    return folder


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


def forest_rows(page, name):
    (found,) = [box for box in page.all("div", "forest") if box.attributes["data-measurement"].startswith(name)]
    return {row.attributes["data-kind"]: row for row in found.all("div", "row")[1:]}


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


def test_dots_stand_where_the_axis_says(page, runs):
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


def percent(element, name="left"):
    return float(re.search(rf"(?:^|[ ;]){name}: (-?[\d.]+)%", element.attributes["style"])[1])


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
            values = np.array([line[name] for line in rundir.read_lines(run) if name in line])
            points = np.array([pair.split() for pair in paths[run.name][1:].split("L")], float)
            found = np.polyval(scale, 100 - points[:, 1])
            assert found == pytest.approx(wanted(values), abs=0.01 * (values.max() - values.min()))
            assert points[-1, 0] == pytest.approx(100, abs=2)


def test_chance_is_a_level_in_the_chart_of_its_recall(page):
    dashes = [chart.all("line", "chance") for chart in page.all("div", "chart")]
    assert list(map(len, dashes)) == [0, 1, 0]
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


def test_settings_and_environment_are_told_once_or_by_run(page):
    same = dict(row for box in page.all("div", "same") for row in rows_of(box)[1:])
    assert (same["batch size"], same["torch"], same["git commit"]) == ("8", "2.4", "<abc>")
    (settings, environment) = (rows_of(box) for box in page.all("div", "differing"))
    assert settings[0] == ["run", "seed", "strategy"]
    assert settings[10] == ["one", "0", "pairs:<x>&.parquet"]
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


def test_what_needs_the_dataset_says_so_without_it(page):
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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A dataset of two classes and two runs of two updates on it, of two strategies; evaluated."""
    root = tmp_path_factory.mktemp("trained")
    clips = [Forged("ab"[row % 2], "train" if row < 16 else "test", group=f"g{row // 2}") for row in range(28)]
    folder = forge_dataset(root / "shapes & <co>", clips, frame_size=32, mel_bands=32)
    for strategy in ("random", "soft-positive"):
        config = PretrainConfig(strategy=strategy, model_size="tiny", batch_size=8, epochs=1, learning_rate=1e-3)
        pretrain(folder, root / strategy, config, quiet=True)
        evaluate(folder, EvaluateConfig(epochs=2), run=root / strategy, out=root / strategy / "eval" / "linear")
        store.write_json(root / strategy / "eval" / "back" / "result.json", retrieve(folder, root / strategy))
    return root, folder


def test_retrieved_examples_are_the_nearest_pictures(trained, tmp_path):
    root, folder = trained
    write_report([root / "random", root / "soft-positive"], tmp_path / "r.html", datasets=[folder])
    page, dataset = Page(tmp_path / "r.html"), Dataset(folder)
    rows = dataset.rows_of("test")
    ids = [dataset.clip_ids[row] for row in rows]
    queries = page.all("div", "query")
    assert len(queries) == 3
    for strategy in ("random", "soft-positive"):
        audio, video = embed_rows(dataset, root / strategy, rows)
        for query in queries:
            own = ids.index(query.all("small")[0].text)
            (answer,) = [a for a in query.all("div", "answer") if a.attributes["data-run"] == strategy]
            tiles = answer.all("figure", "tile")
            wanted = np.argsort(-(video @ audio[own]), kind="stable")[:5]
            assert [tile.attributes["data-clip"] for tile in tiles] == [ids[place] for place in wanted]
            for tile, place in zip(tiles, wanted, strict=True):
                alike = dataset.label[rows[place]] == dataset.label[rows[own]]
                css = "own" if place == own else "alike" if alike else "other"
                assert tile.attributes["class"] == f"tile {css}"
                frames = dataset.read_clip(int(rows[place])).frames
                picture = matplotlib.image.imread(io.BytesIO(data_of(tile.all("img")[0])), format="jpeg")
                assert np.abs(picture.astype(int) - frames[len(frames) // 2]).mean() < 40
                assert picture.shape == (32, 32, 3)


def test_pairs_recall_and_groups_are_those_of_plan_and_files(trained, tmp_path):
    root, folder = trained
    write_report([root / "random", root / "soft-positive"], tmp_path / "r.html", datasets=[folder])
    page = Page(tmp_path / "r.html")
    for row, strategy in zip(rows_of(page.all("div", "plans")[0])[1:], ("random", "soft-positive"), strict=True):
        found = survey(Dataset(folder), PlanConfig(strategy=strategy, batch_size=8, epochs=1))
        shares = [f"{100 * found['pair_shares'][name]:.1f}" for name in ("exact", "soft", "fallback")]
        assert row[0] == strategy
        assert row[2:5] == shares
        assert row[5] == f"{found['same_class_negatives_per_anchor']:.2f}"
    header, *rows = rows_of(page.all("div", "retrieval")[0])
    saved = json.loads((root / "random" / "eval" / "back" / "result.json").read_text())
    told = dict(zip(header, rows[0], strict=True))
    assert told["sound to picture, own R@10, %"] == f"{100 * saved['audio_to_video']['pair']['recall_at_10']:.1f}"
    assert told["picture to sound, class R@1, %"] == f"{100 * saved['video_to_audio']['class']['recall_at_1']:.1f}"
    assert rows[-1][0] == "chance"
    audio, video = embed_rows(Dataset(folder), root / "random", Dataset(folder).rows_of("test"))
    labels = Dataset(folder).label[Dataset(folder).rows_of("test")]
    assert retrieval_scores(audio, video, labels)["audio_to_video"] == saved["audio_to_video"]
    assert "linear, shapes & <co>, 12 test clips in 6 groups" in page.root.text
    assert "sign flips and bootstrap by group" in page.root.text


def test_pairs_and_speed_are_of_the_batches_that_were(trained, tmp_path):
    """12 of 16 clips in batches of 4, three batches an update: one update an epoch."""
    _, folder = trained
    config = PretrainConfig(model_size="tiny", batch_size=4, accumulate=3, epochs=2, val_share=0.25)
    pretrain(folder, tmp_path / "run", config, quiet=True)
    write_report([tmp_path / "run"], tmp_path / "r.html", datasets=[folder])
    page = Page(tmp_path / "r.html")
    names = ("strategy", "batch_size", "accumulate", "epochs", "val_share")
    found = survey(Dataset(folder), PlanConfig(**{name: getattr(config, name) for name in names}))
    lines = rundir.read_metrics(tmp_path / "run")
    assert (found["clips"], len(lines)) == (12, 2)
    header, row = rows_of(page.all("div", "plans")[0])
    told = dict(zip(header, row, strict=True))
    assert told["updates an epoch"] == "1"
    header, row = rows_of(page.all("div", "state")[0])
    assert dict(zip(header, row, strict=True))["pairs/s"] == f"{24 / lines[-1]['seconds']:,.0f}"


def test_a_run_without_weights_says_so_and_the_page_is_made(trained, tmp_path):
    root, folder = trained
    shutil.copytree(root / "random", tmp_path / "bare", ignore=shutil.ignore_patterns("step_*"))
    done = called("report", tmp_path / "bare", "--data", folder, "--out", tmp_path / "r.html", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "1 runs, 2 evaluations" in done.output
    page = Page(tmp_path / "r.html")
    assert any("holds no checkpoint" in note.text for note in page.all("p", "missing"))
    assert page.all("div", "query") == []


def called(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path, runs):
    (tmp_path / "other").mkdir()
    for folder, sentence in [(tmp_path / "other", "is neither a run nor an evaluation"), (tmp_path / "no", "neither")]:
        done = called("report", runs[0], folder, "--out", tmp_path / "r.html")
        assert done.exit_code == 2
        assert sentence in done.output
        assert not (tmp_path / "r.html").exists()


def test_runs_without_any_evaluation_make_a_page(tmp_path, runs):
    write_report([runs[11]], tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    assert "None of these runs has been evaluated yet." in page.root.text
    assert "'avtrain evaluate DIR --run RUN' does" in page.root.text


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


def test_kinds_of_one_strategy_are_told_apart_by_their_settings(tmp_path):
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
