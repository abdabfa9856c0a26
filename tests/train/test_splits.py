"""Which clips fit, choose and test: whole groups, every class on both sides, the share that was asked for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.splits import held_out, labelled, split_rows
from tests.train.forge import Forged, forge_dataset


def table(labels, groups, splits=("train", "test")):
    labels, groups = np.array(labels), np.array(groups)
    rows = {"train": np.arange(len(labels)), "test": np.array([99])}
    return SimpleNamespace(rows_of=rows.__getitem__, label=labels, groups=groups, folder="here", splits=list(splits))


def test_a_fifth_of_the_groups_of_each_class_is_held_out():
    labels = np.repeat([0, 1, 2], 40)
    groups = np.arange(120) // 4  # ten groups of four clips a class
    split = split_rows(table(labels, groups))
    assert sorted(np.concatenate([split.fit, split.validation])) == list(range(120))
    assert np.bincount(labels[split.validation]).tolist() == [8, 8, 8]
    assert len(np.unique(groups[split.validation])) == 6
    assert split.test.tolist() == [99]


clips = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), min_size=2, max_size=60)


@given(clips, st.floats(0.05, 0.95), st.integers(0, 2**32))
def test_no_group_is_on_both_sides_and_no_class_leaves_the_fit(clips, share, seed):
    labels, groups = (np.array(column) for column in zip(*clips, strict=True))
    held = held_out(labels, groups, share, seed)
    assert not set(groups[held]) & set(groups[~held])
    assert set(labels[~held]) == set(labels)


@given(clips, st.integers(0, 2**32))
def test_no_other_choice_of_one_group_more_or_less_is_nearer(clips, seed):
    """Unless a class would leave one side by it."""
    labels, groups = (np.array(column) for column in zip(*clips, strict=True))
    held = held_out(labels, groups, 0.3, seed)
    size = np.bincount(labels)

    def distance(chosen):
        counts = np.bincount(labels[chosen], minlength=len(size))
        return float((((counts - 0.3 * size) / np.maximum(size, 1)) ** 2).sum())

    for group in np.setdiff1d(groups, groups[held]):
        more = held | (groups == group)
        if set(labels[~more]) == set(labels) and set(labels[held]) == set(labels):
            assert distance(more) >= distance(held) - 1e-9


def test_every_class_with_two_groups_is_on_both_sides():
    labels, groups = np.repeat([0, 1, 2], [2, 3, 50]), np.arange(55)
    for share in (0.01, 0.2, 0.99):
        split = split_rows(table(labels, groups), share=share)
        assert set(labels[split.fit]) == set(labels[split.validation]) == {0, 1, 2}


def test_speakers_who_say_every_word_are_held_out_as_speakers():
    """Five speakers, ten words each four times: a fifth is one speaker, not one speaker for each word."""
    labels, groups = np.tile(np.arange(10), 20), np.repeat(np.arange(5), 40)
    for seed in range(5):
        split = split_rows(table(labels, groups), seed=seed)
        assert len(np.unique(groups[split.validation])) == 1
        assert len(split.validation) == 40


def test_the_share_is_of_clips_where_groups_differ_in_size():
    draw = np.random.default_rng(0)
    sizes = draw.integers(1, 30, 300)
    groups = np.repeat(np.arange(300), sizes)
    labels = (np.arange(300) % 4)[groups]
    held = held_out(labels, groups, 0.2, 0)
    for label in range(4):
        assert held[labels == label].mean() == pytest.approx(0.2, abs=0.01)


def test_the_split_is_a_function_of_the_seed():
    clips = table([0] * 40, np.arange(40))
    first, again, other = (split_rows(clips, seed=seed).validation.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_the_names_of_groups_do_not_matter():
    labels, groups = np.repeat([0, 1], 20), np.arange(40) // 2
    np.testing.assert_array_equal(held_out(labels, groups, 0.2, 0), held_out(labels, groups + 1000, 0.2, 0))


def test_one_group_cannot_be_split():
    with pytest.raises(UserError, match="too few groups"):
        split_rows(table([0, 0, 0], [5, 5, 5]))


def test_the_released_split_is_by_clip_of_the_papers_size():
    """38,007 clips: 30,406 and 7,601 (paper.md), whatever seed, groups and share."""
    clips = table(np.arange(38007) % 309, np.zeros(38007, int))
    split = split_rows(clips, how="released")
    assert (len(split.fit), len(split.validation)) == (30406, 7601)
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
    chosen = labelled(labels, groups, fraction, seed)
    assert len(set(chosen)) == len(chosen)
    for label in set(labels):
        assert (labels[chosen] == label).sum() == max(1, round(fraction * (labels == label).sum()))
    assert set(chosen) <= set(labelled(labels, groups, min(1, 1.5 * fraction), seed))


def test_labels_are_given_group_by_group():
    labels, groups = np.zeros(200, int), np.arange(200) // 10
    chosen = labelled(labels, groups, 0.25, 3)
    assert len(chosen) == 50
    assert len(np.unique(groups[chosen])) == 5
    assert len({tuple(labelled(labels, groups, 0.25, seed)) for seed in range(5)}) > 1


def test_a_fraction_takes_labels_from_the_fit_alone():
    clips = table(np.repeat([0, 1], 100), np.arange(200))
    whole, part = split_rows(clips), split_rows(clips, label_fraction=0.05)
    np.testing.assert_array_equal(whole.validation, part.validation)
    assert set(part.fit) < set(whole.fit)
    assert np.bincount(clips.label[part.fit]).tolist() == [4, 4]  # 5 % of 80
