"""A drawn split dealt all clips out anew when some came beside them: test clips of one day were trained on the next."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from avprep.cli import main
from avprep.datasets.drawn import Shares, settled
from avprep.datasets.registry import ADAPTERS
from avprep.datasets.vggsound import balanced_clips as balanced
from avprep.errors import ManifestError
from avprep.manifest.checks import Report
from avprep.manifest.read_write import Clip, read_manifest
from avprep.shared.draw import fractions
from avtrain.data.splits import held_out
from tests.train.test_splits import table


def call(*arguments, status=0):
    done = CliRunner().invoke(main, ["manifest", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done.output


def splits_of(manifest):
    return {clip.clip_id: clip.split for clip in read_manifest(manifest)}


def make_folder(root, classes, numbers):
    for label in classes:
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            (root / label / f"{number:03d}.wav").touch()


def test_a_folder_that_grows_moves_no_clip(tmp_path):
    """Five clips more a class, a class more, another seed elsewhere, the manifest in another folder."""
    root, out = tmp_path / "clips", tmp_path / "m.csv"
    make_folder(root, ("cat", "dog", "rain"), range(10))
    printed = call("folder", "--root", root, "--out", out, "--test-share", 0.2, "--val-share", 0.2)
    before = splits_of(out)
    counts = {split: list(before.values()).count(split) for split in ("test", "train", "val")}
    assert min(counts.values()) > 0
    assert f"{counts['test']} test, {counts['train']} train, {counts['val']} val" in printed
    make_folder(root, ("cat", "dog", "rain", "ant", "zebra"), range(5, 60))
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "elsewhere" / "m.jsonl"
    call("folder", "--root", root, "--out", out, "--test-share", 0.2, "--val-share", 0.2)
    after = splits_of(out)
    assert len(after) == 3 * 60 + 2 * 55
    assert {name: after[name] for name in before} == before


def test_a_table_that_grows_or_is_sorted_anew_moves_no_group(tmp_path):
    def write(rows):
        with open(tmp_path / "t.csv", "w", newline="") as text:
            csv.writer(text).writerows([("label", "video_path", "group"), *rows])
        call(
            "table",
            tmp_path / "t.csv",
            "--missing",
            "keep",
            "--test-share",
            0.3,
            "--out",
            tmp_path / "m.csv",
            "--overwrite",
        )
        return splits_of(tmp_path / "m.csv")

    rows = [("ab"[number % 2], f"{number}.mp4", f"speaker {number // 5}") for number in range(60)]
    before = write(rows)
    assert set(before.values()) == {"train", "test"}
    of_group = {(group, before[path]) for _, path, group in rows}
    assert len(of_group) == 12  # none on two sides
    more = [("c", f"new {number}.mp4", f"new {number // 2}") for number in range(40)]
    after = write([*more, *reversed(rows)])
    assert {name: after[name] for name in before} == before


CLIPS = [Clip(f"c{number}", "ab"[number % 2], group=f"g{number // 2}") for number in range(400)]


def drawn(clips, **shares):
    return {clip.clip_id: clip.split for clip in settled(clips, Report(), Shares(**shares))}


@given(st.permutations(range(400)), st.integers(0, 400), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_a_clip_goes_by_its_own_group(order, kept, seed):
    """Whatever the order, whichever clips are gone, however the others are called."""
    whole = drawn(CLIPS, test=0.2, val=0.1, seed=seed)
    others = [Clip(f"x{number}", "a", group=f"x{number}") for number in range(50)]
    part = drawn([*others, *(CLIPS[row] for row in order[:kept])], test=0.2, val=0.1, seed=seed)
    assert all(whole[name] == part[name] for name in part if name in whole)


def test_one_share_does_not_move_the_clips_of_the_other():
    tests = [{name for name, split in drawn(CLIPS, test=0.2, val=val).items() if split == "test"} for val in (0, 0.5)]
    assert tests[0] == tests[1] != set()
    vals = [{name for name, split in drawn(CLIPS, test=test, val=0.2).items() if split == "val"} for test in (0, 0.5)]
    assert vals[0] == vals[1] != set()


def test_the_shares_are_right_on_average_and_seeds_are_different_draws():
    counts = np.array(
        [
            [list(drawn(CLIPS, test=0.2, val=0.1, seed=seed).values()).count(s) for s in ("test", "val")]
            for seed in range(40)
        ]
    )
    np.testing.assert_allclose(counts.mean(axis=0) / 400, [0.2, 0.1], atol=0.02)  # 4.5 deviations and more
    numbers = fractions(map(str, range(20_000)), 3, "splits")
    assert (np.histogram(numbers, 10, (0, 1))[0] > 1800).all()
    assert abs(np.corrcoef(numbers, fractions(map(str, range(20_000)), 4, "splits"))[0, 1]) < 0.03
    assert abs(np.corrcoef(numbers, fractions(map(str, range(20_000)), 3, "validation"))[0, 1]) < 0.03


def test_the_numbers_are_the_same_everywhere():
    """A change here would move every clip of every dataset that was drawn before."""
    assert fractions(["a", "é/1.mp4"], 0, "splits").tolist() == GOLDEN


GOLDEN = [0.4577367266079526, 0.6887672013659644]


def test_classes_without_a_clip_in_a_drawn_split_are_named(tmp_path):
    make_folder(tmp_path / "clips", [f"class {number}" for number in range(8)], range(2))
    printed = call("folder", "--root", tmp_path / "clips", "--out", tmp_path / "m.csv")
    clips = read_manifest(tmp_path / "m.csv")
    lacking = sorted({clip.label for clip in clips} - {clip.label for clip in clips if clip.split == "test"})
    assert len(lacking) > 3
    assert (
        f"{len(lacking)} classes have no clip in the test split as it was drawn, {', '.join(lacking[:3])} and"
        in printed
    )
    report = json.loads((tmp_path / "m.report.json").read_text())
    assert [name for name in report["classless"] if name.startswith("test: ")] == [f"test: {name}" for name in lacking]


def test_a_split_that_is_there_is_not_drawn(tmp_path):
    clips = [Clip("a", "x"), Clip("b", "x", "test")]
    with pytest.raises(ManifestError, match="There are 1 test clips already; leave --test-share out"):
        settled(clips, Report(), Shares(test=0.2))
    assert {clip.split for clip in settled(clips, Report(), Shares(val=0.5))} <= {"train", "val", "test"}
    make_folder(tmp_path / "train", "ab", range(3))
    make_folder(tmp_path / "test", "ab", range(3))
    base = ["folder", "--root", tmp_path, "--out", tmp_path / "m.csv"]
    assert "leave --test-share out" in call(*base, "--test-share", 0.2, status=2)
    assert "6 test, 6 train" in call(*base)


def test_shares_that_leave_nothing_are_one_sentence(tmp_path):
    make_folder(tmp_path / "clips", "ab", range(3))
    base = ["folder", "--root", tmp_path / "clips", "--out", tmp_path / "m.csv"]
    assert "below 1 together" in call(*base, "--test-share", 0.6, "--val-share", 0.4, status=2)


def test_every_adapter_draws(tmp_path):
    (tmp_path / "v.csv").write_text("".join(f"{k:011d},{k % 3},dog,train\n" for k in range(100)))
    (tmp_path / "videos").mkdir()
    for k in range(100):
        (tmp_path / "videos" / f"{k:011d}_{k % 3:06d}.mp4").touch()
    base = ["vggsound", "--root", tmp_path / "videos", "--metadata", tmp_path / "v.csv", "--out", tmp_path / "m.csv"]
    call(*base, "--test-share", 0.2, "--val-share", 0.2)
    found = list(splits_of(tmp_path / "m.csv").values())
    assert all(8 <= found.count(split) <= 32 for split in ("test", "val"))
    for adapter in ("folder", "table", *ADAPTERS):
        assert all(option in call(adapter, "--help") for option in ("--test-share", "--val-share", "--seed"))


def test_a_smaller_choice_of_training_clips_changes_little_when_clips_come():
    clips = [Clip(f"c{number}", "a") for number in range(100)]
    before = {clip.clip_id for clip in balanced(clips, 50, 0)}
    after = {clip.clip_id for clip in balanced([Clip("new", "a"), *clips[::-1]], 50, 0)}
    assert len(before & after) >= 49


def many(count):
    """labels, names of groups: 12 to 13 groups of three clips a class."""
    groups = np.array([f"g{number // 3}" for number in range(count)])
    return (np.arange(count) // 3) % 4, groups


def test_the_validation_part_of_old_clips_stays_when_clips_come():
    """evaluate's fifth and pretrain's --val-share; classes have enough groups for the threshold alone."""
    labels, groups = many(600)
    for seed in range(10):
        whole = held_out(labels, groups, 0.2, seed)
        half = held_out(labels[:300], groups[:300], 0.2, seed)
        np.testing.assert_array_equal(whole[:300], half)
        order = np.random.default_rng(seed).permutation(600)
        np.testing.assert_array_equal(held_out(labels[order], groups[order], 0.2, seed), whole[order])


def test_few_clips_still_have_some_to_choose_by():
    """Ten clips of two classes: each is on both sides, and what is held out is at most twice the share."""
    labels, groups = np.repeat([0, 1], 5), np.array([f"g{number}" for number in range(10)])
    for seed in range(50):
        held = held_out(labels, groups, 0.2, seed)
        assert all(1 <= held[labels == label].sum() <= 2 for label in (0, 1))


def test_the_labels_that_a_fraction_keeps_are_exact_and_stay():
    from avtrain.data.splits import split_rows

    data = table(np.arange(400) % 4, np.arange(400) // 2)
    part = split_rows(data, label_fraction=0.05).fit
    whole = split_rows(data).fit
    assert np.bincount(data.label[part]).tolist() == [round(0.05 * n) for n in np.bincount(data.label[whole])]
    assert set(part) <= set(split_rows(data, label_fraction=0.2).fit)
