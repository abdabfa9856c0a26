"""Every relative link leads somewhere, every command line is one that the programs take, and README stays short."""

from __future__ import annotations

import re
import runpy
import shlex

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.docker.recipes import of_ours, parsed
from tests.docs.pages import DOCS, PAGES, anchors, blocks, links, name_of

OURS = re.compile(r"\b(?:avprep|avtrain) [a-z]")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_to_files_and_headings(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{name_of(page)} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_command_lines_parse(page):
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = of_ours(shlex.split(line.split(" #")[0]))
            if words and not words[0].startswith("avprep-"):
                parsed(words)


def test_a_command_line_with_a_wrong_option_is_seen():
    with pytest.raises(Exception, match="no-such-option"):
        parsed(shlex.split("avtrain pretrain my-data --run runs/a --no-such-option"))


def test_commands_in_the_text_exist():
    for page in PAGES:
        for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
            if OURS.match(code) and not re.search(r"[|.{*]", code):
                words = code.split()
                from tests.docker.recipes import PROGRAMS

                assert words[1] in PROGRAMS[words[0]].commands, f"{name_of(page)}: {code}"


def test_all_pages_are_in_the_navigation():
    class Loader(yaml.SafeLoader):
        pass

    settings = yaml.load((REPOSITORY / "docs" / "mkdocs.yml").read_text(encoding="utf-8"), Loader)

    def files(entry):
        if isinstance(entry, str):
            return [entry]
        return [one for value in (entry.values() if isinstance(entry, dict) else entry) for one in files(value)]

    assert sorted(files(settings["nav"])) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_readme_is_short():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert len(text.encode()) <= 14_000


@pytest.mark.parametrize(("folder", "most"), [("tutorial", 150), ("guides", 120), ("concepts", 100), ("extend", 60)])
def test_pages_are_short(folder, most):
    for page in (DOCS / folder).glob("*.md"):
        assert len(page.read_text(encoding="utf-8").splitlines()) <= most, name_of(page)


def test_tables_of_the_pages_are_those_of_the_program():
    """`python docs/tables.py` writes them."""
    tables = runpy.run_path(str(REPOSITORY / "docs" / "tables.py"))
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
    for path, text in texts.items():
        assert tables["with_tables"](text) == text, f"{name_of(path)}: run python docs/tables.py"
    marked = [match["name"] for text in texts.values() for match in tables["MARKED"].finditer(text)]
    assert sorted(marked) == sorted(tables["TABLES"])


def test_the_readme_and_the_guides_have_every_strategy_and_loss():
    from avtrain.config.rules import LOSS_RULES, STRATEGY_RULES, loss_table, strategy_table

    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for name in STRATEGY_RULES:
        assert f"| `{name}` |" in readme or f"| `{name}:FILE` |" in readme, name
    tables = strategy_table() + loss_table()
    assert all(f"| `{name}" in tables for name in (*STRATEGY_RULES, *LOSS_RULES, "package:Class", "package:function"))
    for link in re.findall(r"\]\(([^)]+)\)", tables):
        assert (DOCS / "guides" / link).resolve().exists(), link
