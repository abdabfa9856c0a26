"""k-means of pseudo-label was fitted on validation and test pictures too; they go to clusters of the others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import avprep.labels.pseudo_label
from avprep.dataset import Dataset
from avprep.errors import UserError
from avprep.labels.pseudo_label import Classifier, PseudoLabelConfig, pseudo_label
from tests.train.forge import Forged, forge_dataset


class Means(nn.Module):
    """Its features are the mean colours of a picture."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, pictures):
        return self.head(pictures.float().mean((2, 3)))


@pytest.fixture
def means(monkeypatch):
    def load(model, weights=None):
        return Classifier(Means(), lambda pictures: pictures, ["a", "b"], "w")

    monkeypatch.setattr(avprep.labels.pseudo_label, "load_classifier", load)


def clusters_of(folder, clips, count=3):
    """The cluster of each clip by its id."""
    dataset = Dataset(forge_dataset(folder, clips))
    pseudo_label(dataset, PseudoLabelConfig(model="means", clusters=count, device="cpu"), "k")
    return dict(zip(dataset.clip_ids, dataset.labels("k").values.tolist(), strict=True))


@pytest.mark.usefixtures("means")
def test_clips_of_other_splits_have_no_part_in_the_clusters(tmp_path):
    train = [Forged("ab"[row % 2]) for row in range(12)]
    others = [Forged("ab"[row % 2], split) for split in ("val", "test") for row in range(20)]
    alone, beside = clusters_of(tmp_path / "alone", train), clusters_of(tmp_path / "beside", train + others)
    assert {clip: beside[clip] for clip in alone} == alone
    assert len(set(alone.values())) == 3
    assert {beside[f"c{row}"] for row in range(12, 52)} <= {0, 1, 2}
    dataset = Dataset(tmp_path / "beside")
    middle = torch.stack(
        [torch.from_numpy(dataset.read_frames(row, 16, 17)[0]).float().mean((0, 1)) for row in range(52)]
    )
    found = np.array([beside[clip] for clip in dataset.clip_ids])
    train_rows = dataset.rows_of("train")
    centres = torch.stack([middle[[row for row in train_rows if found[row] == one]].mean(0) for one in range(3)])
    assert torch.cdist(middle, centres).argmin(1).tolist() == found.tolist()


@pytest.mark.usefixtures("means")
def test_more_clusters_than_training_clips_are_refused(tmp_path):
    clips = [Forged("a"), Forged("b"), *(Forged("a", "test") for _ in range(8))]
    with pytest.raises(UserError, match="3 clusters are more than the 2 train clips with pictures"):
        clusters_of(tmp_path / "few", clips)
