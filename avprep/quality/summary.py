"""quality.parquet in a few lines: what the measures range over, and how many clips are suspicious."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

SUSPICIOUS = {
    "silent": ("silence", lambda values: values > 0.9, "silence > 0.9"),
    "still pictures": ("motion", lambda values: values < 0.002, "motion < 0.002"),
    "black": ("black", lambda values: values > 0.9, "black > 0.9"),
    "clipped sound": ("clipping", lambda values: values > 0.001, "clipping > 0.001"),
}
"""what a few clips of many sets are: its column, the clips, and the same as a condition of `avprep select`"""


SHARES = (0.05, 0.5, 0.95)


def summary_of(path: Path) -> dict[str, Any]:
    """path, clips; of each kind of suspicious clip that the file may hold how many, and quantiles of the measure."""
    table = pq.read_table(path, columns=[column for column, _, _ in SUSPICIOUS.values()])
    kinds = {}
    for name, (column, is_so, condition) in SUSPICIOUS.items():
        values = table.column(column).drop_null().to_numpy()
        if len(values):
            quantiles = dict(zip(map(str, SHARES), np.quantile(values, SHARES).tolist(), strict=True))
            kinds[name] = {"condition": condition, "clips": int(is_so(values).sum()), "quantiles": quantiles}
    return {"path": path, "clips": len(table), "suspicious": kinds}


def lines_of(path: Path) -> list[str]:
    """A line for each kind of suspicious clip that the file may hold."""
    summary = summary_of(path)
    lines = [f"{path}: {summary['clips']} clips"]
    for name, kind in summary["suspicious"].items():
        quantiles = ", ".join(f"{value:.3g}" for value in kind["quantiles"].values())
        lines.append(f"  {name} ({kind['condition']}): {kind['clips']}; 5, 50, 95 % of clips: {quantiles}")
    return lines
