"""The datasets of av-digits: rendered clips and their shards, label columns, frozen pairs, ESC-10 by fold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec
from avprep.dataset import Dataset
from avprep.datasets.folder import Folds, clips_of_folder, with_clusters
from avprep.datasets.media_folder import LocalFolder
from avprep.manifest.read_write import Clip, read_manifest, write_manifest
from avprep.synthetic.av_digits import DigitsConfig, render_digits
from avtrain.reproduce.benchmark.cells import Outside
from avtrain.reproduce.benchmark.columns import FROZEN, add_columns, write_frozen_pairs

if TYPE_CHECKING:
    from avtrain.reproduce.av_digits.settings import DigitsSettings

ESC_FOLDS = 5
OUTSIDE = "esc10 "
FINETUNED_OUTSIDE = 3
"""runs finetuned on ESC-10 as well; more would take a sixth of the whole table's time"""
SHORTEST_SECONDS, LONGEST_SECONDS = 0.3, 7.2  # the lengths of FSDnoisy18k, as far as ESC-10's clips go
CUTS = 0xE5C  # a stream of random numbers; never change it


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Folders of the recordings: spoken digits, and ESC-10 (a folder a class), if wanted."""

    digits: Path
    corpus: str = "fsdd"
    """that `digits` holds: one of avprep.synthetic.spoken_digits.CORPORA"""
    esc10: Path | None = None

    @property
    def on_record(self) -> dict[str, str]:
        """What settings.json has beside the settings; nothing for FSDD, as ever since there was no other."""
        return {} if self.corpus == "fsdd" else {"corpus": self.corpus}


def prepare_digits(
    folder: Path,
    sources: Sources,
    settings: DigitsSettings,
    run: int,
    fold: int,
    link: str,
    columns: set[str],
    workers: int,
    stopping: Callable[[], bool],
) -> Path:
    """The dataset of one run and link, with the label columns that are asked for and pairs.FROZEN beside its index."""
    seed = settings.seed_of(run)
    config = DigitsConfig(
        clips_per_class=settings.clips_per_class,
        fold=fold,
        link=link,
        frame_size=settings.frame_size,
        seed=seed,
        corpus=sources.corpus,
    )
    manifest = render_digits(folder / "clips", sources.digits, config, workers, stopping)
    if settings.choosing:
        manifest = validation_as_test(manifest)
    built = BuildConfig(
        video=VideoSpec(frame_size=settings.frame_size), shards=ShardSpec(clips_per_shard=settings.clips_per_class)
    )
    shards = folder / "shards"
    build_shards(manifest, shards, built, Limits(), workers=workers, stopping=stopping)
    dataset = Dataset(shards)
    add_columns(dataset, columns, seed)
    write_frozen_pairs(dataset, folder / FROZEN, seed)
    return shards


def validation_as_test(manifest: Path) -> Path:
    """Write choosing.csv beside `manifest`: its clips without those of test, and those of val are of test."""
    clips = [clip for clip in read_manifest(manifest) if clip.split != "test"]
    chosen = manifest.with_name("choosing.csv")
    write_manifest(
        chosen, [dataclasses.replace(clip, split={"val": "test"}.get(clip.split, clip.split)) for clip in clips]
    )
    return chosen


def prepare_sounds(
    folder: Path, root: Path | None, runs: int, workers: int, stopping: Callable[[], bool]
) -> list[tuple[Outside, ...]]:
    """ESC-10's datasets of each run, fold after fold; none where there is no `root`.

    Two of each test fold: whole clips, and clips cut to between 0.3 s and their own length.
    """
    if root is None:
        return [()] * runs
    built = {fold: _fold(folder, root, fold, workers, stopping) for fold in range(1, min(runs, ESC_FOLDS) + 1)}
    sounds: list[tuple[Outside, ...]] = []
    for run in range(runs):
        whole, cut = built[run % ESC_FOLDS + 1]
        sounds.append(
            (
                Outside(prefix=OUTSIDE, dataset=whole, finetuned=run < FINETUNED_OUTSIDE),
                Outside(prefix=OUTSIDE + "cut ", dataset=cut, finetuned=False),
            )
        )
    return sounds


def _fold(folder: Path, root: Path, fold: int, workers: int, stopping: Callable[[], bool]) -> tuple[Path, Path]:
    clips, _ = clips_of_folder(LocalFolder(root, folder), 0, 0, Folds(r"(\d)-", str(fold)))
    clips = with_clusters(clips, r"\d-(\d+)-")  # the recording that a clip was cut from
    draw = np.random.default_rng([CUTS, fold])
    lengths = SHORTEST_SECONDS * (LONGEST_SECONDS / SHORTEST_SECONDS) ** draw.uniform(size=len(clips))
    cut = [
        dataclasses.replace(clip, end_seconds=round(float(seconds), 3))
        for clip, seconds in zip(clips, lengths, strict=True)
    ]
    whole = _built(folder / f"fold-{fold}", clips, workers, stopping)
    return whole, _built(folder / f"fold-{fold}-cut", cut, workers, stopping)


def _built(folder: Path, clips: list[Clip], workers: int, stopping: Callable[[], bool]) -> Path:
    manifest = folder.with_suffix(".csv")
    write_manifest(manifest, clips)
    build_shards(manifest, folder, BuildConfig(), Limits(), workers=workers, stopping=stopping)
    return folder
