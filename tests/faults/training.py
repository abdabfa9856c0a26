"""Faults of a training run: its process, one of its ranks, the disk, the clock, a shard."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path

from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from tests.faults.campaign import Ending, Fault, MissedError, Trial
from tests.faults.machine import jumping_clock, no_clock, no_disk, small_disk
from tests.faults.running import all_gone, code_of, ends, family, finish, one_sentence, running, until
from tests.faults.untouched import Files, Made, Untouched, has_run, learnt, on_two_ranks, pretrain, wrong_bytes
from tests.processes import processes_below

ROOMY_BYTES = 256 << 20
CHECKPOINTS = 3  # are there at most, while the newest is written


def ending(files: Files, wanted: Made, moment: str, since: float) -> Ending:
    """What a run that is over came to."""
    wrong = wrong_bytes(files, wanted.files)
    return Ending(moment=moment, wrong_bytes=wrong, recovery_seconds=time.monotonic() - since)


def kept(run: Path) -> str:
    """What is there to go on from."""
    newest = checkpoint.latest(run)
    return f"at {newest.name}" if newest else "before any checkpoint"


def is_done(run: Path) -> bool:
    """Whether a run says that it is."""
    return (run / run_folder.EXIT).exists() and json.loads((run / run_folder.EXIT).read_text())["status"] == "done"


def _trainer_gets(number: signal.Signals, *codes: int) -> Trial:
    def trial(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
        run, log, then = place / "run", place / "log", draw.uniform(0, untouched.trained.seconds)
        command = pretrain(untouched.trainable, run)
        with running(command, log) as process:
            until(has_run(run), process, log)
            time.sleep(then)
            if process.poll() is not None:
                raise MissedError
            since = time.monotonic()
            process.send_signal(number)
            if code_of(process, log) not in codes and is_done(run):
                raise MissedError
            ends(process, log, *codes)
        moment = kept(run)
        finish(command, log, 0)
        return ending(learnt(run), untouched.trained, moment, since)

    return trial


def rank_killed(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
    run, log, then = place / "run", place / "log", draw.uniform(0, untouched.ranks.seconds)
    command = on_two_ranks(untouched.trainable, run)
    with running(command, log) as process:
        until(has_run(run), process, log)
        time.sleep(then)
        everyone = family(process)
        ranks = processes_below(process.pid, "pretrain")
        if process.poll() is not None or len(ranks) < 2:
            raise MissedError
        since, lost = time.monotonic(), draw.randrange(2)
        ranks[lost].kill()
        ends(process, log, 1)
        all_gone(everyone[1:])
    moment = f"rank {lost} {kept(run)}"
    finish(command, log, 0)
    return ending(learnt(run), untouched.ranks, moment, since)


def disk_full(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
    room = draw.randrange(8192, CHECKPOINTS * sum(map(len, untouched.trained.files.values())))
    with small_disk(place / "disk", room) as disk:
        run, log = disk.folder / "run", place / "log"
        command = pretrain(untouched.trainable, run)
        finish(command, log, 2)
        one_sentence(log, "No space left on device")
        since, moment = time.monotonic(), f"room for {room / 1e6:.1f} MB, {kept(run)}"
        disk.grow(ROOMY_BYTES)
        finish(command, log, 0)
        return ending(learnt(run), untouched.trained, moment, since)


def clock_jumps(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
    run, log = place / "run", place / "log"
    assert untouched.trained
    since = time.monotonic()
    with jumping_clock(place, draw) as clock:
        finish(pretrain(untouched.trainable, run), log, 0, **clock.environ)
    return ending(learnt(run), untouched.trained, f"{clock.jumps} jumps", since)


def shard_cut_short(draw: random.Random, place: Path, untouched: Untouched) -> Ending:
    run, log, data = place / "run", place / "log", place / "data"
    shutil.copytree(untouched.trainable, data)
    shard = draw.choice(sorted(data.rglob("*.tar")))
    whole = shard.read_bytes()
    then = draw.uniform(0, untouched.trained.seconds)
    command = pretrain(data, run)
    with running(command, log) as process:
        until(has_run(run), process, log)
        time.sleep(then)
        if process.poll() is not None:
            raise MissedError
        with open(shard, "r+b") as file:
            file.truncate(draw.randrange(len(whole)))
        since = time.monotonic()
        if ends(process, log, 0, 2):
            one_sentence(log, f"{shard.parent.name}/{shard.name}")
            moment = f"{shard.name} cut, ended {kept(run)}"
            shard.write_bytes(whole)
            finish(command, log, 0)
        else:
            moment = f"{shard.name} cut, no more read"
    return ending(learnt(run), untouched.trained, moment, since)


FAULTS = [
    Fault(
        name="trainer-killed",
        promise="training is killed (signal 9): the same command ends with the same weights, optimiser and losses, bit "
        "for bit",
        trial=_trainer_gets(signal.SIGKILL, -signal.SIGKILL),
    ),
    Fault(
        name="trainer-stopped",
        promise="SIGTERM: a checkpoint and exit 75 (0 once all updates are made); the same command ends with the same "
        "bits",
        trial=_trainer_gets(signal.SIGTERM, 75, 0),
    ),
    Fault(
        name="rank-killed",
        promise="one of two ranks under torchrun is killed (signal 9): torchrun ends with 1 and nothing stays behind; "
        "the same command ends with the same bits",
        trial=rank_killed,
    ),
    Fault(
        name="run-disk-full",
        promise="the disk is full: exit 2 with one sentence; once there is room, the same command ends with the same "
        "bits",
        trial=disk_full,
        lacks=no_disk,
    ),
    Fault(
        name="run-clock-jumps",
        promise="the clock jumps by hours and days: nothing is to be noticed, exit 0, same bits",
        trial=clock_jumps,
        lacks=no_clock,
    ),
    Fault(
        name="shard-cut-short",
        promise="a shard is cut short while it is trained on: exit 2 naming it (0 where it is read no more), never a "
        "wrong byte learnt from; once it is whole, the same command ends with the same bits",
        trial=shard_cut_short,
    ),
]
