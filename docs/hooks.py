"""Called by mkdocs: cells of tables as the site shows them, and notebooks as pages."""

from __future__ import annotations

import html as text_of_html
import json
import re
from pathlib import Path
from typing import Any

NO_DEFAULT = re.compile(r"<td><code>Sentinel\.UNSET</code></td>")
NUMBER = re.compile(r"<td>([+-]?\d[^<]{0,24})</td>")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page of a notebook with the notebook beside it, cell by cell."""
    notebook = Path(page.file.abs_src_path).with_suffix(".ipynb")
    if not notebook.exists():
        return markdown
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join([markdown, *map(_cell, cells)])


def _cell(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return re.sub(r"^# .*\n", "", source).replace(".ipynb)", ".md)")
    language, code = ("sh", source.partition("\n")[2]) if source.startswith("%%sh") else ("python", source)
    return "\n\n".join([f"```{language}\n{code}\n```", *map(_output, cell["outputs"])])


def _output(output: dict[str, Any]) -> str:
    """What a cell shows, as HTML in one block: text, a picture, or the sound of a player."""
    data = output.get("data", {})
    if "image/jpeg" in data:
        shown = (
            f'<img alt="what the cell above shows" src="data:image/jpeg;base64,{"".join(data["image/jpeg"]).strip()}">'
        )
    elif "text/html" in data:
        shown = " ".join("".join(data["text/html"]).split())
    else:
        shown = f"<pre><code>{text_of_html.escape(''.join(output['text']).rstrip())}</code></pre>"
    return f'<div class="notebook-output">{shown}</div>'


def on_page_content(html: str, **_: Any) -> str:
    """The page without defaults that are none, and with the class `number` for cells that begin with a digit."""
    return NUMBER.sub(r'<td class="number">\1</td>', NO_DEFAULT.sub("<td></td>", html))
