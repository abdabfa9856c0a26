"""What a person states about a dataset, since its files do not record it."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from avprep.shared import cards
from avprep.shared.configs import check

TASK = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class CardConfig:
    """What a card states besides what the dataset's own files record."""

    license: str
    """licence of the dataset: a name of the hub such as `cc-by-4.0`, the address of its text, or `unknown`"""
    name: str = ""
    """title; '': the folder's name"""
    description: str = ""
    """a sentence or more; '': one that is made of the counts"""
    creator: str = ""
    """who made the dataset: a person or a group"""
    url: str = ""
    """page of the dataset"""
    date: str = ""
    """day of publication, YYYY-MM-DD"""
    version: str = ""
    """MAJOR.MINOR.PATCH of the dataset"""
    citation: str = ""
    """how to cite it, such as a BibTeX entry"""
    tasks: tuple[str, ...] = ()
    """task categories of the hub; empty: audio-classification, with pictures also video-classification"""

    def __post_init__(self) -> None:
        cards.check_license(self.license)
        known = not self.url or cards.is_page(self.url)
        check(known, f"url must begin with https:// or http://, not {self.url[:40]!r}.")
        check(not self.date or _is_day(self.date), f"date must be a day, YYYY-MM-DD, not {self.date!r}.")
        check(
            not self.version or re.fullmatch(r"\d+\.\d+\.\d+", self.version) is not None,
            f"version must be MAJOR.MINOR.PATCH, such as 1.0.0, not {self.version!r}.",
        )
        for task in self.tasks:
            check(TASK.fullmatch(task) is not None, f"task {task!r} must be one such as audio-classification.")


def _is_day(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
