"""Several real processes make the step of one, stop together, and none waits for the dead."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from avprep.shared.errors import UserError
from avtrain.config import PretrainConfig
from avtrain.distributed import (
    Ranks,
    any_rank,
    by_all,
    by_first,
    gather_rows,
    one_value,
    parallel,
    process_group,
    read_ranks,
    unsynchronised,
)
from avtrain.models.temperature import Temperature
from avtrain.models.two_tower import build_two_tower
from avtrain.runs import folder as run_folder
from avtrain.training.pretrain import pretrain
from tests import warm
from tests.ports import free_port
from tests.train.doubled import in_double
from tests.train.forge import Forged, forge_dataset
from tests.train.pairwise import contrastive

pytestmark = pytest.mark.slow

PAIRS = 7
LABELS = [0, 1, 0, -1, 1, 0, 2]
CROSS_MODAL = ("info-nce", "mask", "supcon", "suppress")  # those with a gradient for every weight
OWN = "own"  # a strategy with weights and a loss that goes by rows, both as users write them
RUNS = {
    **{kind: {"strategy": "soft-positive:p=0.5", "loss": kind} for kind in CROSS_MODAL},
    "augmented": {
        "crop_size": 12,
        "crop_min_area": 0.3,
        "colour_jitter": 0.5,
        "grey_share": 0.2,
        "gain_db": 6.0,
        "time_shift_seconds": 0.1,
        "sound_mixup": 0.4,
        "spec_augment": True,
    },
    "frozen": {"video_model": "avtrain.models.video:TinyVideo", "freeze": "video", "frozen_windows": 2},
    OWN: {"strategy": "tests.train.own_rules:Weighted", "loss": "tests.train.own_rules:by_rows"},
}


def torchrun(rank, world_size, port):
    """The environment that torchrun gives a process."""
    ours = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size}
    return {name: str(value) for name, value in {**ours, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items()}


def step(ranks, kind):
    """(loss, gradients by name) of one step on the global batch, of which this rank encodes its slice."""
    torch.manual_seed(0)
    model = build_two_tower("tiny").double().eval()
    model.temperature = Temperature(0.2).double()
    draw = torch.Generator().manual_seed(1)
    own = ranks.slice_of(PAIRS)
    video = torch.randn(PAIRS, 3, 4, 32, 32, generator=draw, dtype=torch.float64)[own]
    audio = torch.randn(PAIRS, 1, 30, 32, generator=draw, dtype=torch.float64)[own]
    wrapped = parallel(model, ranks, "cpu")  # must outlive the backward pass, which it averages
    seen, heard = (gather_rows(rows, PAIRS, ranks) for rows in wrapped(video, audio))
    loss = contrastive(kind, seen, heard, torch.tensor(LABELS), model.temperature())
    loss.backward()
    return loss.item(), {name: weights.grad.numpy() for name, weights in model.named_parameters()}


def steps(ranks):
    return {kind: step(ranks, kind) for kind in CROSS_MODAL}


def accumulated(ranks):
    """Gradients of a layer on each rank after the first of two batches, and after both."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2).double()
    draw = torch.Generator().manual_seed(1)
    wrapped, found = parallel(layer, ranks, "cpu"), []
    for more in (True, False):
        rows = torch.randn(PAIRS, 3, generator=draw, dtype=torch.float64)[ranks.slice_of(PAIRS)]
        with unsynchronised(wrapped, more):
            (gather_rows(wrapped(rows), PAIRS, ranks).square().sum() / 2).backward()
        found.append(layer.weight.grad.numpy().copy())
    return found


def gathered(ranks):
    """Rows of several types as they come back, and the gradient of this rank's own."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        rows = torch.arange(309 * 2).reshape(309, 2).to(dtype)
        found[str(dtype)] = bool((gather_rows(rows[ranks.slice_of(309)], 309, ranks) == rows).all())
    own = torch.ones(len(range(309)[ranks.slice_of(309)]), dtype=torch.float64, requires_grad=True)
    (gather_rows(own, 309, ranks) * torch.arange(309)).sum().backward()
    with pytest.raises(ValueError, match="rows of 309"):
        gather_rows(own[1:], 309, ranks)
    return found, own.grad.numpy(), [any_rank(ranks.rank == last, ranks) for last in (1, ranks.world_size)]


def dies(ranks):
    """Rank 1 is gone before the others gather."""
    if ranks.rank == 1:
        os._exit(7)
    begin = time.monotonic()
    try:
        gather_rows(torch.zeros(len(range(PAIRS)[ranks.slice_of(PAIRS)])), PAIRS, ranks)
    except RuntimeError:
        return time.monotonic() - begin


def agreed(ranks):
    """What each rank is told of work that rank 0 did, of work that failed there, of numbers that differ."""
    done = []
    by_first(lambda: done.append(ranks.rank), ranks)
    sentence = ""
    try:
        by_first(refuse, ranks)
    except UserError as error:
        sentence = str(error)
    return done, sentence, [one_value(number, ranks) for number in (5, 5 + ranks.rank)]


def agreed_by_all(ranks):
    """What each rank gets of work that all did, and is told where all but rank 0 failed, each for its own reason."""

    def fail():
        if ranks.rank > 0:
            raise UserError(f"Rank {ranks.rank} sees no data")

    try:
        by_all(fail, ranks)
    except UserError as error:
        return by_all(lambda: 10 * ranks.rank, ranks), str(error)


def refuse():
    raise UserError("The folder über x is taken\n  seed: 0 -> 3")


def all_of_it(ranks):
    return steps(ranks), gathered(ranks), agreed(ranks), agreed_by_all(ranks), accumulated(ranks)


def one_update(folder, runs, ports, ranks):
    """A run of one update by `pretrain` itself of each of RUNS, in float64 and with batch norm in eval mode."""
    for kind, port in zip(RUNS, ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        config = PretrainConfig(
            model_size="tiny",
            batch_size=PAIRS,
            max_steps=1,
            **RUNS[kind],
            learn_temperature=True,
            weight_decay=0.0,
        )
        with in_double(frozen=True):
            pretrain(folder, runs / kind, config, ranks=ranks, quiet=True)


def loss_and_gradients(run):
    """(loss, gradients by number) of a run's only update: Adam's first mean is a tenth of the gradient."""
    (line,) = run_folder.read_metrics(run)
    state = load_file(run / "step_00000001" / "optim.safetensors")
    return line["loss"], {name: 10 * mean.numpy() for name, mean in state.items() if name.endswith("exp_avg")}


def nothing(ranks):
    pass


@dataclass(frozen=True)
class Round:
    """Ranks 0 to `world_size` - 1 do a task in a process group; `afterwards` is called when that has ended."""

    task: Callable[[Ranks], Any]
    world_size: int
    afterwards: Callable[[Ranks], None] = nothing


def work(rank, rounds, ports, answers):
    """In a process: every round that has this rank, with its answers sent through a connection."""
    torch.set_num_threads(1)
    for each, port in zip(rounds, ports, strict=True):
        if rank < each.world_size:
            os.environ.update(torchrun(rank, each.world_size, port))
            ranks = read_ranks(os.environ)
            with process_group(ranks, "cpu", timeout_seconds=60) as device:
                answer = each.task(ranks)
            left = dist.is_initialized()
            each.afterwards(ranks)
            answers.send((device, answer, left))


WORK = """
import os, pickle, sys
from multiprocessing.connection import Connection
from tests.train.test_distributed import work
answers = Connection(os.dup(1), readable=False)
os.dup2(2, 1)
work(*pickle.load(sys.stdin.buffer), answers)
"""


def launch_rounds(rounds, deadline_seconds=300):
    """({rank: what the task gave there} of each round, exit codes) of processes that make round after round.

    Every process has ended by itself, else the test fails and ends them. One that dies gives no more answers.
    """
    ports = [free_port() for _ in rounds]
    processes, pipes, found = [], [], []
    try:
        for rank in range(max(each.world_size for each in rounds)):
            command = [*warm.python(), "-c", WORK]
            processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            pickle.dump((rank, rounds, ports), processes[-1].stdin)
            processes[-1].stdin.close()
            pipes.append(Connection(os.dup(processes[-1].stdout.fileno()), writable=False))
            processes[-1].stdout.close()
        for each in rounds:
            found.append({})
            for rank, answers in enumerate(pipes[: each.world_size]):
                assert answers.poll(deadline_seconds), f"rank {rank} does not answer"
                with contextlib.suppress(EOFError):
                    found[-1][rank] = answers.recv()
        codes = [process.wait(120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert all(device == "cpu" and not left for answers in found for device, _, left in answers.values())
    return [{rank: answer for rank, (_, answer, _) in answers.items()} for answers in found], codes


def launch(task, world_size, afterwards=nothing, deadline_seconds=300):
    """({rank: what `task` gave there}, exit codes) of the ranks of one round."""
    (answers,), codes = launch_rounds([Round(task, world_size, afterwards)], deadline_seconds)
    return answers, codes


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """21 training clips of three labels."""
    clips = [Forged("abc"[row % 3]) for row in range(21)]
    return forge_dataset(tmp_path_factory.mktemp("dataset") / "data", clips, frame_size=16, mel_bands=16)


@pytest.fixture(scope="module")
def launched(labelled, tmp_path_factory):
    """(answers by rank of three rounds, codes, runs of the first two) of three processes.

    They do all_of_it and one_update as three ranks, then as two; then rank 1 of two dies.
    """
    folders = [tmp_path_factory.mktemp(f"runs-of-{count}") for count in (3, 2)]
    updates = [partial(one_update, labelled, runs, [free_port() for _ in RUNS]) for runs in folders]
    found, codes = launch_rounds([Round(all_of_it, 3, updates[0]), Round(all_of_it, 2, updates[1]), Round(dies, 2)])
    return found, codes, folders


@pytest.fixture(params=[3, 2])
def several(request, launched):
    """(answers to all_of_it by rank, folder with the runs of one_update) of 3 and of 2 ranks."""
    place = [3, 2].index(request.param)
    answers, runs = launched[0][place], launched[2][place]
    assert sorted(answers) == list(range(request.param))
    return answers, runs


def assert_equal(loss, gradients, expected, expected_gradients):
    assert loss == pytest.approx(expected, rel=1e-9)
    assert gradients.keys() == expected_gradients.keys()
    for name, wanted in expected_gradients.items():
        assert wanted.dtype == np.float64
        assert np.abs(wanted).max() > 0, name
        assert np.abs(gradients[name] - wanted).max() <= 1e-9 * np.abs(wanted).max(), name


def test_a_step_on_several_ranks_with_uneven_slices_is_the_step_of_one_process(several):
    answers, _ = several
    alone = steps(Ranks())
    for ranks_steps, *_ in answers.values():
        for kind in CROSS_MODAL:
            assert "temperature.log_scale" in ranks_steps[kind][1]
            assert_equal(*ranks_steps[kind], *alone[kind])
    early, late = zip(*(own for *_, own in answers.values()), strict=True)
    assert not np.allclose(early[0], early[1])  # nothing is sent before the update
    for mine in late:
        np.testing.assert_allclose(mine, accumulated(Ranks())[1], rtol=1e-9)
    for rank, (_, (same, gradient, flags), told, told_by_all, _) in answers.items():
        assert same == {"torch.float32": True, "torch.bfloat16": True, "torch.int64": True}
        own = Ranks(rank=rank, world_size=len(answers)).slice_of(309)
        assert (gradient == np.arange(309)[own] * len(answers)).all()
        assert flags == [True, False]
        assert told == ([0] if rank == 0 else [], "The folder über x is taken\n  seed: 0 -> 3", [True, False])
        assert told_by_all == (10 * rank, "Rank 1 sees no data")


def test_an_update_of_a_run_on_several_ranks_is_that_of_one_process(several, labelled, tmp_path):
    """Loader, augmentation, gathering, loss and its labels, learnt temperature, averaging: all of `pretrain`."""
    _, runs = several
    one_update(labelled, tmp_path, [0] * len(RUNS), Ranks())
    alone = {kind: loss_and_gradients(tmp_path / kind) for kind in RUNS}
    assert len({loss for loss, _ in alone.values()}) == len(RUNS)
    for kind, (loss, gradients) in alone.items():
        assert any(gradient.shape == () for gradient in gradients.values())  # the temperature's
        assert_equal(*loss_and_gradients(runs / kind), loss, gradients)


def test_nobody_waits_for_a_rank_that_died(launched):
    (*_, answers), codes, _ = launched
    assert answers.keys() == {0}
    assert answers[0] < 50  # seconds; not the 60 of a collective that nobody joins
    assert codes == [0, 7, 0]


def test_one_process_needs_no_group():
    rows = torch.randn(5, 3, requires_grad=True)
    model = torch.nn.Linear(3, 3)
    with process_group(Ranks(), "cpu") as device:
        assert device == "cpu"
        assert not dist.is_initialized()
        assert gather_rows(rows, 5, Ranks()) is rows
        assert parallel(model, Ranks(), "cpu") is model
        assert [any_rank(flag, Ranks()) for flag in (True, False)] == [True, False]
        with pytest.raises(UserError, match="is taken"):
            by_first(refuse, Ranks())
        assert one_value(3, Ranks())
    with pytest.raises(ValueError, match="rank 0 has 5 rows of 6, not 6"):
        gather_rows(rows, 6, Ranks())


@pytest.mark.parametrize(("total", "world_size"), [(309, 8), (7, 3), (8, 8), (9, 8), (16, 8), (123, 1)])
def test_slices_are_those_of_numpy(total, world_size):
    rows = np.arange(total)
    expected = np.array_split(rows, world_size)
    for rank in range(world_size):
        assert (rows[Ranks(rank=rank, world_size=world_size).slice_of(total)] == expected[rank]).all()


def test_a_batch_that_leaves_a_rank_empty_is_refused():
    with pytest.raises(UserError, match="batch of 7 leaves some of 8 processes empty"):
        Ranks(rank=0, world_size=8).slice_of(7)


def test_the_environment_gives_the_rank():
    assert read_ranks({"HOME": "/"}) == Ranks(rank=0, world_size=1, local_rank=0)
    assert read_ranks({"RANK": "9", "WORLD_SIZE": "12", "LOCAL_RANK": "1"}) == Ranks(
        rank=9, world_size=12, local_rank=1
    )


@pytest.mark.parametrize(
    "environ",
    [
        {"RANK": "1"},
        {"RANK": "1", "WORLD_SIZE": "2"},
        {"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
        {"RANK": "-1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "2"},
        {"RANK": "0", "WORLD_SIZE": "two", "LOCAL_RANK": "0"},
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(environ):
    with pytest.raises(UserError, match="start with torchrun, or unset these"):
        read_ranks(environ)
