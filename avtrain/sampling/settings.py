"""Settings of a strategy as text, `key=value,key=value`, become values of the types that its fields have."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any

TRUTHS = {"true": True, "false": False, "1": True, "0": False}


def settings_of(kind: type, name: str, text: str) -> dict[str, Any]:
    """The settings of the dataclass `kind` in `text`; `name` is the strategy's in messages.

    A field is an int, bool, str or float by its annotation, also beside None. Errors: ValueError with one sentence.
    """
    fields = {field.name for field in dataclasses.fields(kind) if field.init}
    values: dict[str, Any] = {}
    for setting in filter(None, text.split(",")):
        field, _, value = setting.partition("=")
        if field not in fields:
            raise ValueError(f"Strategy {name} has no setting {field!r}; it has {', '.join(sorted(fields)) or 'none'}.")
        if field in values:
            raise ValueError(f"Setting {field} of strategy {name} is given twice; give it once.")
        type_ = _type_of(kind, name, field)
        read, what = READERS[type_]
        try:
            values[field] = read(value)
        except (ValueError, KeyError):
            raise ValueError(f"Setting {field} of strategy {name} is {what}, not {value!r}.") from None
    return values


def _type_of(kind: type, name: str, field: str) -> type:
    """The type of a field that text can give. Errors: ValueError where there is none."""
    try:
        hint = typing.get_type_hints(kind)[field]
    except Exception as error:
        raise ValueError(f"The annotations of strategy {name} cannot be read ({error}).") from None
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        choices = [choice for choice in typing.get_args(hint) if choice is not type(None)]
        hint = choices[0] if len(choices) == 1 else hint
    if hint not in READERS:
        raise ValueError(f"Setting {field} of strategy {name} is no int, bool, str or float, so text cannot give it.")
    return hint


READERS: dict[type, tuple[Callable[[str], Any], str]] = {
    float: (float, "a number"),
    int: (int, "a whole number"),
    bool: (lambda text: TRUTHS[text.lower()], "true or false"),
    str: (str, "a text"),
}
"""how a type is read from text, and what it is for messages"""
