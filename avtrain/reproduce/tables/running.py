"""Makes the steps of a table that are not done, one after the other, in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avtrain.reproduce.tables.matrix import Matrix

SETTINGS = "settings.json"
MADE = ("manifests", "datasets", "runs", "supervised", store.LOCK)

log = logging.getLogger(__name__)


Call = Callable[[Sequence[str]], object]
"""runs a command line of avprep or avtrain in this process and raises its errors"""


def run(whole: Matrix, call: Call, after: Callable[[], object] = lambda: None) -> None:
    """Make each step that is not done with `call`, and call `after` whenever an evaluation has been made.

    Errors: UserError, Interrupted as the commands raise them.
    """
    for root in whole.site.roots.values():
        configs.check(root.is_dir(), f"{root} is not a folder; give the one of the dataset.")
    weights = whole.site.pseudo_weights
    configs.check(weights is None or weights.is_file(), f"{weights} does not exist; give a file of weights.")
    out = whole.site.out
    _check_free(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be written to ({error.strerror}); choose another --out.") from None
    with store.folder_lock(out, "reproducing a table in"):
        store.write_json(out / SETTINGS, configs.to_dict(whole.settings))
        for number, step in enumerate(whole.steps, start=1):
            if not step.is_done:
                log.info("step %d of %d: %s", number, len(whole.steps), step.name)
                call((*step.command, *step.means))
                if not step.is_done:
                    raise RuntimeError(f"{step.ends_with} is not there although its command ended well")
                if step.kind == "evaluate":
                    after()


def _check_free(out: Path) -> None:
    """UserError where `out` holds other things than a table and what jobs in place of its steps make."""
    path = out / SETTINGS
    try:
        if path.exists():
            saved = store.read_json(path)
            ours = isinstance(saved, dict) and "table" in saved
        else:
            left = (entry.name for entry in out.iterdir()) if out.exists() else ()
            ours = all(name in MADE or store.is_temporary(name, SETTINGS) for name in left)
    except OSError as error:
        raise UserError(f"{out} cannot be read ({error.strerror}); choose another --out.") from None
    configs.check(ours, f"{out} is not empty and holds no table; choose another --out.")
