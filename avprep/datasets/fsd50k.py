"""FSD50K: 51,197 sounds of 0.3 to 30 s with any number of 200 labels (Fonseca et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from avprep.datasets.adapter import Adapter, Row
from avprep.errors import ManifestError

if TYPE_CHECKING:
    from avprep.datasets.source import Source

TRUTH = "FSD50K.ground_truth"


def rows(source: Source) -> Iterator[Row]:
    """The clips of dev.csv, in its split, and of eval.csv, as test clips; the first label of a clip is its class.

    Errors: ManifestError for a label that vocabulary.csv does not have.
    """
    known = {row["label"] for row in source.table(f"{TRUTH}/vocabulary.csv", ("index", "label", "mid"))}
    for part, columns in (("dev", ("fname", "labels", "split")), ("eval", ("fname", "labels"))):
        table = f"{TRUTH}/{part}.csv"
        for row in source.table(table, columns):
            labels = [name for name in row["labels"].split(",") if name]
            wrong = [name for name in labels if name not in known]
            if wrong:
                raise ManifestError(f"{table}: the label {wrong[0]!r} of {row['fname']} is not in vocabulary.csv.")
            yield Row(
                clip_id=row["fname"],
                label=labels[0] if labels else "",
                labels=labels,
                split=row["split"] if part == "dev" else "test",
                files=[source.at(f"FSD50K.{part}_audio/{row['fname']}.wav")],
            )


ADAPTER = Adapter(
    name="fsd50k",
    title="FSD50K: sounds of 0.3 to 30 s",
    paper="Fonseca et al. 2022",
    layout="`FSD50K.ground_truth/`, `FSD50K.dev_audio/`, `FSD50K.eval_audio/`",
    labels="any number of 200",
    splits="train and val of `dev.csv`; `eval.csv` is the test split",
    licence="CC BY 4.0; each clip its own (CC0, CC BY, CC BY-NC, CC Sampling+)",
    example="--root FSD50K",
    rows=rows,
)
