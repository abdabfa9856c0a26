"""Encoders of the Hugging Face hub as folders of this machine: in its client's cache, every file held to its digest.

Only what encoder.json lists is fetched: safetensors and JSON, never pickle.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from avprep.shared import store
from avprep.shared.errors import UserError
from avprep.shared.hub import MODEL, Hub, address_of
from avprep.shared.urls import is_hub, is_url
from avtrain.inference.contents import check_file, check_seal, digests_of
from avtrain.inference.description import DESCRIPTION, description_of
from avtrain.runs import checkpoint

OF_CHECKPOINT = re.compile(
    rf"{checkpoint.STEP.pattern}/({'|'.join(map(re.escape, (checkpoint.MODEL, checkpoint.AVERAGE, checkpoint.META)))})"
)


def encoder_folder(source: Path | str) -> Path:
    """The folder of a run, checkpoint or export: a path, or what is fetched from hf://ORG/NAME[@REVISION].

    Errors: UserError, also where it is another URL.
    """
    if is_hub(source):
        folder, _ = _fetched(str(source), lambda name, weights: name == weights)
        return folder
    if is_url(source):
        raise UserError(f"{source} cannot be read here; copy the run to this machine, or give hf://ORG/NAME.")
    return Path(source)


def fetched_checkpoint(source: str) -> tuple[Path, str]:
    """(folder, commit) of the checkpoint with both encoders that hf://ORG/NAME[@REVISION] has. Errors: UserError."""
    folder, commit = _fetched(source, lambda name, _: OF_CHECKPOINT.fullmatch(name) is not None)
    newest = checkpoint.latest(folder)
    if newest is None:
        raise UserError(
            f"{source} has one encoder alone, not the checkpoint with both that training begins from; ask its owner to "
            "publish it without --encoder-only."
        )
    return newest, commit


def _fetched(source: str, wanted: Callable[[str, str], bool]) -> tuple[Path, str]:
    """(folder, commit) of a published encoder, with those of its files that are wanted, given the weights' name."""
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
    for name, sha256 in digests.items():
        if not wanted(name, description.file("safetensors")):
            continue
        fetched = hub.fetch(name, commit)
        if fetched is None:
            raise UserError(f"{shown} has no {name}, which its {DESCRIPTION} lists; name another revision.")
        check_file(fetched, sha256, f"{shown}/{name}", _advice(fetched))
    if description.file("safetensors") not in digests:
        raise UserError(f"{shown}/{DESCRIPTION} lists no digest of its weights; publish the encoder again.")
    return folder, commit


def _advice(path: Path) -> str:
    return f"name another revision, or remove {path.resolve()} to fetch it anew"
