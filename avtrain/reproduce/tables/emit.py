"""Jobs in place of steps: what `--emit` writes. Steps that are done are left out, as are needs for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.reproduce.tables import kubernetes, slurm
from avtrain.reproduce.tables.matrix import Matrix

FILES: dict[str, Callable[[Matrix, list[str]], dict[str, str]]] = {"slurm": slurm.files, "k8s": kubernetes.files}


def write_jobs(whole: Matrix, kind: str, folder: Path, config: Path | None) -> str:
    """Write the files of a scheduler into `folder`; returns a line on what to do.

    Files of an earlier call are replaced, but not those that are there to be edited. Errors: UserError where the folder
    holds other things.
    """
    _check_folder(folder, whole.settings.table)
    for name, text in FILES[kind](whole, collecting(whole, config)).items():
        path = folder / name
        if name == kubernetes.EDITED and path.exists():
            continue
        store.write_bytes(path, text.encode())
        if text.startswith("#!"):
            path.chmod(0o755)
    todo = sum(not step.is_done for step in whole.steps)
    return f"{folder}: jobs for {todo} steps that are not done, and for the table; {folder / 'submit.sh'} starts them"


def _check_folder(folder: Path, table: str) -> None:
    submit = folder / "submit.sh"
    try:
        ours = f"\n# {table}: ".encode() in submit.read_bytes()[:100] if submit.exists() else False
        if not ours and folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty and holds no jobs of this table; work in another folder.")
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}); work in another folder.") from None


def collecting(whole: Matrix, config: Path | None) -> list[str]:
    """The command that writes the table once all is done, or goes on with what is missing."""
    site, words = whole.site, ["avtrain", "reproduce", whole.settings.table]
    for option, dataset in (("--vggsound", "vggsound"), ("--tau", "tau2021"), ("--fsd", "fsdnoisy18k")):
        if dataset in site.roots:
            words += [option, str(site.roots[dataset])]
    words += ["--out", str(site.out), "--seeds", ",".join(map(str, site.seeds)), "--device", site.device]
    words += [] if site.pseudo_weights is None else ["--pseudo-weights", str(site.pseudo_weights)]
    return words + ([] if config is None else ["--config", str(config)])
