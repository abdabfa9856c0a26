"""Values of JSON that came with data: what must be a whole number, a list of names, finite numbers. Names: names.py."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from avprep.shared.errors import UserError

MOST = 2**62
ALTERED = "so it was altered; get an unaltered copy, or make it again."


@contextmanager
def speaking_of(source: object) -> Iterator[None]:
    """What an unexpected shape of JSON makes the block raise, as a UserError that names the file."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UserError(
            f"{source} is not what avprep writes ({type(error).__name__}: {str(error)[:120]}), {ALTERED}"
        ) from None


def whole_number(value: object, what: str, most: int = MOST) -> int:
    """`value`, a whole number from 0 to `most`. Errors: ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"{what} is {str(value)[:40]}, not a whole number of 0 or more")
    return value


def texts(values: object, what: str) -> list[str]:
    """`values`, a list of strings. Errors: TypeError."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{what} is no list of names")
    return values


def finite(values: object, what: str, length: int) -> list[float]:
    """`values`, a list of so many finite numbers. Errors: ValueError."""
    if not isinstance(values, list) or len(values) != length:
        raise ValueError(f"{what} is no list of {length} numbers")
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
        raise ValueError(f"{what} holds what is no finite number")
    return values
