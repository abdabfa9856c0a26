"""The text of the page of av-digits beside its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avtrain.reproduce.av_digits.rows import CLASSES, ENVELOPE
from avtrain.reproduce.av_digits.settings import DigitsSettings
from avtrain.reproduce.benchmark import page
from avtrain.reproduce.benchmark.table import Layout, Line

HONEST = """Real recordings of six speakers and real handwriting, but put together by us: a clip shows one digit moving
over texture, and with the link on its brightness follows the loudness of the sound, so that an exact pair can be
matched without knowing the class. The models are tiny and a few hundred clips are few. It shows which sampling teaches
more under these conditions, not how large the effect is on video from the street. The gap hangs on how many negatives
of the anchor's own class a batch holds: see the column. The paper's batches of 309 clips of 309 classes hold one."""


SPEAKERS = {"fsdd": "six", "audiomnist": "60"}


def write_page(
    out: Path, settings: DigitsSettings, lines: Sequence[Line], layout: Layout, corpus: str = "fsdd"
) -> Path:
    """Write out/report.html from the table's lines and the folder; returns the path."""
    story = page.Story(
        title="av-digits: which sampling teaches most",
        honest=HONEST.replace("six speakers", f"{SPEAKERS[corpus]} speakers"),
        tested="Linear accuracy on speakers outside training",
        chance=1 / CLASSES,
        shown=out / "data" / f"{ENVELOPE}-0" / "shards",
    )
    return page.write_page(out, settings, lines, layout, story)
