"""FSDnoisy18k: sounds of 0.3 to 30 s in 20 classes, a few labels verified by hand, most noisy (Fonseca et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from avprep.datasets.adapter import Adapter, Option, Row

if TYPE_CHECKING:
    from avprep.datasets.source import Source

FOLDERS = {"train": "FSDnoisy18k.audio_train", "test": "FSDnoisy18k.audio_test"}


def rows(source: Source, *, subset: str) -> Iterator[Row]:
    """The training subset and the whole test set.

    `clean`: manually_verified is 1; `noisy`: it is 0; `noisy_small`: the flag of that name is 1.
    """
    for split, folder in FOLDERS.items():
        for row in source.table(f"FSDnoisy18k.meta/{split}.csv", ("fname", "label")):
            file = source.at(f"{folder}/{row['fname']}")
            verified, small = row.get("manually_verified") == "1", row.get("noisy_small") == "1"
            wanted = {"all": True, "clean": verified, "noisy": not verified, "noisy_small": small}[subset]
            if split == "test" or wanted:
                clip_id = row["fname"].rpartition(".")[0]
                yield Row(clip_id=clip_id, label=row["label"], split=split, files=[file], group=row["fname"])


ADAPTER = Adapter(
    name="fsdnoisy18k",
    title="FSDnoisy18k: sounds of 0.3 to 30 s with noisy labels",
    paper="Fonseca et al. 2019",
    layout="`FSDnoisy18k.meta/`, `FSDnoisy18k.audio_train/`, `FSDnoisy18k.audio_test/`",
    labels="1 of 20; `--subset` goes by how it was verified",
    splits="train and test",
    licence="CC BY 4.0; each clip its own (CC0, CC BY)",
    example="--root FSDnoisy18k --subset clean",
    rows=rows,
    options=(
        Option(
            flag="--subset",
            kind="choice",
            choices=("all", "clean", "noisy", "noisy_small"),
            default="all",
            help="The training clips, by the flags of train.csv.",
        ),
    ),
)
