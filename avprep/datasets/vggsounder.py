"""VGGSounder: VGGSound's test clips, labelled anew with all audible and visible classes (Zverev et al. 2025)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from avprep.datasets.adapter import Adapter, Columns, Lists, Option, Row, Table
from avprep.datasets.vggsound import clip_id_of, clips_of, names
from avprep.errors import ManifestError

if TYPE_CHECKING:
    from avprep.datasets.source import Source

COLUMNS = ("video_id", "label", "modality")
MODALITIES = {"A": ("audible",), "V": ("visible",), "AV": ("audible", "visible", "audiovisual")}
"""the columns that a label of each modality is in"""
NAMES = ("audible", "visible", "audiovisual")


def rows(source: Source, *, table: Path, metadata: Path, train: Path | None) -> Iterator[Row]:
    """VGGSound's test clips that the table has, and the training clips of `train`; all with VGGSound's own label.

    The new labels are columns (`columns`). Test clips that the table does not have are reported as without a label.
    Errors: ManifestError.
    """
    labelled = {row["video_id"] for row in checked(source.table(table, COLUMNS), table)}
    known = set()
    for path, wanted in ((metadata, "test"), (train, "train")):
        for youtube_id, start, label, split in clips_of(source, path) if path is not None else ():
            clip_id = clip_id_of(youtube_id, start)
            file = source.find(*names(youtube_id, start))
            if split != wanted:
                continue
            if wanted == "test":
                known.add(clip_id)
                label = label if clip_id in labelled else ""
            yield Row(clip_id=clip_id, label=label, split=split, files=[file], group=youtube_id)
    if labelled and not labelled & known:
        raise ManifestError(f"{table} has no test clip of {metadata}; its video_id is ID_000START.")
    source.report.absent = sorted(labelled - known)


def columns(read: Table, table: Path) -> Lists:
    """The labels of each clip of the table that are audible, visible and both; none of a kind is an empty list."""
    lists: Lists = {name: {} for name in NAMES}
    for row in checked(read(table, COLUMNS), table):
        for name in NAMES:
            own = lists[name].setdefault(row["video_id"], [])
            if row["label"] and name in MODALITIES[row["modality"]]:
                own.append(row["label"])
    return lists


def checked(rows: Iterable[Mapping[str, str]], table: Path) -> Iterator[Mapping[str, str]]:
    """The rows of a table. Errors: ManifestError for a label of another modality than A, V and AV."""
    for row in rows:
        if row["label"] and row["modality"] not in MODALITIES:
            raise ManifestError(f"{table} gives {row['video_id']} the modality {row['modality']!r}, not A, V or AV.")
        yield row


ADAPTER = Adapter(
    name="vggsounder",
    title="VGGSounder 1.0: audible and visible classes of VGGSound's test clips",
    paper="Zverev et al. 2025",
    layout="`ID_START_END.mp4` (milliseconds) or `ID_000START.mp4` at any depth",
    labels="VGGSound's own, 1 of 309; any number in the columns of `add-labels --of vggsounder`",
    splits="test: the clips that the table has; train: those of `--train`",
    licence="labels Apache-2.0; VGGSound CC BY 4.0",
    example="--root videos --table vggsounder.csv --train vggsound.csv",
    rows=rows,
    group="YouTube id",
    columns=Columns(names=NAMES, read=columns),
    options=(
        Option(flag="--table", required=True, help="vggsounder.csv, or vggsounder+background-music.csv."),
        Option(
            flag="--metadata", default="vggsound_test.csv", help="csv of VGGSound; default: the package's test clips."
        ),
        Option(flag="--train", help="csv of VGGSound whose training clips come along; default: none do."),
    ),
)
