"""The source of both packages, for tests of what is not to stand there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

from tests.conftest import REPOSITORY

Node = TypeVar("Node", bound=ast.expr)


@cache
def tree_of(path: Path) -> ast.Module:
    """The tree of a source file, read once in a session."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def expressions(kind: type[Node]) -> Iterator[tuple[str, Node]]:
    """(PATH:LINE, expression) of every expression of a kind."""
    for package in ("avprep", "avtrain"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            for node in ast.walk(tree_of(path)):
                if isinstance(node, kind):
                    yield f"{path.relative_to(REPOSITORY)}:{node.lineno}", node
