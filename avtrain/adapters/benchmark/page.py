"""The page of a benchmark: one table of tasks, what was measured, what has no result and why. Static, offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avprep.shared import html, store

NAMES = {"mteb": "mteb", "xares": "X-ARES", "hear": "HEAR 2021 (heareval)"}
PROTOCOLS = {
    "mteb": "mteb fits its own classifier on frozen embeddings, or ranks by their cosine; which, each task has.",
    "xares": "X-ARES fits a linear layer on the mean of the features over time; its k-NN is a further score.",
    "hear": "heareval fits a small network on frozen embeddings and chooses its settings by validation.",
}


def write_page(
    path: Path, about: Mapping[str, Any], results: Sequence[Mapping[str, Any]], failures: Mapping[str, str]
) -> None:
    """Write the page of results (OUT/tasks) of one encoder, and of the tasks that failed in the last call."""
    rows = [
        [one["task"], one["metric"], f"{one['score']:.4f}", _further(one["further"]), one["seconds"]] for one in results
    ]
    sections = [("Results", html.table(["Task", "Score", "", "Further scores", "Seconds"], rows, "text"))]
    if failures:
        sections.append(
            ("Without a result", html.table(["Task", "Why"], [list(one) for one in failures.items()], "text"))
        )
    facts = [[name, value] for name, value in about.items()]
    sections.append(
        ("What was measured", html.table(["", ""], facts, "text") + html.paragraph(PROTOCOLS[about["suite"]]))
    )
    count = f"{len(results)} task{'s' * (len(results) != 1)}"
    suite = f"{NAMES[about['suite']]} {about['version']}"
    lead = f"{count} of {suite} for {about['run']}, step {about['step']}, {about['side']}."
    page = html.page(f"{NAMES[about['suite']]}: {about['run']}", lead, sections, style=STYLE, kind="benchmark")
    store.write_bytes(path, page.encode())


STYLE = """
td, th { vertical-align: top; white-space: normal; overflow-wrap: break-word; min-width: 5rem; }
.text td, .text th { text-align: left; }
"""


def _further(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
