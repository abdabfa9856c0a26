"""One word for one thing: words that the project's text does not use, in README, the pages, `--help` and messages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.conftest import REPOSITORY
from tests.docker.recipes import PROGRAMS
from tests.docs.pages import FENCE, PAGES, name_of

RULED_OUT = {
    r"tell(s|ing)?|told": "print, report",
    r"say(s|ing)?|said": "print, report; of a file: records, names, gives",
    r"found": "what it is: rows, matches, names",
    r"places?": "position, folder, path, row",
    r"heads": "headers",
    r"whence": "origin",
    r"(can|could) be heard": "audible",
    r"number that is none": "NaN",
    r"lack(s|ed|ing)?": "missing",
    r"stands?|stood": "is, be",
}
"""Patterns of whole words, and what to write instead."""

FINE = re.compile(
    r"\b(in (its |their |that )?place( of)?|tak(e|es|ing) (its |their |the )?place|in place|"
    r"(projection |encoders, )heads|stand-ins?|stands? for)\b",
    re.IGNORECASE,
)
"""Idioms and the field's own terms."""

CODE = re.compile(r"`[^`\n]*`|\]\([^)\s]*\)|<[^>]+>")
WORDS = [(re.compile(rf"\b({pattern})\b", re.IGNORECASE), instead) for pattern, instead in RULED_OUT.items()]


def ruled_out(text: str) -> list[str]:
    """Each word of a text that is ruled out, with its surroundings and what to write instead."""
    plain = FINE.sub("", " ".join(text.split()))
    return [
        f"{word[0]!r} in '... {plain[max(word.start() - 40, 0) : word.end() + 40]} ...': write {instead}"
        for pattern, instead in WORDS
        for word in pattern.finditer(plain)
    ]


def helps(command: click.Command, words: str) -> dict[str, str]:
    """The page of `--help` of a command and of each below it."""
    pages = {words: command.get_help(click.Context(command, info_name=words))}
    for name, child in command.commands.items() if isinstance(command, click.Group) else ():
        pages |= helps(child, f"{words} {name}")
    return pages


HELPS = {name: text for program, main in PROGRAMS.items() for name, text in helps(main, program).items()}


SPEAKERS = {"ClipError", "ManifestError", "UserError", "debug", "echo", "error", "info", "print", "secho", "warning"}
"""What is called with a message."""


def messages(path: Path) -> Iterator[str]:
    """The messages in a source file: what errors, logs and prints are called with, each value in it as {}."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in SPEAKERS:
            yield from (text for argument in node.args for text in _texts(argument))


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.BinOp | ast.IfExp):
        yield from (text for child in ast.iter_child_nodes(node) for text in _texts(child))


LEFT = 27
"""How many messages are still to be rewritten."""

SOURCES = [path for package in ("avprep", "avtrain") for path in sorted((REPOSITORY / package).rglob("*.py"))]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages_use_the_projects_words(page):
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert ruled_out(CODE.sub("", prose)) == []


@pytest.mark.parametrize("command", HELPS)
def test_help_uses_the_projects_words(command):
    assert ruled_out(HELPS[command]) == []


def test_messages_use_the_projects_words():
    lines = [f"{name_of(path)}: {line}" for path in SOURCES for text in messages(path) for line in ruled_out(text)]
    assert len(lines) <= LEFT, lines


def test_messages_of_a_source_are_read(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("raise UserError(f'{path} is ' + ('told' if a else 'said'), 3)\nlogger.info('found %s', rows)\n")
    assert list(messages(path)) == ["{} is ", "told", "said", "found %s"]


@pytest.mark.parametrize(
    "text",
    [
        "It tells the user.",
        "The message says so.",
        "The rows found there.",
        "At each place of the index.",
        "The heads of shards.",
        "Labels that can be heard.",
        "A number that is none.",
        "A table that lacks rows.",
        "The clip stands in the list.",
    ],
)
def test_a_word_that_is_ruled_out_is_seen(text):
    assert len(ruled_out(text)) == 1


def test_idioms_are_fine():
    assert ruled_out("In place of a share, projection heads take its place; a stand-in.") == []
