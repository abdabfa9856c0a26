"""Several datasets in a run: joined by names, each with its exact share of an epoch, resumed and recorded as one."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

import avprep
import avtrain
from avprep import schema
from avprep.build.merge import merge
from avprep.dataset import Dataset
from avprep.dataset.joined import JoinedDataset
from avprep.shared import store
from avprep.shared.errors import Interrupted, UserError
from avtrain.cli import main
from avtrain.config import PlanConfig
from avtrain.data.cache import cache_for
from avtrain.data.loader import Loader
from avtrain.data.plan_survey import survey
from avtrain.data.plans import strategy_of, training_table
from avtrain.data.several import dataset_of, sources_of
from avtrain.data.splits import set_aside
from avtrain.runs.trained_on import read_record
from avtrain.sampling import ClipTable, HardNegative, Random, Shares, SoftPositive, Stream, generator
from tests.train.forge import Forged, arrays, forge_dataset, write_label_lists, write_labels
from tests.train.test_label_lists import table_of as table_of_lists

TINY = {"model_size": "tiny", "batch_size": 6, "strategy": "soft-positive", "checkpoint_every_steps": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """`a`: 12 training clips of cat, dog, owl; `b`: 10 of dog, fox, cat. Their ids clash: c0, c1 ..."""
    folder = tmp_path_factory.mktemp("several")
    a = [Forged(("cat", "dog", "owl")[row % 3], group=f"a{row}", seconds=1.0) for row in range(12)]
    a += [Forged("cat", "test", group=f"at{row}", seconds=1.0) for row in range(4)]
    b = [
        Forged(("dog", "fox", "cat", "dog", "fox")[row % 5], group=f"b{row}", seconds=1.0, level=-9)
        for row in range(10)
    ]
    b += [Forged("fox", "test", group=f"bt{row}", seconds=1.0) for row in range(2)]
    forge_dataset(folder / "a", a, frame_size=32, mel_bands=32)
    forge_dataset(folder / "b", b, clips_per_shard=3, frame_size=32, mel_bands=32)
    write_labels(folder / "a", "speaker", {f"c{row}": row % 2 for row in range(12)}, ["ann", "bob"])
    write_labels(folder / "b", "speaker", {f"c{row}": row % 2 for row in range(8)}, ["bob", "cyd"])
    write_labels(folder / "a", "only-a", {f"c{row}": 0 for row in range(12)}, ["x"])
    write_labels(folder / "a", "mixed", {f"c{row}": 0 for row in range(6)}, ["wind"])
    write_label_lists(folder / "b", "mixed", {"c0": ["wind", "rain"], "c1": [], "c2": ["hail"], "c3": None})
    return folder


@pytest.fixture
def joined(root):
    return dataset_of([root / "a", root / "b"])


def part_of(dataset, rows):
    return np.searchsorted(dataset.row_bounds, rows, side="right") - 1


def test_rows_labels_splits_and_media_are_those_of_each_dataset(root, joined):
    a, b = Dataset(root / "a"), Dataset(root / "b")
    assert joined.class_names == ["cat", "dog", "owl", "fox"]
    names = [joined.class_names[label] for label in joined.label]
    assert names == [one.class_names[label] for one in (a, b) for label in one.label]
    assert len(joined) == 28
    assert len(joined.rows_of("train")) == 22
    assert np.array_equal(joined.frames_offset, np.concatenate([a.frames_offset, b.frames_offset]))
    for row, (one, own) in {3: (a, 3), 16: (b, 0), 27: (b, 11)}.items():
        assert joined.shard_path(row) == one.shard_path(own)
        np.testing.assert_array_equal(joined.read_clip(row).logmel, one.read_clip(own).logmel)
    assert joined.group_names.tolist() == [*a.group_names, *b.group_names]


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_a_loader_reads_each_clip_from_its_own_folder(tmp_path, codec):
    """The arrays of a forged clip go by its number, so two datasets of other lengths of clips tell them apart."""
    one = forge_dataset(tmp_path / "one", [Forged("x", level=-5) for _ in range(3)], codec=codec)
    two = forge_dataset(tmp_path / "two", [Forged("x", seconds=3.0) for _ in range(3)], 2, codec)
    joined = dataset_of([one, two])
    loader = Loader(joined, training_table(joined), Random(), batch_size=6, epochs=1)
    (batch,) = loader
    for (row, _), sound, picture in zip(batch.plan.tolist(), batch.audio.numpy(), batch.video.numpy(), strict=True):
        frames, logmel = arrays(row % 3, Forged("x", level=-5) if row < 3 else Forged("x", seconds=3.0))
        starts = [start for start in range(len(logmel) - 99) if np.array_equal(logmel[start : start + 100], sound)]
        assert starts
        if codec == "raw":
            assert any(np.array_equal(frames[start : start + 8], picture) for start in range(len(frames)))


def test_statistics_are_those_of_a_merge(tmp_path):
    clips = [Forged("x", seconds=1.0, level=-row, group=f"{row}") for row in range(5)]
    for name, own in (("one", clips[:2]), ("two", [*clips[2:], Forged("y", "test")])):
        forge_dataset(tmp_path / name, own)
    joined = dataset_of([tmp_path / "one", tmp_path / "two:2"])
    sums = [arrays(row, clip)[1].astype(float) for some in (clips[:2], clips[2:]) for row, clip in enumerate(some)]
    frames = np.concatenate(sums)
    np.testing.assert_allclose(joined.logmel_mean, frames.mean(0), rtol=1e-12)
    np.testing.assert_allclose(joined.logmel_std, frames.std(0), rtol=1e-12)
    with pytest.raises(UserError, match="clip ids are in more than one"):  # of merge; here they get a name in front
        merge([tmp_path / "one", tmp_path / "two"], tmp_path / "out", date="2026-12-01")


def test_label_columns_are_joined_by_name(joined, caplog):
    column = joined.labels("speaker")
    assert column.class_names == ["ann", "bob", "cyd"]
    expected = {f"a/c{row}": row % 2 for row in range(12)} | {f"b/c{row}": 1 + row % 2 for row in range(8)}
    assert column.values.tolist() == [expected.get(clip_id, -1) for clip_id in joined.clip_ids]
    only = joined.labels("only-a")
    trained = joined.split == joined.splits.index("train")
    assert (only.values == np.where((np.arange(28) < 16) & trained, 0, -1)).all()
    training_table(joined, "only-a")
    assert "b has no label column 'only-a'" in caplog.text
    with pytest.raises(UserError, match="has no label column 'none'; it has label, "):
        joined.labels("none")


def test_a_column_of_one_label_and_one_of_lists_make_lists(joined):
    column = joined.labels("mixed")
    assert column.class_names == ["hail", "rain", "wind"]
    ends = zip(column.lists.begins, column.lists.begins[1:], strict=False)
    listed = [sorted(column.class_names[label] for label in column.lists.values[slice(*each)]) for each in ends]
    has = {f"a/c{row}": ["wind"] for row in range(6)} | {"b/c0": ["rain", "wind"], "b/c1": [], "b/c2": ["hail"]}
    assert listed == [has.get(clip_id, []) for clip_id in joined.clip_ids]
    assert column.known.tolist() == [clip_id in has for clip_id in joined.clip_ids]
    first = {"a/c0": 2, "b/c0": 2, "b/c1": -1, "b/c2": 0, "b/c3": -1, "a/c7": -1}
    assert {clip_id: column.values[joined.clip_ids.index(clip_id)] for clip_id in first} == first


def test_ids_in_two_datasets_begin_with_the_name_of_their_own(root, joined, caplog):
    own = [f"{name}/{one}" for name in ("a", "b") for one in Dataset(root / name).clip_ids]
    assert joined.clip_ids == own
    assert "12 clip ids are in more than one of the datasets" in caplog.text
    assert joined.ids_of(np.array([17, 3])).to_pylist() == [own[17], own[3]]


def test_ids_that_do_not_clash_stay(tmp_path):
    forge_dataset(tmp_path / "one", [Forged("x")])
    two = forge_dataset(tmp_path / "two", [Forged("x"), Forged("x")])
    avprep.exclude(two, ["c0"], reason="for the test")
    assert dataset_of([tmp_path / "one", two]).clip_ids == ["c0", "c1"]


def test_soft_pairs_join_the_datasets_by_label(joined):
    table = training_table(joined)
    plans = np.concatenate(list(SoftPositive().plan(table, batch_size=22, seed=0, epoch=0)))
    assert (joined.label[plans[:, 0]] == joined.label[plans[:, 1]]).all()
    across = part_of(joined, plans[:, 0]) != part_of(joined, plans[:, 1])
    assert across.any()
    names = {joined.class_names[label] for label in joined.label[plans[across][:, 0]]}
    assert names <= {"cat", "dog"}


def epochs_of(strategy, table, batch_size, epochs, seed=1):
    steps = strategy.steps(table, batch_size)
    out = []
    for epoch in range(epochs):
        plans = list(strategy.plan(table, batch_size=batch_size, seed=seed, epoch=epoch))
        assert len(plans) == steps
        out.append(plans)
    return out


@pytest.mark.parametrize(("weight", "times"), [(0.5, {0, 1}), (2, {2}), (1.5, {1, 2}), (0.3, {0, 1}), (2.25, {2, 3})])
def test_a_weight_is_the_exact_share_of_each_epoch(weight, times):
    table = ClipTable(np.arange(62), np.arange(62, dtype=np.int32) % 6)
    strategy = Shares(Random(), np.array([42, 62]), np.array([1, weight]))
    drawn = []
    for plans in epochs_of(strategy, table, 1, 40):
        counts = Counter(np.concatenate(plans)[:, 0].tolist())
        assert all(counts[row] == 1 for row in range(42))
        assert {counts[row] for row in range(42, 62)} <= times
        assert sum(counts[row] for row in range(42, 62)) == 20 * weight
        drawn.append(tuple(counts[row] for row in range(42, 62)))
    if weight != 2:
        assert len(set(drawn)) > 6  # anew each epoch
        assert min(np.sum(drawn, axis=0)) > 40 * min(times)  # and no clip is left out for good


def test_no_clip_is_twice_in_a_batch_of_a_dataset_that_comes_twice():
    table = ClipTable(np.arange(30), np.tile(np.arange(3, dtype=np.int32), 10))
    for inner in (Random(), SoftPositive(0.5), HardNegative()):
        strategy = Shares(inner, np.array([20, 30]), np.array([1, 2]))
        for plans in epochs_of(strategy, table, 10, 5):
            for plan in plans:
                assert len(set(plan[:, 0].tolist())) == len(plan)


STRATEGIES = [
    "random",
    "soft-positive:p=0.7",
    "soft-positive:others=skip",
    "class-balanced",
    "hard-negative",
    "easy-negative",
]


@pytest.mark.parametrize("text", STRATEGIES)
def test_epochs_are_of_one_length_and_resume_as_their_tail(text):
    """A tenth of the second dataset's small labels comes each epoch, and the third's clips twice."""
    labels = np.concatenate([np.arange(40) % 4, np.arange(60) % 25, np.full(9, -1), np.arange(11) % 3]).astype(np.int32)
    table = ClipTable(np.arange(5, 125), labels)
    inner = strategy_of(text, None, table)
    strategy = Shares(inner, np.array([45, 105, 125]), np.array([1, 0.1, 2]))
    for epoch, plans in enumerate(epochs_of(strategy, table, 4, 8)):
        for first in (1, 2, 3, len(plans) - 1):
            tail = list(strategy.plan(table, batch_size=4, seed=1, epoch=epoch, first_step=first))
            assert len(tail) == len(plans) - first
            assert all(np.array_equal(one, other) for one, other in zip(tail, plans[first:], strict=True))
        smallest = strategy.smallest_batch(table, 4)
        assert all(smallest <= len(plan) <= 4 for plan in plans)
    assert any(
        not np.array_equal(one, other) for one, other in zip(plans, epochs_of(strategy, table, 4, 1)[0], strict=True)
    )


def test_weights_and_fallbacks_of_the_strategy_go_by_its_own_step():
    table = ClipTable(np.arange(30), np.where(np.arange(30) % 3, 0, -1).astype(np.int32))
    strategy = Shares(SoftPositive(0.6, others="negatives"), np.array([20, 30]), np.array([1, 2]))
    seen = set()
    for step, plan in enumerate(strategy.plan(table, batch_size=10, seed=3, epoch=1)):
        weights = strategy.weights(table, plan, seed=3, epoch=1, step=step)
        kept = plan[:, 0] == plan[:, 1]
        alone = table.labels[plan[:, 0]] < 0
        assert (weights[~kept] == 1).all()  # a pair of two clips always counts
        fell = strategy.fallbacks(table, plan, seed=3, epoch=1, step=step)
        np.testing.assert_array_equal(weights == 0, fell)
        assert not fell[~kept].any()
        drawn = generator(3, 2 * 1 + step % 2, Stream.PARTNERS, step // 2).random(10) < 0.6
        np.testing.assert_array_equal(fell, drawn & kept)
        assert fell[alone].sum() == (drawn & alone).sum()
        seen.add(int(fell.sum()))
    assert seen != {0}


def test_lists_of_labels_are_drawn_with_their_clips():
    table = table_of_lists([[0, 1], [1], [], [0], [1, 2], [2]] * 5)
    strategy = Shares(SoftPositive(rare=0.5), np.array([12, 30]), np.array([1, 0.5]))
    for plans in epochs_of(strategy, table, 7, 4):
        for audio, video in np.concatenate(plans).tolist():
            own, other = (set(table.lists.values[slice(*table.lists.begins[[row, row + 1]])]) for row in (audio, video))
            assert audio == video or own & other


@pytest.mark.parametrize("text", ["soft-positive:p=0.5", "hard-negative"])
@pytest.mark.parametrize("weight", ["", ":1.5", ":0.5"])
def test_ranks_draw_what_one_process_draws(root, text, weight):
    dataset = dataset_of([root / "a", f"{root / 'b'}{weight}"])
    table = training_table(dataset)

    def batches(rank, world_size, first=None):
        strategy = strategy_of(text, dataset, table)
        loader = Loader(dataset, table, strategy, batch_size=7, epochs=2, rank=rank, world_size=world_size, threads=1)
        loader.load_state_dict(first or {"epoch": 0, "step": 0})
        return [(batch.plan.copy(), batch.audio.numpy().copy()) for batch in loader]

    alone = batches(0, 1)
    for world_size in (2, 3) if text != "hard-negative" else (2,):
        ranks = [batches(rank, world_size) for rank in range(world_size)]
        for number, (plan, audio) in enumerate(alone):
            np.testing.assert_array_equal(np.concatenate([of[number][0] for of in ranks]), plan)
            np.testing.assert_array_equal(np.concatenate([of[number][1] for of in ranks]), audio)
    tail = batches(0, 1, {"epoch": 1, "step": 1})
    assert all(np.array_equal(one[1], other[1]) for one, other in zip(tail, alone[-len(tail) :], strict=True))


def weights_of(run):
    return load_file(sorted(run.glob("step_*"))[-1] / "model.safetensors")


def train(root, run, data=("a", "b:0.5"), **settings):
    return avtrain.pretrain(
        [f"{root}/{one}" for one in data], run, device="cpu", threads=1, quiet=True, **{**TINY, "epochs": 2, **settings}
    )


@pytest.fixture(scope="module")
def run(root):
    train(root, root / "run")
    return root / "run"


def test_a_run_that_is_stopped_ends_with_the_same_bits(root, run, tmp_path):
    """Stopped after three updates of four, of which two are in a checkpoint; the third is made again."""
    calls = []

    def stopping():
        calls.append(len(calls))
        return len(calls) == 3

    with pytest.raises(Interrupted):
        train(root, tmp_path / "again", stopping=stopping)
    newest = sorted((tmp_path / "again").glob("step_*"))
    shutil.rmtree(newest[-1])  # a kill -9 leaves the checkpoint before
    assert len(newest) > 1
    train(root, tmp_path / "again")
    for name, tensor in weights_of(run).items():
        assert tensor.equal(weights_of(tmp_path / "again")[name]), name


def test_a_run_records_each_dataset(root, run):
    expected = [
        {"name": "a", "digest": Dataset(root / "a").digest, "weight": 1.0},
        {"name": "b", "digest": Dataset(root / "b").digest, "weight": 0.5},
    ]
    assert store.read_json(run / "config.json")["datasets"] == expected
    meta = store.read_json(sorted(run.glob("step_*"))[-1] / "meta.json")
    assert meta["data"]["datasets"] == expected
    assert meta["data"]["name"] == "a + b:0.5"
    ids = read_record(run).clips.column("clip_id").to_pylist()
    assert Counter(ids) == Counter([f"c{row}" for row in range(12)] + [f"c{row}" for row in range(10)])


def test_a_run_of_one_dataset_records_none(root, tmp_path):
    train(root, tmp_path / "run", ["a"], epochs=1, max_steps=1)
    assert "datasets" not in store.read_json(tmp_path / "run" / "config.json")
    assert "datasets" not in store.read_json(tmp_path / "run" / "step_00000001" / "meta.json")["data"]


def test_a_run_goes_on_with_its_own_datasets_alone(root, run, tmp_path):
    for data, now in ((["a", "b"], "a + b"), (["b:0.5", "a"], "b:0.5 + a"), (["a"], "one dataset")):
        with pytest.raises(UserError, match=r"was begun with a \+ b:0.5, and is now given") as refused:
            train(root, run, data, change=True)
        assert f"given {now}; give the same in the same order again, or choose another folder" in str(refused.value)
    for name in ("a", "b"):
        shutil.copytree(root / name, tmp_path / name)
    shutil.copytree(run, tmp_path / "run")
    avprep.exclude(tmp_path / "b", ["c3"], reason="for the test")
    with pytest.raises(
        UserError, match=r"begun with .*b as it was before 1 clips went by 'avprep exclude' on .*; give"
    ):
        train(tmp_path, tmp_path / "run")
    (tmp_path / "b" / "history.jsonl").unlink()
    with pytest.raises(UserError, match=r"was begun with another .*b; give the same datasets again"):
        train(tmp_path, tmp_path / "run")


def test_what_comes_after_takes_each_dataset_alone(root, run, tmp_path):
    scores = avtrain.evaluate(root / "a", run, protocol="retrieval", out=tmp_path / "out", device="cpu", threads=1)
    assert scores["seen_in_training"] == {"known": "all", "clips": 0, "share": 0.0, "examples": []}
    avtrain.write_embeddings(root / "a", tmp_path / "a.parquet", run=run, device="cpu")
    for folder in ("a", "b"):
        with pytest.raises(UserError, match=r"trained on several datasets, a \+ b:0.5, and a stage takes a run on one"):
            avtrain.clean_labels(root / folder, run, name="new", device="cpu")


def test_validation_on_a_group_that_another_dataset_trains_on_is_warned_of(tmp_path, caplog):
    forge_dataset(tmp_path / "one", [Forged("x", group="ann"), Forged("x", group="bob")])
    forge_dataset(tmp_path / "two", [Forged("x", group="cyd"), Forged("x", "val", group="bob")])
    dataset = dataset_of([tmp_path / "one", tmp_path / "two"])
    with caplog.at_level(logging.WARNING):
        _, aside = set_aside(dataset, training_table(dataset), "label", 0, 0)
    assert len(aside) == 1
    assert "1 of 1 clips to validate on are of groups that are trained on, bob: where" in caplog.text


def test_the_plan_has_a_line_for_each_dataset(root):
    result = CliRunner().invoke(main, ["plan", f"{root}/a", f"{root}/b:0.5", "--batch-size", "4", "--epochs", "3"])
    assert result.exit_code == 0, result.output
    assert "a: 12 clips, 3 labels" in result.output
    assert f"next: avtrain pretrain {root}/a {root}/b:0.5 --strategy random" in result.output
    assert "b: 10 clips, 5 drawn an epoch, 3 labels" in result.output
    assert "2 labels are in each of them" in result.output
    planned = avtrain.plan([root / "a", f"{root}/b:0.5"], batch_size=4, epochs=3)
    assert planned["pairs_per_epoch"] == 16
    assert planned["heard"]["in_first_epoch"] <= 17
    assert json.dumps(planned["datasets"])
    assert "datasets" not in survey(Dataset(root / "a"), PlanConfig(batch_size=4))


def test_a_colon_is_a_weight_where_nothing_else_can_be_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "b:2", "c:d"):
        os.mkdir(name)
    read = {text: [(str(path), weight) for path, weight in sources_of(["a", text])][1] for text in (
        "b", "b:0.5", "b:.5", "b:3", "b:2", "b:2:0.5", "c:d", "c:d:1", "none", "none:0.5", "s3://x/b", "s3://x/b:0.5",
        "s3://x:2", "http://h:80/b", "http://h:80/b:0.5", "http://h:80", "https://h:8080", "memory://b:2", "C:\\x",
    )}  # fmt: skip
    assert read == {
        "b": ("b", 1), "b:0.5": ("b", 0.5), "b:.5": ("b", 0.5), "b:3": ("b", 3), "b:2": ("b:2", 1),
        "b:2:0.5": ("b:2", 0.5), "c:d": ("c:d", 1), "c:d:1": ("c:d", 1), "none": ("none", 1), "none:0.5": ("none", 0.5),
        "s3://x/b": ("s3://x/b", 1), "s3://x/b:0.5": ("s3://x/b", 0.5), "s3://x:2": ("s3://x", 2),
        "http://h:80/b": ("http://h:80/b", 1), "http://h:80/b:0.5": ("http://h:80/b", 0.5),
        "http://h:80": ("http://h:80", 1), "https://h:8080": ("https://h:8080", 1), "memory://b:2": ("memory://b", 2),
        "C:\\x": ("C:\\x", 1),
    }  # fmt: skip
    assert sources_of("s3://x/b:0.5") == [("s3://x/b:0.5", 1)]  # a URL on its own has no weight


def test_a_dataset_at_a_url_is_joined_with_one_here(tmp_path):
    here = forge_dataset(tmp_path / "here", [Forged("x") for _ in range(3)], codec="jpeg")
    there = forge_dataset(tmp_path / "there", [Forged("x", seconds=3.0) for _ in range(3)], 2, "jpeg")
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").put(str(there), "/joined-there", recursive=True)
    read = {}
    for name, second in (("local", there), ("remote", "memory://joined-there")):
        dataset = dataset_of([here, second])
        loader = Loader(dataset, training_table(dataset), Random(), batch_size=6, epochs=1)
        read[name] = [(batch.audio.numpy().copy(), batch.video.numpy().copy()) for batch in loader]
    for one, other in zip(read["local"], read["remote"], strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    assert cache_for([here, "memory://joined-there"], tmp_path / "cache", 1) is not None


REFUSED = {
    "twice": (["a", "a"], {}, "are the same dataset; give it once"),
    "other features": (["a", "small"], {}, "have other features and cannot be used together.*\n  frame_size: 32 -> 16"),
    "weight of one": (["b:0.5"], {}, "is the only dataset, so that its weight 0.5 means nothing"),
    "no number": (["a", "b:half"], {}, "'half' in .* is no weight; write a number above 0"),
    "weight 0": (["a", "b:0"], {}, "must be above 0 and at most 100; leave a dataset out"),
    "too small": (["a", "b:0.01"], {}, "weight 0.01 of .*b draws none of its 10 clips; choose a larger one"),
    "no train split": (["a", "tested"], {}, "tested has no train clip here, so it would have no part; leave it out"),
    "own pairs": (["a", "b:2"], {"strategy": "pairs:PAIRS"}, "chooses clips itself, so datasets have no weights"),
    "withheld": (["a", "b:2"], {"strategy": "soft-positive:labelled=0.5"}, "withholds labels .*hide-labels"),
    "cache": (["a", "b"], {"cache": "cache"}, "a \\+ .*b is on this machine already; --cache is for datasets at a URL"),
    "not there": (["a", "gone"], {}, "gone is no finished dataset"),
    "fold of one": (["a", "b"], {"fold_column": "only-a", "fold": "x"}, "Fold 'x' of column 'only-a' has every clip"),
}


@pytest.fixture(scope="module")
def others(root):
    forge_dataset(root / "small", [Forged("cat")], frame_size=16, mel_bands=32)
    forge_dataset(root / "tested", [Forged("cat", "test")], frame_size=32, mel_bands=32)
    store_pairs(root / "pairs.parquet")
    return root


def store_pairs(path):
    pq.write_table(pa.table({"audio": ["a/c0", "b/c1"], "video": ["b/c0", "a/c1"]}), path)


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_end_in_one_sentence(others, tmp_path, case):
    data, settings, sentence = REFUSED[case]
    settings = {name: value.replace("PAIRS", str(others / "pairs.parquet")) for name, value in settings.items()}
    with pytest.raises(UserError, match=sentence):
        train(others, tmp_path / "new", data, **settings)
    assert not list((tmp_path / "new").glob("config.json"))


def test_pairs_of_a_file_join_datasets_by_the_names_of_both(others, joined):
    table = training_table(joined)
    strategy = strategy_of(f"pairs:{others / 'pairs.parquet'}", joined, table)
    (plan,) = strategy.plan(table, batch_size=2, seed=0, epoch=0)
    ids = [[joined.clip_ids[row] for row in pair] for pair in plan.tolist()]
    assert sorted(ids) == [["a/c0", "b/c0"], ["b/c1", "a/c1"]]


def test_a_joined_dataset_refuses_what_needs_a_folder(joined):
    assert isinstance(joined, JoinedDataset)
    with pytest.raises(UserError, match=r"a \+ .*b are several datasets, and this needs one; 'avprep merge'"):
        _ = joined.local_folder
    with pytest.raises(UserError, match="no split 'val'"):
        joined.rows_of("val")


def test_the_next_command_measures_on_one_of_the_datasets(root, run):
    words = ["pretrain", f"{root}/a", f"{root}/b:0.5", "--run", str(run), "--device", "cpu", "--threads", "1"]
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in {**TINY, "epochs": 2}.items()]
    result = CliRunner().invoke(main, [*words, *settings])
    assert result.exit_code == 0, result.output
    assert f"next: avtrain evaluate {root}/a --run {run}\n" in result.output


def test_probabilities_of_labels_are_1_where_a_dataset_has_no_such_column(root, joined, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(root / name, tmp_path / name)
    ids = Dataset(root / "b").clip_ids
    columns = {"clip_id": ids[:4], "label": [0] * 4, "probability": [0.5, 0.25, 0.75, 1.0]}
    table = pa.table(columns, schema.LABELS_SCHEMA.append(pa.field("probability", pa.float32())))
    path = tmp_path / "b" / schema.labels_path("sure")
    pq.write_table(table.replace_schema_metadata({schema.LABEL_NAMES_KEY: '["x"]'}), path)
    dataset = dataset_of([tmp_path / "a", tmp_path / "b"])
    assert dataset.label_probabilities("sure").tolist() == [1] * 16 + [0.5, 0.25, 0.75, 1] + [1] * 8
    with pytest.raises(UserError, match="has no probabilities to weight labels by"):
        joined.label_probabilities("speaker")
    with pytest.raises(UserError, match="manifest's own labels have no probabilities"):
        joined.label_probabilities("label")
