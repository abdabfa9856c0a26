"""The rows of the GRID benchmark: those of av-digits with the link on and batches of the usual size."""

from __future__ import annotations

import dataclasses

from avtrain.reproduce.av_digits import rows as av_digits

ROWS = tuple(
    dataclasses.replace(row, link="")
    for row in av_digits.ROWS
    if row.link == av_digits.ENVELOPE and row.batch == "usual"
)
QUICK = ROWS[:3]
