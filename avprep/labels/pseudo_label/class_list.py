"""The classes of a zero-shot label column, out of the user's file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avprep.errors import UserError
from avprep.shared.errors import listed
from avprep.shared.text import is_comment, opened


@dataclass(frozen=True)
class NamedClass:
    """A class, and the words for it in prompts: its name where the user gives no others."""

    name: str
    words: tuple[str, ...]


def read_classes(path: Path) -> list[NamedClass]:
    """The classes of a file, in its order: one a line, `dog` or `dog: dog, puppy`.

    The name ends at the first colon that a blank or the end of the line follows; synonyms are divided by commas. A line
    without such a colon is one name, whatever commas it has. Empty lines and comments (#) are ignored. Errors:
    UserError with all lines that cannot be used, where there are fewer than two classes, and where it is not UTF-8.
    """
    classes: dict[str, NamedClass] = {}
    problems = []
    with opened(path) as text:
        for number, line in enumerate(text, 1):
            if not line.strip() or is_comment(line):
                continue
            name, colon, rest = f"{line.strip()} ".partition(": ")
            name, words = name.strip(), tuple(word.strip() for word in rest.split(",") if word.strip())
            if not name:
                problems.append(f"line {number}: no name before the colon")
            elif colon and not words:
                problems.append(f"line {number}: no synonym after the colon of {name!r}")
            elif name in classes:
                problems.append(f"line {number}: {name!r} is there twice; write its synonyms in one line")
            else:
                classes[name] = NamedClass(name, words or (name,))
    if problems:
        raise UserError(f"{path} cannot be used:{listed(problems)}")
    if len(classes) < 2:
        raise UserError(f"{path} has {len(classes)} classes and needs two or more to choose from; write one a line.")
    return list(classes.values())
