"""The differences between two manifests, as lines to print."""

from __future__ import annotations

from avprep.manifest.clips import COLUMNS, Clip, Clips, values_of
from avprep.shared.errors import some_of

EXAMPLES = 3


def differences(old: Clips, new: Clips) -> list[str]:
    """A line each on the clips that came, went and changed, with their number and three examples, by clip id."""
    before = {clip.clip_id: hash(values_of(clip)) for clip in old}
    after = {clip.clip_id: hash(values_of(clip)) for clip in new}
    changed = [name for name, values in after.items() if before.get(name, values) != values]
    shown = changed[:EXAMPLES]
    were, are = ({clip.clip_id: clip for clip in rows if clip.clip_id in shown} for rows in (old, new))
    clips = {
        "came": [name for name in after if name not in before],
        "went": [name for name in before if name not in after],
        "changed": [change(were[name], are[name]) for name in shown] + changed[EXAMPLES:],
    }
    lines = [f"{len(names)} clips {what}: {some_of(names, EXAMPLES)}" for what, names in clips.items() if names]
    return lines or ["the same clips in another order"]


def change(old: Clip, new: Clip) -> str:
    """Such as `a/1.mp4 (split 'train' -> 'test')`."""
    values = zip(COLUMNS, values_of(old), values_of(new), strict=True)
    return f"{old.clip_id} (" + ", ".join(f"{name} {a!r} -> {b!r}" for name, a, b in values if a != b) + ")"
