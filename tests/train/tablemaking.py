"""What the tests of avtrain reproduce's tables share."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from avtrain.cli import main
from avtrain.reproduce.tables.matrix import Site

FOLDERS = {name: Path("/clips") / name for name in ("vggsound", "tau2021", "fsdnoisy18k")}
SITE = Site(roots=FOLDERS, out=Path("/runs/table"), pseudo_weights=Path("/clips/b0.pth"))


def reproduce(table: str, *words: object) -> str:
    """What avtrain reproduce prints, which ends well."""
    done = CliRunner().invoke(main, ["reproduce", table, *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*words: object, table: str = "table1") -> str:
    """What it prints where it ends as with a mistake of the user's."""
    done = CliRunner().invoke(main, ["reproduce", table, *map(str, words)])
    assert done.exit_code == 2, done.output
    return done.output
