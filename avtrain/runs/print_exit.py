"""python -m avtrain.runs.print_exit URL: the code in exit.json of a run at a URL, and what marks this file as newer.

For `docker/exit-as-told`, which must know both without the seconds that torch takes to import. Prints nothing where
there is no such file.
"""

from __future__ import annotations

import contextlib
import sys

from avprep.shared.remote import RemotePath
from avprep.shared.store import read_json
from avtrain.runs import folder as run_folder


def line_of(url: str) -> str:
    """The line to print. Errors: UserError."""
    path = RemotePath(url) / run_folder.EXIT
    with contextlib.suppress(FileNotFoundError):
        stamp = path.stamp()
        return f"{read_json(path)['code']} {stamp}"
    return ""


if __name__ == "__main__":
    print(line_of(sys.argv[1]))
