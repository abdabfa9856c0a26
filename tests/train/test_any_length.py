"""Every protocol on clips of any length, with pictures and without; what is said of a clip is said of it alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import avtrain.evaluation.retrieval
from avprep.dataset import Dataset
from avtrain.config import EvaluateConfig
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.predictions import read_predictions
from avtrain.evaluation.retrieval import retrieve
from avtrain.models.two_tower import build_two_tower
from avtrain.runs import checkpoint
from tests.train.forge import Forged, forge_dataset

ONE_WINDOW, THIRTY = 0.99, 30.0  # seconds; mel frames 0 to 99 are a window of 1 s
TEST_SECONDS = (ONE_WINDOW, THIRTY, 0.4, 2.0, 2.0, 7.31)
PROTOCOLS = {
    "linear": {"protocol": "linear"},
    "linear of the full encoder": {"protocol": "linear", "model_size": "full"},
    "released probe": {"protocol": "linear", "probe": "released"},
    "finetune": {"protocol": "finetune"},
    "supervised": {"protocol": "supervised"},
    "knn": {"protocol": "knn"},
}


@pytest.fixture(scope="module", params=["with pictures", "sound alone"])
def sets(request, tmp_path_factory):
    """Three datasets that differ in their test split: clips of all lengths, one of one window, one of 30 s."""
    clips = [
        Forged(
            label, split, seconds, f"{split}-{label}-{number // 2}", level, pictures=request.param == "with pictures"
        )
        for label, level in (("loud", 0.0), ("quiet", -30.0))
        for split, all_seconds in (("train", [0.7, 1.3, 2.0, 3.1] * 3), ("test", TEST_SECONDS))
        for number, seconds in enumerate(all_seconds)
    ]
    folder = tmp_path_factory.mktemp("dataset")
    found = {"every": forge_dataset(folder / "every", clips)}
    for name, seconds in (("window", ONE_WINDOW), ("thirty", THIRTY)):
        lone = next(clip for clip in clips if (clip.split, clip.seconds) == ("test", seconds))
        others = [replace(clip, split="spare") if clip.split == "test" and clip is not lone else clip for clip in clips]
        found[name] = forge_dataset(folder / name, others)  # the rows to train on keep their numbers
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder whose checkpoint holds fresh weights of a tiny model."""
    run = tmp_path_factory.mktemp("runs") / "untrained"
    torch.manual_seed(0)
    model = build_two_tower("tiny")
    checkpoint.save(run, 0, model, torch.optim.Adam(model.parameters()), {"config": {"model_size": "tiny"}})
    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_clip_has_the_same_scores_alone_and_among_clips_of_other_lengths(sets, run, tmp_path, name):
    settings = {"model_size": "tiny", "epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "windows_per_clip": 2}
    config = EvaluateConfig(**(settings | PROTOCOLS[name]))
    found = {}
    for kind, folder in sets.items():
        evaluate(folder, config, run=run if name in ("finetune", "knn") else None, out=tmp_path / kind)
        found[kind] = read_predictions(tmp_path / kind / "predictions.parquet")
    assert [len(found[kind].clip_ids) for kind in sets] == [12, 1, 1]
    for kind in ("window", "thirty"):
        (clip_id,) = found[kind].clip_ids
        among = found["every"].probabilities[found["every"].clip_ids.index(clip_id)]
        with np.errstate(divide="ignore"):  # neighbours may say 0
            np.testing.assert_allclose(np.log(found[kind].probabilities[0]), np.log(among), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("sets", ["with pictures"], indirect=True)
def test_a_clip_is_embedded_the_same_alone_and_among_clips_of_other_lengths(sets, run, monkeypatch):
    embedded, scores = [], avtrain.evaluation.retrieval.retrieval_scores

    def told(*arrays):
        embedded.append(arrays)
        return scores(*arrays)

    monkeypatch.setattr(avtrain.evaluation.retrieval, "retrieval_scores", told)
    for folder in sets.values():
        assert retrieve(folder, run)["clips"] == len(Dataset(folder).rows_of("test"))
    ids = [np.array(Dataset(folder).clip_ids)[Dataset(folder).rows_of("test")].tolist() for folder in sets.values()]
    assert [len(each) for each in ids] == [12, 1, 1]
    for one in (1, 2):
        at = ids[0].index(ids[one][0])
        for among, alone in zip(embedded[0][:2], embedded[one][:2], strict=True):
            np.testing.assert_allclose(alone[0], among[at], rtol=1e-5, atol=1e-6)
