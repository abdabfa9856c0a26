"""How training ended, in RUN/exit.json; torchrun turns every exit code into 1."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from avprep.shared.commands import EXIT_INTERRUPTED, EXIT_USER_ERROR
from avprep.shared.errors import Interrupted, UserError
from avtrain.distributed import Ranks, any_rank
from avtrain.runs import folder as run_folder


@contextlib.contextmanager
def refusal_recorded(run: Path, ranks: Ranks, status: str | None = None) -> Iterator[None]:
    """Under torchrun, write why the block failed before it trained, unless it or another rank has written since.

    `status` is the run's status in exit.json, which a refused call does not change. Without torchrun the exit code is
    enough, and the run stays as it is.
    """
    before = run_folder.exit_stamp(run)
    try:
        yield
    except BaseException as error:
        if ranks.launched and run_folder.exit_stamp(run) in (None, before):
            _write(run, error, new=True, status=status)
        raise


@contextlib.contextmanager
def outcome_recorded(run: Path, ranks: Ranks) -> Iterator[None]:
    """Write how training ended, success too, unless another rank was first; `folder.clear_exit` came before.

    To be left before the process group, whose end is a failure elsewhere.
    """
    try:
        yield
    except BaseException as error:
        if run_folder.exit_stamp(run) is None:
            _write(run, error, new=ranks.launched)
        if isinstance(error, Interrupted):
            any_rank(False, ranks)  # all come here; torchrun would stop those that are still writing
        raise
    if ranks.rank == 0:
        run_folder.write_exit(run, "done", 0)


def _write(run: Path, error: BaseException, new: bool, status: str | None = None) -> None:
    """Write exit.json of a process that ends with `error`, in a run or, where `new`, a folder that may become one."""
    ended, code = "failed", 1
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        ended, code = "interrupted", EXIT_INTERRUPTED
    elif isinstance(error, UserError):
        ended, code = "user-error", EXIT_USER_ERROR
    if run_folder.may_hold_exit(run, new=new):
        with contextlib.suppress(UserError, OSError):  # the disk is full, or another rank is writing it
            run_folder.write_exit(run, status or ended, code, str(error))
