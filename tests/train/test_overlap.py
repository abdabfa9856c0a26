"""Losses by several labels a clip, against loops over labels; which labels a loss gets; runs that resume."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avprep.dataset import Dataset
from avtrain.config import PretrainConfig
from avtrain.data.plans import training_table
from avtrain.evaluation.ranking import class_chance, ranks
from avtrain.runs import folder as run_folder
from avtrain.sampling import ClipTable, LabelLists
from avtrain.training.losses import LOSSES
from avtrain.training.pretrain import pretrain
from avtrain.training.row_labels import RowLabels
from avtrain.training.targets import PairBatch, overlap, same
from tests.train.forge import Forged, forge_dataset, write_label_lists

SOUNDS = [{0}, {0, 1}, {2}, set(), {1, 3}]
PICTURES = [{0, 1}, {0, 1}, {0, 3}, {2}, set()]
NAMES = ["mask", "supcon", "overlap", "audio-supcon"]


def batch() -> PairBatch:
    labels = torch.zeros(len(SOUNDS), 2, 4, dtype=torch.bool)
    for row, sides in enumerate(zip(SOUNDS, PICTURES, strict=True)):
        for side, own in enumerate(sides):
            labels[row, side, sorted(own)] = True
    return PairBatch(labels, torch.arange(len(SOUNDS))[:, None].expand(-1, 2))


def jaccard(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other) if one & other else 0.0


def reference(name: str, logits: np.ndarray, video: list[set[int]], audio: list[set[int]]) -> float:
    """One direction, from the side of the rows, as the formulas have it."""
    total, counted = 0.0, 0
    for i, row in enumerate(logits):
        alike = [bool(video[i] & other) for other in audio]
        inside = [j for j in range(len(row)) if not (name == "mask" and alike[j] and j != i)]
        inside = [j for j in inside if not (name == "audio-supcon" and j == i)]
        targets = {j: float(j == i) for j in inside}
        if name == "supcon":
            targets = {j: float(alike[j] or j == i) for j in inside}
        if name == "overlap":
            targets = {j: 1.0 if j == i else jaccard(video[i], audio[j]) for j in inside}
        if name == "audio-supcon":
            targets = {j: float(alike[j]) for j in inside}
        if not sum(targets.values()):
            continue
        bottom = math.log(sum(math.exp(row[j]) for j in inside))
        total += sum(share * (bottom - row[j]) for j, share in targets.items()) / sum(targets.values())
        counted += 1
    return total / max(counted, 1)


def test_targets_are_common_labels_and_their_share():
    labels = batch().labels
    for i, picture in enumerate(PICTURES):
        for j, sound in enumerate(SOUNDS):
            assert same(labels)[i, j] == bool(picture & sound)
            assert overlap(labels)[i, j].item() == pytest.approx(jaccard(picture, sound))


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_by_labels_is_its_formula(name):
    draw = torch.Generator().manual_seed(1)
    video, audio = (F.normalize(torch.randn(5, 6, generator=draw, dtype=torch.float64)).requires_grad_() for _ in "va")
    found = LOSSES[name](video, audio, batch(), 0.5)
    one, other = (video, audio) if name != "audio-supcon" else (audio, audio)
    logits = (one @ other.T / 0.5).detach().numpy()
    pictures = SOUNDS if name == "audio-supcon" else PICTURES
    wanted = (reference(name, logits, pictures, SOUNDS) + reference(name, logits.T, SOUNDS, pictures)) / 2
    assert found.item() == pytest.approx(wanted, rel=1e-7)  # targets are float32
    found.backward()
    assert audio.grad.abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_lists_of_one_label_are_labels(name):
    labels = torch.tensor([[0, 1], [1, 1], [-1, 2], [2, -1], [0, 2], [0, 0]])
    draw = torch.Generator().manual_seed(2)
    video, audio = (F.normalize(torch.randn(6, 4, generator=draw, dtype=torch.float64)) for _ in "va")
    rows = torch.arange(6)[:, None].expand(-1, 2)
    one, lists = (
        LOSSES[name](video, audio, PairBatch(each, rows), 0.1)
        for each in (labels, labels[:, :, None] == torch.arange(3))
    )
    assert lists.item() == pytest.approx(one.item(), rel=1e-12)
    if name == "overlap":
        assert one.item() == pytest.approx(
            LOSSES["supcon"](video, audio, PairBatch(labels, rows), 0.1).item(), rel=1e-12
        )


def test_a_loss_gets_the_labels_of_the_rows_of_its_pairs():
    lists = LabelLists(np.array([0, 2, 2, 3]), np.array([0, 2, 1], np.int32))
    table = ClipTable(np.array([7, 3, 5]), lists.first(), lists)
    labels = RowLabels(table, 9, 3, "cpu")
    found = labels(torch.tensor([[7, 5], [3, 7]]))
    assert found.int().tolist() == [[[1, 0, 1], [0, 1, 0]], [[0, 0, 0], [1, 0, 1]]]
    one = RowLabels(ClipTable(table.rows, table.labels), 9, 3, "cpu")
    assert one(torch.tensor([[7, 5], [3, 8]])).tolist() == [[0, 1], [-1, -1]]


def test_an_item_of_any_common_label_is_of_the_class():
    draw = np.random.default_rng(0)
    queries, items, labels = draw.normal(size=(30, 5)), draw.normal(size=(30, 5)), draw.random((30, 4)) < 0.4
    _, of_class = ranks(queries, items, labels)
    for row, similarity in enumerate(queries @ items.T):
        order = np.argsort(-similarity)
        wanted = 1 + next((n for n, item in enumerate(order) if (labels[item] & labels[row]).any()), len(items))
        assert of_class[row] == wanted or not labels[row].any()
    alone = np.eye(4, dtype=bool)[draw.integers(0, 4, 30)]
    for k in (1, 5, 10):
        assert class_chance(alone, k) == pytest.approx(class_chance(alone.argmax(1), k), rel=1e-12)
    assert np.array_equal(ranks(queries, items, alone)[1], ranks(queries, items, alone.argmax(1))[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    clips = [Forged("x", "val" if row >= 20 else "train") for row in range(26)]
    folder = forge_dataset(tmp_path_factory.mktemp("lists") / "data", clips, frame_size=16, mel_bands=16)
    write_label_lists(
        folder, "several", {f"c{row}": list("abcd"[row % 3 : row % 3 + 1 + row % 2]) for row in range(26)}
    )
    return folder


@pytest.mark.parametrize("loss", ["mask", "overlap", "audio-supcon"])
def test_a_run_by_lists_resumes_to_the_same_losses(folder, tmp_path, loss):
    settings = {"model_size": "tiny", "labels": "several", "loss": loss, "strategy": "soft-positive:p=0.5,rare=0.5"}
    settings |= {"batch_size": 8, "epochs": 3, "checkpoint_every_steps": 1, "val_every": 3}
    config = PretrainConfig(**settings)
    pretrain(folder, tmp_path / "whole", config, quiet=True)
    asked = iter([False, True, *[False] * 20])
    with pytest.raises(Exception, match="checkpoint at step"):
        pretrain(folder, tmp_path / "parts", config, quiet=True, stopping=lambda: next(asked))
    pretrain(folder, tmp_path / "parts", config, quiet=True)
    lines = [run_folder.read_metrics(tmp_path / name) for name in ("whole", "parts")]
    losses = [[line["loss"] for line in own if "loss" in line] for own in lines]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6
    assert training_table(Dataset(folder), "several").lists is not None
