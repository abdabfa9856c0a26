"""The datasets of av-digits: rendered clips and their shards, label columns, frozen pairs, ESC-10 by fold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avprep.build.run import build_shards
from avprep.config import BuildConfig, Limits, ShardSpec, VideoSpec
from avprep.dataset import Dataset, LabelColumn
from avprep.datasets.folder import Folds, clips_of_folder, with_clusters
from avprep.datasets.media_folder import LocalFolder
from avprep.labels.columns import claim_column, write_labels
from avprep.labels.noise import add_noise
from avprep.labels.pseudo_label import PseudoLabelConfig, pseudo_label
from avprep.manifest.read_write import Clip, read_manifest, write_manifest
from avprep.shared import store
from avprep.synthetic.av_digits import DigitsConfig, render_digits
from avtrain.data.plans import training_table

if TYPE_CHECKING:
    from avtrain.reproduce.av_digits.settings import DigitsSettings

NOISE_SHARE = 0.3
CLUSTERS = 20
CLUSTERED_BY = "efficientnet-lite0"
ESC_FOLDS = 5
SHORTEST_SECONDS, LONGEST_SECONDS = 0.3, 7.2  # the lengths of FSDnoisy18k, as far as ESC-10's clips go
FROZEN = "frozen.parquet"
SHUFFLE, FROZEN_PAIRS, CUTS = 0x5F0F, 0xF202, 0xE5C  # streams of random numbers; never change them


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Folders of the recordings: the Free Spoken Digit Dataset, and ESC-10 (a folder a class), if wanted."""

    fsdd: Path
    esc10: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Sounds:
    """Two datasets of one test fold of ESC-10: whole clips, and clips cut to between 0.3 s and their own length."""

    whole: Path
    cut: Path


def prepare_digits(
    folder: Path,
    fsdd: Path,
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
        clips_per_class=settings.clips_per_class, fold=fold, link=link, frame_size=settings.frame_size, seed=seed
    )
    manifest = render_digits(folder / "clips", fsdd, config, workers, stopping)
    if settings.choosing:
        manifest = validation_as_test(manifest)
    built = BuildConfig(
        video=VideoSpec(frame_size=settings.frame_size), shards=ShardSpec(clips_per_shard=settings.clips_per_class)
    )
    shards = folder / "shards"
    build_shards(manifest, shards, built, Limits(), workers=workers, stopping=stopping)
    dataset = Dataset(shards)
    if "noisy" in columns:
        add_noise(dataset, "noisy", share=NOISE_SHARE, seed=seed)
    if "shuffled" in columns:
        add_shuffled(dataset, seed)
    if "clusters" in columns:
        pseudo_label(dataset, PseudoLabelConfig(model=CLUSTERED_BY, clusters=CLUSTERS, seed=seed), "clusters")
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


def add_shuffled(dataset: Dataset, seed: int) -> None:
    """Write the column `shuffled`: the labels of the training clips dealt out among them at random."""
    origin = claim_column(dataset, "shuffled", {"command": "reproduce", "seed": seed}, replace=False)
    if origin is None:
        return
    column, rows = dataset.labels("label"), dataset.rows_of("train")
    values = column.values.copy()
    values[rows] = np.random.default_rng([seed, SHUFFLE]).permutation(values[rows])
    write_labels(dataset, "shuffled", LabelColumn(values, column.class_names), origin)


def write_frozen_pairs(dataset: Dataset, path: Path, seed: int) -> None:
    """Write pairs in which each training sound has one picture, of another clip of its class, and each picture one."""
    table = training_table(dataset)
    draw = np.random.default_rng([seed, FROZEN_PAIRS])
    audio, video = [], []
    for label in np.unique(table.labels):
        rows = draw.permutation(table.rows[table.labels == label])
        audio.append(rows)
        video.append(np.roll(rows, 1))
    ids = np.array(dataset.clip_ids, dtype=object)
    columns = {"audio": ids[np.concatenate(audio)], "video": ids[np.concatenate(video)]}
    with store.atomic_path(path) as temporary:
        pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), temporary)


def prepare_sounds(
    folder: Path, root: Path | None, runs: int, workers: int, stopping: Callable[[], bool]
) -> list[Sounds | None]:
    """ESC-10's datasets of each run, fold after fold; None for all where there is no `root`."""
    if root is None:
        return [None] * runs
    sounds: dict[int, Sounds] = {}
    for run in range(min(runs, ESC_FOLDS)):
        fold = run + 1
        clips, _ = clips_of_folder(LocalFolder(root, folder), 0, 0, Folds(r"(\d)-", str(fold)))
        clips = with_clusters(clips, r"\d-(\d+)-")  # the recording that a clip was cut from
        draw = np.random.default_rng([CUTS, fold])
        lengths = SHORTEST_SECONDS * (LONGEST_SECONDS / SHORTEST_SECONDS) ** draw.uniform(size=len(clips))
        cut = [
            dataclasses.replace(clip, end_seconds=round(float(seconds), 3))
            for clip, seconds in zip(clips, lengths, strict=True)
        ]
        sounds[run] = Sounds(
            whole=_built(folder / f"fold-{fold}", clips, workers, stopping),
            cut=_built(folder / f"fold-{fold}-cut", cut, workers, stopping),
        )
    return [sounds[run % ESC_FOLDS] for run in range(runs)]


def _built(folder: Path, clips: list[Clip], workers: int, stopping: Callable[[], bool]) -> Path:
    manifest = folder.with_suffix(".csv")
    write_manifest(manifest, clips)
    build_shards(manifest, folder, BuildConfig(), Limits(), workers=workers, stopping=stopping)
    return folder
