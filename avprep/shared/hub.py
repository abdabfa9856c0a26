"""A repository of the Hugging Face hub, by its own client: the one part that imports huggingface_hub for it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from avprep.shared import store
from avprep.shared.errors import Interrupted, UserError, first_line
from avprep.shared.waiting import is_quiet, on_terminal, waiting

DATASET, MODEL = "dataset", "model"
_NAME = r"[A-Za-z0-9][\w.-]{0,95}"
_ADDRESS = re.compile(rf"hf://(datasets/|spaces/)?({_NAME}/{_NAME})(?:@(\w[\w./-]{{0,199}}))?/?")
FORMS = {DATASET: "hf://datasets/ORG/NAME", MODEL: "hf://ORG/NAME"}
_KINDS = {"datasets/": DATASET, "": MODEL}
READ, MADE, WRITTEN = "read", "made", "written"
LOGIN = "log in with 'hf auth login', or set HF_TOKEN to a token that may {} there"
AGAIN = "the same command goes on with what is not there yet"
PASSING = "check the network and HF_ENDPOINT, and repeat the command"


@dataclass(frozen=True)
class Published:
    """What a call uploaded, how many files were there before, and the page of the repository."""

    page: str
    files: int
    bytes: int
    kept: int


class HubAddress(NamedTuple):
    """ORG/NAME of a repository, and the branch, tag or commit that is wanted, '' for its newest state."""

    repository: str
    revision: str


@dataclass(frozen=True)
class HubFile:
    """A file of a repository: its bytes, and the sha256 of a large one or git's sha1 of a small one."""

    bytes: int
    sha256: str = ""
    git_sha1: str = ""


def address_of(text: str, kind: str, revision: bool = False) -> HubAddress:
    """The parts of an address of a DATASET or MODEL, with `revision` also of one that ends in @REVISION.

    Errors: UserError where it is another text.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or _KINDS.get(match[1] or "") != kind or (match[3] and not revision) or ".." in text:
        form = FORMS[kind] + ("[@REVISION]" if revision else "")
        raise UserError(f"{text} names no {kind} of the hub; give {form}.")
    return HubAddress(match[2], match[3] or "")


class Hub:
    """One repository. Token, cache and HF_ENDPOINT are those that huggingface_hub reads."""

    def __init__(self, repository: str, kind: str) -> None:
        try:
            import huggingface_hub
        except ImportError:
            raise UserError("The hub needs huggingface_hub: pip install 'avprep-avtrain[hub]'.") from None
        self.name = FORMS[kind].replace("ORG/NAME", repository)
        self._library = huggingface_hub
        self._api = huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="avprep")
        self._known: dict[str, Any] = {"repo_id": repository, "repo_type": kind}

    def create(self, private: bool) -> str:
        """Make the repository where there is none; return its page. Errors: UserError."""
        with self._errors(MADE):
            return str(self._api.create_repo(**self._known, private=private, exist_ok=True))

    def files(self) -> dict[str, HubFile]:
        """The files of the repository by their paths. Errors: UserError."""
        with self._errors(READ):
            entries = self._api.list_repo_tree(**self._known, recursive=True)
            return {one.path: _file_of(one) for one in entries if hasattr(one, "blob_id")}

    def add(self, files: Mapping[str, Path], message: str) -> None:
        """Upload files, by their paths in the repository, as one commit. Errors: UserError."""
        operation = self._library.CommitOperationAdd
        operations: Sequence[Any] = [
            operation(path_in_repo=name, path_or_fileobj=str(path)) for name, path in files.items()
        ]
        with self._errors(WRITTEN), _bars(self._library), _clock(f"upload to {self.name}"):
            self._api.create_commit(**self._known, operations=operations, commit_message=message)

    def fetch(self, name: str, revision: str = "") -> Path | None:
        """A file of the repository in the client's cache, below a folder named by its commit; None if there is none.

        Without network it is what the cache has of that revision. Errors: UserError.
        """
        with self._errors(READ), _bars(self._library), _clock(f"fetch {name}"):
            try:
                return Path(self._api.hf_hub_download(**self._known, filename=name, revision=revision or None))
            except self._library.errors.LocalEntryNotFoundError:
                raise
            except self._library.errors.EntryNotFoundError:
                return None
            except self._library.errors.RevisionNotFoundError:
                raise UserError(
                    f"{self.name} has no revision {revision}; name a branch, tag or commit of it."
                ) from None

    @contextlib.contextmanager
    def _errors(self, verb: str) -> Iterator[None]:
        """Errors of the hub, its client and the network as a sentence."""
        try:
            yield
        except (UserError, Interrupted):
            raise
        except Exception as error:  # classes of the client's own, of its HTTP library and of threads
            status = _status_of(error)
            login = LOGIN.format("read" if verb == READ else "write")
            if status in (401, 403):
                raise UserError(f"{self.name} may not be {verb} (HTTP {status}): {login}.") from None
            if status == 404:
                raise UserError(
                    f"{self.name} does not exist, or this account may not see it (HTTP 404): {login}."
                ) from None
            reason = f"HTTP {status}" if status else f"{type(error).__name__}: {first_line(error)[:200]}"
            advice = AGAIN if verb == WRITTEN else PASSING
            raise UserError(f"{self.name} could not be {verb} ({reason}); {advice}.") from None


def is_there(remote: HubFile | None, path: Path, sha256: str | None = None) -> bool:
    """Whether a repository has a file with the bytes of `path`; `sha256`: of them, where it is known."""
    if remote is None or remote.bytes != path.stat().st_size:
        return False
    if remote.sha256:
        return remote.sha256 == (sha256 or store.sha256(path))
    return remote.git_sha1 == _git_sha1(path)


def _git_sha1(path: Path) -> str:
    """git's name of a file's bytes."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


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


def _clock(title: str) -> contextlib.AbstractContextManager[None]:
    """In a log, how long a transfer has taken; a terminal has the client's bars."""
    return waiting(title, quiet=on_terminal())


@contextlib.contextmanager
def _bars(library: Any) -> Iterator[None]:
    """With the client's own progress bars on a terminal alone, and not after -q."""
    shown = not library.utils.are_progress_bars_disabled()
    if on_terminal() and not is_quiet():
        yield
        return
    library.utils.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            library.utils.enable_progress_bars()
