"""How training ended, in RUN/exit.json; torchrun turns every exit code into 1."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from avprep.shared.commands import EXIT_INTERRUPTED, EXIT_USER_ERROR
from avprep.shared.errors import Interrupted, UserError
from avtrain import rundir
from avtrain.distributed import Ranks, any_rank


@contextlib.contextmanager
def failure_told(run: Path, ranks: Ranks) -> Iterator[None]:
    """Write why the block failed, unless another rank was first: `rundir.clear_exit` must have been called before.

    Where there is no run yet, exit.json is written only under torchrun.
    """
    try:
        yield
    except BaseException as error:
        status, code = "failed", 1
        if isinstance(error, (Interrupted, KeyboardInterrupt)):
            status, code = "interrupted", EXIT_INTERRUPTED
        elif isinstance(error, UserError):
            status, code = "user-error", EXIT_USER_ERROR
        if not (run / rundir.EXIT).exists() and rundir.may_hold_exit(run, new=ranks.launched):
            with contextlib.suppress(UserError, OSError):  # the disk is full, or another rank is writing it
                rundir.write_exit(run, status, code, str(error))
        raise


@contextlib.contextmanager
def outcome(run: Path, ranks: Ranks) -> Iterator[None]:
    """Write how the block ended, success too. To be left before the process group, whose end is a failure elsewhere."""
    try:
        with failure_told(run, ranks):
            yield
    except Interrupted:
        any_rank(False, ranks)  # all come here; torchrun would stop those that are still writing
        raise
    if ranks.rank == 0:
        rundir.write_exit(run, "done", 0)
