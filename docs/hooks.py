"""Called by mkdocs: fills `{{ failure reasons }}` from the program, and mends what tables show."""

from __future__ import annotations

import re
from typing import Any

from avprep.errors import REASONS

NO_DEFAULT = re.compile(r"<td><code>Sentinel\.UNSET</code></td>")
NUMBER = re.compile(r"<td>([+-]?\d[^<]{0,24})</td>")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with the table of failure reasons instead of its mark."""
    rows = "\n".join(f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items())
    return markdown.replace("{{ failure reasons }}", rows)


def on_page_content(html: str, **_: Any) -> str:
    """The page without defaults that are none, and with the class `number` for cells that begin with a digit."""
    return NUMBER.sub(r'<td class="number">\1</td>', NO_DEFAULT.sub("<td></td>", html))
