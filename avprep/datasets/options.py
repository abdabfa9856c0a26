"""The options of an adapter as its `rows` take them: checked, files of the package and at URLs at hand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from avprep.datasets.adapter import Adapter, Option
from avprep.datasets.lists import list_path, packaged
from avprep.datasets.registry import ADAPTERS
from avprep.errors import UserError
from avprep.shared.configs import check
from avprep.shared.mirror import near
from avprep.shared.urls import path_or_url


def adapter_of(name: str) -> Adapter:
    """The adapter of a dataset. Errors: UserError with the datasets that there are."""
    check(name in ADAPTERS, f"There is no dataset {name!r}; there are {', '.join(ADAPTERS)}.")
    return ADAPTERS[name]


@contextlib.contextmanager
def values_of(adapter: Adapter, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The value of each option by its keyword; copies of files at URLs last as long as the block.

    Errors: TypeError for a keyword that the dataset does not have; UserError for a missing or wrong value.
    """
    known = {option.name for option in adapter.options}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise TypeError(f"{adapter.name} has no setting {unknown[0]!r}; it has {', '.join(sorted(known)) or 'none'}.")
    with contextlib.ExitStack() as held:
        yield {option.name: _value(adapter, option, given.get(option.name), held) for option in adapter.options}


def _value(adapter: Adapter, option: Option, given: Any, held: contextlib.ExitStack) -> Any:
    if option.kind == "flag":
        return bool(given)
    if given is None or given == ():
        if option.required:
            raise UserError(f"{adapter.name} needs {option.flag}: {option.help}")
        return () if option.many else _default(option)
    if option.kind == "file":
        paths = tuple(held.enter_context(_at_hand(one)) for one in (given if option.many else (given,)))
        return paths if option.many else paths[0]
    if option.kind == "choice" and given not in option.choices:
        raise UserError(f"{option.flag} {given!r} is not one of {', '.join(option.choices)}.")
    if option.kind == "number" and not (isinstance(given, int) and given >= 1):
        raise UserError(f"{option.flag} {given!r} is not a whole number of 1 or more.")
    return given


def _default(option: Option) -> Any:
    return packaged(option.default) if option.kind == "file" and option.default else option.default


def _at_hand(value: Path | str) -> contextlib.AbstractContextManager[Path]:
    """A path of this machine for a file at a path or URL, or a list of the package."""
    source = path_or_url(value)
    return near(source if isinstance(source, str) else list_path(source))
