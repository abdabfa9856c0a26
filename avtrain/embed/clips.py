"""Clips to embed: log-mel or pictures of a dataset, or the log-mel of files, folders and manifests."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avprep import audio_features
from avprep.dataset import Dataset
from avprep.dataset.reopened import reopened
from avprep.schema import DATASET, LOGMEL_DTYPE
from avprep.shared import configs
from avprep.shared.errors import UserError
from avtrain.data.clips import read_pictures
from avtrain.data.reader import Reader
from avtrain.inference.description import Description
from avtrain.runs.data_spec import PICTURE_SETTINGS


@dataclass(frozen=True)
class Clip:
    """A clip: log-mel [F, M] or pictures [T, H, W, 3], how many but for padding, their seconds; or `failure`.

    That is (reason, detail).
    """

    clip_id: str
    path: str | None
    label: str | None
    split: str | None
    media: np.ndarray | None
    num_frames: int
    seconds: float
    failure: tuple[str, str] | None = None


Clips = Generator[Clip, None, None]


@dataclass(frozen=True)
class Chosen:
    """The clips to embed, in order: rows of the dataset `source` with this digest, or files.

    `dataset` is the dataset where it is open: it does not travel to other processes.
    """

    items: Sequence[Any]
    source: Path | str = ""
    digest: str = ""
    dataset: Dataset | None = None

    def __len__(self) -> int:
        return len(self.items)

    def part(self, some: slice) -> Chosen:
        """Some of the clips, for another process."""
        return dataclasses.replace(self, items=self.items[some], dataset=None)

    def clips(self, description: Description, workers: int | None) -> Clips:
        """Each clip, for an encoder. Errors: UserError where the dataset is another one than was chosen from."""
        if not self.source:
            return _of_files(description, self.items, workers)
        dataset = self.dataset or reopened(self.source, self.digest)
        rows = np.asarray(self.items)
        return _sounds(dataset, rows) if description.side == "audio" else _pictures(dataset, rows)


def choose(description: Description, sources: Sequence[Path | str], splits: Sequence[str]) -> Chosen:
    """The clips of a dataset, or of the files, folders and manifests given, for an encoder.

    Errors: UserError where there is none, or a dataset has media of another kind.
    """
    datasets = [source for source in sources if _is_dataset(source)]
    if datasets and len(sources) > 1:
        raise UserError(f"{datasets[0]} is a dataset; embed it alone, each dataset into a file of its own.")
    if datasets:
        dataset = Dataset(datasets[0])
        _check(description, dataset)
        rows = np.sort(np.concatenate([dataset.rows_of(split) for split in dict.fromkeys(splits or dataset.splits)]))
        where = datasets[0] if "://" in str(datasets[0]) else Path(datasets[0]).absolute()
        return Chosen(rows, where, dataset.digest, dataset)  # type: ignore[arg-type]
    if description.side == "video":
        raise UserError(
            f"{sources[0]} is no dataset; --side video embeds datasets, which 'avprep build-shards' makes of files."
        )
    unique = {
        (str(sound.root), sound.clip.clip_id): dataclasses.replace(sound, root=sound.root.absolute())
        for source in sources
        for sound in audio_features.soundings(Path(source))
        if not splits or sound.clip.split in splits
    }
    if not unique:
        raise UserError(f"Nothing in {', '.join(map(str, sources))} is of split {', '.join(splits)}.")
    return Chosen(list(unique.values()))


def _is_dataset(source: Path | str) -> bool:
    return "://" in str(source) or (Path(source) / DATASET).exists()


def _check(description: Description, dataset: Dataset) -> None:
    """UserError where a dataset's media are of another kind than the encoder was trained on."""
    if description.side == "audio":
        own, other = (
            configs.to_dict(audio_features.as_spec(spec)) for spec in (description.audio, dataset.info["audio"])
        )
    else:
        own, other = (
            {name: spec[name] for name in PICTURE_SETTINGS if name in spec}
            for spec in (description.video, dataset.info["video"])
        )
    changed = configs.differences(own, other)
    if changed:
        listed = "\n  ".join(changed)
        sounds = description.side == "audio"
        raise UserError(
            f"{dataset.folder} has {'log-mel' if sounds else 'pictures'} of another kind than the encoder was trained "
            f"on; {'embed its files, or ' if sounds else ''}build it with the encoder's options:\n  {listed}"
        )


def _sounds(dataset: Dataset, rows: np.ndarray) -> Clips:
    with Reader(dataset) as reader:
        for row in rows:
            reader.check_shards(np.array([row]))
            length = max(int(dataset.num_mel_frames[row]), audio_features.SHORTEST_FRAMES)
            logmel = np.empty((1, length, dataset.num_mel_bands), LOGMEL_DTYPE)
            reader.read_logmel(np.array([row]), np.zeros(1, np.int64), logmel)
            yield _of_row(dataset, row, logmel[0], int(dataset.num_mel_frames[row]))


def _pictures(dataset: Dataset, rows: np.ndarray) -> Clips:
    with Reader(dataset) as reader:
        for row in rows:
            count = int(dataset.num_frames[row])
            if not count:
                yield _of_row(dataset, row, None, 0, ("no-video", "it has no pictures"))
                continue
            reader.check_shards(np.array([row]))
            frames = read_pictures(dataset, reader, np.array([row]), np.zeros(1, np.int64), count)
            yield _of_row(dataset, row, frames[0], count)


def _of_row(
    dataset: Dataset, row: int, media: np.ndarray | None, count: int, failure: tuple[str, str] | None = None
) -> Clip:
    return Clip(
        clip_id=dataset.clip_ids[row],
        path=None,
        label=dataset.class_names[dataset.label[row]],
        split=dataset.splits[dataset.split[row]],
        media=media,
        num_frames=count,
        seconds=float(dataset.duration_seconds[row]),
        failure=failure,
    )


def _of_files(description: Description, files: Sequence[audio_features.Sounding], workers: int | None) -> Clips:
    spec = audio_features.as_spec(description.audio)
    with contextlib.closing(audio_features.log_mels(files, spec, workers=workers)) as sounds:
        for sound in sounds:
            clip, failed = sound.sound.clip, sound.failure
            yield Clip(
                clip_id=clip.clip_id,
                path=clip.audio_path or clip.video_path,
                label=clip.label or None,
                split=clip.split or None,
                media=sound.logmel,
                num_frames=sound.num_mel_frames,
                seconds=sound.seconds,
                failure=(failed.reason, failed.detail) if failed else None,
            )
