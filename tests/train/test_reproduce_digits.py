"""av-digits: rows, their labels and pairs, cells that are done once, and the arithmetic of the table."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from scipy import stats

from avprep.dataset import Dataset
from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.evaluation.compare import p_text
from avtrain.reproduce import run_grid
from avtrain.reproduce.av_digits.comparisons import COMPARISONS
from avtrain.reproduce.av_digits.data import Sources
from avtrain.reproduce.av_digits.page import write_page
from avtrain.reproduce.av_digits.rows import ENVELOPE, QUICK, ROWS, UNLINKED, Row
from avtrain.reproduce.av_digits.run import reproduce_digits, rows_named
from avtrain.reproduce.av_digits.settings import DigitsSettings
from avtrain.reproduce.av_digits.statistics import log_mel_statistics
from avtrain.reproduce.av_digits.table import LAYOUT, claims
from avtrain.reproduce.benchmark.columns import NOISE_SHARE
from avtrain.reproduce.benchmark.comparisons import Comparison, compared
from avtrain.reproduce.benchmark.stages import parts_of
from avtrain.reproduce.benchmark.table import markdown, printed, summary
from tests import warm

pytestmark = pytest.mark.slow

MINIATURE = DigitsSettings(clips_per_class=4, runs=1, batch_size=8, epochs=1, finetune_epochs=1)
NAMES = (
    "envelope-random",
    "envelope-soft-positive-shuffled-labels",
    "envelope-hard-negative",
    "envelope-frozen-partner",
    "envelope-audio-only-supcon",
    "envelope-untrained",
    "envelope-log-mel-statistics",
    "envelope-supervised",
)


@pytest.fixture(scope="module")
def esc10(real_data, tmp_path_factory):
    """Two classes of ESC-10, two clips a fold."""
    root = tmp_path_factory.mktemp("esc10")
    for folder in sorted((real_data / "esc10").iterdir())[:2]:
        for fold in range(1, 6):
            for clip in sorted(folder.glob(f"{fold}-*"))[:2]:
                (root / folder.name).mkdir(exist_ok=True)
                (root / folder.name / clip.name).symlink_to(clip)
    return root


@pytest.fixture(scope="module", autouse=True)
def _in_this_process():
    """Cells are made here, one after the other: the demo's test has them made by processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_grid, "map_processes", lambda run, cells, *_: map(run, cells))
        yield


@pytest.fixture(scope="module")
def table(real_data, esc10, tmp_path_factory):
    out = tmp_path_factory.mktemp("digits") / "out"
    sources = Sources(digits=real_data / "fsdd", esc10=esc10)
    return out, sources, reproduce_digits(out, sources, MINIATURE, rows_named(NAMES), workers=2)


def test_every_row_has_what_its_kind_can_have(table):
    _, _, lines = table
    assert [line["name"] for line in lines] == [row.name for row in ROWS if row.slug in NAMES]
    by_name = {line["name"]: line for line in lines}
    alone, measured = (
        {name + way for name in names for way in ("", " windows")}
        for names in (("finetune", "esc10 finetune"), ("linear", "esc10 linear", "esc10 cut linear"))
    )
    for name, line in by_name.items():
        wanted = {
            "supervised": alone,
            "untrained": measured,
            "log-mel statistics": measured,
        }.get(name, alone | measured | {"pair R@1", "class R@1"})
        assert line["scores"].keys() == wanted, name
        assert line["updates"] == (5 if "pair R@1" in wanted else 0)
        assert all(0 <= score["mean"] <= 1 for score in line["scores"].values())
    assert by_name["hard-negative"]["batch_size"] == 4
    assert by_name["hard-negative"]["same_class_negatives"] == 3.0
    assert by_name["random"]["batch_size"] == 8
    assert 0 < by_name["random"]["same_class_negatives"] < 3


def test_what_is_done_is_not_done_again_and_comes_to_the_same_table(table):
    out, sources, lines = table
    before = {path: path.stat().st_mtime_ns for path in sorted((out / "runs").rglob("*")) if path.is_file()}
    (out / "runs" / "envelope-random-0" / "cell.json").unlink()
    (out / "runs" / "envelope-random-0" / "eval" / "linear" / "result.json").unlink()
    written = (out / "table.md").read_bytes()
    assert reproduce_digits(out, sources, MINIATURE, rows_named(NAMES), workers=1) == lines
    assert (out / "table.md").read_bytes() == written
    after = {path: path.stat().st_mtime_ns for path in before}
    changed = {path.relative_to(out / "runs").as_posix() for path in before if before[path] != after[path]}
    assert changed >= {"envelope-random-0/cell.json", "envelope-random-0/eval/linear/result.json"}
    assert all(path.startswith("envelope-random-0/") and "step_" not in path for path in changed)
    assert {path.split("/")[2] for path in changed if "/eval/" in path} == {"linear"}


def test_choosing_among_rows_measures_the_validation_speaker_and_builds_no_test_speaker(real_data, tmp_path):
    settings = dataclasses.replace(MINIATURE, clips_per_class=2, choosing=True)
    rows = rows_named(["envelope-soft-positive-SpecAugment", "envelope-soft-positive-mlp-SpecAugment"], choosing=True)
    lines = reproduce_digits(tmp_path, Sources(digits=real_data / "fsdd"), settings, rows, workers=1)
    dataset = Dataset(tmp_path / "data" / "envelope-0" / "shards")
    speakers = {split: set(dataset.group_names[dataset.rows_of(split)]) for split in dataset.splits}
    assert speakers.keys() == {"train", "test"}
    assert not speakers["train"] & speakers["test"]
    assert not set().union(*speakers.values()) & {"george", "lucas"}
    assert {*lines[0]["scores"]} == {"linear", "linear windows", "pair R@1", "class R@1"}
    run = configs.flat(store.read_json(tmp_path / "runs" / "envelope-soft-positive-mlp-SpecAugment-0" / "config.json"))
    assert (run["spec_augment"], run["projection"], run["seed"]) == (True, "mlp", 100)
    with pytest.raises(UserError, match="There is no row 'envelope-random'"):
        rows_named(["envelope-random"], choosing=True)


def test_a_row_in_stages_goes_on_with_the_labels_that_its_own_features_leave(table, real_data, tmp_path):
    """It goes on where the clips of a run are rendered and built."""
    settings = dataclasses.replace(MINIATURE, epochs=2)
    configs.claim(tmp_path / "settings.json", configs.to_dict(settings), "table")
    shutil.copytree(table[0] / "data" / "envelope-0", tmp_path / "data" / "envelope-0")
    (row,) = rows_named(["envelope-soft-positive-30-label-noise-cleaned-SpecAugment"])
    mutual = Row(name="mutual", begin="mutual neighbours", stage="mutual neighbours", rounds=1, finetuned=False)
    early = Row(name="early", labels="noisy", begin="clean", finetuned=False)
    across = Row(name="across", begin="across groups", finetuned=False)
    rows = [row, mutual, early, across]
    (line,) = reproduce_digits(tmp_path, Sources(digits=real_data / "fsdd"), settings, rows, workers=1)
    for number in (0, 1):
        pairs = pq.read_table(tmp_path / "runs" / f"{mutual.slug}-0-{number}.parquet")
        made = set(zip(*(pairs.column(name).to_pylist() for name in ("audio", "video")), strict=True))
        assert {(other, one) for one, other in made} == made
    pairs = pq.read_table(tmp_path / "runs" / f"{across.slug}-0-0.parquet")
    assert {"per_group", "other_groups", "segments"} <= set(json.loads(pairs.schema.metadata[b"neighbours"]))
    begun = configs.flat(store.read_json(tmp_path / "runs" / f"{early.slug}-0" / "config.json"))
    assert (begun["labels"], begun["strategy"]) == (f"{early.slug}-0-0", "soft-positive:others=skip")
    cell = tmp_path / "runs" / f"{row.slug}-0"
    assert parts_of(settings.updates, row.first, row.rounds) == [5, 2, 2, 1]
    assert line["updates"] == settings.updates == 10
    dataset, made = Dataset(tmp_path / "data" / "envelope-0" / "shards"), []
    for number, folder in enumerate([*sorted(tmp_path.glob(f"runs/{row.slug}-0-round-?")), cell]):
        run = configs.flat(store.read_json(folder / "config.json"))
        assert run["max_steps"] == [5, 2, 2, 1][number]
        assert run["labels"] == ("noisy" if number == 0 else f"{row.slug}-0-{number}")
        assert run["strategy"] == ("soft-positive" if number == 0 else "soft-positive:others=skip")
        made.append(dataset.labels(run["labels"]).values)
    train, rest = dataset.rows_of("train"), np.flatnonzero(~np.isin(np.arange(len(dataset)), dataset.rows_of("train")))
    for column in made[1:]:
        assert (column[train] != made[0][train]).any()
        assert np.array_equal(column[rest], made[0][rest])


def test_parts_of_a_row_in_stages_make_all_updates():
    assert parts_of(600, 0.5, 3) == [300, 100, 100, 100]
    assert parts_of(600, 0.25, 9) == [150, *[50] * 9]
    assert all(sum(parts_of(updates, 0.5, 3)) == updates and min(parts_of(updates, 0.5, 3)) for updates in range(6, 50))
    for updates, first, rounds in ((5, 0.5, 3), (600, 1.0, 3), (100, 0.0, 3)):
        with pytest.raises(UserError, match=f"{updates} updates are too few for a row of 3 stages"):
            parts_of(updates, first, rounds)


def test_a_comparison_with_the_mean_of_two_rows_is_above_0_nearer_to_the_better_one():
    scores = {"noisy": [0.4, 0.5, 0.3], "right": [0.8, 0.7, 0.7], "cleaned": [0.7, 0.7, 0.6001]}
    lines = [
        {"name": name, "link": ENVELOPE, "scores": {"linear": {"by_run": dict(enumerate(values))}}}
        for name, values in scores.items()
    ]
    (row,) = compared(lines, [Comparison("wrong", "cleaned", "noisy", and_="right")], ENVELOPE)
    assert row[2] == "noisy and right"
    assert row[4].startswith("+10.0 [+")


def test_planned_comparisons_are_paired_by_run_and_corrected_within_their_family():
    scores = {
        "random, SpecAugment": [0.40, 0.50, 0.45],
        "soft-positive": [0.60, 0.70, 0.62],
        "soft-positive, SpecAugment": [0.70, 0.75, 0.71],
    }
    lines = [
        {"name": name, "link": ENVELOPE, "scores": {"linear": {"by_run": dict(enumerate(values))}}}
        for name, values in scores.items()
    ]
    by_rows = {(row[1], row[2]): row for row in compared(lines, COMPARISONS, ENVELOPE)}
    first, second = (by_rows["soft-positive, SpecAugment", other] for other in ("soft-positive", "random, SpecAugment"))
    gaps = np.subtract(scores["soft-positive, SpecAugment"], scores["soft-positive"])
    half = stats.t.ppf(0.975, 2) * gaps.std(ddof=1) / 3**0.5
    assert (
        first[4] == f"{100 * gaps.mean():+.1f} [{100 * (gaps.mean() - half):+.1f}, {100 * (gaps.mean() + half):+.1f}]"
    )
    p_values = [
        stats.ttest_rel(scores["soft-positive, SpecAugment"], scores[other]).pvalue
        for other in ("soft-positive", "random, SpecAugment")
    ]
    assert max(p_values) == p_values[0]
    assert (first[5], second[5]) == (p_text(p_values[0]), p_text(2 * p_values[1]))
    assert compared([{**line, "link": UNLINKED} for line in lines], COMPARISONS, ENVELOPE) == []


def test_other_settings_are_refused(table):
    out, sources, _ = table
    with pytest.raises(UserError, match="epochs: 1 -> 2"):
        reproduce_digits(out, sources, DigitsSettings(**{**vars(MINIATURE), "epochs": 2}), ROWS[:1])


def test_label_columns_and_frozen_pairs_are_what_they_are_named(table):
    out, *_ = table
    dataset = Dataset(out / "data" / f"{ENVELOPE}-0" / "shards")
    rows = dataset.rows_of("train")
    true, shuffled = dataset.label[rows], dataset.labels("shuffled").values[rows]
    assert sorted(true) == sorted(shuffled)
    assert (true == shuffled).mean() < 0.5
    pairs = pq.read_table(out / "data" / f"{ENVELOPE}-0" / "frozen.parquet").to_pydict()
    row_of = {clip_id: row for row, clip_id in enumerate(dataset.clip_ids)}
    audio, video = (np.array([row_of[clip_id] for clip_id in pairs[side]]) for side in ("audio", "video"))
    assert sorted(audio) == sorted(video) == sorted(rows)
    assert (dataset.label[audio] == dataset.label[video]).all()
    assert (audio != video).all()
    assert NOISE_SHARE == 0.3


def test_no_recording_image_or_speaker_of_the_test_is_in_training(table):
    out, *_ = table
    dataset = Dataset(out / "data" / f"{ENVELOPE}-0" / "shards")
    of_split = {split: [dataset.clip_ids[row] for row in dataset.rows_of(split)] for split in dataset.splits}
    speakers, recordings, images = (
        {split: {part(clip_id) for clip_id in ids} for split, ids in of_split.items()}
        for part in (
            lambda clip_id: clip_id.split("_")[1],
            lambda clip_id: clip_id.rsplit("_", 1)[0],
            lambda clip_id: clip_id.rsplit("_", 1)[1],
        )
    )
    assert {split: len(ids) for split, ids in of_split.items()} == {"train": 40, "val": 20, "test": 40}
    assert [len(speakers[split]) for split in ("train", "val", "test")] == [3, 1, 2]
    for one, other in itertools.combinations(of_split, 2):
        assert not speakers[one] & speakers[other]
        assert not recordings[one] & recordings[other]
        digits = {clip_id.split("_")[0] + "_" + clip_id.rsplit("_", 1)[1] for clip_id in of_split[one]}
        assert not digits & {clip_id.split("_")[0] + "_" + clip_id.rsplit("_", 1)[1] for clip_id in of_split[other]}
        assert not images[one] & images[other]


def test_the_page_and_the_csv_have_the_figures_of_the_table(table):
    out, _, lines = table
    page = write_page(out, MINIATURE, lines, LAYOUT).read_text()
    for line in lines:
        assert line["name"] in page
    assert page.count("<svg") + page.count("image/svg+xml") >= 2
    rows = [
        text.split(",") for text in (out / "results.csv").read_text().splitlines() if text.startswith("envelope,ran")
    ]
    scores = next(line for line in lines if line["name"] == "random")["scores"]
    assert {row[3]: float(row[4]) for row in rows} == pytest.approx(
        {column: score["mean"] for column, score in scores.items()}, abs=1e-6
    )


def cell(name, link, run, linear):
    """A finished cell as run_cell keeps it."""
    given = {"updates": 600, "batch_size": 64, "same_class_negatives": 6.2}
    return {"name": name, "link": link, "run": run, "scores": {"linear": linear}, **given}


def test_gaps_are_paired_by_run_and_the_claims_read_them():
    random, soft = [0.30, 0.40, 0.20], [0.50, 0.55, 0.40]
    cells = [cell("random", ENVELOPE, run, value) for run, value in enumerate(random)]
    cells += [cell("soft-positive", ENVELOPE, run, value) for run, value in enumerate(soft)]
    cells += [cell("random", UNLINKED, run, value) for run, value in enumerate(random)]
    cells += [cell("frozen partner", UNLINKED, run, value + 0.06) for run, value in enumerate(random)]
    lines = summary(cells[::-1], LAYOUT)
    found = next(line for line in lines if line["name"] == "soft-positive")["gap"]
    expected = stats.ttest_rel(soft, random)
    interval = expected.confidence_interval()
    assert found["mean"] == pytest.approx(0.55 / 3)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))
    assert found["p"] == pytest.approx(expected.pvalue)
    assert [held for _, held, _ in claims(lines)] == [True, None, False]  # 6 points without any spread
    assert next(line for line in lines if line["link"] == UNLINKED and line["name"] == "random")["gap"] is None
    weaker = [dict(found, scores={"linear": 0.35}) if found["name"] == "soft-positive" else found for found in cells]
    assert claims(summary(weaker, LAYOUT))[0][1] is False
    once = [cell("soft-positive", ENVELOPE, run, value) for run, value in enumerate([0.90, 0.40, 0.20])]
    assert (
        claims(summary([*(found for found in cells if found["name"] != "soft-positive"), *once], LAYOUT))[0][1] is False
    )
    shuffled = [cell("soft-positive, shuffled labels", ENVELOPE, run, value - 0.01) for run, value in enumerate(random)]
    assert claims(summary([*cells, *shuffled], LAYOUT))[1][1] is True
    better = [cell("soft-positive, shuffled labels", ENVELOPE, run, value) for run, value in enumerate(soft)]
    assert claims(summary([*cells, *better], LAYOUT))[1][1] is False
    early = claims(summary([found | {"updates": 150} for found in cells], LAYOUT))
    assert [held for _, held, _ in early] == [None] * 3
    assert early[0][2].endswith("after 150 updates, too few to judge")
    assert "| soft-positive | on |" in markdown(lines, LAYOUT)
    assert "+18.3 [" in printed(lines, LAYOUT)


def test_rows_have_names_of_their_own_and_unknown_ones_are_refused():
    assert len({row.slug for row in ROWS}) == len(ROWS)
    assert {(row.name, row.link) for row in QUICK} >= {("random", UNLINKED), ("frozen partner", UNLINKED)}
    assert rows_named([], quick=True) == QUICK
    assert rows_named([]) == ROWS
    assert Row(name="soft-positive 50 %").slug == "envelope-soft-positive-50"
    with pytest.raises(UserError, match="no row 'softly'"):
        rows_named(["softly"])


def test_the_statistics_are_mean_and_deviation_of_each_band():
    logmel = torch.randn(2, 1, 30, 128, generator=torch.Generator().manual_seed(0))
    found = log_mel_statistics()(logmel).numpy()
    bands = logmel[:, 0].numpy()
    np.testing.assert_allclose(found, np.concatenate([bands.mean(1), bands.std(1)], axis=1), rtol=1e-5, atol=1e-6)


def test_the_command_names_what_is_missing_and_leaves_nothing(tmp_path):
    words = ["reproduce", "av-digits", str(tmp_path / "out"), "--fsdd", str(tmp_path)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2, done.output
    assert "has no recording 0_george_*.wav" in done.output
    assert CliRunner().invoke(main, [*words, "--row", "softly"]).exit_code == 2
    assert not (tmp_path / "out" / "runs").exists()


def test_killed_at_any_moment_it_finishes_to_the_same_table(table, tmp_path):
    out, sources, lines = table
    again = tmp_path / "again"
    # the folder of the finished table stands for the first half of the work; its random row is taken away
    subprocess.run(["cp", "-r", str(out), str(again)], check=True)
    subprocess.run(["rm", "-r", str(again / "runs" / "envelope-random-0")], check=True)
    code = (
        "from tests.train.test_reproduce_digits import MINIATURE, NAMES, Sources, reproduce_digits, rows_named\n"
        "from pathlib import Path\n"
        f"sources = Sources(digits=Path({str(sources.digits)!r}), esc10=Path({str(sources.esc10)!r}))\n"
        "if __name__ == '__main__':\n"
        f"    reproduce_digits(Path({str(again)!r}), sources, MINIATURE, rows_named(NAMES), workers=1)\n"
    )
    script = tmp_path / "again.py"
    script.write_text(code)
    for wanted in ("config.json", "eval/finetune/config.json"):
        command = [*warm.python(), str(script)]
        with warm.all_gone() as stream:
            process = subprocess.Popen(
                command, stdin=stream, env={**os.environ, warm.POOLS: "yes"}, start_new_session=True
            )
            while not (again / "runs" / "envelope-random-0" / wanted).exists():
                assert process.poll() is None
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finished = reproduce_digits(again, sources, MINIATURE, rows_named(NAMES), workers=1)
    assert finished == lines
    assert store.read_json(again / "results.json")["rows"] == store.read_json(out / "results.json")["rows"]
