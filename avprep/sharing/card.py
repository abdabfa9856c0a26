"""avprep card: README.md and croissant.json of a dataset, written into its folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avprep.sharing.config import CardConfig
from avprep.sharing.croissant import croissant
from avprep.sharing.facts import Facts, described, facts_of
from avprep.sharing.readme import readme

README, CROISSANT = "README.md", "croissant.json"
MARK = re.compile(r"\n<!-- avprep card of ([0-9a-f]{64}), text ([0-9a-f]{64}) -->\n\Z")
SEAL = "avprep:sha256"
"""of croissant.json: the digest of all else in it"""


@dataclass(frozen=True)
class Written:
    """The files of a card, and the facts that it reports."""

    readme: Path
    croissant: Path
    facts: Facts


def write_card(folder: Path, config: CardConfig, overwrite: bool = False) -> Written:
    """Write README.md and croissant.json of a finished dataset folder: the same dataset and config, the same bytes.

    Errors: UserError where the folder is no dataset; where either file is there and was not written by this function,
    or was edited since, unless `overwrite`.
    """
    facts = facts_of(folder)
    title = config.name or folder.resolve().name
    paths = {folder / README: is_own_readme, folder / CROISSANT: is_own_croissant}
    if not overwrite:
        for path, own in paths.items():
            _check_is_own(path, own)
    description = config.description.strip() or described(facts)
    text = readme(facts, config, title)
    metadata = croissant(facts, config, title, description, store.sha256(folder / "dataset.json"))
    store.write_json(folder / CROISSANT, {**metadata, SEAL: configs.digest(metadata)})
    store.write_bytes(folder / README, f"{text}{_mark(text, facts.digest)}".encode())
    return Written(folder / README, folder / CROISSANT, facts)


def dataset_of_readme(text: str) -> str | None:
    """The digest of the dataset that a card is of; None where avprep did not write it."""
    match = MARK.search(text)
    return match[1] if match else None


def is_own_readme(path: Path) -> bool:
    """Whether `write_card` wrote a README.md and nobody has edited it since."""
    text = path.read_bytes()
    match = MARK.search(text.decode(errors="replace"))
    if match is None:
        return False
    before = text.decode(errors="replace")[: match.start()]
    return hashlib.sha256(before.encode()).hexdigest() == match[2]


def is_own_croissant(path: Path) -> bool:
    """The same of a croissant.json."""
    try:
        values: Any = json.loads(path.read_bytes())
        return isinstance(values, dict) and values.pop(SEAL, None) == configs.digest(values)
    except (ValueError, RecursionError, UserError):
        return False


def _mark(text: str, dataset: str) -> str:
    return f"\n<!-- avprep card of {dataset}, text {hashlib.sha256(text.encode()).hexdigest()} -->\n"


def _check_is_own(path: Path, own: Callable[[Path], bool]) -> None:
    if not path.exists():
        return
    if not path.is_file():
        raise UserError(f"{path} is there and no ordinary file; move it away.")
    if path.stat().st_size > 0 and not own(path):
        raise UserError(
            f"{path} was not written by 'avprep card', or was edited since; move it away, or give --overwrite."
        )
