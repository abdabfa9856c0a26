"""Tables of the pages that the program has the facts of: `python docs/tables.py` writes them into the pages.

Each is between two marks, so that a page can be read without building the site.
"""

from __future__ import annotations

import re
from pathlib import Path

from avprep.datasets.registry import column_table, dataset_table
from avprep.errors import REASONS
from avtrain.config.rules import loss_table, strategy_table

PAGES = Path(__file__).parent / "pages"
MARKED = re.compile(r"(<!-- table: (?P<name>[a-z ]+) -->\n)(?P<table>.*?)(\n<!-- end of table -->)", re.DOTALL)


def _reasons() -> str:
    rows = (f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items())
    return "\n".join(["| reason | meaning |", "|---|---|", *rows])


TABLES = {
    "failure reasons": _reasons,
    "strategies": strategy_table,
    "losses": loss_table,
    "datasets": dataset_table,
    "label columns of datasets": column_table,
}


def with_tables(markdown: str) -> str:
    """A page's text with the tables of its marks as the program has them."""
    return MARKED.sub(lambda match: f"{match[1]}\n{TABLES[match['name']]()}\n{match[4]}", markdown)


def main() -> None:
    """Write the tables into the pages that have marks."""
    for path in sorted(PAGES.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        path.write_text(with_tables(text), encoding="utf-8")


if __name__ == "__main__":
    main()
