"""The dataset card as Markdown: how to read the dataset, and a datasheet of all that its files record.

The sections follow Gebru et al., Datasheets for Datasets (2021), as far as files can answer its questions.
"""

from __future__ import annotations

from typing import Any

from avprep import schema
from avprep.errors import REASONS
from avprep.shared.cards import UNKNOWN, citation_section, license_link, plain, table
from avprep.shared.text import readable_bytes
from avprep.sharing.config import CardConfig
from avprep.sharing.facts import Facts, described
from avprep.sharing.front_matter import front_matter

MOST_CLASSES = 2000
CARD = """\
{front}

# {title}

{description}

## Read it

```python
from avprep import Dataset

dataset = Dataset("this-folder")  # pip install avprep-avtrain
clip = dataset.read_clip(0)  # {arrays}
print(len(dataset), dataset.class_names[dataset.label[0]])
```

Whole clips one after the other, with `datasets`:

```python
from datasets import load_dataset

for clip in load_dataset("this-folder", split={split}, streaming=True):
    ...  # {members}
```
{mixed}
`avtrain pretrain this-folder` trains on it. `index.parquet` has one row a clip: id, label, split, shard and where
its arrays are. `croissant.json` describes it for other tools.

## What is in it

{splits}

One shard holds clips of one class; a clip is in one split.

<details><summary>Clips of each class</summary>

{classes}

</details>
{labels}
## Media

{media}

## Clips that are left out

{failures}
{excluded}
## How it was built

{build}

Versions: {versions}.

Settings and manifest are in `plan/`. On one type of processor, the same manifest, settings and versions give the same
bytes.

## Licence

{licence}
{citation}
## What this card does not know

The files do not record where the recordings come from, whom they show, who agreed to that, and what they should not be
used for. Whoever shares the dataset adds it here.
"""


def readme(facts: Facts, config: CardConfig, title: str) -> str:
    """The card, Markdown with YAML in front."""
    split_names = list(facts.splits)
    first = "train" if "train" in split_names else split_names[0]
    return CARD.format(
        front=front_matter(facts, config, title),
        title=plain(title),
        description=config.description.strip() or described(facts),
        arrays=_arrays(facts),
        split=f'"{first}"',
        members=_members(facts),
        mixed=_mixed(facts),
        splits=_splits(facts),
        classes=_classes(facts),
        labels=_labels(facts),
        media="\n".join(_media(facts)),
        failures=_failures(facts),
        excluded=_excluded(facts),
        build=_build(facts),
        versions=", ".join(f"{name} {version}" for name, version in facts.inspected["versions"].items()) or UNKNOWN,
        licence=_licence(config),
        citation=citation_section(config.citation),
    )


def _arrays(facts: Facts) -> str:
    size, bands = facts.info["video"]["frame_size"], facts.info["audio"]["num_mel_bands"]
    frames = f"frames uint8 [T, {size}, {size}, 3], " if facts.with_pictures else ""
    return f"{frames}logmel float16 [F, {bands}]"


def _members(facts: Facts) -> str:
    frames = schema.FRAMES_SUFFIX if facts.info["video"]["frame_codec"] == "raw" else schema.JPEG_SUFFIX
    names = [*([frames] if facts.with_pictures else []), schema.LOGMEL_SUFFIX, schema.META_SUFFIX]
    return ", ".join(f'clip["{name[1:]}"]' for name in names)


def _mixed(facts: Facts) -> str:
    if facts.with_pictures in (0, facts.clips):
        return ""
    return (
        f"\n{facts.clips - facts.with_pictures:,} of the clips are sound alone. `datasets` takes clips of one kind "
        "only; give it shards of either kind.\n"
    )


def _splits(facts: Facts) -> str:
    rows = []
    for name, split in facts.splits.items():
        counts = [count for count in split["classes"].values() if count]
        clips, hours = f"{split['clips']:,}", f"{split['hours']:.2f}"
        rows.append([name, clips, hours, len(counts), f"{min(counts):,}", f"{max(counts):,}"])
    return table(["split", "clips", "hours", "classes", "clips of the smallest", "of the largest"], rows)


def _classes(facts: Facts) -> str:
    splits = facts.splits
    rows = [
        [plain(name), *(f"{split['classes'].get(name, 0):,}" for split in splits.values())]
        for name in facts.classes[:MOST_CLASSES]
    ]
    more = len(facts.classes) - MOST_CLASSES
    return table(["class", *splits], rows) + (f"\n\nand {more:,} more, in `dataset.json`." if more > 0 else "")


def _labels(facts: Facts) -> str:
    columns = facts.inspected["labels"]
    if not columns:
        return ""
    rows = [[f"`{name}`", column["num_classes"], f"{column['clips']:,}"] for name, column in columns.items()]
    return f"\nOther labels of the same clips, in `labels/`:\n\n{table(['column', 'classes', 'clips'], rows)}\n"


def _media(facts: Facts) -> list[str]:
    video, audio = facts.info["video"], schema.named_downmix(facts.info["audio"])
    lines = []
    if facts.with_pictures:
        quality = f" of quality {video['jpeg_quality']}" if "jpeg_quality" in video else ""
        kind = "uint8 arrays" if video["frame_codec"] == "raw" else f"JPEG{quality}"
        lines.append(
            f"- Frames: RGB, {video['frame_size']} x {video['frame_size']} pixels ({video['resize']}, filter "
            f"{video['resize_filter']}), {video['frame_rate_hz']} a second, {kind}."
        )
    rate = f"resampled to {audio['sample_rate_hz']} Hz"
    if not audio.get("resample", True):
        rate = f"taken as {audio['sample_rate_hz']} Hz without resampling"
    lines += [
        f"- Sound: mono (downmix `{audio['downmix']}`), {rate}.",
        f"- Log-mel: {audio['num_mel_bands']} Slaney bands, float16 dB ({audio.get('decibels', 'amplitude')}), Fourier "
        f"transform of {audio['window_samples']} samples, hop {audio['hop_samples']} samples, {audio['top_db']:g} dB "
        "below a clip's loudest.",
    ]
    stats = facts.inspected["logmel"]
    if stats:
        (low, high), (least, most) = stats["mean_db"], stats["std_db"]
        lines.append(
            f"- Mean of the bands over split `{stats['split']}`: {low:.1f} to {high:.1f} dB, deviation {least:.1f} to "
            f"{most:.1f} dB; each is in `dataset.json`."
        )
    return lines


def _failures(facts: Facts) -> str:
    failures: dict[str, int] = facts.inspected["failures"]
    if not failures:
        return "No clip of the manifest failed."
    rows = [[f"`{reason}`", f"{count:,}", REASONS.get(reason, "")] for reason, count in sorted(failures.items())]
    return f"{table(['reason', 'clips', 'meaning'], rows)}\n\n`failures.jsonl` has a line for each."


def _excluded(facts: Facts) -> str:
    count = facts.inspected["excluded"]
    if not count:
        return ""
    return (
        f"\nTaken out on request: {count:,}, of which `excluded.jsonl` has the reasons. They are in no index; the "
        "shards still hold those that could be used.\n"
    )


def _build(facts: Facts) -> str:
    info, shards = facts.info, facts.inspected["shards"]
    rows: list[tuple[str, Any]] = [
        ("format", f"`{info['format']}`"),
        ("digest of the dataset", f"`{facts.digest}`"),
        *[
            (f"sha256 of `{name}`", f"`{info[key]}`")
            for name, key in ((schema.INDEX, "index_sha256"), (schema.PLAN_MANIFEST, "manifest_sha256"))
            if key in info
        ],
        ("digest of the settings", f"`{info.get('config_digest', UNKNOWN)}`"),
        ("decoder", facts.build.get("decoder", UNKNOWN)),
        ("shards", f"{shards['done']:,}, {readable_bytes(facts.bytes)}; sha256 of each in `dataset.json`"),
    ]
    return table(["", ""], rows)


def _licence(config: CardConfig) -> str:
    link = license_link(config.license)
    given = "Unknown. Whoever shares this dataset states it, with regard to the recordings that it is made of."
    if link:
        given = (
            f"{link}, as given by whoever wrote this card. It cannot grant more than the recordings' own licences do."
        )
    return given + (f" Made by {plain(config.creator)}." if config.creator else "")
