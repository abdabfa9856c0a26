"""Two runs with --deterministic are bit-equal; so is one that is killed and resumed. Each is a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from avtrain.runs import checkpoint
from avtrain.runs import folder as run_folder
from tests.gpu.bench import Bench
from tests.gpu.commands import pretraining
from tests.gpu.rows import Row, holds


def equal(bench: Bench) -> Iterator[Row]:
    """Two rows: a run and its like, a run and one that was killed."""
    size = bench.size
    options = [
        "--deterministic",
        "--spec-augment",
        f"--model-size={size.model_size}",
        f"--batch-size={size.equal_batch}",
        f"--max-steps={size.equal_steps}",
        f"--precision={bench.precision}",
        "--checkpoint-every-steps=2",
        "--quiet",
        *([] if bench.cuda else ["--threads=1"]),
    ]
    first, second, killed = (bench.fresh(name) for name in ("first", "second", "killed"))
    whole = [pretraining(bench, run, options) for run in (first, second)]
    kept = pretraining(bench, killed, options).kill_after_checkpoint(killed)
    for command in whole:
        command.finish()
    apart = _apart(first, second)
    yield holds(f"two runs, --deterministic, {bench.precision}", not apart, apart or "bit-equal")
    pretraining(bench, killed, options).finish()
    apart = _apart(first, killed)
    fine = not apart and 0 < kept < size.equal_steps
    value = apart or f"bit-equal, killed with {kept} of {size.equal_steps} updates kept"
    yield holds("killed and resumed", fine, value, kept=kept)


def _apart(one: Path, other: Path) -> str:
    """What differs between two runs; nothing: ''."""
    lines = [
        [(line["step"], line["loss"], line["gradient_norm"]) for line in run_folder.read_metrics(run)]
        for run in (one, other)
    ]
    if lines[0] != lines[1]:
        steps = [first[0] for first, second in zip(*lines, strict=False) if first != second]
        return f"losses differ from update {steps[0]} on" if steps else "other updates"
    ends = [checkpoint.latest(run) for run in (one, other)]
    for path in sorted(ends[0].glob("*.safetensors")):  # type: ignore[union-attr]
        if path.read_bytes() != (ends[1] / path.name).read_bytes():  # type: ignore[operator]
            return f"{path.name} differs"
    return ""
