"""Datasets for others: card and upload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avprep.shared.hub import Published
from avprep.sharing import card
from avprep.sharing import publish as publish_module
from avprep.sharing.card import Written
from avprep.sharing.config import CardConfig

AnyPath = Path | str


def write_card(dataset: AnyPath, *, license: str, overwrite: bool = False, **settings: Any) -> Written:
    """Write README.md, a dataset card of the Hugging Face hub, and croissant.json into a dataset folder.

    Args:
        dataset: The dataset folder.
        license: Licence of the dataset: a name of the hub such as "cc-by-4.0", the address of its text, or "unknown".
        overwrite: Replace files of these names that this function did not write, or that were edited since.
        **settings: Other fields of `CardConfig`: `name`, `description`, `creator`, `url`, `date`, `version`,
            `citation`, `tasks`.

    Raises:
        UserError: The folder is not a finished dataset, a setting is not valid, or a file is there that is not ours.
    """
    return card.write_card(Path(dataset), CardConfig(license=license, **settings), overwrite)


def publish(
    dataset: AnyPath, target: str, *, public: bool = False, include_excluded: bool = False, quiet: bool = False
) -> Published:
    """Upload a dataset and its card to the Hugging Face hub; the same call uploads what is not there yet.

    Args:
        dataset: The dataset folder.
        target: Where to, "hf://datasets/ORG/NAME".
        public: A repository that is new is public, not private.
        include_excluded: Also publish shards that may hold clips which `exclude` took out.
        quiet: Print no progress.

    Raises:
        UserError: There is no card, or one of another state of the dataset; clips are excluded; the repository has
            other shards; the hub refuses or cannot be reached.
    """
    return publish_module.publish(Path(dataset), target, public=public, include_excluded=include_excluded, quiet=quiet)
