"""quality.parquet in a few lines: what the measures range over, and how many clips are suspicious."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

SUSPICIOUS = {
    "silent": ("silence", lambda values: values > 0.9, "silence > 0.9"),
    "still pictures": ("motion", lambda values: values < 0.002, "motion < 0.002"),
    "black": ("black", lambda values: values > 0.9, "black > 0.9"),
    "clipped sound": ("clipping", lambda values: values > 0.001, "clipping > 0.001"),
}
"""what a few clips of many sets are: its column, the clips, and the same as a condition of `avprep select`"""


def lines_of(path: Path) -> list[str]:
    """A line for each kind of suspicious clip that the file may hold."""
    columns = [column for column, _, _ in SUSPICIOUS.values()]
    table = pq.read_table(path, columns=columns)
    lines = [f"{path}: {len(table)} clips"]
    for name, (column, is_so, condition) in SUSPICIOUS.items():
        values = table.column(column).drop_null().to_numpy()
        if len(values):
            quarters = ", ".join(f"{value:.3g}" for value in np.quantile(values, [0.05, 0.5, 0.95]))
            lines.append(f"  {name} ({condition}): {int(is_so(values).sum())}; 5, 50, 95 % of clips: {quarters}")
    return lines
