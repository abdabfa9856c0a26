"""Real builds and runs, one fault at a random moment in each, then what an operator does next: a table of what came.

    python -m tests.faults [NAME...] [--trials 10] [--seed 0]

What each fault must end in stands in FAULTS, and in the table. A line a trial on standard error, a line a fault on
standard output; exit code 0 only if every trial ended as promised. What cannot be tried on this machine is named as
not run. The folder of a trial that did not hold is kept and named.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults import preparation, storage, training
from tests.faults.campaign import HEAD, Fault, campaign
from tests.faults.untouched import Untouched

FAULTS = [*preparation.FAULTS, *storage.FAULTS, *training.FAULTS]


def main(words: Sequence[str] | None = None, faults: Sequence[Fault] = FAULTS) -> None:
    """Run the campaign. Errors: SystemExit 1 where a trial did not hold."""
    known = {fault.name: fault for fault in faults}
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"default: all; {', '.join(known)}")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(words)
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no fault is called {', '.join(sorted(unknown))}")
    chosen = [known[name] for name in arguments.names or known]
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # a line for each request, and cut
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    print(HEAD, flush=True)
    sound = True
    for tally in campaign(chosen, arguments.trials, arguments.seed, Untouched(folder), _tell):
        print(tally.line(), flush=True)
        sound = sound and tally.held == tally.trials
    if not sound:
        raise SystemExit(1)
    shutil.rmtree(folder)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
