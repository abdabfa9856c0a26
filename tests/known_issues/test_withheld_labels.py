"""A label that the strategy withholds reached the loss: soft-positive:labelled=0 with mask was random with mask."""

from __future__ import annotations

import numpy as np
import pytest

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.config import PlanConfig, PretrainConfig
from avtrain.data.plan_survey import survey
from avtrain.runs import folder as run_folder
from avtrain.sampling import ClipTable, SoftPositive
from avtrain.training.pretrain import pretrain
from avtrain.training.setup import make_ready
from tests.train.forge import Forged, forge_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    clips = [Forged("abc"[row % 3], "train") for row in range(24)] + [Forged("abc"[row % 3], "val") for row in range(9)]
    return forge_dataset(tmp_path_factory.mktemp("withheld") / "data", clips, frame_size=32, mel_bands=32)


def losses(data, run, **settings):
    """The losses of two updates."""
    config = PretrainConfig(model_size="tiny", batch_size=8, epochs=1, max_steps=2, val_every=0, **settings)
    pretrain(data, run, config, quiet=True)
    return [line["loss"] for line in run_folder.read_metrics(run)]


@pytest.mark.parametrize("loss", ["mask", "supcon"])
def test_what_the_strategy_withholds_the_loss_does_not_see(data, tmp_path, loss):
    plain = losses(data, tmp_path / "plain", strategy="random")
    assert losses(data, tmp_path / "none", strategy="soft-positive:labelled=0", loss=loss) == pytest.approx(
        plain, rel=1e-6
    )
    assert losses(data, tmp_path / "all", strategy="random", loss=loss) != pytest.approx(plain, rel=1e-3)


def test_sounds_without_labels_teach_sounds_alone_nothing(data, tmp_path):
    assert losses(data, tmp_path / "none", strategy="soft-positive:labelled=0", loss="audio-supcon") == [0.0, 0.0]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_the_share_is_of_each_label_and_at_least_two(share):
    labels = np.repeat(np.arange(4, dtype=np.int32), [40, 10, 3, 1])
    table = ClipTable(np.arange(54) * 3, np.append(labels[:50], [3, 3, 3, -1]).astype(np.int32))
    for seed in range(5):
        known = SoftPositive(labelled=share).known_labels(table, seed)
        sizes = np.bincount(table.labels[table.labels >= 0])
        wanted = [min(max(round(share * size), 2), size) for size in sizes.tolist()]
        assert np.bincount(known[known >= 0]).tolist() == wanted
        assert (known[known >= 0] == table.labels[known >= 0]).all()
        more = SoftPositive(labelled=min(1.0, 2 * share)).known_labels(table, seed)
        assert ((known < 0) | (more >= 0)).all()  # a smaller share is part of a larger one


def test_which_clips_keep_their_label_does_not_hang_on_the_others():
    labels = np.repeat(np.arange(2, dtype=np.int32), 50)
    known = SoftPositive(labelled=0.2).known_labels(ClipTable(np.arange(100), labels), 3)
    fewer = SoftPositive(labelled=0.2).known_labels(ClipTable(np.arange(50), labels[:50]), 3)
    assert (known[:50] == fewer).all()
    other = SoftPositive(labelled=0.2).known_labels(ClipTable(np.arange(100), labels), 4)
    assert (known != other).any()


def test_validation_chooses_by_known_labels_alone(data):
    whole = make_ready(data, data / "run", PretrainConfig(strategy="random", model_size="tiny", batch_size=8))
    assert len(whole.unseen) == 9
    config = PretrainConfig(strategy="soft-positive:labelled=0.7", model_size="tiny", batch_size=8)
    kept = make_ready(data, data / "run", config).unseen
    assert len(kept) == 6
    assert (kept.labels >= 0).all()


def test_held_back_clips_without_any_known_label_are_refused(tmp_path):
    folder = forge_dataset(tmp_path / "data", [Forged("ab"[row % 2]) for row in range(24)], frame_size=32, mel_bands=32)
    config = PretrainConfig(strategy="soft-positive:labelled=0", model_size="tiny", batch_size=8, val_share=0.2)
    with pytest.raises(UserError, match="leave --val-share out"):
        make_ready(folder, tmp_path / "run", config)


def test_plan_counts_the_labels_that_are_known(data):
    found = survey(Dataset(data), PlanConfig(strategy="soft-positive:labelled=0.5", batch_size=8, epochs=1))
    assert (found["labels"]["largest"], found["labels"]["clips_without"]) == (4, 12)
