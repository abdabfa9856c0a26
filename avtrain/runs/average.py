"""avtrain average: one checkpoint of the mean weights of a run's last ones."""

from __future__ import annotations

from pathlib import Path

from avprep.shared.errors import UserError
from avtrain.runs import checkpoint
from avtrain.runs.load import checkpoint_at


def average(run: Path, last: int) -> Path:
    """Write the checkpoint RUN/average_STEP_last_N, the mean of the newest `last` checkpoints of a run; its folder.

    Weights are averaged, and statistics of batch norm with them, in float64; whole numbers are the newest's. The best
    in validation takes part only if it is among the newest. No run can resume from it. Errors: UserError where the run
    keeps fewer checkpoints, or they do not fit each other.
    """
    newest = checkpoint_at(run)
    if newest == run:
        raise UserError(f"{run} is one checkpoint; give its run, whose last ones are averaged.")
    meta = checkpoint.read_meta(newest, "config.model_size", "step")
    kept = checkpoint.checkpoints(run)[-meta["config"].get("keep_checkpoints", 2) :]
    if not 2 <= last <= len(kept):
        raise UserError(
            f"{run} keeps its newest {len(kept)} checkpoints, so --last is 2 to {len(kept)}, not {last}; "
            "'avtrain pretrain --keep-checkpoints N' keeps more."
        )
    folders = kept[-last:]
    weights = checkpoint.read_weights(newest)
    sums = {name: tensor.double() for name, tensor in weights.items() if tensor.is_floating_point()}
    for folder in folders[:-1]:
        others = checkpoint.read_weights(folder)
        wrong = checkpoint.misfit(others, weights)
        if wrong:
            raise UserError(f"{folder} does not fit {newest}: {wrong}.")
        for name in sums:
            sums[name] += others[name]
    means = {name: (total / last).to(weights[name].dtype) for name, total in sums.items()}
    steps = [checkpoint.step_of(folder) for folder in folders]
    final = run / f"average_{steps[-1]:08d}_last_{last}"
    kept_meta = {name: value for name, value in meta.items() if name not in ("loader", "best")}
    checkpoint.write(final, {checkpoint.MODEL: weights | means}, {**kept_meta, checkpoint.AVERAGED: steps})
    return final
