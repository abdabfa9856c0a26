"""The notebooks of docs/ executed cell by cell, by IPython's shell in this process: no kernel is started.

`python -m tests.docs.notebooks FOLDER` executes them in FOLDER, one after the other as a reader does, and stores what
they show in them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.docs.pages import DOCS

NOTEBOOKS = [
    DOCS / "notebooks" / f"{name}.ipynb" for name in ("first-dataset", "label-aware-training", "reading-results")
]
KEPT = ("text/plain", "image/jpeg", "text/html")


def read(path: Path) -> dict[str, Any]:
    """A notebook as JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def sources(notebook: Mapping[str, Any]) -> list[str]:
    """The code of each of its code cells."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def executed(notebook: Mapping[str, Any], replaced: Mapping[str, str] | None = None) -> list[list[dict[str, Any]]]:
    """The outputs of each code cell, run in the present folder; `replaced`: texts of the code that become others.

    Errors: whatever a cell raises; AssertionError where a text is in no cell.
    """
    import matplotlib.pyplot as plt
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from matplotlib_inline.backend_inline import set_matplotlib_formats
    from traitlets.config import Config

    class Shell(InteractiveShell):
        """As a notebook has it, without a window."""

        def enable_gui(self, gui: str | None = None) -> None:
            """Nothing."""

    shell = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.run_line_magic("matplotlib", "inline")
    set_matplotlib_formats("jpeg")
    plt.close("all")  # those of others in this process would be shown too
    outputs = []
    code = "\0".join(sources(notebook))
    for old, new in (replaced or {}).items():
        code = code.replace(old, new)
    try:
        for source in code.split("\0"):
            with capture_output() as shown:
                shell.run_cell(source, store_history=True).raise_error()
            outputs.append([*_text(shown.stdout), *(_shown(one) for one in shown.outputs)])
    finally:
        Shell.clear_instance()
    return outputs


def _text(text: str) -> list[dict[str, Any]]:
    return [{"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}] if text else []


def _shown(output: Any) -> dict[str, Any]:
    """A picture, sound or value in the form of a notebook."""
    data = {kind: output.data[kind] for kind in KEPT if kind in output.data}
    return {"data": data, "metadata": {}, "output_type": "display_data"}


def main(folder: str) -> None:
    """Execute all in a folder, and store what they show."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.chdir(folder)
    for path in NOTEBOOKS:
        notebook = read(path)
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for number, (cell, outputs) in enumerate(zip(cells, executed(notebook), strict=True), start=1):
            cell |= {"execution_count": number, "outputs": outputs}
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
