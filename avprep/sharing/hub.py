"""A dataset repository of the Hugging Face hub, by its own client: the one part that imports huggingface_hub for it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avprep.shared.errors import Interrupted, UserError, first_line

TARGET = re.compile(r"hf://datasets/([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})/?")
LOGIN = "log in with 'hf auth login', or set HF_TOKEN to a token that may write there"
AGAIN = "the same command goes on with what is not there yet"


@dataclass(frozen=True)
class HubFile:
    """A file of a repository: its bytes, and the sha256 of a large one or git's sha1 of a small one."""

    bytes: int
    sha256: str = ""
    git_sha1: str = ""


def repository_of(target: str) -> str:
    """ORG/NAME of hf://datasets/ORG/NAME. Errors: UserError where it is another text."""
    match = TARGET.fullmatch(target)
    if match is None:
        raise UserError(f"{target} names no dataset of the hub; give hf://datasets/ORG/NAME.")
    return match[1]


class Hub:
    """One dataset repository. The token and HF_ENDPOINT are those that huggingface_hub reads."""

    def __init__(self, repository: str) -> None:
        try:
            import huggingface_hub
        except ImportError:
            raise UserError("The hub needs huggingface_hub: pip install 'avprep-avtrain[hub]'.") from None
        self.repository = repository
        self._library = huggingface_hub
        self._api = huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="avprep")
        self._known: dict[str, Any] = {"repo_id": repository, "repo_type": "dataset"}

    def create(self, private: bool) -> str:
        """Make the repository where there is none; return its page. Errors: UserError."""
        with self._errors("made"):
            return str(self._api.create_repo(**self._known, private=private, exist_ok=True))

    def files(self) -> dict[str, HubFile]:
        """The files of the repository by their paths. Errors: UserError."""
        with self._errors("read"):
            entries = self._api.list_repo_tree(**self._known, recursive=True)
            return {one.path: _file_of(one) for one in entries if hasattr(one, "blob_id")}

    def add(self, files: Mapping[str, Path], message: str) -> None:
        """Upload files, by their paths in the repository, as one commit. Errors: UserError."""
        operation = self._library.CommitOperationAdd
        operations: Sequence[Any] = [
            operation(path_in_repo=name, path_or_fileobj=str(path)) for name, path in files.items()
        ]
        with self._errors("written"), _no_bars(self._library):
            self._api.create_commit(**self._known, operations=operations, commit_message=message)

    @contextlib.contextmanager
    def _errors(self, verb: str) -> Iterator[None]:
        """Errors of the hub, its client and the network as a sentence."""
        try:
            yield
        except (UserError, Interrupted):
            raise
        except Exception as error:  # classes of the client's own, of its HTTP library and of threads
            status = _status_of(error)
            name = f"hf://datasets/{self.repository}"
            if status in (401, 403):
                raise UserError(f"{name} may not be {verb} (HTTP {status}): {LOGIN}.") from None
            if status == 404:
                raise UserError(f"{name} does not exist, or this account may not see it (HTTP 404): {LOGIN}.") from None
            reason = f"HTTP {status}" if status else f"{type(error).__name__}: {first_line(error)[:200]}"
            raise UserError(f"{name} could not be {verb} ({reason}); {AGAIN}.") from None


def _file_of(entry: Any) -> HubFile:
    if entry.lfs is not None:
        return HubFile(entry.size, sha256=entry.lfs.sha256)
    return HubFile(entry.size, git_sha1=entry.blob_id)


def _status_of(error: BaseException | None) -> int | None:
    """The HTTP status of an error, or of one that caused it."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None


@contextlib.contextmanager
def _no_bars(library: Any) -> Iterator[None]:
    """Without the client's own progress bars, one for each file."""
    shown = not library.utils.are_progress_bars_disabled()
    library.utils.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            library.utils.enable_progress_bars()
