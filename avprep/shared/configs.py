"""Frozen config dataclasses as JSON: digests, readable differences, folders claimed for one config."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from avprep.shared import store
from avprep.shared.errors import UserError

NONE: Mapping[str, Any] = {}


def to_dict(config: Any) -> dict[str, Any]:
    """The config as plain JSON values, nested dataclasses as nested objects."""
    return dataclasses.asdict(config)


def merged(config: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `config`, none for None, with `settings` in their place."""
    return {**({} if config is None else to_dict(config)), **settings}


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of nested `values` by their own names (names are unique across our nested configs)."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        leaves.update(flat(value) if isinstance(value, Mapping) else {name: value})
    return leaves


def digest(values: Any) -> str:
    """Hex sha256 of `values` as canonical JSON (sorted keys, no spaces)."""
    canonical = store.json_text(values, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lines `name: old -> new` for every leaf in which the two mappings differ, sorted by name."""
    left, right = flat(old), flat(new)
    return [
        f"{name}: {left.get(name)!r} -> {right.get(name)!r}"
        for name in sorted(set(left) | set(right))
        if left.get(name) != right.get(name)
    ]


def flat_with(saved: Any, wanted: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`flat(saved)`, with the `defaults` of what `wanted` has and the earlier version that saved it did not know."""
    known = flat(wanted)
    return {name: value for name, value in defaults.items() if name in known} | (
        flat(saved) if isinstance(saved, Mapping) else {}
    )


@contextlib.contextmanager
def held(
    path: Path, wanted: Mapping[str, Any], what: str, result: str, defaults: Mapping[str, Any] = NONE
) -> Iterator[None]:
    """Take the folder of `path` as `claim` does, and hold it alone while the block makes its file `result`.

    A `what` of other settings that was interrupted before it had its result is no hindrance. Errors: as `claim`;
    BusyError where another process is at work there.
    """
    folder = path.parent
    begun = path.exists() and not (folder / result).exists()
    if not begun:
        claimed(path, wanted, what, defaults)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another folder.") from None
    with store.folder_lock(folder, f"making the {what} in"):
        if begun and not (folder / result).exists():
            store.write_json(path, dict(wanted))
        claim(path, wanted, what, defaults)
        yield


def claim(path: Path, wanted: Mapping[str, Any], what: str, defaults: Mapping[str, Any] = NONE) -> None:
    """Take the folder of `path` for a `what` of these settings, saved under `path`.

    `defaults` are those of settings that a folder of an earlier version may not have on record.
    Errors: UserError with the differences where it holds a `what` of other settings, or where it holds other things.
    """
    if claimed(path, wanted, what, defaults):
        return
    try:
        store.write_json(path, dict(wanted))
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written to ({error.strerror}); choose another folder.") from None


def claimed(path: Path, wanted: Mapping[str, Any], what: str, defaults: Mapping[str, Any] = NONE) -> bool:
    """Whether the folder of `path` is taken for this very `what`; False where it is free. Errors: as `claim`."""
    folder = path.parent
    try:
        if path.exists():
            changed = differences(flat_with(store.read_json(path), wanted, defaults), wanted)
            if changed:
                listed = "\n  ".join(changed)
                one = f"an {what}" if what[0] in "aeiou" else f"a {what}"
                raise UserError(
                    f"{folder} holds {one} of other settings; use them again or another folder:\n  {listed}"
                )
            return True
        # What a kill leaves, and what stays where all that does not begin with a dot was deleted, is nothing.
        if folder.exists() and any(
            entry.name != store.LOCK and not store.is_temporary(entry.name, path.name) for entry in folder.iterdir()
        ):
            raise UserError(f"{folder} is not empty and holds no {what}; choose another folder.")
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}); choose another folder.") from None
    return False


def check(holds: bool, sentence: str) -> None:
    """Raise UserError(sentence) unless `holds`; for the __post_init__ of configs."""
    if not holds:
        raise UserError(sentence)
