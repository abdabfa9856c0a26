"""The text of the page of the GRID benchmark beside its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avprep.datasets.grid_corpus import WORDS
from avtrain.reproduce.benchmark import page
from avtrain.reproduce.benchmark.table import Layout, Line
from avtrain.reproduce.grid_corpus.settings import GridSettings

HONEST = """Real video: faces that speak sentences of six words, of which one is the class. The models are tiny and see
48 pixels of a whole face, the recordings are of a studio, and rows were chosen on another benchmark, av-digits. It
shows whether what helps there helps here, not how large the effect is on video from the street."""


def write_page(out: Path, settings: GridSettings, lines: Sequence[Line], layout: Layout) -> Path:
    """Write out/report.html from the table's lines and the folder; returns the path."""
    story = page.Story(
        title=f"GRID, {settings.label}: which sampling teaches most",
        honest=f"{HONEST} {layout.notes[0]}",
        tested="Linear accuracy on clips outside training",
        chance=1 / len(WORDS[settings.label]),
        shown=out / "data" / "fold-0" / "shards",
    )
    return page.write_page(out, settings, lines, layout, story)
