"""Which clips fit, choose and test: whole groups, every class on both sides, the share that was asked for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avprep.dataset import Dataset
from avprep.shared.draw import fewest
from avprep.shared.errors import UserError
from avtrain.data.splits import held_out, split_rows
from tests.train.forge import Forged, forge_dataset


def table(labels, groups, splits=("train", "test")):
    labels, groups = np.array(labels), np.array(groups)
    rows = {"train": np.arange(len(labels)), "test": np.array([99])}
    return SimpleNamespace(
        rows_of=rows.__getitem__,
        label=labels,
        group_names=groups.astype(str),
        clip_ids=[f"clip {row}" for row in range(len(labels))],
        class_names=[f"class {label}" for label in range(labels.max() + 1)],
        folder="here",
        splits=list(splits),
    )


def test_a_fifth_of_the_groups_of_each_class_is_held_out_on_average():
    labels = np.repeat([0, 1, 2], 40)
    groups = np.arange(120) // 4  # ten groups of four clips a class
    counts = []
    for seed in range(100):
        split = split_rows(table(labels, groups), seed=seed)
        assert sorted(np.concatenate([split.fit, split.validation])) == list(range(120))
        assert split.test.tolist() == [99]
        counts.append(np.bincount(labels[split.validation], minlength=3))
    assert np.mean(counts) == pytest.approx(8, abs=1.2)  # 4 standard deviations, and those that have none get one
    assert np.min(counts) >= 4
    assert np.max(counts) <= 16  # twice the share


clips = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), min_size=2, max_size=60)


@given(clips, st.floats(0.05, 0.95), st.integers(0, 2**32))
def test_no_group_is_on_both_sides_and_no_class_leaves_the_fit(clips, share, seed):
    labels, groups = (np.array(column) for column in zip(*clips, strict=True))
    groups = groups.astype(str)
    held = held_out(labels, groups, share, seed)
    assert not set(groups[held]) & set(groups[~held])
    assert set(labels[~held]) == set(labels)


def test_every_class_with_two_groups_is_on_both_sides():
    labels, groups = np.repeat([0, 1, 2], [2, 3, 50]), np.arange(55)
    for share in (0.01, 0.2, 0.99):
        split = split_rows(table(labels, groups), share=share)
        assert set(labels[split.fit]) == set(labels[split.validation]) == {0, 1, 2}


def test_speakers_of_every_word_are_held_out_as_speakers():
    """Five speakers, ten words each four times: one speaker or two, not one speaker for each word."""
    labels, groups = np.tile(np.arange(10), 20), np.repeat(np.arange(5), 40)
    found = set()
    for seed in range(20):
        split = split_rows(table(labels, groups), seed=seed)
        speakers = np.unique(groups[split.validation])
        assert len(split.validation) == 40 * len(speakers)
        found.add(len(speakers))
    assert found == {1, 2}


def test_the_share_is_of_clips_where_groups_differ_in_size():
    draw = np.random.default_rng(0)
    sizes = draw.integers(1, 30, 300)
    groups = np.repeat(np.arange(300), sizes)
    labels = (np.arange(300) % 4)[groups]
    held = np.mean([held_out(labels, groups.astype(str), 0.2, seed) for seed in range(50)], axis=0)
    for label in range(4):
        assert held[labels == label].mean() == pytest.approx(0.2, abs=0.03)


def test_few_groups_are_reported(caplog):
    """A class of one group chooses nothing, and one group of nine tenths of the clips is far from a fifth."""
    split_rows(table([0] * 40 + [1] * 5, [*range(40), *[99] * 5]))
    assert "1 of 2 classes have no clip to choose by, since their clips are of too few groups: class 1" in caplog.text
    caplog.clear()
    split_rows(table([0] * 40, [0] * 36 + [1] * 4), share=0.999)
    assert "training clips are held out to choose by" in caplog.text
    caplog.clear()
    split_rows(table([0] * 400, range(400)))
    assert caplog.text == ""


def test_the_split_is_a_function_of_the_seed():
    clips = table([0] * 40, np.arange(40))
    first, again, other = (split_rows(clips, seed=seed).validation.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_one_group_cannot_be_split():
    with pytest.raises(UserError, match="too few groups"):
        split_rows(table([0, 0, 0], [5, 5, 5]))


def test_the_released_split_is_by_clip_of_the_papers_size():
    """38,007 clips: 30,406 and 7,601 (paper.md), whatever seed, groups and share."""
    clips = table(np.arange(38007) % 309, np.zeros(38007, int))
    split = split_rows(clips, how="released")
    assert (len(split.fit), len(split.validation)) == (30406, 7601)
    assert (np.diff(split.fit) > 0).all()
    assert sorted(np.concatenate([split.fit, split.validation])) == list(range(38007))
    again = split_rows(clips, how="released", seed=5, share=0.5)
    np.testing.assert_array_equal(split.fit, again.fit)
    assert len(set(np.bincount(split.validation % 309))) > 10  # unstratified


def test_a_val_split_is_the_validation_unless_groups_are_asked_for(tmp_path):
    clips = [Forged(label, split) for label in ("a", "b") for split in ("train", "train", "train", "val", "test")]
    dataset = Dataset(forge_dataset(tmp_path / "d", clips))
    split = split_rows(dataset)
    assert split.fit.tolist() == dataset.rows_of("train").tolist()
    assert split.validation.tolist() == dataset.rows_of("val").tolist()
    by_group = split_rows(dataset, how="group")
    assert sorted([*by_group.fit, *by_group.validation]) == dataset.rows_of("train").tolist()


@given(clips, st.floats(0.01, 1), st.integers(0, 100))
def test_a_fraction_of_the_labels_is_one_of_each_class(clips, fraction, seed):
    labels, groups = (np.array(column) for column in zip(*clips, strict=True))
    groups, names = groups.astype(str), np.arange(len(labels)).astype(str)
    chosen = fewest(labels, names, groups, fraction, seed)
    assert len(set(chosen)) == len(chosen)
    for label in set(labels):
        assert (labels[chosen] == label).sum() == max(1, round(fraction * (labels == label).sum()))
    assert set(chosen) <= set(fewest(labels, names, groups, min(1, 1.5 * fraction), seed))


def test_labels_are_given_group_by_group():
    labels, groups = np.zeros(200, int), (np.arange(200) // 10).astype(str)
    names = np.arange(200).astype(str)
    chosen = fewest(labels, names, groups, 0.25, 3)
    assert len(chosen) == 50
    assert len(np.unique(groups[chosen])) == 5
    assert len({tuple(fewest(labels, names, groups, 0.25, seed)) for seed in range(5)}) > 1


def test_a_fraction_takes_labels_from_the_fit_alone():
    clips = table(np.repeat([0, 1], 100), np.arange(200))
    whole, part = split_rows(clips), split_rows(clips, label_fraction=0.05)
    np.testing.assert_array_equal(whole.validation, part.validation)
    assert set(part.fit) < set(whole.fit)
    assert np.bincount(clips.label[part.fit]).tolist() == [4, 4]  # 5 % of 80
