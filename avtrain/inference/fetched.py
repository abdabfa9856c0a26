"""Encoders of the Hugging Face hub as folders of this machine: in its client's cache, every file held to its digest.

Only what encoder.json lists is fetched: safetensors and JSON, never pickle.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from avprep.shared import store
from avprep.shared.commands import Progress
from avprep.shared.errors import UserError
from avprep.shared.hub import MODEL, Hub, address_of
from avprep.shared.urls import is_hub, is_url
from avtrain.inference.contents import check_file, check_seal, digests_of
from avtrain.inference.description import DESCRIPTION, Description, description_of
from avtrain.runs import checkpoint

OF_CHECKPOINT = re.compile(
    rf"{checkpoint.STEP.pattern}/({'|'.join(map(re.escape, (checkpoint.MODEL, checkpoint.AVERAGE, checkpoint.META)))})"
)


Wanted = Callable[[list[str], str], list[str]]
"""(names of the files of an export, that of the encoder's weights) -> the names of those to fetch"""


class Fetched(NamedTuple):
    """A published encoder on this machine: its folder in the client's cache, its commit, what it is, its digests."""

    folder: Path
    commit: str
    description: Description
    digests: dict[str, str]


def encoder_folder(source: Path | str) -> Path:
    """The folder of a run, checkpoint or export: a path, or what is fetched from hf://ORG/NAME[@REVISION].

    Errors: UserError, also where it is another URL.
    """
    if is_hub(source):
        return _fetched(str(source), lambda _, weights: [weights]).folder
    if is_url(source):
        raise UserError(f"{source} cannot be read here; copy the run to this machine, or give hf://ORG/NAME.")
    return Path(source)


def fetched_checkpoint(source: str) -> tuple[Path, str]:
    """(folder, commit) of the checkpoint with both encoders that hf://ORG/NAME[@REVISION] has. Errors: UserError."""
    fetched = _fetched(source, lambda names, _: _of_checkpoint(names))
    newest = checkpoint.latest(fetched.folder)
    if newest is None:
        raise UserError(
            f"{source} has one encoder alone, not the checkpoint with both that training begins from; ask its owner to "
            "publish it without --encoder-only."
        )
    return newest, fetched.commit


def fetched_export(source: str) -> Fetched:
    """What hf://ORG/NAME[@REVISION] has: its checkpoint with both encoders, or one encoder alone. Errors: UserError."""
    return _fetched(source, lambda names, weights: _of_checkpoint(names) or [weights])


def _of_checkpoint(names: list[str]) -> list[str]:
    return [name for name in names if OF_CHECKPOINT.fullmatch(name)]


def _fetched(source: str, wanted: Wanted) -> Fetched:
    """A published encoder, with those of its files that are wanted."""
    repository, revision = address_of(source, MODEL, revision=True)
    hub = Hub(repository, MODEL)
    path = hub.fetch(DESCRIPTION, revision)
    if path is None:
        raise UserError(f"{source} holds no {DESCRIPTION}; give what 'avtrain export --publish' has published.")
    folder, commit = path.parent, path.parent.name
    shown = f"{hub.name}@{commit}"
    values: Any = store.read_json(path)
    description = description_of(values, f"{shown}/{DESCRIPTION}")
    check_seal(values, f"{shown}/{DESCRIPTION}", _advice(path))
    digests = digests_of(values, f"{shown}/{DESCRIPTION}")
    weights = description.file("safetensors")
    if weights not in digests:
        raise UserError(f"{shown}/{DESCRIPTION} lists no digest of its weights; publish the encoder again.")
    names = wanted(list(digests), weights)
    with Progress(len(names), "files", f"fetch {hub.name}", from_seconds=2) as progress:
        for name in names:
            fetched = hub.fetch(name, commit)
            if fetched is None:
                raise UserError(f"{shown} has no {name}, which its {DESCRIPTION} lists; name another revision.")
            check_file(fetched, digests[name], f"{shown}/{name}", _advice(fetched))
            progress.advance()
    return Fetched(folder, commit, description, digests)


def _advice(path: Path) -> str:
    return f"name another revision, or remove {path.resolve()} to fetch it anew"
