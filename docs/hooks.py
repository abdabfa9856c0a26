"""Called by mkdocs: cells of tables as the site shows them."""

from __future__ import annotations

import re
from typing import Any

NO_DEFAULT = re.compile(r"<td><code>Sentinel\.UNSET</code></td>")
NUMBER = re.compile(r"<td>([+-]?\d[^<]{0,24})</td>")


def on_page_content(html: str, **_: Any) -> str:
    """The page without defaults that are none, and with the class `number` for cells that begin with a digit."""
    return NUMBER.sub(r'<td class="number">\1</td>', NO_DEFAULT.sub("<td></td>", html))
