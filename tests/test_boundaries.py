"""Who may import whom. Read from the source; in a subprocess where what an import loads is the question."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

DECODERS = {"av", "decord", "ffmpeg", "imageio_ffmpeg", "librosa"}
PURE = {"numpy", "avtrain"}


def modules(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def inside(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def test_avprep_never_imports_avtrain():
    assert [inside(path) for path in modules("avprep") if "avtrain" in roots(path)] == []


def test_avprep_imports_torch_in_pseudo_label_alone():
    found = {inside(path) for path in modules("avprep") if roots(path) & {"torch", "torchvision", "torchaudio"}}
    assert found == {"avprep/labels/pseudo_label.py"}


def test_decoders_are_imported_in_media_alone():
    found = [
        inside(path)
        for package in ("avprep", "avtrain")
        for path in modules(package)
        if roots(path) & DECODERS and not inside(path).startswith("avprep/media/")
    ]
    assert found == []


def test_avtrain_imports_schema_dataset_and_shared_of_avprep():
    allowed = ("avprep.schema", "avprep.dataset", "avprep.shared")
    for path in modules("avtrain"):
        if inside(path).startswith(("avtrain/reproduce/demo.py", "avtrain/reproduce/", "avtrain/embed.py")):
            continue
        for name in imports(path):
            if name.split(".")[0] == "avprep":
                assert name.startswith(allowed), f"{inside(path)} imports {name}"


def test_sampling_is_pure():
    impure = {"os", "time", "datetime", "pathlib", "io", "random", "secrets", "threading", "subprocess", "socket"}
    for path in modules("avtrain/sampling"):
        used = roots(path) - {"__future__"}
        foreign = {name for name in used if name not in sys.stdlib_module_names} - PURE
        assert not foreign, f"{inside(path)} imports {foreign}"
        assert not used & impure, f"{inside(path)} imports {used & impure}"
        for name in imports(path):
            assert not name.startswith("avtrain") or name.startswith("avtrain.sampling"), f"{inside(path)}: {name}"


def test_schema_needs_numpy_and_pyarrow_alone():
    foreign = {n for n in roots(REPOSITORY / "avprep/schema.py") if n not in sys.stdlib_module_names}
    assert foreign <= {"numpy", "pyarrow"}


def test_the_environment_of_torchrun_is_read_in_distributed_alone():
    for path in [*modules("avprep"), *modules("avtrain")]:
        words = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
        assert path.name == "distributed.py" or not words & {"RANK", "LOCAL_RANK", "WORLD_SIZE"}, inside(path)


COMMANDS = [
    ["avprep"],
    ["avprep", "manifest"],
    ["avprep", "manifest", "folder"],
    ["avprep", "manifest", "vggsound"],
    ["avprep", "manifest", "tau2021"],
    ["avprep", "manifest", "fsdnoisy18k"],
    ["avprep", "manifest", "table"],
    ["avprep", "demo"],
    ["avprep", "build-shards"],
    ["avprep", "finalize"],
    ["avprep", "preview"],
    ["avprep", "verify"],
    ["avprep", "inspect"],
    ["avprep", "doctor"],
    ["avprep", "pseudo-label"],
    ["avprep", "add-labels"],
    ["avprep", "add-noise"],
    ["avprep", "exclude"],
    ["avtrain"],
    ["avtrain", "plan"],
    ["avtrain", "pretrain"],
    ["avtrain", "import-released"],
    ["avtrain", "evaluate"],
    ["avtrain", "compare"],
    ["avtrain", "report"],
    ["avtrain", "embed"],
    ["avtrain", "export"],
    ["avtrain", "demo"],
    ["avtrain", "reproduce"],
    ["avtrain", "reproduce", "av-digits"],
    ["avtrain", "reproduce", "table1"],
    ["avtrain", "reproduce", "table2"],
    ["avtrain", "bench"],
    ["avtrain", "doctor"],
]
SMALL = {
    "avprep",
    "avprep.config",
    "avprep.errors",
    "avprep.shared",
    "avprep.shared.caches",
    "avprep.shared.commands",
    "avprep.shared.configs",
    "avprep.shared.errors",
    "avprep.shared.locks",
    "avprep.shared.outputs",
    "avprep.shared.signals",
    "avprep.shared.store",
    "avprep.shared.streams",
    "avprep.shared.text",
    "avprep.shared.urls",
    "avtrain",
    "avtrain.cli",
    "avtrain.config",
    "avprep.cli",
}
SMALL |= {f"{package}.cli.{path.stem}" for package in ("avprep", "avtrain") for path in modules(f"{package}/cli")}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_loads_click_and_our_small_modules_alone(command):
    script = f"""
import json, sys
before = set(sys.modules)
from {command[0]}.cli import main
try:
    main({[*command[1:], "--help"]!r}, prog_name="x")
except SystemExit as end:
    assert end.code == 0, end.code
print(json.dumps(sorted(set(sys.modules) - before)), file=sys.stderr)
"""
    whole = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n{script}"
    done = subprocess.run([sys.executable, "-I", "-c", whole], capture_output=True, text=True, check=True)
    assert "Usage:" in done.stdout
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    ours = {name for name in loaded if name.split(".")[0] in ("avprep", "avtrain")}
    assert ours <= SMALL
    foreign = {name.split(".")[0] for name in loaded - ours} - set(sys.stdlib_module_names)
    assert foreign <= {"click"}, foreign


def test_every_command_is_in_the_list_above():
    import click

    import avprep.cli
    import avtrain.cli

    def walk(command: click.Command, path: list[str]) -> list[list[str]]:
        below = command.commands.items() if isinstance(command, click.Group) else ()
        return [path] + [found for name, child in below for found in walk(child, [*path, name])]

    found = walk(avprep.cli.main, ["avprep"]) + walk(avtrain.cli.main, ["avtrain"])
    assert sorted(found) == sorted(COMMANDS)
