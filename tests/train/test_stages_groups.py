"""Features by parts of a sound, standardised within groups, and neighbours of other groups alone."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from avprep.dataset import Dataset
from avtrain.cli import main
from avtrain.stages.features import standardised
from avtrain.stages.log_mel import BANDS, segments_of
from avtrain.stages.nearest import nearest
from tests.train.forge import Forged, forge_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 training clips of two groups; a class is 15 dB below the other, a group 40 dB below the other."""
    clips = [
        Forged("ab"[row % 2], "train", 1.0, group="xy"[row // 12], level=-15.0 * (row % 2) - 40.0 * (row // 12))
        for row in range(24)
    ]
    return forge_dataset(tmp_path_factory.mktemp("groups") / "data", clips, 12)


def neighbours(folder, out, *more):
    words = ("neighbours", folder, "--by", "log-mel", "--neighbours", "3", "--compare", "label", "--json", "--out", out)
    return CliRunner().invoke(main, [*map(str, (*words, *more)), "--device", "cpu"])


def test_neighbours_of_other_groups_are_of_the_same_class_once_groups_are_alike(folder, tmp_path):
    dataset = Dataset(folder)
    group = dict(zip(dataset.clip_ids, dataset.group_names, strict=True))
    same = {}
    for name, options in {"all": (), "other": ("--other-groups",), "both": ("--other-groups", "--per-group")}.items():
        out = tmp_path / f"{name}.parquet"
        done = neighbours(folder, out, *options)
        assert done.exit_code == 0, done.output
        same[name] = json.loads(done.stdout)["same_class"]
        pairs = pq.read_table(out)
        apart = [
            group[one] != group[other]
            for one, other in zip(*(pairs.column(side).to_pylist() for side in ("audio", "video")), strict=True)
        ]
        assert len(apart) == 72
        assert all(apart) if options else not any(apart)
        origin = json.loads(pairs.schema.metadata[b"neighbours"])
        assert {key for key in ("per_group", "other_groups", "segments") if key in origin} == {
            option[2:].replace("-", "_") for option in options
        }
    assert same["other"] < 0.7
    assert same["both"] == 1


def test_parts_of_the_sounding_stretch_do_not_move_with_it():
    draw = np.random.default_rng(0)
    sound = draw.uniform(-15, 0, (40, 64)).astype(np.float32)
    early, late = np.full((2, 101, 64), -80, np.float32)
    early[3:43], late[57:97] = sound, sound
    expected = sound.reshape(4, 10, BANDS, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(segments_of(early, 4), expected.ravel(), rtol=1e-5)
    np.testing.assert_allclose(segments_of(late, 4), expected.ravel(), rtol=1e-5)
    assert segments_of(early[:, :6], 8).shape == (8 * 6,)
    click = np.full((20, 64), -80, np.float32)
    click[7] = sound[0]
    np.testing.assert_allclose(segments_of(click, 3), np.tile(sound[0].reshape(BANDS, 2).mean(axis=1), 3), rtol=1e-5)


def test_groups_are_standardised_each_by_its_own():
    features = np.array([[0.0], [2.0], [10.0], [30.0]], np.float32)
    np.testing.assert_allclose(standardised(features, group=np.array([0, 0, 1, 1])), [[-1], [1], [-1], [1]])
    fitted = np.array([True, True, True, False])
    np.testing.assert_allclose(standardised(features, fitted, np.array([0, 0, 1, 1])), [[-1], [1], [-1], [1]])


def test_a_clip_of_the_own_group_is_no_neighbour():
    side = np.eye(4, dtype=np.float32)
    positions, similar = nearest([side], [side], 2, np.arange(4), np.array([0, 0, 1, 1]), at_once=8)
    assert positions.tolist() == [[2, 3], [2, 3], [0, 1], [0, 1]]
    assert np.isfinite(similar).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--other-groups", "--neighbours", "13"), "more than the 12 training clips of groups other than the largest"),
        (("--segments", "65"), "segments are 0 to 64, not 65"),
        (("--by", "audio", "--segments", "8", "--run", "."), "segments are of by log-mel, not of by audio"),
        (("--per-group", "--projection"), "per_group and projection exclude each other"),
    ],
)
def test_what_does_not_fit_is_refused(folder, tmp_path, options, message):
    refused = neighbours(folder, tmp_path / "near.parquet", *options)
    assert refused.exit_code == 2
    assert message in " ".join(refused.output.split())
    assert not list(tmp_path.iterdir())


def test_a_group_of_few_clips_is_no_measure(tmp_path):
    clips = [Forged("ab"[row % 2], "train", 1.0, group="xy"[row > 8]) for row in range(30)]
    refused = neighbours(forge_dataset(tmp_path / "data", clips, 30), tmp_path / "near.parquet", "--per-group")
    assert refused.exit_code == 2
    assert "Group 'x'" in refused.output
    assert "leave out --per-group" in " ".join(refused.output.split())
