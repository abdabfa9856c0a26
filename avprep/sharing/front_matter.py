"""The YAML in front of a card by which the hub knows a dataset: licence, tasks, size, the data files of each split."""

from __future__ import annotations

from avprep.shared.cards import license_lines, quoted, yaml_list
from avprep.sharing.config import CardConfig
from avprep.sharing.facts import Facts, data_files

SIZES = {10**3: "1K", 10**4: "10K", 10**5: "100K", 10**6: "1M", 10**7: "10M", 10**8: "100M", 10**9: "1B", 10**10: "10B"}
"""the hub's limits of size categories, in clips"""


def front_matter(facts: Facts, config: CardConfig, title: str) -> str:
    """The lines between and with the two `---`."""
    lines = ["---", *license_lines(config.license), f"pretty_name: {quoted(title)}"]
    lines += yaml_list("task_categories", tasks_of(facts, config))
    lines += yaml_list("size_categories", [size_category(facts.clips)])
    lines += yaml_list("tags", ["webdataset", "audio", *(["video", "audio-visual"] if facts.with_pictures else [])])
    lines += ["configs:", "- config_name: default", "  data_files:"]
    for name, paths in data_files(facts).items():
        lines += [f"  - split: {quoted(name)}", "    path:", *(f"    - {quoted(path)}" for path in paths)]
    return "\n".join([*lines, "---"])


def tasks_of(facts: Facts, config: CardConfig) -> list[str]:
    """The task categories of the hub."""
    own = ["audio-classification", *(["video-classification"] if facts.with_pictures else [])]
    return list(config.tasks) or own


def size_category(clips: int) -> str:
    """The hub's size category of so many clips."""
    below = "n<"
    for limit, name in SIZES.items():
        if clips < limit:
            return f"{below}{name}"
        below = f"{name}<n<"
    return "10B<n<100B"
