"""Draws pages/flow-light.svg and flow-dark.svg, the picture of README and home page: python docs/flow.py"""

from __future__ import annotations

from pathlib import Path

PAGES = Path(__file__).parent / "pages"
COLOURS = {
    "light": {
        "ink": "#1f2430",
        "soft": "#5b6475",
        "line": "#8a93a6",
        "box": "#f4f6fa",
        "audio": "#c2571a",
        "video": "#2a5db0",
    },
    "dark": {
        "ink": "#e8ebf2",
        "soft": "#a9b2c3",
        "line": "#7d8799",
        "box": "#252b38",
        "audio": "#f0955a",
        "video": "#82aef2",
    },
}
STAGES = (
    ("clips", ("dog/1.mp4", "dog/2.mp4", "rain/7.mp4")),
    ("shards + index", ("one class a shard", "the byte position", "of every frame")),
    ("label-aware batches", ("sound of dog/1", "picture of dog/2", "a soft positive")),
    ("two encoders", ("audio and video,", "InfoNCE", "resumable runs")),
    ("scores", ("linear, finetune,", "knn, retrieval;", "with intervals")),
)
ARROWS = ("avprep", "avtrain plan", "avtrain pretrain", "avtrain evaluate")
WIDTH, HEIGHT, BOX, GAP, TOP = 1200, 190, 196, 55, 36


def picture(colours: dict[str, str]) -> str:
    """The whole SVG in these colours."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif">',
        "<title>Clips become shards, shards become label-aware batches, batches train two encoders, and the encoders "
        "are measured.</title>",
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{colours["line"]}"/></marker></defs>',
    ]
    for number, (title, lines) in enumerate(STAGES):
        left = number * (BOX + GAP)
        parts.append(
            f'<rect x="{left + 1}" y="{TOP}" width="{BOX - 2}" height="136" rx="10" fill="{colours["box"]}" '
            f'stroke="{colours["line"]}"/>'
        )
        parts.append(text(left + BOX / 2, TOP + 32, title, colours["ink"], 15, "600"))
        for row, line in enumerate(lines):
            colour = {"sound of dog/1": "audio", "picture of dog/2": "video"}.get(line, "soft")
            parts.append(text(left + BOX / 2, TOP + 66 + 26 * row, line, colours[colour], 16))
    for number, command in enumerate(ARROWS):
        left = number * (BOX + GAP) + BOX
        parts.append(
            f'<path d="M{left + 6} {TOP + 68}H{left + GAP - 8}" stroke="{colours["line"]}" stroke-width="2" '
            'marker-end="url(#tip)"/>'
        )
        parts.append(text(left + GAP / 2, 20, command, colours["ink"], 14))
    return "\n".join([*parts, "</svg>", ""])


def text(x: float, y: float, words: str, colour: str, size: int, weight: str = "400") -> str:
    """A centred line of text."""
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="middle">{words}</text>'
    )


if __name__ == "__main__":
    for name, colours in COLOURS.items():
        (PAGES / f"flow-{name}.svg").write_text(picture(colours), encoding="utf-8")
