"""A row of the table: what was checked or measured, how it went, and by which bound."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

PASS, FAIL, MEASURED, LEFT_OUT = "pass", "FAIL", "measured", "left out"


@dataclass(frozen=True)
class Row:
    """One line: `state` is one of those above, `numbers` are for the JSON file."""

    what: str
    state: str
    value: str
    bound: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)


def at_most(what: str, number: float, most: float) -> Row:
    """A number that passes where it is finite and not above `most`."""
    state = PASS if math.isfinite(number) and number <= most else FAIL
    return Row(what, state, f"{number:.2e}", f"<= {most:g}", {"value": number, "most": most})


def holds(what: str, fine: bool, value: str, **numbers: Any) -> Row:
    """Something that is so or not."""
    return Row(what, PASS if fine else FAIL, value, "", numbers)


def measured(what: str, value: str, **numbers: Any) -> Row:
    """A figure without a bound."""
    return Row(what, MEASURED, value, "", numbers)
