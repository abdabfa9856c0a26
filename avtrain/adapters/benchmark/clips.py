"""A manifest of one's own as a task: its clips by split, their labels as numbers, their sound as wav files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avprep.audio_features import Sounding, file_samples
from avprep.errors import ClipError
from avprep.manifest.clips import Clip
from avprep.manifest.read_write import read_manifest
from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.data.splits import held_out

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
VALIDATION_SHARE, VALIDATION_SEED = 0.2, 0


@dataclass(frozen=True)
class OwnClips:
    """The clips of a manifest by split: train, val (if there is one or it was asked for) and test."""

    name: str
    path: Path
    splits: dict[str, list[Clip]]
    labels: list[str]
    """the classes in order; a clip's number is its position here"""


def is_manifest(task: str) -> bool:
    """Whether a task's name is the path of a manifest."""
    return Path(task).suffix.lower() in ENDINGS


def own_clips(path: Path, validation: bool) -> OwnClips:
    """The clips of a manifest with the splits train and test; with `validation` a fifth of train where val is missing.

    That fifth is of whole groups, drawn as `avtrain evaluate` draws it. Errors: UserError where the manifest cannot be
    used, or a split or a second class is missing.
    """
    clips = list(read_manifest(path))
    splits = {name: [clip for clip in clips if clip.split == name] for name in ("train", "val", "test")}
    missing = [name for name in ("train", "test") if not splits[name]]
    if missing:
        raise UserError(f"{path} has no clip of split {missing[0]}; a task needs the splits train and test.")
    labels = sorted({clip.label for clip in splits["train"]})
    strangers = sorted({clip.label for clip in [*splits["val"], *splits["test"]]} - set(labels))
    if len(labels) < 2 or strangers:
        what = f"no train clip of {strangers[0]!r}" if strangers else "one class alone"
        raise UserError(f"{path} has {what}; a task needs train clips of two classes or more, and of each class.")
    if not splits["val"] and validation:
        classes = np.array([labels.index(clip.label) for clip in splits["train"]])
        groups = np.array([clip.group for clip in splits["train"]])
        held = held_out(classes, groups, VALIDATION_SHARE, VALIDATION_SEED)
        if not held.any():
            raise UserError(f"{path} has too few groups to hold some out for validation; add clips of split val.")
        splits["val"] = [clip for clip, out in zip(splits["train"], held, strict=True) if out]
        splits["train"] = [clip for clip, out in zip(splits["train"], held, strict=True) if not out]
    name = re.sub(r"[^A-Za-z0-9]+", "_", path.stem).strip("_") or "clips"
    return OwnClips(name, path, {key: some for key, some in splits.items() if some}, labels)


def write_sounds(own: OwnClips, rate_hz: int, folder: Path) -> dict[str, list[tuple[Path, int]]]:
    """(wav file, number of the label) of each clip by split; the files are mono float32 at `rate_hz`.

    Errors: UserError that names the first clip whose sound cannot be read: a score without it would be of other clips.
    """
    from scipy.io import wavfile

    out: dict[str, list[tuple[Path, int]]] = {}
    for split, clips in own.splits.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        sounds = [Sounding(clip, own.path.parent) for clip in clips]
        out[split] = []
        with contextlib.closing(file_samples(sounds, rate_hz=rate_hz)) as decoded:
            for number, (clip, samples) in enumerate(zip(clips, decoded, strict=True)):
                if isinstance(samples, ClipError):
                    raise UserError(
                        f"{own.path}: {clip.clip_id} cannot be used ({samples.reason}: {samples.detail}); take it out."
                    )
                path = folder / split / f"{number:06d}.wav"
                wavfile.write(path, rate_hz, samples)
                out[split].append((path, own.labels.index(clip.label)))
    return out


def as_tar(files: list[tuple[Path, int]], tar: Path) -> None:
    """Write sounds with their labels as a WebDataset tar: KEY.wav and KEY.json with `label`."""
    import io
    import tarfile

    def members() -> Iterator[tuple[str, bytes]]:
        for path, label in files:
            yield path.name, path.read_bytes()
            yield f"{path.stem}.json", store.json_text({"label": label}).encode()

    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
