"""FSDnoisy18k: sounds of 0.3 to 30 s in 20 classes, a few labels verified by hand, most noisy (Fonseca et al. 2019)."""

from __future__ import annotations

from pathlib import Path

from avprep.datasets.tables import read_rows
from avprep.findings import Report, settle
from avprep.manifest import Clip, written_path

FOLDERS = {"train": "FSDnoisy18k.audio_train", "test": "FSDnoisy18k.audio_test"}


def clips_of_fsdnoisy18k(root: Path, relative_to: Path, subset: str = "all") -> tuple[list[Clip], Report]:
    """Manifest rows of the training subset and of the whole test set, as unpacked: FSDnoisy18k.meta/, .audio_train/ ...

    `clean`: manually_verified is 1; `noisy`: it is 0; `noisy_small`: the flag of that name is 1. Errors: ManifestError.
    """
    report = Report()
    clips = []
    for split, folder in FOLDERS.items():
        for row in read_rows(root / "FSDnoisy18k.meta" / f"{split}.csv", ("fname", "label")):
            verified, small = row.get("manually_verified") == "1", row.get("noisy_small") == "1"
            wanted = {"all": True, "clean": verified, "noisy": not verified, "noisy_small": small}[subset]
            if split == "train" and not wanted:
                continue
            path = root / folder / row["fname"]
            if not path.is_file():
                report.missing.append(f"{folder}/{row['fname']}")
                continue
            name = Path(row["fname"]).stem
            clips.append(
                Clip(name, row["label"], split, audio_path=written_path(path, relative_to), group=row["fname"])
            )
    return settle(clips, report, drop_leaks=False), report
