"""The digests that encoder.json holds: of each other file of an export, and of all else in itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from avprep.shared import configs, names, store
from avprep.shared.errors import UserError
from avprep.shared.values import speaking_of, whole_number

FILES, SEAL = "files", "sha256"
AGAIN = "export the encoder again"


def sealed(values: Mapping[str, Any], folder: Path, files: Iterable[str]) -> dict[str, Any]:
    """The values of encoder.json with bytes and sha256 of `files` in `folder`, and the digest of all that."""
    about = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": store.sha256(folder / name)} for name in sorted(files)
    }
    whole = {**{name: value for name, value in values.items() if name != SEAL}, FILES: about}
    return {**whole, SEAL: configs.digest(whole)}


def check_seal(values: Mapping[str, Any], source: object, advice: str = AGAIN) -> None:
    """Raise UserError where values of an encoder.json are not those that were written; old ones have no digest."""
    given = values.get(SEAL)
    if given is not None and given != configs.digest({name: value for name, value in values.items() if name != SEAL}):
        raise UserError(f"{source} was altered: its own digest is of other contents; {advice}.")


def digests_of(values: Mapping[str, Any], source: object) -> dict[str, str]:
    """sha256 of each file by its name, empty where an earlier version wrote none. Errors: UserError."""
    digests = {}
    with speaking_of(source):
        for name, about in values.get(FILES, {}).items():
            whole_number(about["bytes"], "bytes")
            digests[names.checked(name, source)] = names.checked(about["sha256"], source, names.DIGEST)
    return digests


def check_file(path: Path, sha256: str, shown: object, advice: str = AGAIN) -> None:
    """Raise UserError where a file is missing or has another digest."""
    try:
        actual = store.sha256(path)
    except OSError as error:
        raise UserError(f"{shown} cannot be read ({error.strerror}); {advice}.") from None
    if actual != sha256:
        raise UserError(f"{shown} has another sha256 than encoder.json records, so it was altered or cut; {advice}.")
