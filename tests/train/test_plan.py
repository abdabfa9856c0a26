"""What `avtrain plan` says is what the plans hold, counted here pair by pair."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from avprep import schema
from avprep.dataset import Dataset
from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import PlanConfig
from avtrain.data import plan_survey as plan_module
from avtrain.data.plan_survey import survey
from avtrain.data.plans import strategy_of, training_table
from avtrain.data.survey_text import printed
from avtrain.sampling.windows import WindowSpec, draw_windows
from tests.train.forge import FRAME_SIZE, MEL_BANDS, Forged, forge_dataset, forge_index, write_labels

FRAME_BYTES, MEL_BYTES = FRAME_SIZE**2 * 3, MEL_BANDS * 2
SIZES = {"a": 18, "b": 3, "c": 1, "d": 1, "e": 2, "f": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 training clips of six classes, some short, with a column of 'pseudo' labels that lacks some."""
    labels = [label for label, size in SIZES.items() for _ in range(size)]
    clips = [Forged(label, seconds=0.4 if row % 7 == 3 else 2.0) for row, label in enumerate(labels)]
    clips += [Forged("a", split="test") for _ in range(5)]
    out = forge_dataset(tmp_path_factory.mktemp("dataset") / "plan", clips)
    write_labels(out, "pseudo", {f"c{row}": row % 4 for row in range(30) if row % 10}, ["p", "q", "r", "s"])
    return out


def counted(folder, config):
    """The survey's numbers, pair by pair, over all epochs."""
    dataset = Dataset(folder)
    table = training_table(dataset, config.labels)
    strategy = strategy_of(config.strategy, dataset, table)
    planned = dict(zip(table.rows.tolist(), table.labels.tolist(), strict=True))
    seen, heard = [set() for _ in range(config.epochs)], [set() for _ in range(config.epochs)]
    sums = dict.fromkeys(("pairs", "same", "soft", "soft_alike", "no_mate", "bytes"), 0)
    shards, sizes = [], []
    for epoch in range(config.epochs):
        for step, plan in enumerate(strategy.plan(table, batch_size=config.batch_size, seed=config.seed, epoch=epoch)):
            windows = draw_windows(plan, dataset.num_frames, WindowSpec(), seed=config.seed, epoch=epoch, step=step)
            pairs = plan.tolist()
            shards.append(len({dataset.shard[row] for pair in pairs for row in pair}))
            sizes.append(len(pairs))
            for place, (audio, video) in enumerate(pairs):
                heard[epoch].add(audio)
                seen[epoch].add(video)
                sums["pairs"] += 1
                sums["soft"] += audio != video
                sums["soft_alike"] += audio != video and dataset.label[audio] == dataset.label[video]
                sums["no_mate"] += planned[audio] < 0 or list(planned.values()).count(planned[audio]) == 1
                sums["same"] += sum(
                    dataset.label[other] == dataset.label[audio]
                    for number, (_, other) in enumerate(pairs)
                    if number != place
                )
                sums["bytes"] += FRAME_BYTES * min(8, dataset.num_frames[video] - windows.frame[place])
                sums["bytes"] += MEL_BYTES * min(100, dataset.num_mel_frames[audio] - windows.mel_frame[place])
    return sums, shards, sizes, heard, seen


STRATEGIES = [
    ("random", "label", 7),
    ("easy-negative", "label", 4),
    ("hard-negative", "label", 5),
    ("class-balanced", "label", 7),
    ("soft-positive", "label", 7),
    ("soft-positive", "pseudo", 7),
    ("easy-negative", "pseudo", 3),
]


@pytest.mark.parametrize(("strategy", "labels", "batch"), STRATEGIES)
def test_a_survey_counts_what_the_plans_hold(folder, strategy, labels, batch):
    config = PlanConfig(strategy=strategy, labels=labels, batch_size=batch, epochs=6, seed=4)
    found = survey(Dataset(folder), config)
    sums, shards, sizes, heard, seen = counted(folder, config)
    assert found["examined"] == {"batches": len(shards), "coverage_epochs": 6}
    assert found["clips"] == 30
    assert found["steps_per_epoch"] == len(sizes) / 6
    assert found["updates"] == len(sizes)
    assert found["pairs_per_epoch"] == sums["pairs"] / 6
    assert found["pairs_per_batch"] == {
        "smallest": min(sizes),
        "mean": pytest.approx(np.mean(sizes)),
        "largest": max(sizes),
    }
    no_mate = sums["no_mate"] if strategy == "soft-positive" else 0
    assert found["pair_shares"] == pytest.approx(
        {
            "exact": 1 - (sums["soft"] + no_mate) / sums["pairs"],
            "soft": sums["soft"] / sums["pairs"],
            "fallback": no_mate / sums["pairs"],
        }
    )
    assert found["same_class_negatives_per_anchor"] == pytest.approx(sums["same"] / sums["pairs"])
    if sums["soft"]:
        assert found["soft_pairs_of_one_true_class"] == pytest.approx(sums["soft_alike"] / sums["soft"])
    else:
        assert found["soft_pairs_of_one_true_class"] is None
    assert found["shards_per_batch"] == {"mean": pytest.approx(np.mean(shards)), "largest": max(shards)}
    assert found["bytes_per_pair"] == pytest.approx(sums["bytes"] / sums["pairs"])
    assert found["bytes_per_epoch"] == round(sums["bytes"] / 6)
    for name, epochs in (("heard", heard), ("seen", seen)):
        so_far = [len(set().union(*epochs[: last + 1])) for last in range(6)]
        assert found[name] == {
            "in_first_epoch": so_far[0],
            "never": 30 - so_far[-1],
            "epochs_until_all": so_far.index(30) + 1 if 30 in so_far else None,
        }


def test_the_labels_are_counted_by_the_column(folder):
    dataset = Dataset(folder)
    own = survey(dataset, PlanConfig(batch_size=7, epochs=1))["labels"]
    assert {row["name"]: row["clips"] for row in own["clips"]} == SIZES
    named = ("count", "smallest", "median", "largest", "of_one_clip", "clips_without")
    assert [own[name] for name in named] == [6, 1, 2.5, 18, 2, 0]
    pseudo = survey(dataset, PlanConfig(batch_size=7, epochs=1, labels="pseudo"))["labels"]
    assert [(row["label"], row["name"], row["clips"]) for row in pseudo["clips"]] == [
        (0, "p", 6),
        (1, "q", 8),
        (2, "r", 6),
        (3, "s", 7),
    ]
    assert [pseudo[name] for name in named] == [4, 6, 6.5, 8, 0, 3]


def test_no_label_at_all_is_reported_and_makes_soft_positive_random(folder, tmp_path):
    copy = tmp_path / "data"
    copy.mkdir()
    for part in ("index.parquet", "dataset.json"):
        (copy / part).write_bytes((folder / part).read_bytes())
    write_labels(copy, "none", {}, [])
    found = survey(Dataset(copy), PlanConfig(batch_size=7, epochs=2, strategy="soft-positive", labels="none"))
    assert found["labels"]["clips_without"] == 30
    assert found["labels"]["count"] == found["labels"]["largest"] == found["labels"]["smallest"] == 0
    assert found["pair_shares"] == {"exact": 0.0, "soft": 0.0, "fallback": 1.0}
    assert "0 in column 'none'" in printed(found)


def test_half_of_the_pairs_that_could_not_be_soft_were_meant_to_be_exact(folder):
    shares = survey(Dataset(folder), PlanConfig(batch_size=30, epochs=300, strategy="soft-positive:p=0.5"))[
        "pair_shares"
    ]
    assert shares["fallback"] == pytest.approx(0.5 * 2 / 30, abs=0.006)
    assert shares["soft"] == pytest.approx(0.5 * 28 / 30, abs=0.02)


def test_what_was_not_looked_at_is_reported(folder, monkeypatch):
    monkeypatch.setattr(plan_module, "EXAMINED_BATCHES", 3)
    monkeypatch.setattr(plan_module, "EXAMINED_PAIRS", 50)
    found = survey(Dataset(folder), PlanConfig(batch_size=10, epochs=9, strategy="hard-negative"))
    assert found["examined"] == {"batches": 3, "coverage_epochs": 2}
    assert found["pairs_per_epoch"] == 28
    assert found["heard"] == {"in_first_epoch": 28, "never": 2, "epochs_until_all": None}
    text = printed(found)
    assert "examined    3 of 45 batches; for heard and seen 2 of 9 epochs; no media" in text
    assert "28 of 30 clips in the first epoch, all but 2 in 2" in text


@pytest.mark.parametrize(("strategy", "batch", "steps"), [("soft-positive", 309, 123), ("hard-negative", 123, 309)])
def test_the_small_set_of_the_paper(tmp_path, strategy, batch, steps):
    forged = forge_index(tmp_path / "vggsound", np.repeat(np.arange(309), 123))
    found = survey(Dataset(forged), PlanConfig(strategy=strategy, batch_size=batch, world_size=4))
    assert (found["steps_per_epoch"], found["updates"], found["pairs_per_epoch"]) == (steps, 100 * steps, 38_007)
    assert found["bytes_per_pair"] == 8 * 112 * 112 * 3 + 100 * 128 * 2
    assert (
        found["pairs_per_rank"] == {309: {"smallest": 77, "largest": 78}, 123: {"smallest": 30, "largest": 31}}[batch]
    )
    assert found["heard"]["epochs_until_all"] == 1
    expected = {309: 308 * 122 / 38_006, 123: 122}[batch]
    assert found["same_class_negatives_per_anchor"] == pytest.approx(expected, rel=0.02)


def test_bytes_of_jpegs_are_reckoned_from_the_size_of_each_clip(folder, tmp_path):
    index = pq.read_table(folder / schema.INDEX)
    num_frames = index.column("num_frames").to_numpy()
    smaller = pa.array(num_frames * np.where(num_frames > 8, 20, 10), pa.int64())
    index = index.set_column(index.column_names.index("frames_bytes"), "frames_bytes", smaller)
    pq.write_table(index, tmp_path / schema.INDEX)
    info = store.read_json(folder / schema.DATASET)
    info["video"]["frame_codec"] = "jpeg"
    for facts in info["shards"].values():
        facts |= {"sizes_bytes": 10**6, "sizes_sha256": facts["sha256"]}
    store.write_json(tmp_path / schema.DATASET, info)
    found = survey(Dataset(tmp_path), PlanConfig(batch_size=30, epochs=1))
    short, short_mel = (num_frames[index.column("split").to_numpy() == "train"] == 6).sum(), 41
    assert short == 4
    pictures = (30 - short) * 8 * 20 + short * 6 * 10
    assert found["bytes_per_epoch"] == pictures + ((30 - short) * 100 + short * short_mel) * MEL_BYTES


@pytest.mark.slow
def test_text_and_json_without_media_and_without_torch(folder, tmp_path):
    """Of the dataset only index, labels and dataset.json are there."""
    bare = tmp_path / "bare"
    (bare / "labels").mkdir(parents=True)
    for part in ("index.parquet", "dataset.json", "labels/pseudo.parquet"):
        (bare / part).write_bytes((folder / part).read_bytes())
    script = (
        "import sys\nfrom avtrain.cli import main\ntry:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    options = ["--strategy=soft-positive", "--labels=pseudo", "--batch-size=7", "--epochs=6", "--world-size=2"]
    text, as_json = (
        subprocess.run(
            [sys.executable, "-c", script, "plan", str(bare), *options, *more],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for more in ((), ("--json",))
    )
    found = json.loads(as_json)
    assert found["config"] == {
        "strategy": "soft-positive",
        "labels": "pseudo",
        "label_confidence": False,
        "fold_column": "",
        "fold": "",
        "split": "train",
        "batch_size": 7,
        "window_frames": 0,
        "frame_stride": 1,
        "audio_seconds": 0.0,
        "accumulate": 1,
        "epochs": 6,
        "val_share": 0.0,
        "seed": 0,
        "world_size": 2,
    }
    assert text.strip() == printed(found)
    for line in (
        f"{bare}: 30 train clips, strategy soft-positive",
        "4 an epoch, 24 in 6 epochs",
        "28 an epoch, 7 a batch, 3 to 4 a rank",
        f"{100 * found['soft_pairs_of_one_true_class']:.1f} % of soft pairs are of one class",
        "4 in column 'pseudo': 6 clips in the smallest, 6 in the median, 8 in the largest",
        "8 pictures (0.5 s), in the middle of 1 s of sound",
        "0 of one clip only; 3 clips without label",
        "clips without label are exact pairs; others=skip leaves them out",
        "        8  q",
    ):
        assert line in text
    for strategy in ("soft-positive:others=exact", "random"):
        assert "others=skip" not in printed({**found, "config": {**found["config"], "strategy": strategy}})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--strategy=hardest",), "There is no strategy 'hardest'; choose from random,"),
        (("--strategy=easy-negative", "--batch-size=7"), "batch of 7 clips of different labels .* from 6 labels"),
        (("--batch-size=31",), "A batch of 31 cannot be drawn from 30 clips"),
        (("--batch-size=1",), "batch_size must be 2 or more"),
        (("--epochs=0",), "epochs and world_size must be 1 or more"),
        (("--seed=-1",), "seed must be 0 or more"),
        (("--split=val",), "has no split 'val'; it has"),
        (("--labels=real",), "no label column 'real'; it has label, pseudo"),
        (("--batch-size=5", "--world-size=6"), "6 ranks cannot share a batch of 5 pairs"),
        (("--strategy=pairs:none.parquet",), "none.parquet cannot be read as Parquet"),
    ],
)
def test_a_mistake_is_one_sentence(folder, options, sentence):
    done = CliRunner().invoke(main, ["plan", str(folder), *options])
    assert done.exit_code == 2, done.output
    assert len(done.output.splitlines()) == 1
    assert re.search(sentence, done.output)


def test_another_split_is_planned_by_itself(folder):
    found = survey(Dataset(folder), PlanConfig(split="test", batch_size=5, epochs=1))
    assert (found["clips"], found["steps_per_epoch"]) == (5, 1)
    with pytest.raises(UserError, match="cannot be drawn from 5 clips"):
        survey(Dataset(folder), PlanConfig(split="test", batch_size=6))
