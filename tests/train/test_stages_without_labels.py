"""neighbours and cluster: what is alike in a run's features is paired or gets one label, without any label read."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import avtrain.stages.cluster
from avprep import schema
from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import NeighboursConfig
from avtrain.data.plans import strategy_of, training_table
from avtrain.sampling import Pairs
from avtrain.stages.neighbours import mutual_of, pairs_table
from tests.train.forge import Forged, forge_dataset
from tests.train.tables import epochs_of, table_of
from tests.train.test_encoder import save_run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """(dataset, run): 24 training clips of two classes that differ in loudness, 4 test clips; fresh weights."""
    root = tmp_path_factory.mktemp("stages")
    clips = [Forged("ab"[row % 2], "test" if row >= 24 else "train", 1.0, level=-30.0 * (row % 2)) for row in range(28)]
    folder = forge_dataset(root / "data", clips, 12, frame_size=32, mel_bands=32)
    save_run(root / "run", Dataset(folder))
    return folder, root / "run"


def call(*words):
    return CliRunner().invoke(main, [*map(str, words), "--device", "cpu"])


def test_neighbours_are_pairs_that_a_run_draws_from(data, tmp_path):
    folder, run = data
    out = tmp_path / "near.parquet"
    words = ("neighbours", folder, "--run", run, "--out", out, "--by", "audio", "--neighbours", "3")
    done = call(*words, "--compare", "label", "--json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert (made["pairs"], made["clips"]) == (72, 24)
    assert made["same_class"] > 0.95
    pairs = pq.read_table(out)
    audio, video = (np.array(pairs.column(name).to_pylist()) for name in ("audio", "video"))
    assert (audio != video).all()
    weights = pairs.column("weight").to_numpy().reshape(24, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (np.diff(weights, axis=1) <= 0).all()
    origin = json.loads(pairs.schema.metadata[b"neighbours"])
    assert (origin["command"], origin["run"], origin["by"], origin["neighbours"]) == ("neighbours", "run", "audio", 3)
    dataset = Dataset(folder)
    table = training_table(dataset)
    strategy = strategy_of(f"pairs:{out}:weights=partner", dataset, table)
    assert strategy.steps(table, 8) == 3
    plan = np.concatenate(list(strategy.plan(table, batch_size=8, seed=0, epoch=0)))
    assert sorted(plan[:, 0]) == sorted(table.rows)
    assert (dataset.label[plan[:, 0]] == dataset.label[plan[:, 1]]).mean() > 0.9
    assert (plan[:, 0] != plan[:, 1]).all()
    before = out.read_bytes()
    again = call(*words)
    assert again.exit_code == 0, again.output
    assert "72 pairs of 24 training clips, mean similarity" in again.output
    assert out.read_bytes() == before
    (tmp_path / "mine.parquet").write_bytes((folder / "index.parquet").read_bytes())
    refused = call(*words[:4], "--out", tmp_path / "mine.parquet")
    assert refused.exit_code == 2
    assert "this command did not write it" in refused.output


def test_both_takes_the_smaller_similarity_and_video_the_pictures(data, tmp_path):
    folder, run = data
    similar = {}
    for by in ("audio", "video", "both"):
        out = tmp_path / f"{by}.parquet"
        done = call("neighbours", folder, "--run", run, "--out", out, "--by", by, "--neighbours", "23")
        assert done.exit_code == 0, done.output
        columns = (pq.read_table(out).column(name).to_pylist() for name in ("audio", "video", "similarity"))
        similar[by] = {(one, other): value for one, other, value in zip(*columns, strict=True)}
    assert len(similar["both"]) == 24 * 23
    for pair, value in similar["both"].items():
        assert value == pytest.approx(min(similar["audio"][pair], similar["video"][pair]), abs=1e-6)


def test_weights_fall_with_similarity_and_leave_the_own_picture_its_share():
    ids = np.array(["x", "y", "z"], object)
    positions, similar = np.array([[1, 2], [0, 2], [1, 0]]), np.array([[0.9, 0.8]] * 3, np.float32)
    every = np.ones((3, 2), bool)
    config = NeighboursConfig(neighbours=2, temperature=0.1, exact_share=0.5)
    table = pairs_table(ids, positions, similar, config, every)
    assert table.column("audio").to_pylist() == list("xxxyyyzzz")
    assert table.column("video").to_pylist() == list("xyzyxzzyx")
    high = 0.5 * np.e / (1 + np.e)
    np.testing.assert_allclose(table.column("weight").to_numpy()[:3], [0.5, high, 0.5 - high], rtol=1e-5)
    alike = pairs_table(ids, positions, similar, NeighboursConfig(neighbours=2, temperature=0), every)
    np.testing.assert_allclose(alike.column("weight").to_numpy(), 0.5)
    some = pairs_table(ids, positions, similar, config, np.array([[False, True], [False, False], [True, True]]))
    assert some.column("audio").to_pylist() == list("xxzzz")
    assert some.column("video").to_pylist() == list("xzzyx")
    np.testing.assert_allclose(some.column("weight").to_numpy(), [0.5, 0.5, 0.5, high, 0.5 - high], rtol=1e-5)


def test_near_log_mel_needs_no_run(data, tmp_path):
    folder, run = data
    words = ("neighbours", folder, "--by", "log-mel", "--neighbours", "3", "--out", tmp_path / "near.parquet")
    done = call(*words, "--compare", "label", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["same_class"] == 1
    dataset = Dataset(folder)
    rows = dataset.rows_of("train")
    logmels = [dataset.read_logmel(row).astype(np.float64) for row in rows]
    plain = np.array([np.concatenate([one.mean(0), one.std(0), one.max(0)]) for one in logmels])
    plain = (plain - plain.mean(axis=0)) / plain.std(axis=0)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    pairs = pq.read_table(tmp_path / "near.parquet")
    at = {clip: position for position, clip in enumerate(dataset.ids_of(rows).to_pylist())}
    one, other = ([at[clip] for clip in pairs.column(name).to_pylist()] for name in ("audio", "video"))
    np.testing.assert_allclose(
        pairs.column("similarity").to_numpy(), (plain[one] * plain[other]).sum(axis=1), atol=1e-4
    )
    for wrong, message in (
        ((*words, "--run", run), "leave out --run"),
        (("neighbours", folder, "--out", tmp_path / "other.parquet"), "name one by --run, or choose --by log-mel"),
    ):
        refused = call(*wrong)
        assert refused.exit_code == 2
        assert message in refused.output


def test_mutual_neighbours_have_each_other_among_theirs(data, tmp_path):
    positions = np.array([[1, 2], [0, 3], [1, 0], [2, 1]])
    assert mutual_of(positions).tolist() == [[True, True], [True, True], [False, True], [False, True]]
    folder, run = data
    words = ("neighbours", folder, "--run", run, "--by", "audio", "--mutual", "--neighbours")
    done = call(*words, "2", "--out", tmp_path / "near.parquet", "--compare", "label", "--json")
    assert done.exit_code == 0, done.output
    made, pairs = json.loads(done.stdout), pq.read_table(tmp_path / "near.parquet")
    couples = list(zip(pairs.column("audio").to_pylist(), pairs.column("video").to_pylist(), strict=True))
    assert {(other, one) for one, other in couples} == set(couples)
    assert made["pairs"] == len(couples)
    assert (made["clips"], made["without"]) == (len(dict(couples)), 24 - len(dict(couples)))
    dataset = Dataset(folder)
    strategy = strategy_of(f"pairs:{tmp_path / 'near.parquet'}:weights=partner", dataset, training_table(dataset))
    plan = np.concatenate(list(strategy.plan(training_table(dataset), batch_size=4, seed=0, epoch=0)))
    assert {(dataset.clip_ids[one], dataset.clip_ids[other]) for one, other in plan} <= set(couples)


def test_a_partner_is_drawn_for_each_sound_by_weight():
    table = table_of([0] * 40)
    audio, video = np.repeat(table.rows, 4), np.tile(table.rows[:4], 40)
    order = np.random.default_rng(0).permutation(160)  # the pairs of a sound need not be together
    weights = np.tile([0.0, 1.0, 3.0, 6.0], 40) * np.repeat(np.exp(np.linspace(-20, 20, 40)), 4)
    strategy = Pairs(audio[order], video[order], weights[order], by_sound=True)
    epochs = epochs_of(strategy, table, 10, epochs=50)
    plans = np.concatenate(epochs)
    assert len(plans) == 50 * 40
    assert (np.sort(plans[:, 0].reshape(50, 40), axis=1) == np.sort(table.rows)).all()  # each once an epoch
    counts = (plans[:, 1, None] == table.rows[:4]).sum(axis=0)
    assert counts[0] == 0
    assert abs(counts[1:] / len(plans) - [0.1, 0.3, 0.6]).max() < 0.04
    whole = list(strategy.plan(table, batch_size=10, seed=1, epoch=2))
    (tail,) = strategy.plan(table, batch_size=10, seed=1, epoch=2, first_step=3)
    np.testing.assert_array_equal(tail, whole[3])
    alike = np.concatenate(epochs_of(Pairs(audio, video, by_sound=True), table, 10, epochs=50))
    shares = (alike[:, 1, None] == table.rows[:4]).mean(axis=0)
    assert abs(shares - 0.25).max() < 0.04
    with pytest.raises(ValueError, match="A batch of 41 cannot be drawn from 40 sounds"):
        strategy.steps(table, 41)
    with pytest.raises(ValueError, match="not both"):
        Pairs(audio, video, weights, in_loss=True, by_sound=True)


def test_clusters_join_what_sounds_alike_and_are_fitted_on_training_clips(data):
    folder, run = data
    words = ("cluster", folder, "--run", run, "--clusters", "2", "--name", "two", "--compare", "label")
    done = call(*words, "--json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert made["mutual_information"] == pytest.approx(1)
    assert (made["clips"], made["smallest"], made["largest"]) == (24, 12, 12)
    dataset = Dataset(folder)
    column = dataset.labels("two")
    assert column.class_names == ["cluster-0", "cluster-1"]
    assert (column.values >= 0).all()
    tests, train = (dataset.rows_of(split) for split in ("test", "train"))
    of_label = {label: set(column.values[train][dataset.label[train] == label].tolist()) for label in (0, 1)}
    assert all(
        {value} == of_label[label] for value, label in zip(column.values[tests], dataset.label[tests], strict=True)
    )
    again = call(*words)
    assert (
        "24 training clips in 2 clusters of 12 to 12, normalised mutual information with 'label' 1.000" in again.output
    )
    for by in ("video", "both"):
        assert call(*words[:6], "--name", by, "--by", by).exit_code == 0
    assert call(*words[:4], "--name", "two", "--clusters", "3").exit_code == 2


def test_clips_of_other_splits_have_no_part_in_the_clusters(data, monkeypatch):
    folder, run = data
    fitted_on = []

    def clusters_of(features, fitted, count, seed):
        fitted_on.append(fitted)
        return np.zeros(len(features), np.int32)

    monkeypatch.setattr(avtrain.stages.cluster, "clusters_of", clusters_of)
    assert call("cluster", folder, "--run", run, "--clusters", "2", "--name", "patched").exit_code == 0
    dataset = Dataset(folder)
    np.testing.assert_array_equal(np.flatnonzero(fitted_on[0]), dataset.rows_of("train"))


@pytest.mark.parametrize(("words", "sentence"), [
    (["neighbours", "--neighbours", "24"], "24 neighbours are more than the 23 other training clips"),
    (["neighbours", "--exact-share", "1"], "exact_share must be 0 or more and below 1"),
    (["neighbours", "--compare", "gone"], "no label column 'gone'"),
    (["cluster", "--clusters", "25"], "25 clusters are more than the 24 training clips"),
    (["cluster", "--clusters", "1"], "clusters must be 2 or more"),
    (["cluster", "--name", "label", "--clusters", "2"], "cannot name a label column"),
])  # fmt: skip
def test_what_they_refuse(data, tmp_path, words, sentence):
    folder, run = data
    out = ["--out", tmp_path / "x.parquet"] if words[0] == "neighbours" else ["--name", "never"]
    done = call(words[0], folder, "--run", run, *([] if "--name" in words else out), *words[1:])
    assert done.exit_code == 2, done.output
    assert sentence in done.output
    assert not (tmp_path / "x.parquet").exists()
    assert not (folder / schema.labels_path("never")).exists()


def test_clips_of_sound_alone_cannot_be_paired_but_clustered(tmp_path):
    clips = [Forged("ab"[row % 2], seconds=1.0, level=-30.0 * (row % 2), pictures=row > 0) for row in range(8)]
    folder = forge_dataset(tmp_path / "data", clips, 4, frame_size=32, mel_bands=32)
    save_run(tmp_path / "run", Dataset(folder))
    done = call("neighbours", folder, "--run", tmp_path / "run", "--out", tmp_path / "n.parquet", "--by", "audio")
    assert done.exit_code == 2
    assert "1 clips without picture, such as c0" in done.output
    done = call("cluster", folder, "--run", tmp_path / "run", "--clusters", "2", "--name", "p", "--by", "video")
    assert done.exit_code == 0, done.output
    dataset = Dataset(folder)
    assert (dataset.labels("p").values < 0).tolist() == [clip == "c0" for clip in dataset.clip_ids]
    with pytest.raises(UserError, match="draw, loss or partner, not 'x'"):
        strategy_of("pairs:p.parquet:weights=x", dataset, training_table(dataset, sounds_alone=True))
