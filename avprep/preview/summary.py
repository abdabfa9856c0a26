"""Sections of the preview page on the whole dataset: facts, clips per class, failures, log-mel statistics."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from avprep.errors import REASONS
from avprep.preview.axes import hertz_ticks, percent
from avprep.shared import html
from avprep.shared.text import readable_bytes

if TYPE_CHECKING:
    from avprep.dataset import Dataset

SHOWN_FAILURES = 50
SPLIT_COLOURS = 6
FIRST_SPLITS = ("train", "val", "test")
FEW_CLASSES, MANY_CLASSES = 12, 60

_facts = html.template("""<dl class="facts">
{% for name, value in facts %}<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>
{% endfor %}</dl>
""")

_overview = html.template("""<ul class="legend" aria-label="Colours of the splits">
{% for split in splits %}<li><i style="background: var(--s{{ loop.index0 % colours }})"></i>{{ split }}</li>
{% endfor %}</ul>
{% if size != "few" %}
<div class="tools" hidden><label for="find">Find a class</label><input id="find" type="search" autocomplete="off">
<button type="button" data-open="yes">Open all</button><button type="button" data-open="no">Close all</button>
<span class="note" role="status"></span></div>
{% endif %}
<ul class="overview {{ size }}"{{ ' tabindex="0"' | safe if size == "many" }} aria-label="Clips of each class">
{% for row in rows %}<li data-name="{{ row.name }}" title="{{ row.name }}: {{ row.counts }}">
<span class="name">{% if row.shown %}<a href="#class-{{ row.id }}"><bdi>{{ row.name }}</bdi></a>
{% else %}<bdi>{{ row.name }}</bdi>{% endif %}</span>
<span class="bar" aria-hidden="true">{% for colour, width in row.bars %}<i style="width: {{ width }}%; background:
var(--s{{ colour }})"></i>{% endfor %}</span>
<span class="count">{{ row.total }}<span class="hidden"> clips: {{ row.counts }}</span></span></li>
{% endfor %}</ul>
""")

_statistics = html.template("""<div class="chart">
<div class="y" aria-hidden="true">{% for at, text in decibels %}<span style="bottom: {{ at }}%">{{ text }}</span>
{% endfor %}</div>
<div class="lines"><svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{{ caption }}">
{% for at, _ in decibels %}<line x1="0" x2="100" y1="{{ 100 - at }}" y2="{{ 100 - at }}"/>{% endfor %}
<path class="band" d="{{ band }}"/><path d="{{ line }}"/></svg></div>
<div class="unit" aria-hidden="true">dB</div>
<div class="x" aria-hidden="true">{% for at, text in hertz %}<i style="left: {{ at }}%"></i>
<span style="left: {{ at }}%">{{ text }} Hz</span>{% endfor %}</div>
</div>
<p class="note">{{ caption }}</p>
""")


def counts_of(dataset: Dataset) -> dict[str, np.ndarray]:
    """Clips of each class, int [classes], by split; train, val and test first."""
    splits = [split for split in FIRST_SPLITS if split in dataset.splits]
    splits += sorted(set(dataset.splits) - set(FIRST_SPLITS))
    return {
        split: np.bincount(
            dataset.label[dataset.split == dataset.splits.index(split)], minlength=len(dataset.class_names)
        )
        for split in splits
    }


def in_words(counts: dict[str, np.ndarray], class_id: int) -> str:
    """How many clips of a class each split has: "8 train, 2 test"."""
    return ", ".join(f"{values[class_id]:,} {split}" for split, values in counts.items() if values[class_id])


def facts(dataset: Dataset, counts: dict[str, np.ndarray], failed: int) -> Markup:
    """How much there is, and what it was built as."""
    info = dataset.info
    video, audio = info["video"], info["audio"]
    seconds = float(dataset.duration_seconds.sum())
    unit, size = next(((name, size) for name, size in (("h", 3600), ("min", 60)) if seconds >= 2 * size), ("s", 1))
    figures = [
        ("clips", f"{len(dataset):,}"),
        ("classes", f"{len(dataset.class_names):,}"),
        ("length", f"{seconds / size:,.1f} {unit}"),
        ("failed", f"{failed:,}"),
        ("shards", f"{len(info['shards']):,}"),
        ("size", readable_bytes(sum(shard["bytes"] for shard in info["shards"].values()))),
    ]
    sizes = f"{video['frame_size']} x {video['frame_size']} px, {video['frame_rate_hz']} frames a second"
    picture = f"{sizes}, resize {video['resize']} ({video['resize_filter']}), stored {video['frame_codec']}"
    sound = (
        f"log-mel of mono {audio['sample_rate_hz']:,} Hz: {audio['num_mel_bands']} bands, window "
        f"{audio['window_samples']}, hop {audio['hop_samples']} samples, {audio['top_db']:g} dB below the loudest"
    )
    lengths = np.percentile(dataset.duration_seconds, [0, 50, 100])
    rows = [
        ["picture", picture if (dataset.num_frames > 0).any() else "none: sound only"],
        ["sound", sound],
        ["splits", ", ".join(f"{values.sum():,} {split}" for split, values in counts.items())],
        ["clip length", "shortest {:.2f} s, median {:.2f} s, longest {:.2f} s".format(*lengths)],
        ["built with", ", ".join(f"{name} {version}" for name, version in info["versions"].items())],
        ["digest", dataset.digest],
    ]
    return facts_of(figures) + html.table(["property", "value"], rows, css="text")


def facts_of(figures: list[tuple[str, str]]) -> Markup:
    """A row of figures under their names."""
    return Markup(_facts.render(facts=figures))


def overview(dataset: Dataset, counts: dict[str, np.ndarray], shown: set[int]) -> Markup:
    """A bar a class, stacked by split; the classes in `shown` link to their clips."""
    names = dataset.class_names
    total = np.sum(list(counts.values()), axis=0)
    rows = [
        {
            "id": class_id,
            "name": name,
            "shown": class_id in shown,
            "total": f"{total[class_id]:,}",
            "counts": in_words(counts, class_id) or "none",
            "bars": [
                (number % SPLIT_COLOURS, percent(100 * values[class_id] / total.max()))
                for number, values in enumerate(counts.values())
                if values[class_id]
            ],
        }
        for class_id, name in enumerate(names)
    ]
    size = "few" if len(names) <= FEW_CLASSES else "some" if len(names) < MANY_CLASSES else "many"
    return Markup(_overview.render(splits=list(counts), rows=rows, size=size, colours=SPLIT_COLOURS))


def failures(failures: list[dict[str, Any]]) -> Markup:
    """Failed clips by reason, and the first of them one by one."""
    if not failures:
        return html.paragraph("None.")
    reasons = Counter(failure["reason"] for failure in failures).most_common()
    by_reason = [[reason, f"{count:,}", REASONS.get(reason, "")] for reason, count in reasons]
    listed = [[failure[name] for name in ("clip_id", "path", "reason", "detail")] for failure in failures]
    more = len(failures) - SHOWN_FAILURES
    note = html.paragraph(f"and {more:,} more in failures.jsonl") if more > 0 else Markup("")
    counted = html.table(["reason", "clips", "meaning"], by_reason, css="text")
    return (
        counted + html.table(["clip id", "path", "reason", "detail"], listed[:SHOWN_FAILURES], css="text stack") + note
    )


def statistics(dataset: Dataset, band_centres_hz: np.ndarray) -> Markup:
    """Mean and deviation of each mel band, as training may use them."""
    mean, deviation = dataset.logmel_mean, dataset.logmel_std
    low, high = 10 * np.floor((mean - deviation).min() / 10), 10 * np.ceil((mean + deviation).max() / 10)
    high = max(high, low + 10)
    x = 100 * (np.arange(len(mean)) + 0.5) / len(mean)

    def path(x: np.ndarray, decibels: np.ndarray) -> str:
        y = 100 * (high - decibels) / (high - low)
        return "M" + "L".join(f"{a:.2f} {b:.2f}" for a, b in zip(x, y, strict=True))

    around = path(np.concatenate([x, x[::-1]]), np.concatenate([mean + deviation, (mean - deviation)[::-1]])) + "Z"
    step = 10 if high - low <= 60 else 20
    decibels = [(100 * (level - low) / (high - low), f"{level:g}") for level in np.arange(low, high + 1, step)]
    info = dataset.info["logmel"]
    caption = (
        f"Mean (line) and one standard deviation around it (band) of each of the {len(mean)} mel bands, over "
        f"{info['frames']:,} log-mel frames of {'every split' if info['split'] == 'all' else 'the train split'}."
    )
    hertz = hertz_ticks(band_centres_hz)
    return Markup(_statistics.render(hertz=hertz, decibels=decibels, line=path(x, mean), band=around, caption=caption))
