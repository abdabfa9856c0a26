"""avprep card: README.md and croissant.json of a dataset, written into its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.shared import configs, store
from avprep.shared.cards import README, check_is_mine, is_own_card, marked, subject_of
from avprep.shared.errors import UserError
from avprep.sharing.config import CardConfig
from avprep.sharing.croissant import croissant
from avprep.sharing.facts import Facts, described, facts_of
from avprep.sharing.readme import readme

PROGRAM, CROISSANT = "avprep", "croissant.json"
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
    if not overwrite:
        for path, own in ((folder / README, is_own_readme), (folder / CROISSANT, is_own_croissant)):
            check_is_mine(path, path.is_file() and own(path), "avprep card")
    description = config.description.strip() or described(facts)
    text = readme(facts, config, title)
    metadata = croissant(facts, config, title, description, store.sha256(folder / "dataset.json"))
    store.write_json(folder / CROISSANT, {**metadata, SEAL: configs.digest(metadata)})
    store.write_bytes(folder / README, marked(text, PROGRAM, facts.digest))
    return Written(folder / README, folder / CROISSANT, facts)


def dataset_of_readme(text: str) -> str | None:
    """The digest of the dataset that a card is of; None where avprep did not write it."""
    return subject_of(text, PROGRAM)


def is_own_readme(path: Path) -> bool:
    """Whether `write_card` wrote a README.md and nobody has edited it since."""
    return is_own_card(path, PROGRAM)


def is_own_croissant(path: Path) -> bool:
    """The same of a croissant.json."""
    try:
        values: Any = json.loads(path.read_bytes())
        return isinstance(values, dict) and values.pop(SEAL, None) == configs.digest(values)
    except (ValueError, RecursionError, UserError):
        return False
