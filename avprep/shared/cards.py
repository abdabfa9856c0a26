"""What cards of datasets and of models share: licences, YAML in front, Markdown of text that came with data, a mark.

A card ends with a comment that holds the digest of what it is of and of its own text, by which an edited one is known.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from avprep.shared import store
from avprep.shared.configs import check
from avprep.shared.errors import UserError
from avprep.shared.text import opened
from avprep.shared.urls import HTTP, is_url

README = "README.md"
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
_MARK = re.compile(r"\n<!-- (avprep|avtrain) card of ([0-9a-f]{64}), text ([0-9a-f]{64}) -->\n\Z")
_SPECIAL = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")
"""what JSON leaves as it is within a string and YAML reads otherwise, or not at all"""


def check_license(license: str) -> None:
    """Raise UserError where it is no name in LICENCES, no address and not UNKNOWN."""
    check(
        license in (*LICENCES, UNKNOWN) or is_page(license),
        f"license {license!r} is not known; give one of {', '.join(LICENCES)}, the address of its text "
        f"(https://...), or {UNKNOWN}.",
    )


def is_page(text: str) -> bool:
    """Whether it is an address of a page."""
    return is_url(text) and text.split("://")[0] in HTTP and not re.search(r"\s", text)


def license_url(license: str) -> str:
    """Address of the licence's text, '' where it is not known."""
    return "" if license == UNKNOWN else LICENCES.get(license, license)


def license_link(license: str) -> str:
    """The licence in Markdown; '' where it is not known."""
    url = license_url(license)
    return url if url in ("", license) else f"[{license}]({url})"


def citation_of(path: Path | None) -> str:
    """The text of a file that has how to cite, '' without one. Errors: UserError."""
    if path is None:
        return ""
    with opened(path) as lines:
        return lines.read().strip()


def citation_section(citation: str) -> str:
    """A section of Markdown, '' without a citation."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", citation)), default=0))
    return f"\n## Citation\n\n{fence}\n{citation.strip()}\n{fence}\n" if citation.strip() else ""


def license_lines(license: str) -> list[str]:
    """The licence in the YAML of a card."""
    if license in (*LICENCES, UNKNOWN):
        return [f"license: {license}"]
    return ["license: other", "license_name: custom", f"license_link: {quoted(license)}"]


def yaml_list(name: str, values: Iterable[str]) -> list[str]:
    """A list of texts in YAML."""
    return [f"{name}:", *(f"- {quoted(value)}" for value in values)]


def quoted(value: object) -> str:
    """A text, or any value of JSON, in one line of YAML: as JSON, with what YAML takes for an end of line escaped."""
    return _SPECIAL.sub(lambda match: f"\\u{ord(match[0]):04x}", store.json_text(value))


def table(header: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    cells = [list(map(str, header)), *(list(map(str, row)) for row in rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|---" * len(cells[0]) + "|", *lines[1:]])


def plain(text: str) -> str:
    """A name that came with data, in one line that Markdown shows as it is."""
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", one_line).replace("<", "&lt;")


def marked(text: str, program: str, subject: str) -> bytes:
    """A card with its mark; `subject` is the digest of what it is of."""
    return f"{text}\n<!-- {program} card of {subject}, text {_sha256(text)} -->\n".encode()


def subject_of(card: str, program: str) -> str | None:
    """The digest of what a card is of; None where the program did not write it."""
    match = _MARK.search(card)
    return match[2] if match and match[1] == program else None


def is_own_card(path: Path, program: str) -> bool:
    """Whether the program wrote a card and nobody has edited it since."""
    text = path.read_bytes().decode(errors="replace")
    match = _MARK.search(text)
    return match is not None and match[1] == program and _sha256(text[: match.start()]) == match[3]


def check_is_mine(path: Path, own: bool, command: str) -> None:
    """Raise UserError where a file that is there has contents and is not `own`, what `command` wrote."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is there and no ordinary file; move it away.")
    if path.exists() and path.stat().st_size > 0 and not own:
        raise UserError(
            f"{path} was not written by '{command}', or was edited since; move it away, or give --overwrite."
        )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
