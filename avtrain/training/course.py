"""How a run goes on that is there already: as it was, longer, or under settings that were changed on purpose."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avprep.dataset.history import sentence_of
from avprep.dataset.joined import JoinedDataset
from avprep.shared import configs, store
from avprep.shared.errors import UserError
from avtrain.config import HEAD_SETTINGS, MODEL_SETTINGS, PretrainConfig
from avtrain.data.plans import steps_of, strategy_of
from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from avtrain.runs.changes import FILE, read_changes
from avtrain.runs.changes import sentence_of as sentence_of_change
from avtrain.runs.data_spec import DATASETS, names_of
from avtrain.sampling.accumulation import updates_per_epoch
from avtrain.training.optimizer import learning_rate_at
from avtrain.training.setup import Ready

log = logging.getLogger(__name__)

LONGER = ("epochs", "max_steps")
FIXED = {
    "other models": (
        *MODEL_SETTINGS,
        *HEAD_SETTINGS,
        "learn_temperature",
        "freeze",
        "init_from",
        "video_weights_digest",
    ),
    "weight decay of other weights": ("decay_norms",),
    "other clips or labels": ("dataset_digest", "plan_digest", "labels", "val_share", "fold_column", "fold"),
    "another seed": ("seed",),
}


@dataclass(frozen=True)
class Course:
    """Where a run goes on: its changes so far, the last of which may be `new`, that is, not on record yet."""

    changes: list[dict[str, Any]] = field(default_factory=list)
    new: bool = False

    @property
    def offset(self) -> int:
        """How many updates more were made than settings that had always held would have made up to the same clip."""
        return int(self.changes[-1]["offset"]) if self.changes else 0

    def loader_at(self, step: int, saved: dict[str, int]) -> dict[str, int]:
        """The state of the loader after `step` updates, where the checkpoint there has `saved`."""
        return dict(self.changes[-1]["loader"]) if self.changes and self.changes[-1]["step"] == step else saved


def course_of(run: Path, ready: Ready, config: PretrainConfig, allowed: bool) -> Course:
    """How the run in the folder goes on under `config`. Nothing is written.

    More epochs or a later last update are always allowed, other changes only if `allowed`; a schedule of the learning
    rate is then drawn over all updates anew. Errors: UserError with the differences where a change is not allowed, or
    is one of a setting that cannot change.
    """
    course = Course(read_changes(run))
    saved = store.read_json(run / run_folder.CONFIG) if (run / run_folder.CONFIG).exists() else {}
    if not (isinstance(saved, dict) and saved.get("config")):
        return course  # a new folder, or one that is no run, which open_run refuses
    old = run_folder.DEFAULTS | saved["config"]
    before, after = configs.flat_with(saved, ready.identity, run_folder.DEFAULTS), configs.flat(ready.identity)
    changed = {
        name: [before.get(name), after.get(name)]
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }
    if changed.keys() & {"strategy", "label_confidence"}:
        changed.pop("plan_digest", None)
    if not changed:
        return course
    if DATASETS in changed:
        raise UserError(_other_datasets(run, ready, *changed[DATASETS]))
    grown = ready.dataset.changes_since(before["dataset_digest"]) if "dataset_digest" in changed else []
    if grown:
        raise UserError(
            f"{run} was begun with {ready.dataset.folder} as it was before {sentence_of(grown)}, and a run keeps its "
            f"clips; choose another folder, where --init-from {run} begins with its weights."
        )
    listed = "".join(f"\n  {line}" for line in configs.differences(before, after))
    for what, names in FIXED.items():
        if changed.keys() & set(names):
            raise UserError(
                f"{run} was begun with {what}, which cannot change in a run; use the same again, or another folder, "
                f"where --init-from {run} begins with its weights:{listed}"
            )
    plans = changed.pop(run_folder.PLANS, None)
    if plans and not changed.keys() & {"strategy", "strategy_code", "batch_size", "label_confidence"}:
        raise UserError(
            f"Strategy {config.strategy} is not pure: with the code and settings of {run} it gives other plans than "
            "when the run began. A plan may not depend on the order of a set, on a file or on the clock."
        )
    own = [text for name, text in run_folder.CODE.items() if name in changed]
    if own and not allowed and changed.keys() <= {*run_folder.CODE, *LONGER}:
        raise UserError(
            f"{run} was begun with another version of {' and '.join(own)}; restore it, use another folder, or "
            f"--change to go on with the new one:{listed}"
        )
    if not (allowed or _longer(changed, ready, config, old, course.offset)):
        raise UserError(
            f"{run} holds a run of other settings; use them again or another folder, or --change to go on with the new "
            f"ones:{listed}"
        )
    return Course([*course.changes, _change(run, ready, config, old, course, changed)], new=True)


def _other_datasets(run: Path, ready: Ready, before: Any, after: Any) -> str:
    """That a run keeps its datasets, their order and their weights; `before` and `after` are records of them."""
    was, now = names_of(before), names_of(after)
    end = f"or choose another folder, where --init-from {run} begins with its weights."
    if was != now:
        return f"{run} was begun with {was}, and is now given {now}; give the same in the same order again, {end}"
    assert isinstance(ready.dataset, JoinedDataset)
    sentences = []
    for part, old, new in zip(ready.dataset.parts, before, after, strict=True):
        if old["digest"] != new["digest"]:
            grown = part.changes_since(old["digest"])
            sentences.append(
                f"{part.folder} as it was before {sentence_of(grown)}" if grown else f"another {part.folder}"
            )
    return f"{run} was begun with {' and '.join(sentences)}; give the same datasets again, {end}"


def log_new(run: Path, course: Course, config: PretrainConfig) -> None:
    """Log a new change, and what it does to the schedule of the learning rate."""
    if not course.new:
        return
    change = course.changes[-1]
    log.warning("%s goes on with %s; %s has it on record", run.name, sentence_of_change(change), FILE)
    if config.schedule != "constant" and change["step"] < change["updates"]:
        log.warning(
            "the %s schedule is drawn over all %s updates anew; the next learning rate is %.3g",
            config.schedule,
            f"{change['updates']:,}",
            change["learning_rate"],
        )


def _longer(
    changed: Mapping[str, Any], ready: Ready, config: PretrainConfig, old: Mapping[str, Any], offset: int
) -> bool:
    """Whether a change is no more than a later end."""
    if not changed.keys() <= set(LONGER):
        return False
    per_epoch = updates_per_epoch(ready.loader.steps_per_epoch, config.accumulate)
    before = dataclasses.replace(config, epochs=old["epochs"], max_steps=old["max_steps"])
    return updates_of(config, per_epoch, offset) >= updates_of(before, per_epoch, offset)


def _change(
    run: Path,
    ready: Ready,
    config: PretrainConfig,
    old: Mapping[str, Any],
    course: Course,
    changed: Mapping[str, list[Any]],
) -> dict[str, Any]:
    """The entry of a change; UserError where the run is past its new end."""
    newest = checkpoint.latest(run)
    step, position = 0, {"epoch": 0, "step": 0}
    if newest is not None:
        meta = checkpoint.read_meta(newest, "loader.epoch", "loader.step", "step")
        step = int(meta["step"])
        position = course.loader_at(step, meta["loader"])
    batches, table = ready.loader.steps_per_epoch, ready.loader.recipe.table
    before = steps_of(strategy_of(old["strategy"], ready.dataset, table), table, old["batch_size"])
    of_epoch = position["step"] * batches // before // config.accumulate * config.accumulate
    per_epoch = updates_per_epoch(batches, config.accumulate)
    offset = step - position["epoch"] * per_epoch - of_epoch // config.accumulate
    total = updates_of(config, per_epoch, offset)
    if total < step:
        raise UserError(f"{run} has {step:,} updates, more than the {total:,} of these settings; ask for more of them.")
    return {
        "step": step,
        "changed": dict(changed),
        "updates": total,
        "offset": offset,
        "loader": {"epoch": position["epoch"], "step": of_epoch},
        "learning_rate": learning_rate_at(step, total, config) if step < total else None,
    }


def updates_of(config: PretrainConfig, per_epoch: int, offset: int) -> int:
    """How many updates a run of a config has in the end."""
    total = offset + config.epochs * per_epoch
    return min(total, config.max_steps) if config.max_steps else total


def left_of(run: Path, ready: Ready, config: PretrainConfig, course: Course) -> int:
    """How many updates a run in the folder has still to make."""
    newest = checkpoint.latest(run)
    made = 0 if newest is None else checkpoint.step_of(newest)
    return updates_of(config, updates_per_epoch(ready.loader.steps_per_epoch, config.accumulate), course.offset) - made
