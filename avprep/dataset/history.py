"""DIR/history.jsonl: what changed the clips of a dataset since it was built, oldest first.

A line has `date`, `command`, `clips` (how many came; of `exclude`, how many went), `digest_before` and `digest_after`
(Dataset.digest; not of `exclude`) and `index_sha256_before`, by which label columns name the state that they were made
for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from avprep.shared.errors import UserError
from avprep.shared.remote import RemotePath

EXCLUDE = "exclude"


def read_history(path: Path | RemotePath) -> list[dict[str, Any]]:
    """The lines of a history.jsonl, none where there is no such file. Errors: UserError where one is not JSON."""
    if not path.is_file():
        return []
    try:
        return [dict(json.loads(line)) for line in path.read_bytes().split(b"\n") if line.strip()]
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not JSON lines ({error}); take it from a copy, or delete it.") from None


def since(path: Path | RemotePath, digest: object, name: str = "digest_before") -> list[dict[str, Any]]:
    """The changes since the dataset had this `digest` (or, by `name`, index); none where it never had."""
    changes = read_history(path)
    befores = [change.get(name) for change in changes]
    return changes[befores.index(digest) :] if digest is not None and digest in befores else []


def sentence_of(changes: list[dict[str, Any]]) -> str:
    """What the changes were, such as `120 clips came by 'avprep append' on 2026-11-30`."""
    gone = [change for change in changes if change.get("command") == EXCLUDE]
    return " and ".join(_sentence(some, verb) for some, verb in ((came(changes), "came"), (gone, "went")) if some)


def came(changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the changes by which clips came."""
    return [change for change in changes if change.get("command") != EXCLUDE]


def _sentence(changes: list[dict[str, Any]], verb: str) -> str:
    clips = sum(int(change.get("clips", 0)) for change in changes)
    days = list(dict.fromkeys(str(change.get("date")) for change in changes))
    commands = list(dict.fromkeys(f"'avprep {change.get('command')}'" for change in changes))
    return f"{clips} clips {verb} by {' and '.join(commands)} on {' and '.join(days)}"
