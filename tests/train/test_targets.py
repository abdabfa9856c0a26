"""The one loss underneath, its targets and weights, against formulas in float64; weights from files and confidence."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

import avtrain
from avprep import schema
from avprep.dataset import Dataset
from avprep.shared.errors import UserError
from avtrain.cli import main
from avtrain.config import LOSS_NAMES
from avtrain.data.plans import strategy_of, training_table
from avtrain.runs import folder as run_folder
from avtrain.sampling import ClipTable, Pairs, Random, SoftPositive, digest, pair_weights
from avtrain.training import alike, overlap, same, similarities, weighted_cross_entropy, with_partners
from avtrain.training.chosen_loss import loss_of, targets_of
from avtrain.training.losses import LOSSES, one_way
from tests.train.forge import Forged, forge_dataset
from tests.train.pairwise import pairs_of

LABELS = torch.tensor([[0, 0], [0, 1], [1, 1], [-1, -1], [2, -1], [0, 2], [1, 1]])
COUNT = len(LABELS)


def embeddings(seed=0, count=COUNT):
    draw = torch.Generator().manual_seed(seed)
    return [
        F.normalize(torch.randn(count, 5, generator=draw, dtype=torch.float64), dim=1).requires_grad_() for _ in "va"
    ]


def reference(logits, targets, weights):
    """The formula, term by term, in both directions; 0 times an infinite logarithm is 0."""
    total = 0.0
    for rows, wanted in ((logits, targets), (logits.T, targets.T)):
        top, bottom = 0.0, 0.0
        for i in range(len(rows)):
            whole, norm = math.fsum(wanted[i]), math.log(math.fsum(map(math.exp, rows[i])))
            if whole:
                terms = (share * (norm - rows[i][j]) / whole for j, share in enumerate(wanted[i]) if share)
                top, bottom = top + weights[i] * math.fsum(terms), bottom + weights[i]
        total += top / bottom / 2
    return total


@pytest.mark.parametrize("case", ["plain", "targets", "weights", "both", "empty rows", "left out"])
def test_the_one_loss_is_its_formula(case):
    draw = np.random.default_rng(3)
    logits = draw.normal(size=(COUNT, COUNT))
    targets = draw.random((COUNT, COUNT)) * (draw.random((COUNT, COUNT)) < 0.5) if case != "plain" else np.eye(COUNT)
    weights = draw.random(COUNT) if case in ("weights", "both") else np.ones(COUNT)
    if case == "weights":
        targets = np.eye(COUNT)
    if case == "empty rows":
        targets[[1, 4]] = 0
    if case == "left out":
        logits[targets == 0] = -math.inf
        np.fill_diagonal(logits, 1.0)
    found = weighted_cross_entropy(
        torch.from_numpy(logits),
        None if case in ("plain", "weights") else torch.from_numpy(targets),
        torch.from_numpy(weights) if case in ("weights", "both") else None,
    )
    assert found.item() == pytest.approx(reference(logits, targets, weights), rel=1e-12)


def before(name, video, audio, labels, temperature):
    """The named losses as they were before they were one."""
    logits = video @ audio.T / temperature
    both = (logits, logits.T)
    pairs = torch.arange(len(logits))
    eye = torch.eye(len(logits), dtype=torch.bool)
    alike_ = same(labels)
    if name == "mask":
        both = [
            sides.masked_fill(others, -math.inf)
            for sides, others in zip(both, (alike_ & ~eye, (alike_ & ~eye).T), strict=True)
        ]
    if name == "suppress":
        likeness = (audio @ audio.T + video @ video.T).detach().fill_diagonal_(-math.inf)
        most = likeness.topk(round(0.1 * (len(logits) - 1)), dim=1).indices
        left = torch.zeros_like(eye).scatter_(1, most, True)
        both = [sides.masked_fill(left, -math.inf) for sides in both]
    if name in ("supcon", "overlap"):  # of one label a clip, the share in common is 0 or 1
        wanted = [each.double() for each in (alike_ | eye, (alike_ | eye).T)]
        return sum(F.cross_entropy(s, w / w.sum(1, keepdim=True)) for s, w in zip(both, wanted, strict=True)) / 2
    if name == "audio-supcon":
        logits = audio @ audio.T / temperature
        positives = (labels[:, :1] == labels[:, 0]) & (labels[:, :1] >= 0) & ~eye
        shares = logits.masked_fill(eye, -math.inf).log_softmax(1).masked_fill(~positives, 0)
        counts = positives.sum(1)
        return -(shares.sum(1) / counts.clamp_min(1)).sum() / (counts > 0).sum().clamp_min(1) + 0 * video.sum()
    return sum(F.cross_entropy(sides, pairs) for sides in both) / 2


@pytest.mark.parametrize("name", LOSS_NAMES)
@pytest.mark.parametrize("weighted", [False, True])
def test_named_losses_have_the_values_and_gradients_of_before(name, weighted):
    labels = torch.cat([LABELS, LABELS.flip(0), LABELS])  # 21 pairs: `suppress` leaves two out
    found, wanted = embeddings(count=21), embeddings(count=21)
    weights = torch.full((21,), 0.25) if weighted else None  # all alike: the same as none
    loss = LOSSES[name](*found, pairs_of(labels, weights), 0.2)
    old = before(name, *wanted, labels, 0.2)
    assert loss.item() == pytest.approx(old.item(), rel=1e-9)
    loss.backward()
    old.backward()
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-9)
    if name == "info-nce" and not weighted:
        assert loss == old
        assert all(torch.equal(one.grad, other.grad) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_weights_count_by_their_ratios_and_a_pair_of_weight_0_only_as_a_negative(name):
    weights = torch.tensor([1.0, 2, 0, 1, 3, 1, 1])
    video, audio = embeddings()
    losses = [LOSSES[name](video, audio, pairs_of(LABELS, each), 0.2) for each in (weights, 10 * weights, None)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    assert losses[0].item() != pytest.approx(losses[2].item(), rel=1e-3)
    assert LOSSES[name](video, audio, pairs_of(LABELS, 0 * weights), 0.2).item() == 0
    only = torch.zeros(COUNT)
    only[0] = 1
    logits = similarities(video, audio, 0.2)
    if name == "info-nce":
        alone = (logits[0].logsumexp(0) + logits[:, 0].logsumexp(0)) / 2 - logits[0, 0]
        assert LOSSES[name](video, audio, pairs_of(LABELS, only), 0.2).item() == pytest.approx(alone.item())


def test_targets_of_labels_and_of_similarities():
    wanted = [[int(v == a and v >= 0) for a in LABELS[:, 0]] for v in LABELS[:, 1]]
    assert same(LABELS).int().tolist() == wanted
    assert overlap(LABELS).tolist() == wanted
    assert overlap(LABELS).dtype == torch.float32
    partners = with_partners(0.5 * overlap(LABELS))
    assert (partners.diagonal() == 1).all()
    assert partners[0].tolist() == [1, 0.5, 0, 0, 0, 0.5, 0]
    assert (with_partners(same(LABELS)) == (same(LABELS) | torch.eye(COUNT, dtype=torch.bool))).all()
    video, audio = embeddings()
    targets = alike(video, audio, 0.3)
    assert not targets.requires_grad
    expected = torch.exp((video[2] @ video[5] + audio[2] @ audio[5]) / 0.6)
    expected /= torch.exp((video[2] @ video.T + audio[2] @ audio.T) / 0.6).sum()
    assert targets[2, 5].item() == pytest.approx(expected.item())
    assert torch.autograd.gradcheck(lambda v, a: weighted_cross_entropy(v @ a.T, targets), (video, audio))


def test_shapes_are_checked():
    square = torch.zeros(3, 3)
    with pytest.raises(ValueError, match=r"must both be \[B, B\], not \[\[3, 3\], \[2, 3\]\]"):
        one_way(square, torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"must both be \[B, B\], not \[\[3, 2\]\]"):
        weighted_cross_entropy(square[:, :2])
    with pytest.raises(ValueError, match=r"weights must be \[3\], not \[2\]"):
        weighted_cross_entropy(square, None, torch.ones(2))


# files


@pytest.fixture
def folder(tmp_path):
    """24 training clips c0 ... of three classes, and a test clip."""
    clips = [Forged("abc"[row % 3]) for row in range(24)] + [Forged("a", split="test")]
    return forge_dataset(tmp_path / "data", clips, 8, frame_size=16, mel_bands=16)


def parquet(tmp_path, **columns):
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table(columns), path)
    return path


SETTINGS = {"model_size": "tiny", "batch_size": 6, "epochs": 1, "val_every": 0}


def trained(folder, run, **settings):
    avtrain.pretrain(folder, run, device="cpu", quiet=True, **SETTINGS | settings)
    return [line["loss"] for line in run_folder.read_metrics(run)]


def test_targets_of_a_file_are_those_of_its_pairs_and_train_as_supcon(folder, tmp_path):
    ids = [f"c{row}" for row in range(24)]
    rows = [(a, v) for a in range(24) for v in range(24) if a % 3 == v % 3]
    path = parquet(tmp_path, audio=[ids[a] for a, _ in rows], video=[ids[v] for _, v in rows], target=[2.0] * len(rows))
    dataset = Dataset(folder)
    table = training_table(dataset)
    targets = targets_of(path, dataset, table)
    plan = torch.from_numpy(next(SoftPositive(0.5).plan(table, batch_size=8, seed=0, epoch=0)))
    label = torch.tensor(dataset.label)[plan]
    assert targets.of(plan).tolist() == (2.0 * same(label)).tolist()
    few = parquet(tmp_path, audio=["c0", "c1"], video=["c3", "c1"], target=[0.25, 0.5])
    position = {name: row for row, name in enumerate(dataset.clip_ids)}
    c0, c1, c3 = (position[name] for name in ("c0", "c1", "c3"))
    found = targets_of(few, dataset, table).of(torch.tensor([[c0, c0], [c1, c1], [c3, c3]]))
    assert found.tolist() == [[1, 0, 0], [0, 0.5, 0], [0.25, 0, 1]]  # the sound of c0 with the picture of c3
    parquet(tmp_path, audio=[ids[a] for a, _ in rows], video=[ids[v] for _, v in rows], target=[2.0] * len(rows))
    run = tmp_path / "run"
    assert trained(folder, run, loss=f"targets:{path}") == trained(folder, tmp_path / "supcon", loss="supcon")
    assert json.loads((run / "config.json").read_text())["targets_digest"] == targets.digest
    parquet(tmp_path, audio=["c0"], video=["c1"], target=[1.0])
    with pytest.raises(UserError, match="was begun with another version of the file of targets; restore it"):
        trained(folder, run, loss=f"targets:{path}", epochs=2)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"audio": ["c0"], "video": ["c1"]}, "has no column 'target'"),
        ({"audio": ["c0"], "video": ["c1"], "target": [-1.0]}, "not finite or below 0"),
        ({"audio": ["c0"], "video": ["c1"], "target": ["one"]}, "targets that are not numbers"),
        ({"audio": ["c0", "c0"], "video": ["c1", "c1"], "target": [1.0, 2.0]}, "names one pair twice"),
        ({"audio": ["c24"], "video": ["c1"], "target": [1.0]}, "names 1 clips in 'audio' that are not in the split"),
    ],
)
def test_a_file_of_targets_with_a_mistake_is_named_with_it(folder, tmp_path, columns, sentence):
    dataset = Dataset(folder)
    path = parquet(tmp_path, **columns)
    with pytest.raises(UserError, match=f"{path} .*{sentence}"):
        loss_of(f"targets:{path}", dataset, training_table(dataset))


def test_pairs_of_a_file_may_count_by_their_weight_in_the_loss(folder, tmp_path):
    columns = {"audio": [f"c{n}" for n in range(12)], "video": [f"c{n + 12}" for n in range(12)]}
    path = parquet(tmp_path, **columns, weight=[float(n) for n in range(12)])
    dataset = Dataset(folder)
    table = training_table(dataset)
    drawn, counted = (strategy_of(f"pairs:{path}{end}", dataset, table) for end in ("", ":weights=loss"))
    assert (drawn.in_loss, counted.in_loss) == (False, True)
    plain = Pairs(counted.audio, counted.video)
    arguments = {"batch_size": 6, "seed": 1, "epoch": 2}
    plans = list(counted.plan(table, **arguments))
    np.testing.assert_array_equal(plans, list(plain.plan(table, **arguments)))
    weight_of = {(a, v): w for a, v, w in zip(counted.audio, counted.video, range(12), strict=True)}
    for step, plan in enumerate(plans):
        weights = pair_weights(counted, table, plan, seed=1, epoch=2, step=step)
        assert weights.dtype == np.float32
        assert weights.tolist() == [weight_of[tuple(pair)] for pair in plan.tolist()]
        assert pair_weights(drawn, table, plan, seed=1, epoch=2, step=step) is None
    losses = [
        trained(folder, tmp_path / f"run{end[:4]}", strategy=f"pairs:{path}{end}") for end in (":weights=loss", "")
    ]
    assert losses[0] != losses[1]
    with pytest.raises(UserError, match="Setting weights of strategy pairs is draw, loss or partner, not 'both'"):
        strategy_of(f"pairs:{path}:weights=both", dataset, table)
    twice = parquet(tmp_path, audio=["c0", "c0"], video=["c1", "c1"], weight=[1.0, 2.0])
    with pytest.raises(UserError, match="is there twice with two weights"):
        strategy_of(f"pairs:{twice}:weights=loss", dataset, table)
    bare = parquet(tmp_path, audio=["c0"], video=["c1"])
    with pytest.raises(UserError, match="Pairs have no weights to count by in the loss"):
        strategy_of(f"pairs:{bare}:weights=loss", dataset, table)


# confidence


def write_confident(folder, probability):
    """The column `sure`: labels 0 and 1 in turns with these probabilities, none for the last training clip."""
    count = len(probability)
    columns = {
        "clip_id": [f"c{row}" for row in range(count)],
        "label": pa.array([row % 2 for row in range(count)], pa.int32()),
        "probability": pa.array(probability, pa.float32()),
    }
    path = folder / schema.labels_path("sure")
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata({schema.LABEL_NAMES_KEY: '["x", "y"]'}), path)


def test_pairs_of_two_clips_count_as_much_as_their_labels_are_probable(folder, tmp_path):
    probability = [row / 23 for row in range(23)]
    write_confident(folder, probability)
    dataset = Dataset(folder)
    table = training_table(dataset, "sure", confidence=True)
    known = dict(zip(dataset.clip_ids, dataset.label_probabilities("sure").tolist(), strict=True))
    assert known["c23"] == known["c24"] == 1
    assert known["c5"] == pytest.approx(5 / 23)
    (plan,) = SoftPositive(0.5).plan(table, batch_size=24, seed=0, epoch=0)
    weights = pair_weights(SoftPositive(0.5), table, plan, seed=0, epoch=0, step=0)
    assert 0 < (plan[:, 0] == plan[:, 1]).sum() < 24
    for (audio, video), weight in zip(plan, weights, strict=True):
        product = known[dataset.clip_ids[audio]] * known[dataset.clip_ids[video]]
        assert weight == pytest.approx(1 if audio == video else product)
    part = table.take(table.labels == 1)
    assert (part.confidence == table.confidence[table.labels == 1]).all()
    assert digest(Random(), table) != digest(Random(), ClipTable(table.rows, table.labels))
    settings = {"strategy": "soft-positive", "labels": "sure"}
    plain, sure = (
        trained(folder, tmp_path / str(value), label_confidence=value, **settings) for value in (False, True)
    )
    assert plain != sure
    done = CliRunner().invoke(
        main, ["plan", str(folder), "--labels=sure", "--label-confidence", "--strategy=soft-positive", "--batch-size=6"]
    )
    assert done.exit_code == 0, done.output
    assert "weights     0 to" in done.output


def test_columns_without_usable_probabilities_are_refused(folder):
    dataset = Dataset(folder)
    with pytest.raises(UserError, match="The manifest's own labels have no probabilities; name a column"):
        training_table(dataset, confidence=True)
    write_confident(folder, [0.5, 1.5])
    with pytest.raises(UserError, match="has a probability that is not within 0 to 1"):
        dataset.label_probabilities("sure")
    path = folder / schema.labels_path("sure")
    pq.write_table(pq.read_table(path).drop_columns(["probability"]), path)
    with pytest.raises(UserError, match=r"sure.parquet has no probabilities to weight labels by \(it has no column"):
        dataset.label_probabilities("sure")
