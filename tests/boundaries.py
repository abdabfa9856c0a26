"""The rules of who may import whom, as data, and a checker that reads the source.

`python -m tests.boundaries [FOLDER]` prints how many entries each package has at its top, every import circle, every
import that points up, and every other broken rule. The exit status is 1 when a rule is broken.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

# fmt: off
ORDER = {
    "avprep": [
        "__main__", "cli", "__init__", "api", "synthetic", "sharing", "verify", "inspect", "preview", "doctor",
        "audio_features", "build", "quality", "datasets", "labels", "media", "manifest", "dataset", "config", "errors",
        "schema", "shared",
    ],
    "avtrain": [
        "__main__", "cli", "__init__", "api", "reproduce", "report", "training", "stages", "adapters", "embed",
        "evaluation", "inference", "runs", "data", "models", "sampling", "config", "distributed", "devices", "doctor",
    ],
}
# fmt: on
"""The wings of each package from top to bottom: a wing imports from those after it. `__init__`: the package itself."""

TAKES = {
    "avtrain": {"avprep.schema", "avprep.dataset", "avprep.config", "avprep.shared"},
    "avtrain.embed": {"avprep", "avprep.audio_features"},
    "avtrain.adapters": {"avprep.audio_features", "avprep.errors", "avprep.manifest", "avprep.media.arrays"},
    "avtrain.evaluation": {"avprep"},
    "avtrain.evaluation.retrieval": {"avprep.manifest"},
    "avtrain.stages": {"avprep.labels"},
    "avtrain.report.examples": {"avprep"},
    "avtrain.report.errors": {"avprep.preview"},
    "avtrain.report.watch": {"avprep.preview"},
    "avtrain.reproduce": {
        "avprep",
        "avprep.build",
        "avprep.datasets",
        "avprep.labels",
        "avprep.manifest",
        "avprep.synthetic",
    },
    "avtrain.cli.tables": {"avprep.cli"},
}
"""What avtrain and some of its parts take from avprep; a part may take what those around it take."""

DECODERS = {"av", "decord", "ffmpeg", "imageio_ffmpeg", "librosa"}
TORCH = {"torch", "torchaudio", "torchvision"}
ALONE = [
    ("avprep", DECODERS, ("avprep.media",)),
    ("avtrain", DECODERS, ("avprep.media",)),
    ("avprep", TORCH | {"transformers"}, ("avprep.labels.pseudo_label",)),
    ("avprep", {"huggingface_hub"}, ("avprep.labels.pseudo_label", "avprep.shared.hub")),
    ("avtrain", {"huggingface_hub"}, ()),
    ("avtrain", {"heareval", "mteb", "pytorch_lightning", "xares"}, ("avtrain.adapters",)),
]
"""(a package, libraries, the only parts of it that import them)"""

CLOCKS_AND_FILES = {
    "datetime",
    "io",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}
NEEDS = {
    "avtrain.sampling": {"numpy", "avtrain.sampling"} | set(sys.stdlib_module_names) - CLOCKS_AND_FILES,
    "avprep.schema": {"numpy", "pyarrow"} | set(sys.stdlib_module_names),
}
"""All that these parts import: planning depends on its arguments alone, and the format on two libraries."""

RANKS = {"RANK", "LOCAL_RANK", "WORLD_SIZE"}
"""The environment of torchrun, read in avtrain.distributed alone."""

PUBLIC = (
    "avprep",
    "avprep.dataset",
    "avtrain",
    "avtrain.data",
    "avtrain.sampling",
    "avtrain.models",
    "avtrain.training",
    "avtrain.evaluation",
    "avtrain.embed",
    "avtrain.inference",
)
"""The modules that users import from: each declares `__all__`."""

SMALL = {"__init__", "cli", "config", "datasets", "errors", "shared"}
LIGHT = {"click", *sys.stdlib_module_names}
"""The wings of ours and the other libraries that `--help` of a command may load."""


@dataclass(frozen=True)
class Module:
    """A source file: its dotted name, the dotted names that it imports anywhere, and its strings."""

    name: str
    tree: ast.Module
    imports: frozenset[str]
    strings: frozenset[str]


def inside(name: str, part: str) -> bool:
    """Whether a dotted name is a part or below it, by whole names: avprep.datasets is not in avprep.dataset."""
    return name == part or name.startswith(f"{part}.")


def wing(name: str) -> str:
    """The entry at the top of a package that a dotted name belongs to."""
    return name.split(".")[1] if "." in name else "__init__"


def read(root: Path) -> dict[str, Module]:
    """The modules of both packages below `root`, by dotted name."""
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for package in ORDER
        for path in sorted((root / package).rglob("*.py"))
    }
    known, modules = set(paths), {}
    for name, path in paths.items():
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        nodes = list(ast.walk(tree))
        strings = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        written = {dotted for node in nodes for dotted in _imported(node, known, path)}
        by_string = strings & known - set(ORDER)
        modules[name] = Module(name, tree, frozenset(written | by_string), frozenset(strings))
    return modules


def _imported(node: ast.AST, known: set[str], path: Path) -> Iterator[str]:
    """The dotted names that a statement imports: modules of ours in full, names out of modules by their module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        if node.level:
            raise ValueError(f"{path}:{node.lineno}: relative import")
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            yield whole if whole in known else str(node.module)


Modules = dict[str, Module]


def _ours(modules: Modules, name: str) -> list[str]:
    """The modules of ours that a module imports: lazily, under TYPE_CHECKING or by a string too."""
    return sorted(one for one in modules[name].imports if one in modules and one != name)


def packages_apart(modules: Modules) -> list[str]:
    """Modules of avprep that import avtrain."""
    return [
        f"{name} imports {one}"
        for name, module in modules.items()
        if inside(name, "avprep")
        for one in sorted(module.imports)
        if inside(one, "avtrain")
    ]


def taken_from_avprep(modules: Modules) -> list[str]:
    """Imports of avtrain from parts of avprep that TAKES does not list."""
    broken = []
    for name, module in modules.items():
        allowed = {part for taker, parts in TAKES.items() if inside(name, taker) for part in parts}
        for one in sorted(module.imports):
            if not inside(name, "avtrain") or not inside(one, "avprep"):
                continue
            if not any(one == part if part == "avprep" else inside(one, part) for part in allowed):
                broken.append(f"{name} imports {one}")
    return broken


def circles(modules: Modules) -> list[str]:
    """Groups of modules each of which leads to every other by imports."""
    reached: dict[str, set[str]] = {}
    for name in modules:
        reached[name], waiting = set(), [name]
        while waiting:
            new = set(_ours(modules, waiting.pop())) - reached[name]
            reached[name] |= new
            waiting += new
    groups = {tuple(sorted(one for one in reached[name] if name in reached[one])) for name in modules}
    return [" <-> ".join(group) for group in sorted(groups) if group]


def pointing_up(modules: Modules) -> list[str]:
    """Imports of a wing from one above it, and modules of wings that ORDER does not name."""
    broken = [f"{name}: no wing of ORDER" for name in modules if wing(name) not in ORDER[name.split(".")[0]]]
    if broken:
        return broken
    for name in modules:
        order = ORDER[name.split(".")[0]]
        for one in _ours(modules, name):
            if one.split(".")[0] == name.split(".")[0] and order.index(wing(one)) < order.index(wing(name)):
                broken.append(f"{name} imports {one}")
    return broken


def libraries_alone(modules: Modules) -> list[str]:
    """Imports of libraries outside the only parts that may import them."""
    return [
        f"{name} imports {one}"
        for package, libraries, parts in ALONE
        for name, module in modules.items()
        if inside(name, package) and not any(inside(name, part) for part in parts)
        for one in sorted(module.imports)
        if one.split(".")[0] in libraries
    ]


def more_than_needed(modules: Modules) -> list[str]:
    """Imports of parts that NEEDS describes in full, beyond what it lists."""
    return [
        f"{name} imports {one}"
        for part, allowed in NEEDS.items()
        for name, module in modules.items()
        if inside(name, part)
        for one in sorted(module.imports)
        if not any(inside(one, root) for root in allowed)
    ]


def undeclared(modules: Modules) -> list[str]:
    """Public modules without `__all__`."""
    return [
        f"{name} declares no __all__"
        for name in PUBLIC
        if name in modules and not any("__all__" in _assigned(node) for node in modules[name].tree.body)
    ]


def _assigned(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def ranks_read(modules: Modules) -> list[str]:
    """Modules besides avtrain.distributed that name torchrun's environment."""
    return [
        f"{name} names {' '.join(sorted(module.strings & RANKS))}"
        for name, module in modules.items()
        if name != "avtrain.distributed" and module.strings & RANKS
    ]


RULES: dict[str, Callable[[Modules], list[str]]] = {
    "avprep imports avtrain": packages_apart,
    "avtrain takes more of avprep than it may": taken_from_avprep,
    "import circle": circles,
    "import that points up": pointing_up,
    "library imported outside its part": libraries_alone,
    "sampling or schema imports more than it needs": more_than_needed,
    "public module without __all__": undeclared,
    "environment of torchrun read outside distributed": ranks_read,
}


def loaded_by_help(root: Path, commands: list[list[str]]) -> list[str]:
    """What `--help` of commands of one program loads besides click, the standard library and wings of SMALL."""
    script = f"""
import contextlib, io, json, sys
sys.path.insert(0, {str(root)!r})
known, loaded = set(sys.modules), []
from {commands[0][0]}.cli import main
for command in {commands!r}:
    with contextlib.redirect_stdout(io.StringIO()) as page:
        try:
            main([*command[1:], "--help"], prog_name="x")
        except SystemExit as end:
            assert end.code == 0, end.code
    assert "Usage:" in page.getvalue()
    loaded.append(sorted(set(sys.modules) - known))
    known |= set(sys.modules)
print(json.dumps(loaded))
"""
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    return [
        f"{' '.join(command)} --help loads {name}"
        for command, names in zip(commands, json.loads(done.stdout), strict=True)
        for name in names
        if (wing(name) not in SMALL if name.split(".")[0] in ORDER else name.split(".")[0] not in LIGHT)
    ]


def rooms(root: Path, package: str) -> int:
    """How many modules and sub-packages a package has at its top, without `__init__` and `__main__`."""
    entries = (root / package).iterdir()
    names = {path.name for path in entries if path.suffix == ".py" or (path / "__init__.py").exists()}
    return len(names - {"__init__.py", "__main__.py"})


def main(root: Path) -> int:
    """1 when a rule is broken, after printing what the module's docstring describes."""
    modules = read(root)
    for package in ORDER:
        print(f"{package}: {rooms(root, package)} entries at the top")
    broken = {rule: check(modules) for rule, check in RULES.items()}
    for rule, lines in broken.items():
        print(f"{rule}: {len(lines)}")
        for line in lines:
            print(f"  {line}")
    return int(any(broken.values()))


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY))
