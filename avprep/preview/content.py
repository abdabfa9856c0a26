"""What the preview shows: a few clips of each class, as pictures on one time axis and as sound."""

from __future__ import annotations

import io
import json
import math
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from avprep import schema
from avprep.build.fetch import copied, holds
from avprep.config import Limits
from avprep.dataset import Dataset, WholeClip
from avprep.errors import ClipError, UserError
from avprep.preview.model import Picture, Preview, ShownClip
from avprep.preview.page import render
from avprep.shared import names, store
from avprep.shared.commands import Progress
from avprep.shared.urls import split_address

SHOWN_CLIPS = 150
MAX_PER_CLASS = 4
STRIP_TILES = 8
MAX_COLUMNS = 640
SCALE_CLIPS = 48
MAX_CLIP_SOUND_BYTES = 512_000
MAX_META_BYTES = 1 << 20
MAX_PAGE_SOUND_BYTES = 16_000_000
NO_FILE = "source file is missing"
NO_ROOT = "source paths are relative, and no --root gives the folder that they start at"
TOO_MUCH = "the page's sound budget is used up"


def write_preview(
    folder: Path,
    out: Path,
    *,
    per_class: int | None = None,
    split: str | None = None,
    root: Path | None = None,
    seed: int = 0,
    max_sound_bytes: int = MAX_PAGE_SOUND_BYTES,
) -> Preview:
    """Write the page `out` of a dataset folder and return what it shows.

    `per_class` clips of each class (None: up to 4, fewer of many classes), of one split or of all, chosen by `seed`.
    `root` is where relative source paths start; without it only absolute ones are read. Sounds are added while they
    come to no more than `max_sound_bytes`. Errors: UserError.
    """
    dataset = Dataset(folder)
    rows = choose_rows(dataset, per_class, split, seed)
    clips, scale_db = shown_clips(dataset, rows, root, "preview", max_sound_bytes)
    centres = centres_of(dataset)
    preview = Preview(dataset, clips, scale_db, _failures(folder), centres, split)
    store.write_bytes(out, render(preview).encode())
    return preview


def shown_clips(
    dataset: Dataset, rows: list[int], root: Path | None, title: str, max_sound_bytes: int = MAX_PAGE_SOUND_BYTES
) -> tuple[list[ShownClip], tuple[int, int]]:
    """(clips of the rows of the index, low and high dB of their colours); `title` is the progress line's."""
    scale_db = _scale_db(dataset, rows)
    with Progress(2 * len(rows), "steps", title) as progress:
        clips = list(_pictures(dataset, rows, scale_db, progress))
        return _with_sounds(dataset, clips, root, max_sound_bytes, progress), scale_db


def centres_of(dataset: Dataset) -> np.ndarray:
    """Centre of each mel band in Hz, float64 [M]."""
    from avprep.media.logmel import band_centres_hz

    return band_centres_hz(int(dataset.info["audio"]["sample_rate_hz"]), dataset.num_mel_bands)


def choose_rows(dataset: Dataset, per_class: int | None, split: str | None, seed: int) -> list[int]:
    """Index rows to show, by class; a class's draw does not depend on other classes, and N + 1 clips hold the N."""
    rows = np.arange(len(dataset)) if split is None else dataset.rows_of(split)
    classes = np.unique(dataset.label[rows])
    count = per_class or max(1, min(MAX_PER_CLASS, SHOWN_CLIPS // len(classes)))
    chosen: list[int] = []
    for label in classes:
        mine = rows[dataset.label[rows] == label]
        drawn = np.random.default_rng([seed, int(label)]).permutation(mine)[:count]
        chosen.extend(int(row) for row in np.sort(drawn))
    return chosen


def strip_frames(num_frames: int, seconds: float, frame_rate_hz: int) -> np.ndarray:
    """int64 [tiles]: for each of up to 8 equal parts of the clip, the frame on show in the middle of that part."""
    tiles = min(STRIP_TILES, num_frames)
    middles = (np.arange(tiles) + 0.5) * seconds / tiles
    return np.minimum((middles * frame_rate_hz).astype(np.int64), num_frames - 1)


def spectrogram_columns(logmel: np.ndarray) -> tuple[np.ndarray, int]:
    """(dB float32 [columns, M], log-mel frames a column): means of as many frames as keep it to 640 columns."""
    frames = -(-len(logmel) // MAX_COLUMNS)
    padded = np.pad(logmel.astype(np.float32), ((0, -len(logmel) % frames), (0, 0)), mode="edge")
    return padded.reshape(-1, frames, logmel.shape[1]).mean(1), frames


def _scale_db(dataset: Dataset, rows: list[int]) -> tuple[int, int]:
    """(low, high) in dB, whole fives, that hold nearly all of the shown spectrograms (of 48 of them)."""
    some = rows[:: -(-len(rows) // SCALE_CLIPS)]
    values = np.concatenate([_clip(dataset, row).logmel.astype(np.float32).ravel() for row in some])
    low, high = np.percentile(values, [2, 99.9])
    high = 5 * math.ceil(high / 5)
    return min(5 * math.floor(low / 5), high - 20), high


def _clip(dataset: Dataset, row: int) -> WholeClip:
    """A clip whose log-mel can be drawn. Errors: UserError where it is not finite."""
    clip = dataset.read_clip(row)
    if not np.isfinite(clip.logmel).all():
        raise UserError(
            f"The log-mel of {dataset.clip_ids[row]!r} is not finite; 'avprep verify' prints what to do about it."
        )
    return clip


def _pictures(dataset: Dataset, rows: list[int], scale_db: tuple[int, int], progress: Progress) -> Iterator[ShownClip]:
    import matplotlib

    colours = matplotlib.colormaps["magma"]
    low, high = scale_db
    for row in rows:
        clip = _clip(dataset, row)
        seconds = float(dataset.duration_seconds[row])
        decibels, per_column = spectrogram_columns(clip.logmel)
        pixels = colours((np.clip(decibels.T[::-1], low, high) - low) / (high - low))[..., :3]
        rate_hz = float(dataset.mel_rates_hz[row])
        half = 0.5 / rate_hz  # a log-mel frame is centred on its time
        end = len(decibels) * per_column / rate_hz - half
        strip = None
        if clip.frames is not None:
            chosen = strip_frames(len(clip.frames), seconds, dataset.frame_rate_hz)
            tiles = np.concatenate(list(clip.frames[chosen]), axis=1)
            strip = Picture(webp(tiles, 70), 0.0, seconds, len(chosen))
        yield ShownClip(
            row=row,
            clip_id=dataset.clip_ids[row],
            class_id=int(dataset.label[row]),
            split=dataset.splits[dataset.split[row]],
            seconds=seconds,
            strip=strip,
            spectrogram=Picture(webp((pixels * 255).astype(np.uint8), 80), -half, end, len(decibels)),
        )
        progress.advance()


def webp(pixels: np.ndarray, quality: int) -> bytes:
    """Pixels uint8 [H, W, 3] as a WebP picture."""
    import matplotlib.image

    buffer = io.BytesIO()
    arguments = {"quality": quality, "method": 4}
    matplotlib.image.imsave(buffer, np.ascontiguousarray(pixels), format="webp", pil_kwargs=arguments)
    return buffer.getvalue()


def _with_sounds(
    dataset: Dataset, clips: list[ShownClip], root: Path | None, left: int, progress: Progress
) -> list[ShownClip]:
    """The clips with their sound while `left` bytes last; the first clip of each class comes first."""
    rank: Counter[int] = Counter()
    order = []
    for position, clip in enumerate(clips):
        order.append((rank[clip.class_id], position))
        rank[clip.class_id] += 1
    shown = list(clips)
    for _, position in sorted(order):
        sound = sound_of(dataset, clips[position].row, root) if left > 0 else TOO_MUCH
        if isinstance(sound, bytes) and len(sound) > left:
            sound, left = TOO_MUCH, 0
        if isinstance(sound, bytes):
            left -= len(sound)
            shown[position] = replace(clips[position], sound=sound)
        else:
            shown[position] = replace(clips[position], silence=sound)
        progress.advance()
    return shown


def sound_of(dataset: Dataset, row: int, root: Path | None, window: tuple[float, float] | None = None) -> bytes | str:
    """The sound of a clip of the index as MP3, cut from its source file, or why there is none.

    `window` is (start, end) in seconds of the clip, None: all of it. `root` is where relative source paths start.
    """
    from avprep.media.playback import BITS_PER_SECOND, clip_mp3

    meta = _meta(dataset, row)
    source = meta.get("audio_path") or meta.get("video_path")
    if not source or "span_seconds" not in meta:
        return "its shard does not name the source"
    kind, member, file = split_address(source)
    if not Path(file).is_absolute() and root is None:
        return NO_ROOT
    first, last = meta["span_seconds"]
    start, end = (first, last) if window is None else (first + window[0], min(first + window[1], last))
    if start >= end:
        return "the clip ends before it"
    if (end - start) * BITS_PER_SECOND / 8 > MAX_CLIP_SOUND_BYTES:
        return "the clip is too long for a page"
    path = (root or Path()) / file
    if not (holds(path, kind, member) if kind else path.is_file()):
        return NO_FILE
    try:
        if not kind:
            return clip_mp3(path, start, end, Limits())
        with tempfile.TemporaryDirectory(prefix="avprep-") as folder:
            return clip_mp3(copied(str(root or ""), source, Path(folder), Limits()), start, end, Limits())
    except ClipError as error:
        return f"{error.reason}: {error.detail}"


def _meta(dataset: Dataset, row: int) -> dict[str, Any]:
    """KEY.json of a clip, the member behind its log-mel; {} where its shard has none there."""
    mel_bytes = int(dataset.num_mel_frames[row]) * dataset.num_mel_bands * schema.LOGMEL_DTYPE.itemsize
    end = int(dataset.logmel_offset[row]) + mel_bytes
    with open(names.inside(dataset.local_folder, dataset.shards[dataset.shard[row]]), "rb") as shard:
        shard.seek(end + len(schema.tar_padding(end)))
        header = shard.read(schema.TAR_BLOCK_BYTES)
        name = schema.clip_key(dataset.clip_ids[row]) + schema.META_SUFFIX
        try:
            size = tarfile.TarInfo.frombuf(header, "utf-8", "strict").size
            if header == schema.tar_header(name, size) and size <= MAX_META_BYTES:
                meta = json.loads(shard.read(size))
                return meta if isinstance(meta, dict) else {}
        except (tarfile.HeaderError, ValueError, RecursionError):
            pass
        return {}


def _failures(folder: Path) -> list[dict[str, Any]]:
    path = folder / schema.FAILURES
    return store.read_json_lines(path) if path.is_file() else []
