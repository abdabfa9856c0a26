"""A batch that is encoded in chunks has the loss and the gradient of one that is encoded at once."""

from __future__ import annotations

import os
import subprocess

import pytest
import torch
from torch import nn

from avtrain.distributed import ALONE, Ranks, gather_rows, parallel, process_group, read_ranks
from avtrain.models.temperature import Temperature
from avtrain.models.two_tower import WithTemperature, build_two_tower
from avtrain.training.grad_cache import backward_in_chunks, chunks_of
from tests import warm
from tests.conftest import REPOSITORY
from tests.ports import free_port
from tests.train.pairwise import contrastive

PAIRS, SEED = 11, 3
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, -1, 0])


def model_and_inputs(train=False):
    """A tiny pair with an mlp head, dropout and a learnt temperature, in float64, and 11 pairs."""
    torch.manual_seed(SEED)
    model = build_two_tower("tiny", projection="mlp", projection_hidden=9, embedding_dim=5)
    model.temperature = Temperature(0.1)
    model.audio_head = nn.Sequential(nn.Dropout(0.2), model.audio_head)
    model = model.double().eval()
    model.audio_head.train()
    if train:
        model.train()
    return model, (torch.randn(PAIRS, 3, 2, 32, 32).double(), torch.randn(PAIRS, 1, 20, 16).double())


def in_chunks(loss, chunk_size, train=False, batches=1, more=False, ranks=ALONE):
    """(loss, gradients by name, statistics by name) of this rank, whose pairs are encoded in chunks."""
    model, inputs = model_and_inputs(train)
    encoders = WithTemperature(model)
    own, wrapped = ranks.slice_of(PAIRS), parallel(encoders, ranks, "cpu")
    chunks = chunks_of(PAIRS, chunk_size, ranks)

    def embed(module, chunk):
        torch.manual_seed(own.start + chunk.start)
        return module(*(side[own][chunk] for side in inputs))

    def loss_of(video, audio, learnt):
        return contrastive(loss, *(gather_rows(side, PAIRS, ranks) for side in (video, audio)), LABELS, learnt)

    value = backward_in_chunks(wrapped, encoders, embed, loss_of, chunks, batches=batches, more=more)
    return value, gradients_of(model), dict(model.named_buffers())


def gradients_of(model):
    return {name: weights.grad for name, weights in model.named_parameters()}


def at_once(loss, cut):
    """As `in_chunks`, with one graph over all pairs; dropout draws for each of the slices `cut`."""
    model, inputs = model_and_inputs()
    parts = []
    for chunk in cut:
        torch.manual_seed(chunk.start)
        parts.append(WithTemperature(model)(*(side[chunk] for side in inputs)))
    value = contrastive(loss, *(torch.cat([part[side] for part in parts]) for side in (0, 1)), LABELS, parts[0][2])
    value.backward()
    return value, gradients_of(model)


def assert_close(one, other, tolerance=1e-6):
    torch.testing.assert_close(one[0], other[0], rtol=tolerance, atol=0)
    assert one[1].keys() == other[1].keys()
    for name, gradient in other[1].items():
        scale = max(gradient.abs().max().item(), 1e-12)
        assert (one[1][name] - gradient).abs().max() <= tolerance * scale, name


@pytest.mark.parametrize("loss", ["info-nce", "supcon", "suppress", "audio-supcon"])
@pytest.mark.parametrize("chunk_size", [2, 4, 11, 50])
def test_loss_and_gradient_are_those_of_one_graph_with_dropout(loss, chunk_size):
    found = in_chunks(loss, chunk_size)
    assert_close(found, at_once(loss, chunks_of(PAIRS, chunk_size, ALONE)))
    assert found[1]["temperature.log_scale"].abs() > 0


def test_a_share_of_the_gradient_is_added():
    whole, third = in_chunks("info-nce", 4), in_chunks("info-nce", 4, batches=3)
    assert third[0] == whole[0]
    for name, gradient in whole[1].items():
        torch.testing.assert_close(3 * third[1][name], gradient)


def test_statistics_of_batch_norm_follow_each_chunk_once():
    _, _, found = in_chunks("info-nce", 4, train=True)
    model, inputs = model_and_inputs(train=True)
    with torch.no_grad():
        for chunk in chunks_of(PAIRS, 4, ALONE):
            model(*(side[chunk] for side in inputs))
    for name, value in model.named_buffers():
        torch.testing.assert_close(found[name], value)
    assert found["audio.layers.0.1.num_batches_tracked"] == 3


@pytest.mark.parametrize("total", [2, 3, 7, 11, 64, 309])
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("chunk_size", [0, 2, 3, 16, 400])
def test_chunks_cover_a_slice_in_order_and_are_as_many_on_each_rank(total, world_size, chunk_size):
    if total < world_size:
        return
    ranks = [Ranks(rank=rank, world_size=world_size) for rank in range(world_size)]
    found = [chunks_of(total, chunk_size, one) for one in ranks]
    assert len({len(chunks) for chunks in found}) == 1
    for one, chunks in zip(ranks, found, strict=True):
        own = one.slice_of(total)
        assert [row for chunk in chunks for row in range(chunk.start, chunk.stop)] == list(range(own.stop - own.start))
        sizes = [chunk.stop - chunk.start for chunk in chunks]
        assert min(sizes) >= 1
        assert max(sizes) <= (chunk_size or total)
        assert max(sizes) - min(sizes) <= 1


def test_chunks_go_by_position_where_ranks_divide_a_batch_evenly():
    def starts(world_size):
        ranks = [Ranks(rank=rank, world_size=world_size) for rank in range(world_size)]
        return [one.slice_of(64).start + chunk.start for one in ranks for chunk in chunks_of(64, 8, one)]

    assert starts(1) == starts(2) == starts(4) == list(range(0, 64, 8))


def as_rank(folder):
    """What each process of the test below does: its gradients, averaged over ranks, to a file."""
    torch.set_num_threads(1)
    ranks = read_ranks(os.environ)
    with process_group(ranks, "cpu"):
        value, gradients, _ = in_chunks("supcon", 3, ranks=ranks)
        torch.save({"loss": value, **gradients}, f"{folder}/{ranks.rank}.pt")


@pytest.mark.slow
def test_two_ranks_have_the_gradient_of_one_graph(tmp_path):
    environ = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    environ |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    script = f"from tests.train.test_grad_cache import as_rank; as_rank({str(tmp_path)!r})"
    ranks = [
        subprocess.Popen([*warm.python(), "-c", script], env={**environ, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    assert [rank.wait(200) for rank in ranks] == [0, 0]
    cut = [
        slice(own.start + chunk.start, own.start + chunk.stop)
        for one in (Ranks(rank=0, world_size=2), Ranks(rank=1, world_size=2))
        for own in [one.slice_of(PAIRS)]
        for chunk in chunks_of(PAIRS, 3, one)
    ]
    wanted = at_once("supcon", cut)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert_close((found.pop("loss"), found), wanted)
