"""What was measured of exactly the weights that an export has: results below RUN/eval, for its card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from avtrain.inference.description import Description
from avtrain.runs import checkpoint
from avtrain.runs.load import FILES, checkpoint_at


@dataclass(frozen=True)
class Measured:
    """One result of a classification with its 95 % interval; scores and ends are shares of 1."""

    evaluation: str
    """its folder below RUN/eval"""
    protocol: str
    dataset: str
    metric: str
    """`accuracy` or, of several labels a clip, `mean_average_precision`"""
    score: float
    low: float
    high: float
    test_clips: int
    seen: int | None
    """test clips that the run was trained on; None: not known"""


def results_of(run: Path, description: Description) -> list[Measured]:
    """The results of a run's evaluations that are of the description's side, update and weights, by their names."""
    if not (checkpoint.is_checkpoint(run) or checkpoint.checkpoints(run)):
        return []
    folder, training = checkpoint_at(run), description.training
    sha256 = checkpoint.digest(folder, FILES[training["weights"]])
    results = []
    for path in sorted(folder.parent.glob("eval/*/result.json")):
        result = json.loads(path.read_bytes())
        of_these = result.get("step") == training["step"] and result.get("model_sha256", sha256) == sha256
        side = result.get("config", {}).get("side", "audio")
        if not (result.get("interval_95") and of_these and side == description.side):
            continue
        metric = "accuracy" if "accuracy" in result else "mean_average_precision"
        protocol = result.get("protocol", "")
        results.append(
            Measured(
                evaluation=path.parent.name,
                protocol=protocol,
                dataset=path.parent.name.split(f"-{protocol}-s")[0] if protocol else path.parent.name,
                metric=metric,
                score=result[metric],
                low=result["interval_95"][0],
                high=result["interval_95"][1],
                test_clips=result["test_clips"],
                seen=result.get("seen_in_training", {}).get("clips"),
            )
        )
    return results
