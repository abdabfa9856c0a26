"""The page of errors, parsed as a browser would: each clip, share and dot against the files it comes from."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch

from avprep.dataset import Dataset
from avprep.shared import configs, store
from avtrain.config import EvaluateConfig, PretrainConfig
from avtrain.data.window_sizes import window_of
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.multi_predictions import MultiPredictions, write_multi_predictions
from avtrain.evaluation.predictions import read_predictions, write_predictions
from avtrain.inference import load_encoder
from avtrain.models.two_tower import tower_of
from avtrain.report.errors.features import features_of, neighbours_of
from avtrain.report.errors.judged import read_judged
from avtrain.runs import checkpoint
from avtrain.runs.data_spec import data_described
from tests.pages import Page, data_of
from tests.train.forge import Forged, forge_dataset
from tests.train.reports import called, rows_of

EVIL = 'dog & "big" <b>'


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A dataset of three classes, 24 test clips of two speakers, and an untrained run with a linear evaluation."""
    root = tmp_path_factory.mktemp("measured")
    classes = ["cat", EVIL, "cow"]
    train = [Forged(classes[n % 3], group=f"g{n}", level=3 * (n % 3)) for n in range(18)]
    test = [Forged(classes[n % 3], "test", 1.5, f"speaker {n % 2}", level=3 * (n % 3)) for n in range(24)]
    folder = forge_dataset(root / "data", [*train, *test], frame_size=16, mel_bands=16)
    dataset, config = Dataset(folder), configs.to_dict(PretrainConfig(model_size="tiny"))
    torch.manual_seed(0)
    meta = {"config": config, "data": data_described(dataset, window_of(dataset)), "dataset_digest": dataset.digest}
    checkpoint.save(root / "run", 7, tower_of(config, 16, 16), None, meta)
    store.write_json(root / "run" / "config.json", {"config": config, "dataset_digest": dataset.digest})
    evaluate(folder, EvaluateConfig(epochs=3), run=root / "run", out=root / "run" / "eval" / "linear")
    return root, folder


@pytest.fixture(scope="module")
def page(measured, tmp_path_factory):
    root, folder = measured
    out = tmp_path_factory.mktemp("page") / "errors.html"
    done = called("errors", root / "run", "--data", folder, "--out", out, "--device", "cpu")
    assert done.exit_code == 0, done.output
    return Page(out)


def predicted(root):
    return read_predictions(root / "run" / "eval" / "linear" / "predictions.parquet")


def worst_first(found):
    clips = np.arange(len(found.label))
    margin = found.probabilities[clips, found.predicted] - found.probabilities[clips, found.label]
    return sorted(clips[~found.right].tolist(), key=lambda clip: (-margin[clip], clip))


def test_wrong_clips_have_a_card_each_the_worst_first(page, measured):
    found = predicted(measured[0])
    wrong = worst_first(found)
    cards = page.all("article", "wrong")
    assert 4 < len(wrong) < 20
    assert [card.attributes["id"] for card in cards] == [f"clip-{clip}" for clip in wrong]
    for card, clip in zip(cards, wrong, strict=True):
        true, taken_for = found.class_names[found.label[clip]], found.class_names[found.predicted[clip]]
        assert [bold.text for bold in card.all("p", "verdict")[0].all("b")] == [true, taken_for]
        assert card.all("bdi")[0].text == found.clip_ids[clip]
        for line in card.all("ul", "shares")[0].all("li"):
            label = found.class_names.index(line.all("span", "name")[0].text)
            assert line.all("span", "count")[0].text == f"{100 * found.probabilities[clip, label]:.1f} %"
            assert ("true" in line.attributes.get("class", "")) == (label == found.label[clip])
        strip, heat = card.all("img")
        assert data_of(strip)[:4] == data_of(heat)[:4] == b"RIFF"
    assert page.all("audio") == []
    assert "Sound is left out: its shard does not name the source." in page.root.text


def test_confusions_are_those_of_result_json(page, measured):
    root, _ = measured
    result = json.loads((root / "run" / "eval" / "linear" / "result.json").read_text())
    names, counts = result["class_names"], np.array(result["confusion"])
    header, *rows = rows_of(page.all("div", "pairs-of-classes")[0])
    wanted = [(-counts[a, b], a, b) for a in range(3) for b in range(3) if a != b and counts[a, b]]
    speakers = Dataset(measured[1]).group_names
    assert [row[0] for row in rows] == [f"{names[a]} as {names[b]}" for _, a, b in sorted(wanted)]
    assert [int(row[1]) for row in rows] == [-count for count, _, _ in sorted(wanted)]
    assert [row[2] for row in rows] == [f"{-100 * count / 8:.0f}" for count, _, _ in sorted(wanted)]
    _, *by_group = rows_of(page.all("div", "groups")[0])
    found = predicted(root)
    row_of = {clip_id: row for row, clip_id in enumerate(Dataset(measured[1]).clip_ids)}
    of_clip = np.array([speakers[row_of[one]] for one in found.clip_ids])
    for name, clips, wrong, share, _ in by_group:
        mine = found.right[of_clip == name]
        assert (int(clips), int(wrong), share) == (len(mine), (~mine).sum(), f"{100 * (~mine).mean():.1f}")
    assert {row[0] for row in by_group} == {"speaker 0", "speaker 1"}
    assert header[-1] == "from"


def test_choices_and_links_name_pairs_that_have_cards(page):
    pairs = {card.attributes["data-pair"] for card in page.all("article", "wrong")}
    first, *options = [option.attributes["value"] for option in page.all("option")]
    links = {link.attributes["data-pair"] for link in page.all("a") if "data-pair" in link.attributes}
    assert first == ""
    assert set(options) == pairs == links
    assert not re.search("https?:|@import", page.source)
    assert EVIL not in page.source


def test_each_test_clip_is_a_dot_and_wrong_ones_are_ringed(page, measured):
    found = predicted(measured[0])
    dots = {int(dot.attributes["data-clip"]): dot for dot in page.all("circle")}
    assert sorted(dots) == list(range(24))
    for clip, dot in dots.items():
        assert (dot.attributes.get("class") == "wrong") == (not found.right[clip])
        assert dot.attributes["data-true"] == str(found.label[clip])
        assert dot.all("title")[0].text.startswith(f"{found.clip_ids[clip]}: {found.class_names[found.label[clip]]}, ")
        assert f"fill: var(--c{found.label[clip] + 1})" in dot.attributes["style"]
    width, height = map(float, page.all("svg")[-1].attributes["viewbox"].split()[2:])
    for name, end in (("cx", width), ("cy", height)):
        at = [float(dot.attributes[name]) for dot in dots.values()]
        assert min(at) == pytest.approx(18, abs=0.1)
        assert max(at) == pytest.approx(end - 18, abs=1)


def test_features_are_those_of_the_encoder_that_was_evaluated(measured):
    root, folder = measured
    dataset = Dataset(folder)
    judged = read_judged(root / "run", dataset)
    features, what = features_of(judged, dataset, np.arange(24), "cpu")
    encoder = load_encoder(root / "run")
    own = np.stack([encoder.encode(dataset.read_logmel(row)[None])[0] for row in judged.rows])
    wanted = (own - own.mean(0)) / np.where(own.std(0) > 0, own.std(0), 1)
    np.testing.assert_allclose(features, wanted, atol=1e-3)
    assert what == "features of run run, step 7"


def test_neighbours_are_counted_by_class_and_group():
    features = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2], [5.5]]).repeat(4, axis=0)
    label = np.array([0, 0, 0, 1, 1, 1, 0]).repeat(4)
    taken_for = np.array([1, 1, 0, 1, 1, 1, 1]).repeat(4)
    around = neighbours_of(features, label, taken_for, label)
    assert around.count == 10
    assert (around.among_own, around.among_predicted) == (8, 4)  # the clips at 0 and 0.1, and those at 5.5
    assert around.right_alike == 1
    assert around.one_group == pytest.approx((24 + 4 * 0.3) / 28)


def test_without_its_checkpoint_an_evaluation_has_no_map(measured, tmp_path):
    root, folder = measured
    shutil.copytree(root / "run", tmp_path / "run")
    meta = checkpoint.read_meta(tmp_path / "run" / "step_00000007")
    shutil.rmtree(tmp_path / "run" / "step_00000007")
    checkpoint.save(tmp_path / "run", 7, tower_of(meta["config"], 16, 16), None, meta)  # of other weights
    done = called("errors", tmp_path / "run", "--data", folder, "--out", tmp_path / "e.html", "--clips", 2)
    assert done.exit_code == 0, done.output
    assert "2 shown, 0 with sound; 0 on the map" in done.output
    without = Page(tmp_path / "e.html")
    assert "no longer holds the checkpoint of step 7" in without.all("p", "missing")[0].text
    assert without.all("circle") == []
    assert len(without.all("article", "wrong")) == 2


def refused(run, folder, out, *more):
    done = called("errors", run, "--data", folder, "--out", out, *more)
    assert done.exit_code == 2
    assert not out.exists()
    return done.stderr


def test_mistakes_are_one_sentence(measured, tmp_path):
    root, folder = measured
    out = tmp_path / "e.html"
    assert "no-such-run does not exist" in refused(tmp_path / "no-such-run", folder, out)
    run = tmp_path / "run"
    shutil.copytree(root / "run", run)
    shutil.move(run / "eval" / "linear", tmp_path / "linear")
    assert "holds no predictions; 'avtrain evaluate DIR --run" in refused(run, folder, out)
    store.write_json(run / "eval" / "back" / "config.json", {})
    assert "back has not ended; wait for 'avtrain evaluate'" in refused(run, folder, out)
    store.write_json(run / "eval" / "back" / "result.json", {"protocol": "retrieval"})
    assert "holds no predictions of classes (back has none)" in refused(run, folder, out)
    for name in ("linear", "knn"):
        shutil.copytree(tmp_path / "linear", run / "eval" / name)
    assert "choose one by --evaluation NAME" in refused(run, folder, out)
    (run / "eval" / "knn" / "result.json").unlink()
    assert "knn has not ended" in refused(run, folder, out, "--evaluation", "knn")
    other = forge_dataset(tmp_path / "other", [Forged("a"), Forged("b", "test")])
    assert "give --data the one that was evaluated" in refused(run, other, out, "--evaluation", "linear")


def test_files_that_do_not_belong_together_are_refused(measured, tmp_path):
    root, folder = measured
    made, out = tmp_path / "linear", tmp_path / "e.html"
    shutil.copytree(root / "run" / "eval" / "linear", made)
    found = read_predictions(made / "predictions.parquet")
    turned = dataclasses.replace(found, predicted=(found.predicted + 1) % 3)
    write_predictions(made / "predictions.parquet", turned)
    assert "are of two evaluations" in refused(made, folder, out)
    none = dataclasses.replace(
        found, clip_ids=[], label=found.label[:0], predicted=found.predicted[:0], probabilities=found.probabilities[:0],
        clusters=found.clusters[:0],
    )  # fmt: skip
    write_predictions(made / "predictions.parquet", none)
    assert "holds no test clips" in refused(made, folder, out)
    several = MultiPredictions(found.clip_ids, found.probabilities > 0.5, found.probabilities, found.class_names,
                               found.clusters)  # fmt: skip
    write_multi_predictions(made / "predictions.parquet", several)
    assert "several labels" in refused(made, folder, out)
