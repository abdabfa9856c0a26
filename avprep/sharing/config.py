"""What a person states about a dataset, since its files do not record it; the licences that have a name."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from avprep.shared.configs import check
from avprep.shared.urls import HTTP, is_url

CREATIVE_COMMONS = "https://creativecommons.org/"
LICENCES = {
    "cc0-1.0": f"{CREATIVE_COMMONS}publicdomain/zero/1.0/",
    **{
        f"cc-{kind}-{version}": f"{CREATIVE_COMMONS}licenses/{kind}/{version}/"
        for version in ("4.0", "3.0")
        for kind in ("by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd")
    },
    "apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "mit": "https://opensource.org/license/mit",
    "odc-by": "https://opendatacommons.org/licenses/by/1-0/",
    "odbl": "https://opendatacommons.org/licenses/odbl/1-0/",
    "pddl": "https://opendatacommons.org/licenses/pddl/1-0/",
}
"""Address of each licence by its name on the hub"""
UNKNOWN = "unknown"
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
        check(
            self.license in (*LICENCES, UNKNOWN) or _is_page(self.license),
            f"license {self.license!r} is not known; give one of {', '.join(LICENCES)}, the address of its text "
            f"(https://...), or {UNKNOWN}.",
        )
        check(not self.url or _is_page(self.url), f"url must begin with https:// or http://, not {self.url[:40]!r}.")
        check(not self.date or _is_day(self.date), f"date must be a day, YYYY-MM-DD, not {self.date!r}.")
        check(
            not self.version or re.fullmatch(r"\d+\.\d+\.\d+", self.version) is not None,
            f"version must be MAJOR.MINOR.PATCH, such as 1.0.0, not {self.version!r}.",
        )
        for task in self.tasks:
            check(TASK.fullmatch(task) is not None, f"task {task!r} must be one such as audio-classification.")

    @property
    def license_url(self) -> str:
        """Address of the licence's text, '' where it is not known."""
        return "" if self.license == UNKNOWN else LICENCES.get(self.license, self.license)


def _is_page(text: str) -> bool:
    return is_url(text) and text.split("://")[0] in HTTP and not re.search(r"\s", text)


def _is_day(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
