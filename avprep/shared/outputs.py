"""What commands write to: never what they read, and no file that they did not write unless --overwrite is given.

Every parameter that names an output has the type Output; `check_outputs` holds it against the command's other paths
before the command begins. Folders are claimed where they are written (configs.claim and its like), files here.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from avprep.shared.errors import UserError
from avprep.shared.urls import is_url

OVERWRITE, READ = "avprep.overwrite", "avprep.read"
NO_FOLDER = frozenset(
    (".csv", ".htm", ".html", ".json", ".jsonl", ".onnx", ".parquet", ".pt", ".pth", ".safetensors", ".tar", ".zip")
)
HEAD_BYTES = 4096
REPORT_ENDING = ".report.json"
"""of the file beside a manifest that lists what is odd about its clips"""


class PathOrUrl(click.Path):
    """A path, or a URL as text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if is_url(value) else super().convert(value, param, ctx)


class Output(PathOrUrl):
    """A file whose name ends in one of `suffixes`, or without them a folder; a path, where `remote` or a URL as text.

    `own` returns whether an existing file is one that the command wrote. `beside` are endings of further files, each
    in place of the suffix, with an `own` of theirs.
    """

    def __init__(
        self,
        suffixes: tuple[str, ...] = (),
        own: Callable[[Path], bool] = lambda _path: False,
        beside: dict[str, Callable[[Path], bool]] | None = None,
        remote: bool = False,
    ) -> None:
        super().__init__(path_type=Path, dir_okay=not suffixes, file_okay=bool(suffixes))
        self.suffixes, self.own, self.beside, self.remote = suffixes, own, beside or {}, remote

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        out = super().convert(value, param, ctx)
        if isinstance(out, str) and not self.remote:
            raise UserError(f"{out} is a URL; give a path of this machine, and copy what is written there.")
        name = Path(out)
        if self.suffixes and name.suffix.lower() not in self.suffixes:
            raise UserError(f"{out} must end in {' or '.join(self.suffixes)}, by which its format is known.")
        if self.suffixes and isinstance(out, str) and (out.endswith("/") or out.count("/") < 3):
            raise UserError(f"{out} names no file; give one, such as s3://bucket/name{self.suffixes[0]}.")
        if not self.suffixes and name.suffix.lower() in NO_FOLDER and not name.is_dir():
            raise UserError(f"{out} is named like a file, and the command writes a folder; choose another name.")
        return out

    def files_of(self, out: Path | str) -> dict[Path | str, Callable[[Path], bool]]:
        """Each file that the command writes for `out`, with what recognises an earlier one."""
        files: dict[Path | str, Callable[[Path], bool]] = {out: self.own} if self.suffixes else {}
        return files | {beside_of(out, ending): own for ending, own in self.beside.items()}


def beside_of(out: Path | str, ending: str) -> Any:
    """The path or URL of a file beside `out`: its name with `ending` in place of the suffix."""
    return out.with_suffix(ending) if isinstance(out, Path) else f"{out.rpartition('.')[0]}{ending}"


def overwrite_option() -> click.Option:
    """The option --overwrite, which commands with an Output that is a file have."""

    def note(ctx: click.Context, _param: click.Parameter, given: bool) -> None:
        ctx.meta[OVERWRITE] = given

    text = "Replace a file that is there, also one that this command did not write."
    return click.Option(["--overwrite"], is_flag=True, expose_value=False, callback=note, help=text, show_default=False)


def may_overwrite() -> bool:
    """Whether --overwrite was given to the command that runs."""
    return bool(click.get_current_context().meta.get(OVERWRITE))


def check_outputs(ctx: click.Context) -> None:
    """Raise UserError where an output of the command is one of its inputs, or a file that is not its to replace."""
    inputs, outputs = _paths(ctx)
    for kind, name, out in outputs:
        files = kind.files_of(out)
        for written in (out, *files):
            for other, path in inputs:
                if same(written, path):
                    raise UserError(f"{written} is what the command reads ({_plain(other)}); choose another {name}.")
        for other_kind, other, path in outputs:
            if other_kind is not kind and same(out, path):
                raise UserError(f"{out} is given twice, as {other} and as {name}; choose another {name}.")
        folders = [path for _, path in inputs if isinstance(path, Path) and path.is_dir()]
        for written, own in files.items():
            _check_file(written, own, name, folders, bool(ctx.meta.get(OVERWRITE)))


def _plain(name: str) -> str:
    """A name without what may follow it, such as DIR of DIR[:WEIGHT]..."""
    return name.partition("[:")[0]


def same(one: Path | str, other: Path | str) -> bool:
    """Whether two paths, or two URLs, are of one file or folder."""
    if isinstance(one, str) or isinstance(other, str):
        return str(one).rstrip("/") == str(other).rstrip("/")
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def check_is_ours(path: Path, own: Callable[[Path], bool], shown: Path | str) -> None:
    """Raise UserError where a file that is there has contents, none of which `own` knows."""
    if not path.is_file():
        raise UserError(f"{shown} is there and no ordinary file; choose another name.")
    if path.stat().st_size > 0 and not own(path):
        raise UserError(f"{shown} is there, and this command did not write it; choose another name or --overwrite.")


def _check_file(
    written: Path | str, own: Callable[[Path], bool], name: str, folders: list[Path], overwrite: bool
) -> None:
    with _at_hand(written) as path:
        if path is None:
            return
        if not overwrite:
            check_is_ours(path, own, written)
        elif isinstance(written, Path) and path.stat().st_size > 0 and not own(path):
            around = next(
                (
                    folder
                    for folder in folders
                    if Path(os.path.realpath(written)).is_relative_to(os.path.realpath(folder))
                ),
                None,
            )
            if around is not None:
                raise UserError(f"{written} is a part of what the command reads ({around}); choose another {name}.")


@contextlib.contextmanager
def _at_hand(out: Path | str) -> Iterator[Path | None]:
    """An existing file, for a URL a copy of it; None where it does not exist."""
    if isinstance(out, Path):
        yield out if os.path.lexists(out) and out.exists() else None
        return
    import tempfile

    from avprep.shared.mirror import fetch
    from avprep.shared.remote import RemotePath

    remote = RemotePath(out)
    remote.check_writable()
    with tempfile.TemporaryDirectory(prefix="avprep-") as scratch:
        copy = Path(scratch) / (remote.name or "file")
        try:
            fetch(remote, copy)
        except FileNotFoundError:
            yield None
        else:
            yield copy


def _paths(ctx: click.Context) -> tuple[list[tuple[str, Path | str]], list[tuple[Output, str, Path | str]]]:
    """(inputs as option and path, outputs as type, option and path) of the call."""
    inputs: list[tuple[str, Path | str]] = list(ctx.meta.get(READ, ()))
    outputs: list[tuple[Output, str, Path | str]] = []
    for param in ctx.command.params:
        value = ctx.params.get(param.name or "")
        if not isinstance(param.type, click.Path) or not value:
            continue
        for one in value if isinstance(value, tuple) else (value,):
            path = one if is_url(one) else Path(one)
            if isinstance(param.type, Output):
                outputs.append((param.type, _name_of(param), path))
            else:
                inputs.append((_name_of(param), path))
    return inputs, outputs


def note_input(ctx: click.Context, param: click.Parameter | None, url: str) -> None:
    """Count a URL among the inputs of the call whose parameter has a copy of it as its value."""
    ctx.meta.setdefault(READ, []).append(("" if param is None else _name_of(param), url))


def _name_of(param: click.Parameter) -> str:
    return param.opts[0] if isinstance(param, click.Option) else param.human_readable_name


def is_page(kind: str) -> Callable[[Path], bool]:
    """Recognises a page of shared.html of this kind."""
    return lambda path: generator(kind).encode() in _head(path)


def generator(kind: str) -> str:
    """The element that names the program that wrote a page."""
    return f'<meta name="generator" content="avprep-avtrain {kind}">'


def is_json_lines(*names: str) -> Callable[[Path], bool]:
    """Recognises JSON lines whose first object has exactly these names."""

    def own(path: Path) -> bool:
        with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as lines:
            first = json.loads(next(lines, "null"))
            return isinstance(first, dict) and first.keys() == set(names)
        return False

    return own


def is_json_object(names: Callable[[], set[str]]) -> Callable[[Path], bool]:
    """Recognises a JSON object that has no other names than these."""

    def own(path: Path) -> bool:
        with contextlib.suppress(OSError, ValueError):
            value = json.loads(path.read_text(encoding="utf-8"))
            return isinstance(value, dict) and bool(value) and value.keys() <= names()
        return False

    return own


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""
