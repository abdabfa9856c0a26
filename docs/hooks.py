"""Called by mkdocs: fills `{{ failure reasons }}` from the program."""

from __future__ import annotations

from typing import Any

from avprep.errors import REASONS


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with the table of failure reasons in place of its mark."""
    rows = "\n".join(f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items())
    return markdown.replace("{{ failure reasons }}", rows)
