"""RUN/changes.json: what was changed in a run since it began, one entry a change.

An entry has `step` (updates made before it), `changed` ({setting: [before, after]}), `updates` (how many the run is to
have now), `learning_rate` (of the next one), `loader` (the next batch) and `offset`: update u uses the clips that
update u - offset of a run that always had these settings would. RUN/config.json has the settings that hold now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avprep.shared import configs, store
from avtrain.runs import folder as run_folder

FILE = "changes.json"


def read_changes(run: Path) -> list[dict[str, Any]]:
    """The list in changes.json, empty where the run was never changed.

    A last one that a kill kept out of config.json never held and is left out.
    """
    if not (run / FILE).exists():
        return []
    changes, settings = store.read_json(run / FILE), configs.flat(store.read_json(run / run_folder.CONFIG))
    held = all(settings.get(name) == after for name, (_, after) in changes[-1]["changed"].items())
    return changes if held else changes[:-1]


def record(run: Path, changes: Sequence[Mapping[str, Any]], identity: Mapping[str, Any]) -> None:
    """Write all changes, then the settings that hold from now on."""
    store.write_json(run / FILE, list(changes))
    store.write_json(run / run_folder.CONFIG, dict(identity))


def sentence_of(change: Mapping[str, Any]) -> str:
    """What a change was, such as `learning rate 0.001 -> 0.0001 from update 40 on`."""
    changed = ", ".join(f"{name.replace('_', ' ')} {old} -> {new}" for name, (old, new) in change["changed"].items())
    return f"{changed} from update {change['step']:,} on"
