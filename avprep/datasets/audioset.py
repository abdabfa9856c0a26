"""AudioSet: 10 s of two million YouTube videos with any number of 527 labels (Gemmeke et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from avprep.datasets.adapter import Adapter, Option, Row, seconds_of
from avprep.datasets.youtube import FILES, NAMES, file_of
from avprep.errors import ManifestError

if TYPE_CHECKING:
    from avprep.datasets.source import Source

COLUMNS = ("YTID", "start_seconds", "end_seconds", "positive_labels")


def rows(
    source: Source,
    *,
    balanced: Path | None,
    unbalanced: Path | None,
    eval: Path | None,
    ontology: Path,
    files: str | None,
) -> Iterator[Row]:
    """The segments of the given csv files: clips named ID_MILLISECONDS, their class the first label.

    The group is the YouTube id. Errors: ManifestError where no csv is given, or the ontology has no name for a label.
    """
    parts = [(path, split) for path, split in ((balanced, "train"), (unbalanced, "train"), (eval, "test")) if path]
    if not parts:
        raise ManifestError("AudioSet needs one of its csv files; give --balanced, --unbalanced or --eval.")
    names = source.label_names(ontology)
    for path, split in parts:
        for row in source.table(path, COLUMNS, spaced=True):
            youtube_id = row["YTID"]
            start, end = (seconds_of(row, column, path) for column in ("start_seconds", "end_seconds"))
            ids = [label for label in row["positive_labels"].split(",") if label]
            unknown = [label for label in ids if label not in names]
            if unknown:
                raise ManifestError(f"{ontology} has no name for the label {unknown[0]!r} of {youtube_id} in {path}.")
            file, begin, stop = file_of(source, youtube_id, start, end, files)
            yield Row(
                clip_id=f"{youtube_id}_{round(start * 1000)}",
                label=names[ids[0]] if ids else "",
                labels=[names[label] for label in ids],
                split=split,
                files=[file],
                start_seconds=begin,
                end_seconds=stop,
                group=youtube_id,
            )


ADAPTER = Adapter(
    name="audioset",
    title="AudioSet: 10 s of YouTube videos",
    paper="Gemmeke et al. 2017",
    layout="files of pictures or sound at any depth",
    labels="any number of 527, named by the ontology",
    splits="`--balanced` and `--unbalanced` are train, `--eval` is test",
    licence="labels CC BY 4.0, ontology CC BY-SA 4.0; the videos are their authors'",
    example="--root clips --balanced balanced_train_segments.csv --eval eval_segments.csv --ontology ontology.json",
    rows=rows,
    group="YouTube id",
    note=f"Files are named {NAMES}.",
    options=(
        Option(flag="--balanced", help="balanced_train_segments.csv."),
        Option(flag="--unbalanced", help="unbalanced_train_segments.csv."),
        Option(flag="--eval", help="eval_segments.csv."),
        Option(flag="--ontology", required=True, help="ontology.json, or class_labels_indices.csv."),
        FILES,
    ),
)
