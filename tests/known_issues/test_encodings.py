"""Text is UTF-8 whatever the locale: no file is opened in the locale's encoding, and commands give the same bytes."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from avprep.cli import main
from avprep.shared import store
from tests.conftest import FIXTURES, REPOSITORY
from tests.source import expressions
from tests.train.forge import Forged, forge_dataset

LABELS = ("café", "音楽")
OTHERS = {"os", "tarfile", "wave", "av", "gzip", "container", "zipfile"}
"""whose open() opens no text"""


def constant(call: ast.Call, place: int, name: str) -> object:
    """The argument of a call at a place or by name; None where it is left out."""
    given = {one.arg: one.value for one in call.keywords}.get(name)
    if given is None and len(call.args) > place:
        given = call.args[place]
    return given.value if isinstance(given, ast.Constant) else given


def reads_by_locale(call: ast.Call) -> bool:
    """Whether a call opens text without saying which encoding it is in."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    owner = getattr(call.func, "value", None)
    if "encoding" in {one.arg for one in call.keywords}:
        return False
    if name in ("read_text", "write_text"):
        return len(call.args) < (2 if name == "write_text" else 1)
    if name in ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile"):
        if isinstance(owner, ast.Name) and (owner.id in OTHERS) and name == "open":
            return False
        default = "w+b" if name.endswith("TemporaryFile") else "r"
        of_path = name == "open" and owner is not None and getattr(owner, "id", "") != "io"
        return "b" not in str(constant(call, 0 if of_path or "Temp" in name else 1, "mode") or default)
    if name in ("run", "Popen", "check_output"):
        return any(one.arg in ("text", "universal_newlines") for one in call.keywords)
    return name in ("getpreferredencoding", "FileHandler")


def test_no_text_is_read_in_the_locales_encoding():
    assert [place for place, call in expressions(ast.Call) if reads_by_locale(call)] == []
    scripts = [path for path in (REPOSITORY / "docker").iterdir() if path.is_file()]
    assert [path.name for path in scripts if re.search(r"open\([^)\"]*\)", path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "code",
    ["open(p)", "p.open()", "open(p, 'w')", "p.read_text()", "p.write_text(t)", "run(c, text=True)", "io.open(p, 'a')"],
)
def test_such_calls_are_recognised(code):
    assert reads_by_locale(ast.parse(code).body[0].value)


# the commands


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Environments of a UTF-8 locale, of latin-1 where this machine can make one, and of C as old Pythons had it."""
    folder = tmp_path_factory.mktemp("locales")
    legacy = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    found = {"utf-8": {"LC_ALL": "C.UTF-8"}, "c": {"LC_ALL": "C", **legacy}}
    if shutil.which("localedef"):
        words = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / "en_US.ISO-8859-1")]
        subprocess.run(words, capture_output=True, check=False)
    if (folder / "en_US.ISO-8859-1").is_dir():
        found["latin-1"] = {"LC_ALL": "en_US.ISO-8859-1", "LOCPATH": str(folder), **legacy}
    return found


def python(environment: dict[str, str], code: str, *words: object, cwd: Path) -> bytes:
    """What a script prints."""
    script = cwd.with_name(f"{cwd.name}.py")  # decoding processes start from it
    script.write_text(code, encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, str(script), *map(str, words)],
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def run(environment: dict[str, str], command: str, *words: object, cwd: Path) -> bytes:
    """What a command prints."""
    code = f"from {command}.cli import main\nif __name__ == '__main__':\n    main()\n"
    return python(environment, code, *words, cwd=cwd)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name but for what tells of times."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and "reports" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


STEPS = """
from avprep.cli import main
from avprep.shared.text import use_utf8
if __name__ == "__main__":
    use_utf8()
    for words in (
        "manifest folder --root clips --out m.csv --test-share 0",
        "build-shards m.csv --out data --workers 1",
        "build-shards m.csv --out data --workers 1",
        "inspect data",
        "inspect data --json",
        "preview data --out p.html",
        "exclude data --ids ids.txt --reason für --date 2026-01-01",
    ):
        main(words.split(" "), standalone_mode=False)
"""


def worked(folder: Path, environment: dict[str, str]) -> dict[str, bytes]:
    """What the commands of avprep print and leave, from a folder of clips on."""
    for label in LABELS:
        (folder / "clips" / label).mkdir(parents=True)
        shutil.copy(FIXTURES / "audio" / "elec_blip.ogg", folder / "clips" / label / "tön.ogg")
    (folder / "ids.txt").write_text("音楽/tön.ogg\n", encoding="utf-8")
    printed = python(environment, STEPS, cwd=folder)
    return {"printed": printed, **content(folder)}


@pytest.fixture(scope="module")
def under_utf8(locales, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return worked(tmp_path_factory.mktemp("locale") / "utf-8", locales["utf-8"])


@pytest.mark.slow
def test_the_commands_under_utf8(under_utf8):
    """What the others are held against."""
    for label in LABELS:
        assert all(label.encode() in under_utf8[name] for name in ("printed", "m.csv", "data/dataset.json", "p.html"))
    assert "für".encode() in under_utf8["data/excluded.jsonl"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["latin-1", "c"])
def test_commands_give_the_same_bytes_in_every_locale(tmp_path, locales, under_utf8, name):
    if name not in locales:
        pytest.skip("localedef, of the package locales, is not installed")
    found = worked(tmp_path / name, locales[name])
    assert found.keys() == under_utf8.keys()
    assert [key for key in found if found[key] != under_utf8[key]] == []
    said = run(locales[name], "avprep", "verify", "data", "--workers", "1", cwd=tmp_path / name)
    assert b"all is as it was built" in said


@pytest.mark.slow
def test_a_plan_in_every_locale(tmp_path, locales):
    forge_dataset(tmp_path / "größe", [Forged(label) for label in LABELS * 2])
    words = ("plan", "größe", "--strategy", "soft-positive", "--batch-size", "2")
    first, *others = (run(environment, "avtrain", *words, cwd=tmp_path) for environment in locales.values())
    assert "größe".encode() in first
    assert others == [first] * len(others)


LIBRARY = """
import json, sys
from pathlib import Path
from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits
from avprep.dataset import Dataset
if __name__ == "__main__":
    for _ in range(2):
        build_shards(Path("m.jsonl"), Path("data"), BuildConfig(), Limits())
    sys.stdout.buffer.write(json.dumps(Dataset("data").class_names).encode())
"""


@pytest.mark.slow
def test_a_users_own_script_gives_the_same_bytes(tmp_path, locales):
    """The library reads and writes UTF-8 without the mode that the commands start in."""
    rows = [{"clip_id": label, "label": label, "audio_path": "a.ogg"} for label in LABELS]
    found = []
    for name in ("utf-8", "latin-1" if "latin-1" in locales else "c"):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(FIXTURES / "audio" / "elec_blip.ogg", folder / "a.ogg")
        store.write_json_lines(folder / "m.jsonl", rows)
        found.append((python(locales[name], LIBRARY, cwd=folder), content(folder)))
    assert found[0] == found[1]


@pytest.mark.slow
def test_what_cannot_be_printed_is_printed_as_its_escape(tmp_path, locales):
    forge_dataset(tmp_path / "音é", [Forged("x")])
    asked = {**locales["utf-8"], "PYTHONIOENCODING": "latin-1"}
    assert b"\\u97f3\xe9: 1 clips" in run(asked, "avprep", "finalize", "音é", cwd=tmp_path)


def test_arguments_that_are_not_utf8_are_one_sentence():
    """Arrow takes no such path, and no table can name it."""
    done = CliRunner().invoke(main, ["inspect", os.fsdecode(b"/d\xff")])
    assert (done.exit_code, done.output) == (
        2,
        "error: The argument b'/d\\xff' is not UTF-8; rename the file or folder.\n",
    )
