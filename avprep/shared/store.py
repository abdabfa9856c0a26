"""Files as whole things: atomic writes, JSON in and out, digests. A reader never sees half a file."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avprep.shared.errors import BusyError, UserError
from avprep.shared.locks import TakenError, lock

if TYPE_CHECKING:
    from avprep.shared.remote import RemotePath

DIGEST_BLOCK_BYTES = 1 << 22
LOCK = ".lock"  # in a folder that folder_lock has held: empty, and no part of what the folder holds
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """A temporary path beside `final`; it gets the final name when the block ends well, else it is removed.

    While the block runs the temporary file is locked (the lock dies with the process); where files cannot be locked it
    has a name of its own. Errors: UserError where another process is writing the same file, where the disk is full or
    the folder may not be written.
    """
    handle, temporary = _opened_temporary(final)
    try:
        with refusals_reported(final):
            try:
                os.ftruncate(handle, 0)
                yield temporary
                os.fsync(handle)
                os.replace(temporary, final)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        sync_folder(final.parent)
    finally:
        os.close(handle)


@contextlib.contextmanager
def folder_lock(folder: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on the file .lock in `folder`; it dies with the process, the file stays.

    A file, because NFS locks no folders, and one that stays, because the next process may wait for that very file.
    Where files cannot be locked, a warning is logged and the work goes on. Errors: BusyError where another process is
    `what` (a verb in -ing) the folder, unless `wait`; UserError where no file may be written there.
    """
    path = folder / LOCK
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise _refused(path, error) from None
    try:
        try:
            lock(handle, path, wait)
        except TakenError:
            raise BusyError(f"Another process is {what} {folder}; wait for it to end or stop it.") from None
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def refusals_reported(path: Path) -> Iterator[None]:
    """Of a block that writes `path`: a full disk, or a folder that may not be written, becomes a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno in REFUSALS:
            raise _refused(path, error) from None
        raise


def _refused(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be written ({error.strerror}); make room or permission there and repeat.")


def temporary_path(final: Path) -> Path:
    """The name under which a file is written before it gets its final one."""
    return final.with_name(f".{final.name}.tmp")


def is_temporary(name: str, final: str) -> bool:
    """Whether a file of this name is what a killed process left of `final`."""
    return name.startswith(f".{final}.") and name.endswith(".tmp")


def _opened_temporary(final: Path) -> tuple[int, Path]:
    """(handle, path) of a temporary file that no other process writes. Errors: as atomic_path."""
    temporary = temporary_path(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise _refused(final, error) from None
    try:
        if not lock(handle, temporary):
            temporary.unlink(missing_ok=True)
            os.close(handle)
            return _own_temporary(final)
        if os.path.samestat(os.fstat(handle), os.stat(temporary)):
            return handle, temporary  # else another process has just given this very file its final name
    except (FileNotFoundError, TakenError):
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    raise UserError(f"Another process is writing {final}; wait for it to end or stop it.")


def _own_temporary(final: Path) -> tuple[int, Path]:
    """(handle, path) of a temporary file under a name of this process; those of its host that were killed go."""
    start = f".{final.name}.{socket.gethostname()}-"
    for left in final.parent.glob(f"{glob.escape(start)}*.tmp"):
        with contextlib.suppress(ValueError, FileNotFoundError, PermissionError):
            try:
                os.kill(int(left.name.removeprefix(start).split("-")[0]), 0)
            except ProcessLookupError:
                left.unlink()
    temporary = final.with_name(f"{start}{os.getpid()}-{secrets.token_hex(4)}.tmp")
    return os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), temporary


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def json_text(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """`value` as JSON; `options` as for json.dumps. Errors: UserError that names a number that is not finite."""
    with _finite(value):
        return json.dumps(value, ensure_ascii=ensure_ascii, allow_nan=False, **options)


def json_pieces(value: Any, default: Callable[[Any], Any] | None = None, *, allow_nan: bool = False) -> Iterator[str]:
    """Pieces of `value` as sorted, indented JSON, the text of every JSON file here. `default`: as for json.dumps.

    Errors: as json_text; with `allow_nan` none, as versions wrote that did not look.
    """
    with _finite(value):
        yield from json.JSONEncoder(
            indent=1, sort_keys=True, ensure_ascii=False, default=default, allow_nan=allow_nan
        ).iterencode(value)
    yield "\n"


@contextlib.contextmanager
def _finite(value: Any) -> Iterator[None]:
    """Of a block that encodes `value`: a number that JSON does not have is a UserError that names it."""
    try:
        yield
    except ValueError:
        for name, number in _numbers(value):
            if not math.isfinite(number):
                raise UserError(f"{name.lstrip('.')} is {number}, which is not finite and is not written.") from None
        raise


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """(dotted name, number) of every float in nested `value`."""
    if isinstance(value, float):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _numbers(inner, f"{name}.{number}")


def json_bytes(value: Any) -> bytes:
    """`value` as sorted, indented JSON."""
    return "".join(json_pieces(value)).encode()


def write_json(path: Path, value: Any, default: Callable[[Any], Any] | None = None) -> None:
    """Write `value` as sorted, indented JSON, atomically, a piece at a time. `default`: as for json.dumps.

    Errors: as json_text.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.writelines(json_pieces(value, default))


def json_line(row: dict[str, Any]) -> bytes:
    """One JSON object as a line."""
    return (json_text(row) + "\n").encode()


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write lines, each with its end, atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.writelines(lines)


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    write_lines(path, map(json_line, rows))


def read_json(path: Path | RemotePath, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The JSON value in `path`; UserError where the file is missing or broken. `object_hook`: as json.loads has it."""
    try:
        return json.loads(path.read_bytes(), object_hook=object_hook)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}).") from None


def read_json_lines(path: Path) -> list[Any]:
    """The JSON value of each line that is not blank. Errors: FileNotFoundError; UserError where a line is not JSON."""
    values = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path} line {number} is not JSON ({error}); correct it by hand.") from None
    return values


def sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(handle)


def _sha256(handle: Any) -> str:  # Python 3.10 has no file_digest
    state = hashlib.sha256()
    while block := handle.read(DIGEST_BLOCK_BYTES):
        state.update(block)
    return state.hexdigest()
