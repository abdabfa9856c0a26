"""Parts of a command's clips, one after the other, on several processes, GPUs or nodes of a Ray cluster.

Their answers come in the order of the parts, so that what is made of them does not depend on who was faster.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar

from avprep.shared import __version__, configs
from avprep.shared.errors import Interrupted, UserError
from avprep.shared.processes import map_processes, worker_number
from avprep.shared.ray_tasks import map_ray

PARTS_A_PROCESS = 4
MOST_CLIPS = 256
"""of a part, unless a batch has more"""

Part = TypeVar("Part")
Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Who shares the clips of a command; none of it changes a byte of what the command writes."""

    processes: int = 1
    """processes of this machine, on CUDA each with a GPU of its own; with Ray, cores of a cluster started here"""
    executor: str = "local"
    """`local` or `ray`"""
    address: str | None = None
    """of a running Ray cluster; none: one is started on this machine"""

    def __post_init__(self) -> None:
        configs.check(self.executor in ("local", "ray"), f"executor must be local or ray, not {self.executor!r}.")
        configs.check(self.processes >= 1, f"processes must be 1 or more, not {self.processes}.")
        configs.check(
            self.address is None or self.executor == "ray",
            "--address names a Ray cluster; give --executor ray with it, or leave it out.",
        )

    @property
    def alone(self) -> bool:
        """Whether this process does all of it."""
        return self.executor == "local" and self.processes == 1

    def device_of(self, name: str, gpus: int) -> str:
        """`cpu` or `cuda`, of each process, where this one sees so many `gpus`; `auto` is cuda where it sees one.

        Errors: UserError where it is one device alone, or the GPUs are too few.
        """
        if name == "auto":
            name = "cuda" if gpus else "cpu"
        configs.check(
            name in ("cpu", "cuda"),
            f"--device {name} is not for several processes; give cpu, or cuda, and each has a GPU of its own.",
        )
        configs.check(
            name == "cpu" or self.executor == "ray" or self.processes <= gpus,
            f"--processes {self.processes} need a GPU each, and this machine has {gpus}; ask for fewer, or give "
            "--device cpu.",
        )
        return name

    def share_of(self, count: int) -> int:
        """How many of `count` things, such as threads, a process has."""
        return 1 if self.executor == "ray" else max(1, count // self.processes)

    def parts_of(self, count: int, batch: int = 1) -> list[slice]:
        """Parts of `count` clips, one after the other: several for each process, of whole batches but for the last."""
        batches = -(-count // batch)
        size = batch * max(1, min(batches // (PARTS_A_PROCESS * self.processes), MOST_CLIPS // batch))
        return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]


def own_device(device: str) -> str:
    """The device of this process: for `cuda`, the GPU of its number, where it is one of several on a machine."""
    return f"cuda:{worker_number()}" if device == "cuda" and worker_number() is not None else device


def map_parts(
    function: Callable[[Part], Answer],
    parts: Sequence[Part],
    how: SideBySide,
    stopping: Callable[[], bool],
    *,
    device: str,
    packages: Sequence[str],
) -> Generator[Answer, None, None]:
    """function(part) of each, in their order, from other processes; `function`, parts and answers are pickled.

    Closed, it has ended the work on all other parts.

    Errors: what `function` raises; Interrupted once `stopping()`, after which nothing goes on; UserError where a node
    has another version of avprep or of one of `packages`, or as map_processes and map_ray.
    """
    task, items = _Task(function, _versions(packages)), list(enumerate(parts))
    if how.executor == "ray":
        answers = map_ray(task, items, how.processes, how.address, stopping, gpus=int(device == "cuda"))
    else:
        answers = map_processes(task, items, how.processes, stopping)
    early: dict[int, Answer] = {}
    wanted = 0
    try:
        for number, answer in answers:
            early[number] = answer
            while wanted in early:
                yield early.pop(wanted)
                wanted += 1
    except Interrupted:
        raise Interrupted("nothing was written; the same command starts again") from None
    finally:
        answers.close()  # type: ignore[attr-defined]


def _versions(packages: Sequence[str]) -> dict[str, str]:
    return {"avprep": __version__, **{name: version(name) for name in packages}}


@dataclass(frozen=True)
class _Task:
    """Calls `function` with a numbered part wherever it is called; `versions` are those of the command."""

    function: Callable[[Any], Any]
    versions: dict[str, str]

    def __call__(self, item: tuple[int, Any]) -> tuple[int, Any]:
        changed = configs.differences(self.versions, _versions([name for name in self.versions if name != "avprep"]))
        if changed:
            raise UserError(f"A node of the cluster ({os.uname().nodename}) has other versions: {'; '.join(changed)}.")
        number, part = item
        return number, self.function(part)
