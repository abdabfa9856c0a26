"""--loss audio-supcon, which uses no picture, refused clips without pictures, and heard their first second alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.config import PretrainConfig
from avtrain.data.loader import Loader
from avtrain.data.plans import training_table
from avtrain.runs import folder as run_folder
from avtrain.sampling import Random
from avtrain.training.pretrain import pretrain
from tests.train.forge import Forged, arrays, forge_dataset


@pytest.fixture(scope="module")
def clips():
    return [Forged("ab"[row % 2], "val" if row > 11 else "train", seconds=3.0, pictures=False) for row in range(16)]


@pytest.fixture(scope="module")
def sounds(clips, tmp_path_factory):
    return forge_dataset(tmp_path_factory.mktemp("sounds") / "data", clips)


def test_sounds_alone_are_trained_on_and_measured_from_end_to_end(sounds, clips):
    dataset = Dataset(sounds)
    table = training_table(dataset, sounds_alone=True)
    heard = np.zeros(301, bool)
    for batch in Loader(dataset, table, Random(), batch_size=4, epochs=20):
        assert (batch.video == 0).all()
        for row, logmel in zip(batch.plan[:, 0], batch.audio.numpy(), strict=True):
            number = int(dataset.clip_ids[row][1:])
            whole = arrays(number, clips[number])[1]
            places = [start for start in range(202) if (whole[start] == logmel[0]).all()]
            assert len(places) == 1
            np.testing.assert_array_equal(logmel, whole[places[0] : places[0] + 100])
            heard[places[0] : places[0] + 100] = True
    assert heard[:290].all()


def test_a_run_of_sounds_alone(tmp_path, clips):
    folder = forge_dataset(tmp_path / "data", clips, frame_size=32, mel_bands=32)
    config = PretrainConfig(loss="audio-supcon", model_size="tiny", batch_size=6, epochs=1)
    pretrain(folder, tmp_path / "run", config, quiet=True)
    (*trained, _) = run_folder.read_metrics(tmp_path / "run")
    assert all(math.isfinite(line["loss"]) and line["loss"] > 0 for line in trained)
    assert (
        run_folder.best_validation(tmp_path / "run") is None
    )  # no sound finds pictures of an encoder that is untrained
    with pytest.raises(UserError, match="clips without picture"):
        pretrain(folder, tmp_path / "other", PretrainConfig(model_size="tiny", batch_size=6, epochs=1), quiet=True)
    with pytest.raises(UserError, match="leave --val-share out"):
        PretrainConfig(loss="audio-supcon", val_share=0.2)
