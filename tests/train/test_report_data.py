"""The report of runs that were trained, with their dataset: what they retrieve, pairs, speed."""

from __future__ import annotations

import io
import json
import shutil

import matplotlib.image
import numpy as np
import pytest

from avprep.dataset import Dataset
from avprep.shared import store
from avtrain.config import EvaluateConfig, PlanConfig, PretrainConfig
from avtrain.data.plan_survey import survey
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.ranking import retrieval_scores
from avtrain.evaluation.retrieval import embed_rows, retrieve
from avtrain.report import write_report
from avtrain.runs import folder as run_folder
from avtrain.training.pretrain import pretrain
from tests.pages import Page, data_of
from tests.train.forge import Forged, forge_dataset
from tests.train.reports import called, rows_of


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
    assert "linear, shapes & <co>, 12 test clips in 6 clusters" in page.root.text
    assert "McNemar, bootstrap" in page.root.text


def test_pairs_and_speed_are_of_the_batches_that_were(trained, tmp_path):
    """10 of 16 clips in batches of 4, up to three batches an update: one update of 8 pairs an epoch."""
    _, folder = trained
    config = PretrainConfig(model_size="tiny", batch_size=4, accumulate=3, epochs=2, val_share=0.25)
    pretrain(folder, tmp_path / "run", config, quiet=True)
    write_report([tmp_path / "run"], tmp_path / "r.html", datasets=[folder])
    page = Page(tmp_path / "r.html")
    names = ("strategy", "batch_size", "accumulate", "epochs", "val_share")
    found = survey(Dataset(folder), PlanConfig(**{name: getattr(config, name) for name in names}))
    lines = run_folder.read_metrics(tmp_path / "run")
    assert (found["clips"], len(lines)) == (10, 2)
    header, row = rows_of(page.all("div", "plans")[0])
    told = dict(zip(header, row, strict=True))
    assert told["updates an epoch"] == "1"
    header, row = rows_of(page.all("div", "state")[0])
    assert dict(zip(header, row, strict=True))["pairs/s"] == f"{16 / lines[-1]['seconds']:,.0f}"


def test_a_run_without_weights_is_named_and_the_page_is_made(trained, tmp_path):
    root, folder = trained
    shutil.copytree(root / "random", tmp_path / "bare", ignore=shutil.ignore_patterns("step_*"))
    done = called("report", tmp_path / "bare", "--data", folder, "--out", tmp_path / "r.html", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "1 runs, 2 evaluations" in done.output
    page = Page(tmp_path / "r.html")
    assert any("holds no checkpoint" in note.text for note in page.all("p", "missing"))
    assert page.all("div", "query") == []
