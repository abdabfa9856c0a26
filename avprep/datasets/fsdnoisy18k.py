"""FSDnoisy18k: sounds of 0.3 to 30 s in 20 classes, a few labels verified by hand, most noisy (Fonseca et al. 2019)."""

from __future__ import annotations

from pathlib import Path

from avprep.datasets.drawn import AS_GIVEN, Shares, settled
from avprep.datasets.media_folder import MediaFolder
from avprep.datasets.metadata_csv import read_rows
from avprep.datasets.unnamed import unnamed
from avprep.manifest.checks import Report
from avprep.manifest.read_write import Clip

FOLDERS = {"train": "FSDnoisy18k.audio_train", "test": "FSDnoisy18k.audio_test"}


def clips_of_fsdnoisy18k(
    media: MediaFolder, subset: str = "all", shares: Shares = AS_GIVEN
) -> tuple[list[Clip], Report]:
    """Manifest rows of the training subset and of the whole test set, as unpacked: FSDnoisy18k.meta/, .audio_train/ ...

    `clean`: manually_verified is 1; `noisy`: it is 0; `noisy_small`: the flag of that name is 1. `shares` of the
    training clips become other splits. Errors: ManifestError.
    """
    report = Report()
    clips = []
    named: set[str] = set()
    for split, folder in FOLDERS.items():
        with media.near(f"FSDnoisy18k.meta/{split}.csv") as table:
            rows = read_rows(table, ("fname", "label"))
        named.update(f"{folder}/{row['fname']}" for row in rows)
        for row in rows:
            verified, small = row.get("manually_verified") == "1", row.get("noisy_small") == "1"
            wanted = {"all": True, "clean": verified, "noisy": not verified, "noisy_small": small}[subset]
            if split == "train" and not wanted:
                continue
            name = f"{folder}/{row['fname']}"
            if not media.holds(name):
                report.missing.append(name)
                continue
            written = media.written(name)
            clips.append(Clip(Path(name).stem, row["label"], split, audio_path=written, group=row["fname"]))
    report.unnamed = unnamed(media, named)
    report.foreign = media.foreign
    return settled(clips, report, shares), report
