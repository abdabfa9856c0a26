"""The page of `avprep duplicates`: the clips of each group side by side, with how much they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from avprep.preview.assets import SCRIPT, STYLE
from avprep.preview.axes import hertz_ticks
from avprep.preview.content import centres_of, shown_clips
from avprep.preview.model import Preview, ShownClip
from avprep.preview.page import card, reading_of
from avprep.quality.duplicates import Duplicates
from avprep.shared import html, store

SHOWN_CLIPS = 120
SHOWN_OF_GROUP = 6
SHOWN_PAIRS = 15

_group = html.template("""<details class="class" id="group-{{ number }}" data-name="{{ name }}" open>
<summary><h3>{{ name }}</h3><span class="note">{{ note }}</span></summary>
{{ pairs }}
<div class="clips">
{% for card in cards %}{{ card }}{% endfor %}</div>
</details>
""")


def write_page(duplicates: Duplicates, out: Path, *, root: Path | None = None) -> int:
    """Write the page of the first groups, about 120 clips; returns how many groups it shows.

    `root` is where relative source paths start; without it the page has no sound. Errors: UserError.
    """
    dataset = duplicates.dataset
    shown: list[list[int]] = []
    for group in duplicates.rows_of_groups():
        if sum(map(len, shown)) >= SHOWN_CLIPS:
            break
        shown.append(group[:SHOWN_OF_GROUP].tolist())
    rows = [row for some in shown for row in some]
    body = html.paragraph("There are no near duplicates.")
    if rows:
        clips, scale_db = shown_clips(dataset, rows, root, "duplicates")
        preview = Preview(dataset, clips, scale_db, [], centres_of(dataset), None)
        cards = {clip.row: clip for clip in clips}
        groups = [
            _markup(duplicates, number, [cards[row] for row in some], preview) for number, some in enumerate(shown)
        ]
        body = reading_of(preview.clips, preview.scale_db, preview.dataset.num_mel_bands) + Markup("").join(groups)
    left = duplicates.groups - len(shown)
    lead = (
        f"{len(duplicates.first)} pairs in {duplicates.groups} groups, of which {duplicates.groups_across} are across "
        f"splits and come first{f'; {left} groups are in the table alone' if left else ''}."
    )
    title = f"Near duplicates in {dataset.local_folder.resolve().name}"
    page = html.page(title, lead, [("Groups", body)], style=STYLE, script=SCRIPT, kind="duplicates")
    store.write_bytes(out, page.encode())
    return len(shown)


def _markup(duplicates: Duplicates, number: int, clips: list[ShownClip], preview: Preview) -> Markup:
    dataset = duplicates.dataset
    pairs = (duplicates.group == number).nonzero()[0]
    members = set(duplicates.first[pairs]) | set(duplicates.second[pairs])
    splits = sorted({dataset.splits[dataset.split[row]] for row in members})
    labels = sorted({dataset.class_names[dataset.label[row]] for row in members})
    note = f"{len(members)} clips; split: {', '.join(splits)}; label: {', '.join(labels)}"
    hertz = hertz_ticks(preview.band_centres_hz)
    noted = any(clip.sound for clip in preview.clips)
    header = ["clip", "other clip", "begins later by", "pictures differ", "sounds differ"]
    rows = [_row(duplicates, int(pair)) for pair in pairs[:SHOWN_PAIRS]]
    return Markup(
        _group.render(
            number=number,
            name=f"Group {number}",
            note=note,
            pairs=html.table(header, rows, css="stack"),
            cards=[card(clip, hertz, noted) for clip in clips],
        )
    )


def _row(duplicates: Duplicates, pair: int) -> list[Any]:
    def share(kind: str) -> str:
        value = float(duplicates.distances[kind][pair]) if kind in duplicates.distances else float("nan")
        return "not compared" if value != value else f"{100 * value:.0f} %"

    ids = duplicates.dataset.ids_of(np.array([duplicates.first[pair], duplicates.second[pair]])).to_pylist()
    return [*ids, f"{duplicates.offset_seconds[pair]:.3f} s", share("picture"), share("sound")]
