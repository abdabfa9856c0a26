"""Called by mkdocs: fills marks such as `{{ failure reasons }}` and `{{ datasets }}` from the program."""

from __future__ import annotations

import re
from typing import Any

from avprep.datasets.registry import column_table, dataset_table
from avprep.errors import REASONS
from avtrain.config.rules import loss_table, strategy_table

NO_DEFAULT = re.compile(r"<td><code>Sentinel\.UNSET</code></td>")
NUMBER = re.compile(r"<td>([+-]?\d[^<]{0,24})</td>")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with tables in place of their marks."""
    rows = "\n".join(f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items())
    tables = {
        "failure reasons": rows,
        "strategies": strategy_table(),
        "losses": loss_table(),
        "datasets": dataset_table(),
        "label columns of datasets": column_table(),
    }
    for mark, table in tables.items():
        markdown = markdown.replace(f"{{{{ {mark} }}}}", table)
    return markdown


def on_page_content(html: str, **_: Any) -> str:
    """The page without defaults that are none, and with the class `number` for cells that begin with a digit."""
    return NUMBER.sub(r'<td class="number">\1</td>', NO_DEFAULT.sub("<td></td>", html))
