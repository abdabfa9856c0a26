"""The rows of an adapter to manifest rows, the same for every dataset: files, spans, labels, repeats and splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avprep.datasets.adapter import Adapter, Row
from avprep.datasets.drawn import AS_GIVEN, Shares, settled
from avprep.datasets.media_folder import MediaFolder
from avprep.datasets.source import Source, is_sound
from avprep.errors import ManifestError
from avprep.manifest.checks import Report
from avprep.manifest.clips import SEPARATOR, Clip


def clips_of_dataset(
    adapter: Adapter,
    media: MediaFolder,
    options: Mapping[str, Any],
    *,
    shares: Shares = AS_GIVEN,
    drop_leaks: bool = False,
) -> tuple[list[Clip], Report]:
    """Manifest rows of a public dataset whose files are in a folder, and the findings.

    Clips without a file, a label or a length, repeats and unknown splits are left out and reported. Errors: UserError.
    """
    report = Report()
    source = Source(media, adapter.layout, report)
    clips = []
    for row in adapter.rows(source, **options):
        if not row.label:
            report.unlabelled.append(row.clip_id)
        elif row.end_seconds is not None and row.end_seconds <= (row.start_seconds or 0.0):
            report.no_length.append(f"{row.clip_id} ({row.start_seconds or 0:g} to {row.end_seconds:g} s)")
        elif None in row.files:
            report.missing.append(row.clip_id)
        else:
            clips.append(_clip(row, media))
    report.unnamed = source.unnamed()
    report.foreign = media.foreign
    clips = settled(clips, report, shares, drop_leaks=drop_leaks)
    return (clips if adapter.choose is None else adapter.choose(clips, shares.seed, **options)), report


def _clip(row: Row, media: MediaFolder) -> Clip:
    """Errors: ManifestError for a label of several with the character that is between them."""
    wrong = [label for label in row.labels if SEPARATOR in label]
    if wrong:
        raise ManifestError(
            f"The label {wrong[0]!r} of {row.clip_id} has a {SEPARATOR!r}, which is between the labels of a manifest; "
            "rename the class in the metadata."
        )
    files = [name for name in row.files if name is not None]
    written = {is_sound(name): media.written(name) for name in files}
    video, audio = written.get(False, ""), written.get(True, "")
    return Clip(
        clip_id=row.clip_id,
        label=row.label,
        split=row.split,
        video_path=video,
        audio_path=audio,
        start_seconds=row.start_seconds,
        end_seconds=row.end_seconds,
        group=row.group or video or audio,
        cluster=row.cluster,
        labels=SEPARATOR.join(dict.fromkeys(row.labels)),
    )
