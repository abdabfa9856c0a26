"""Conditions on the clips of a dataset, such as `silence < 0.9 and motion > 0.01`: parsed by rule, never evaluated.

A condition compares columns with numbers or texts: <, <=, >, >=, ==, !=, `in` and `not in` a list, joined by `and`,
`or`, `not` and parentheses. A comparison with a value that a clip does not have is neither true nor false, and so is
`not` of it: such a clip is selected only where the rest of the condition decides.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from avprep.shared.errors import UserError

MOST_CHARACTERS = 10_000
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
}
EXAMPLE = "such as: silence < 0.9 and motion > 0.01"


def columns_of(condition: str) -> list[str]:
    """Names of the columns in a condition, in order, each once. Errors: UserError where it is none."""
    names = [node.id for node in ast.walk(_parsed(condition)) if isinstance(node, ast.Name)]
    return list(dict.fromkeys(names))


def selected(condition: str, table: pa.Table) -> pa.ChunkedArray:
    """bool [rows]: whether the condition is true of a row of the table.

    Errors: UserError where it is no condition, names a column that the table does not have, or compares text with a
    number.
    """
    return pc.fill_null(_truth(_parsed(condition), table, condition), False)


def unknown_column(name: str, columns: Sequence[str]) -> UserError:
    """The error of a condition that names a column which is none of `columns`."""
    near = difflib.get_close_matches(name, columns, 1)
    hint = "".join(f"; did you mean {one!r}?" for one in near) or "."
    return UserError(f"There is no column {name!r}; there are {', '.join(columns)}{hint}")


def _parsed(condition: str) -> ast.expr:
    if len(condition) > MOST_CHARACTERS:
        raise UserError(f"The condition has more than {MOST_CHARACTERS} characters; make it shorter.")
    try:
        return ast.parse(condition.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        at = f" at character {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        raise UserError(f"{condition!r} is no condition{at}; write one {EXAMPLE}.") from None


def _truth(node: ast.expr, table: pa.Table, condition: str) -> Any:
    if isinstance(node, ast.BoolOp):
        join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
        truth = _truth(node.values[0], table, condition)
        for value in node.values[1:]:
            truth = join(truth, _truth(value, table, condition))
        return truth
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return pc.invert(_truth(node.operand, table, condition))
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        parts = [
            _compared(left, operator, right, table, condition)
            for left, operator, right in zip(sides[:-1], node.ops, sides[1:], strict=True)
        ]
        truth = parts[0]
        for part in parts[1:]:
            truth = pc.and_kleene(truth, part)
        return truth
    raise _wrong(node, condition, "is no comparison")


def _compared(left: ast.expr, operator: ast.cmpop, right: ast.expr, table: pa.Table, condition: str) -> Any:
    one = _value(left, table, condition)
    if isinstance(operator, (ast.In, ast.NotIn)):
        if not isinstance(right, (ast.List, ast.Tuple, ast.Set)) or not right.elts:
            raise _wrong(right, condition, "is no list of values, such as ['train', 'test']")
        values = [_value(item, table, condition) for item in right.elts]
        if not _is_column(one) or any(map(_is_column, values)) or {_is_text(one)} != set(map(_is_text, values)):
            raise _wrong(left, condition, "is not compared with values of its own kind")
        known = pc.is_valid(one)
        exact = one if pa.types.is_string(one.type) or pa.types.is_floating(one.type) else one.cast(pa.float64())
        inside = pc.is_in(exact, value_set=pa.array(values).cast(exact.type))
        return pc.if_else(known, inside if isinstance(operator, ast.In) else pc.invert(inside), None)
    if type(operator) not in COMPARISONS:
        raise _wrong(left, condition, "is compared in a way that a condition does not have")
    other = _value(right, table, condition)
    if not (_is_column(one) or _is_column(other)):
        raise _wrong(left, condition, "is compared with a value, not with a column")
    if _is_text(one) != _is_text(other):
        raise _wrong(left, condition, "and what it is compared with are not both numbers or both text")
    return COMPARISONS[type(operator)](_as_stored(one, other), _as_stored(other, one))


def _as_stored(value: Any, other: Any) -> Any:
    """A number as a column of 32-bit floats holds it, so that its 0.9 is the 0.9 of the condition."""
    if _is_column(value) or not _is_column(other) or not pa.types.is_floating(other.type):
        return value
    return pa.scalar(value, pa.float64()).cast(other.type, safe=False)


def _value(node: ast.expr, table: pa.Table, condition: str) -> Any:
    """A column of the table, a number or a text."""
    if isinstance(node, ast.Name):
        if node.id not in table.column_names:
            raise unknown_column(node.id, table.column_names)
        return table.column(node.id)
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        sign, node = (-1 if isinstance(node.op, ast.USub) else 1), node.operand
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            raise _wrong(node, condition, "is text and has no sign")
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(sign * value)
    if isinstance(value, str):
        return value
    raise _wrong(node, condition, "is neither a column, a number nor a text in quotes")


def _is_column(value: Any) -> bool:
    return isinstance(value, pa.ChunkedArray)


def _is_text(value: Any) -> bool:
    return pa.types.is_string(value.type) if _is_column(value) else isinstance(value, str)


def _wrong(node: ast.expr, condition: str, what: str) -> UserError:
    part = ast.get_source_segment(condition.strip(), node) or condition
    return UserError(f"{part!r} {what}; write a condition {EXAMPLE}.")
