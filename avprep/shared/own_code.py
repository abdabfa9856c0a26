"""Code of the user's own, named as `package:name`: its import, whose fault an error is, the digest of its file."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.shared import store
from avprep.shared.errors import Interrupted, UserError, first_line


@dataclass(frozen=True)
class OwnCode:
    """A function or class of the user's, its `package:name`, and the file that defines it."""

    name: str
    thing: Any
    path: Path

    @property
    def digest(self) -> str:
        """Hex sha256 of the file."""
        return store.sha256(self.path)

    @contextlib.contextmanager
    def blamed(self, doing: str) -> Iterator[None]:
        """Within it, what the code raises becomes a UserError with its name, what it was `doing`, and the line."""
        try:
            yield
        except (UserError, Interrupted):
            raise
        except Exception as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if self._is_here(frame)]
            where = f", line {lines[-1]} of {self.path.name}" if lines else ""
            raise UserError(
                f"{self.name} failed {doing} ({type(error).__name__}: {first_line(error)}{where}). This is code of "
                "your own; -v prints the whole traceback."
            ) from error

    def _is_here(self, frame: traceback.FrameSummary) -> bool:
        return Path(frame.filename) == self.path


def import_own(name: str, what: str, kind: str = "function") -> Any:
    """The function or class that `package:name` names; `what` it is to be, such as "an encoder", for messages.

    Errors: UserError where it does not import, is of Python's own library, or is neither function nor class.
    """
    package, _, attribute = name.partition(":")
    if package.partition(".")[0] in sys.stdlib_module_names:  # a run's config.json may come from anybody
        raise UserError(f"{name} is of Python's own library; name a {kind} of your own that is {what}.")
    try:
        thing = getattr(importlib.import_module(package), attribute, None)
    except Exception as error:
        raise UserError(
            f"{name} cannot be imported ({type(error).__name__}: {error}); name it "
            f"package:{'Class' if kind == 'class' else kind} and put the folder that holds the package on PYTHONPATH."
        ) from error
    if not (inspect.isfunction(thing) or inspect.isclass(thing)):
        raise UserError(f"{package} has no {kind} {attribute!r}; name one that is {what}.")
    return thing


def code_of(name: str, thing: Any, needed: bool = True) -> OwnCode:
    """A function or class with the file that defines it; UserError where that is `needed` and it is in no file."""
    try:
        path = Path(inspect.getfile(inspect.unwrap(thing)))
    except (TypeError, OSError):
        path = Path()
    if needed and not path.is_file():
        raise UserError(f"{name} is defined in no file, so its code cannot be recorded; write it in a module.")
    return OwnCode(name, thing, path)
