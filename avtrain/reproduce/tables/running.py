"""Makes the steps of a table that are not done, one after the other, in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import click

from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avtrain.reproduce.tables.matrix import Matrix

SETTINGS = "settings.json"

log = logging.getLogger(__name__)


def run(whole: Matrix, after: Callable[[], object] = lambda: None) -> None:
    """Make what is not done, and call `after` when an evaluation has been made.

    Errors: UserError, Interrupted as the commands raise them.
    """
    for root in whole.places.roots.values():
        configs.check(root.is_dir(), f"{root} is not a folder; give the one of the dataset.")
    weights = whole.places.pseudo_weights
    configs.check(weights is None or weights.is_file(), f"{weights} does not exist; give a file of weights.")
    out = whole.places.out
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


def call(words: Sequence[str]) -> None:
    """Run a command line of avprep or avtrain here; its errors are raised. (The groups would turn them into codes.)"""
    import avprep.cli
    import avtrain.cli

    group: click.Group = {"avprep": avprep.cli.main, "avtrain": avtrain.cli.main}[words[0]]
    command = group.commands[words[1]]
    with command.make_context(words[1], list(words[2:])) as context:
        command.invoke(context)
