"""What builds and runs come to when nothing happens to them: made once, when a trial first asks for it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from avprep import schema
from avprep.manifest.read_write import read_manifest
from avprep.shared import store
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from tests.cluster.conftest import losses
from tests.docker.recipes import tool
from tests.faults.running import ends, program, running, until
from tests.prep.test_build import COMMAND, tree
from tests.train.forge import Forged, forge_dataset
from tests.train.interruptions import OPTIONS

Files = dict[str, bytes]


@dataclass(frozen=True)
class Made:
    """What came of a command, and the seconds from its first sign of work to its end."""

    files: Files
    seconds: float


class Untouched:
    """References in a folder of their own, and the trials beside it. Given clips and their dataset are not made."""

    def __init__(self, folder: Path, manifest: Path | None = None, dataset: Path | None = None) -> None:
        self.folder = folder
        self._folder = folder / "untouched"
        self._folder.mkdir()
        self._log = self._folder / "log"
        self._given = manifest
        self.dataset = dataset or self._folder / "dataset"

    @cached_property
    def manifest(self) -> Path:
        """The manifest of 40 rendered clips of eight classes, beside them."""
        if self._given:
            return self._given
        clips = self._folder / "clips"
        with running(program("avprep", "demo", clips, "--clips-per-class=5"), self._log) as process:
            ends(process, self._log, 0)
        return clips / "manifest.csv"

    @cached_property
    def built(self) -> Made:
        """The dataset folder of these clips; it lies in `dataset`."""
        if self._given:
            return Made(files_of(self.dataset), 0.0)
        return self._made(build(self.manifest, self.dataset), begun(self.dataset), lambda: files_of(self.dataset))

    @cached_property
    def trainable(self) -> Path:
        """A dataset of 48 clips of noise."""
        clips = [Forged("abc"[row % 3]) for row in range(48)]
        return forge_dataset(self._folder / "trainable", clips, frame_size=32, mel_bands=32)

    @cached_property
    def trained(self) -> Made:
        """A run of one process."""
        run = self._folder / "run"
        return self._made(pretrain(self.trainable, run), has_run(run), lambda: learnt(run))

    @cached_property
    def ranks(self) -> Made:
        """A run of two ranks under torchrun."""
        run = self._folder / "ranks"
        return self._made(on_two_ranks(self.trainable, run), has_run(run), lambda: learnt(run))

    def lost(self, files: Files) -> int:
        """How many clips of the manifest a dataset does not have."""
        table = pq.read_table(io.BytesIO(files[schema.INDEX]), columns=["clip_id"])
        wanted = {clip.clip_id for clip in read_manifest(self.manifest)}
        return len(wanted - set(table.column("clip_id").to_pylist()))

    def _made(self, command: list[str], begun: Callable[[], bool], files: Callable[[], Files]) -> Made:
        with running(command, self._log) as process:
            until(begun, process, self._log)
            begin = time.monotonic()
            ends(process, self._log, 0)
        return Made(files(), time.monotonic() - begin)


def build(manifest: object, out: object, *options: str) -> list[str]:
    """The command that builds a dataset."""
    return program("avprep", "build-shards", manifest, "--out", out, *COMMAND, *options)


def pretrain(dataset: object, run: object) -> list[str]:
    """The command that trains a run."""
    return program("avtrain", "pretrain", dataset, "--run", run, *OPTIONS)


def on_two_ranks(dataset: Path, run: Path) -> list[str]:
    """The command that trains a run on two ranks."""
    launcher = [tool("torchrun"), "--standalone", "--nproc-per-node=2", "--no-python", "--"]
    return [*launcher, *pretrain(dataset, run)]


def begun(out: Path) -> Callable[[], bool]:
    """Whether a build has its plan."""
    return (out / schema.PLAN_BUILD).exists


def has_run(run: Path) -> Callable[[], bool]:
    """Whether a run has its config."""
    return (run / run_folder.CONFIG).exists


def files_of(dataset: Path) -> Files:
    """Every file of a dataset folder but the reports, which hold times, and the lock."""
    return {name: data for name, data in tree(dataset).items() if name != store.LOCK}


def learnt(run: Path) -> Files:
    """Weights and optimiser at a run's end, and its losses and gradients, as bytes."""
    end = checkpoint.latest(run)
    found = {path.name: path.read_bytes() for path in end.glob("*.safetensors")} if end else {}
    return {"losses": repr(losses(run)).encode(), **found}


def wrong_bytes(found: Files, wanted: Files) -> int:
    """In how many bytes files differ, lacking and foreign ones among them."""
    return sum(_apart(found.get(name, b""), wanted.get(name, b"")) for name in found.keys() | wanted.keys())


def _apart(one: bytes, other: bytes) -> int:
    if one == other:
        return 0
    both = min(len(one), len(other))
    first, second = (np.frombuffer(data[:both], np.uint8) for data in (one, other))
    return max(1, int((first != second).sum()) + abs(len(one) - len(other)))
