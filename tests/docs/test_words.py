"""One word for one thing: words that the project does not use, in README, the pages, `--help`, messages, docstrings,
comments and names."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.conftest import REPOSITORY
from tests.docker.recipes import PROGRAMS
from tests.docs.pages import FENCE, PAGES, name_of
from tests.source import tree_of

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


TAGS = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|<[^<>]*>", re.DOTALL)
SCRIPT = "querySelector"


def messages(path: Path) -> Iterator[str]:
    """The strings of a source file that have a space and are no docstrings, each value in them as {}."""
    nodes = list(ast.walk(tree_of(path)))
    others = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    others |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        text = ""
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in others:
            text = node.value
        text = TAGS.sub("", text)
        if " " in text and SCRIPT not in text:
            yield text


def remarks(path: Path) -> Iterator[str]:
    """The docstrings and comments of a source file, without the code in them."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield CODE.sub("", node.value.value)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield CODE.sub("", token.string)


NAMES = "tell|tells|told|say|says|said|found|place|places|whence|heard|lack|lacks|lacking|stands|stood"
NAME = re.compile(rf"(?:^|_)({NAMES})(?=_|$)", re.IGNORECASE)
FINE_NAMES = {"tell", "place", "compile_in_place", "found_inf"}
"""`tell` of a file, torch's `found_inf`, `place` a model on a device, a module's own `compile` in place."""


def names(path: Path) -> Iterator[str]:
    """The names in a source file: of variables, arguments, functions, classes, attributes, modules."""
    for node in ast.walk(tree_of(path)):
        for field in ("id", "arg", "attr", "name", "asname", "module"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield from name.split(".")


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
    assert lines == []


def test_docstrings_and_comments_use_the_projects_words():
    lines = [f"{name_of(path)}: {line}" for path in SOURCES for text in remarks(path) for line in ruled_out(text)]
    assert lines == []


def test_names_use_the_projects_words():
    lines = {f"{name_of(path)}: {name}" for path in SOURCES for name in names(path) if NAME.search(name)}
    assert sorted(line for line in lines if line.rpartition(" ")[2] not in FINE_NAMES) == []


SOURCE = """
import a.told

def f(found_there):
    'A docstring that says it.'
    kind.heard = 1  # told `told`
    raise UserError(f'{path} is ' + ('told so' if a else 'said'), 3)
    log.info('found %s', rows)
"""


def test_messages_remarks_and_names_of_a_source_are_read(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(SOURCE)
    assert sorted(messages(path)) == ["found %s", "told so", "{} is "]
    assert [len(ruled_out(text)) for text in remarks(path)] == [1, 1]
    assert {name for name in names(path) if NAME.search(name)} == {"found_there", "heard", "told"}


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
