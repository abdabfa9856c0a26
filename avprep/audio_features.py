"""Sound out of media files: the log-mel of plain files, in memory or in killable processes, and samples of clips."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from avprep import schema
from avprep.build.sources import check_any
from avprep.build.tasks import SamplesTask, SoundTask
from avprep.build.workers import Workers
from avprep.config import AudioSpec, Limits, config_of
from avprep.dataset import Dataset
from avprep.datasets.folder import is_media
from avprep.datasets.media_folder import LocalFolder
from avprep.errors import ClipError, UserError
from avprep.manifest.addresses import start_of
from avprep.manifest.read_write import Clip, read_manifest
from avprep.manifest.tables import KINDS
from avprep.shared.caches import prepare_caches
from avprep.shared.errors import some_of
from avprep.shared.store import read_json
from avprep.shared.values import speaking_of

ANY_LENGTH = Limits(max_clip_seconds=1e9, deadline_seconds=600.0)
SHORTEST_FRAMES = schema.MEL_FRAMES_PER_SECOND

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sounding:
    """One sound to read: its row as a manifest would have it, '' where nothing is known, and where its path starts."""

    clip: Clip
    root: Path = Path()


@dataclass(frozen=True)
class SoundFeatures:
    """What became of a sound: log-mel float16 [F, M], its frames but for padding, its seconds; or why none."""

    sound: Sounding
    logmel: np.ndarray | None = None
    num_mel_frames: int = 0
    seconds: float = 0.0
    failure: ClipError | None = None


def soundings(source: Path) -> list[Sounding]:
    """The sounds of a media file, of a folder of such, or of a manifest; ids and paths as given.

    A folder is walked in sorted order; files without a media suffix, and hidden ones, are left out. A file that is not
    there is reported when it is read. Errors: ManifestError; UserError where a folder has no media files, or a
    name is not UTF-8.
    """
    if source.suffix.lower().lstrip(".") in KINDS:
        return [Sounding(clip, source.parent) for clip in read_manifest(source)]
    if not source.is_dir():
        return [_of_file(str(source))]
    folder = LocalFolder(source, source)
    paths = [source / name for name in folder.files() if is_media(name)]
    if folder.foreign:
        log.warning("%s: skipped folders: %s", source, some_of(folder.foreign))
    if not paths:
        raise UserError(f"{source} is no dataset and has no media files; 'avprep build-shards' makes datasets.")
    return [_of_file(str(path)) for path in paths]


def log_mel_of(path: Path | str, spec: AudioSpec | Mapping[str, Any]) -> np.ndarray:
    """Log-mel float16 [F, M] in dB of a file's sound, 1 + 100 frames a second, decoded in this process.

    Padded with its lowest level to 100 frames, the least that encoders were trained on. `spec`: an AudioSpec or its
    values, as in dataset.json and in what `avtrain export` writes. Errors: UserError where the file cannot be used.
    """
    logmel = sound_of(path, spec).logmel
    assert logmel is not None
    return logmel


def sound_of(path: Path | str, spec: AudioSpec | Mapping[str, Any]) -> SoundFeatures:
    """The log-mel of a file's sound, as `log_mel_of`, with its frames but for padding and its seconds."""
    prepare_caches(os.environ)
    from avprep.media.long import write_log_mel

    with tempfile.TemporaryDirectory(prefix="avprep-") as folder:
        out = Path(folder) / "logmel.npy"
        try:
            seconds = write_log_mel(Path(path), None, None, as_spec(spec), ANY_LENGTH, out).duration_seconds
        except ClipError as error:
            raise UserError(f"{path} cannot be used: {error}.") from None
        logmel = np.load(out, allow_pickle=False)
        return SoundFeatures(_of_file(str(path)), padded(logmel), len(logmel), seconds)


def log_mels(
    sounds: Iterable[Sounding], spec: AudioSpec, *, limits: Limits = ANY_LENGTH, workers: int | None = None
) -> Generator[SoundFeatures, None, None]:
    """Each sound's log-mel or why there is none, in order; decoded ahead in `workers` processes.

    The log-mel is a file mapped into memory, gone with the next step; it is padded as in log_mel_of. `workers` default
    to all cores. A decoder that crashes, hangs or eats memory costs its file alone. Errors: UserError where the disk
    under TMPDIR is full.
    """

    def task_of(sound: Sounding, out: str) -> SoundTask:
        return SoundTask(sound.clip, str(sound.root), spec, limits, out)

    with contextlib.closing(_decoded(sounds, task_of, Workers.log_mel, limits, workers)) as decoded:
        for sound, outcome, out in decoded:
            if isinstance(outcome, ClipError):
                yield SoundFeatures(sound, failure=outcome)
            else:
                logmel = np.load(out, mmap_mode="r", allow_pickle=False)
                yield SoundFeatures(sound, padded(logmel), len(logmel), outcome.duration_seconds)


def clip_samples(
    dataset: Dataset,
    rows: np.ndarray,
    *,
    rate_hz: int,
    longest_seconds: float,
    position: float,
    root: Path | str,
    workers: int | None = None,
    any_source: bool = True,
) -> Generator[np.ndarray | ClipError, None, None]:
    """The sound of each clip of a dataset out of its source, in order: float32 [N] at `rate_hz`, or why there is none.

    It is the mean of all channels, within the clip's own span; of one longer than `longest_seconds` that much, from
    `position` on (0: the start, 0.5: the middle, 1: the end). A dataset keeps log-mel alone, so the sources are decoded
    again, as log_mels does; relative paths start at `root`. Errors: UserError, with `any_source`, where not one source
    is there.
    """
    clips = _sound_clips(dataset, rows, longest_seconds, position)
    start = start_of(schema.PLAN_MANIFEST, root)
    if any_source:
        check_any(clips, start, str(dataset.folder / schema.PLAN_MANIFEST))
    decoder = config_of(read_json(dataset.folder / schema.PLAN_BUILD)["config"]).decoder

    def task_of(clip: Clip, out: str) -> SamplesTask:
        return SamplesTask(clip, start, rate_hz, decoder, ANY_LENGTH, out)

    def read() -> Generator[np.ndarray | ClipError, None, None]:
        with contextlib.closing(_decoded(clips, task_of, Workers.samples, ANY_LENGTH, workers)) as decoded:
            for _, outcome, out in decoded:
                yield outcome if isinstance(outcome, ClipError) else np.load(out, allow_pickle=False)

    return read()


def file_samples(
    sounds: Iterable[Sounding], *, rate_hz: int, workers: int | None = None
) -> Generator[np.ndarray | ClipError, None, None]:
    """The samples of each sound within its cut, in order: float32 [N] at `rate_hz`, or why there is none.

    They are the mean of all channels, decoded ahead as in log_mels. Errors: UserError where the disk under TMPDIR is
    full.
    """

    def task_of(sound: Sounding, out: str) -> SamplesTask:
        start = sound.clip.start_seconds or 0.0
        clip = dataclasses.replace(sound.clip, start_seconds=start)
        return SamplesTask(clip, str(sound.root), rate_hz, "auto", ANY_LENGTH, out)

    with contextlib.closing(_decoded(sounds, task_of, Workers.samples, ANY_LENGTH, workers)) as decoded:
        for _, outcome, out in decoded:
            yield outcome if isinstance(outcome, ClipError) else np.load(out, allow_pickle=False)


def _sound_clips(dataset: Dataset, rows: np.ndarray, longest_seconds: float, position: float) -> list[Clip]:
    """Clips of sound alone: the parts wanted of some clips, in seconds since the start of the sound in their files."""
    planned = dataset.plan_columns("clip_id", "video_path", "audio_path", "start_seconds")
    at = pc.index_in(dataset.ids_of(rows), value_set=planned.column("clip_id"))
    clips = []
    for row, source in zip(rows.tolist(), planned.take(at).to_pylist(), strict=True):
        sound_start = float(dataset.av_offset_seconds[row])  # counted from the start of the pictures
        origin = min(sound_start, 0.0)
        start = max(-sound_start, 0.0, origin - sound_start + (source["start_seconds"] or 0.0))
        length = float(dataset.duration_seconds[row])
        start += max(length - longest_seconds, 0.0) * position
        path = source["audio_path"] or source["video_path"]
        end = start + min(length, longest_seconds)
        clips.append(Clip(source["clip_id"], "", audio_path=path, start_seconds=start, end_seconds=end))
    return clips


def _decoded(
    sounds: Iterable[Any],
    task_of: Callable[[Any, str], Any],
    call: Callable[[Workers, Any], Any],
    limits: Limits,
    workers: int | None,
) -> Generator[tuple[Any, Any, Path], None, None]:
    """(each of `sounds`, what the call returned or its ClipError, the task's file), in order, decoded ahead.

    A file is gone with the next step. Errors: UserError where the disk under TMPDIR is full.
    """
    count = workers or len(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory(prefix="avprep-") as folder,
        Workers(count, limits) as decoders,
        ThreadPoolExecutor(count, thread_name_prefix="sound") as pool,
    ):
        ahead: deque[tuple[Any, Path, Future[Any]]] = deque()

        def next_one() -> Iterator[tuple[Any, Any, Path]]:
            sound, out, answer = ahead.popleft()
            try:
                outcome = answer.result()
            except ClipError as error:
                outcome = error
            yield sound, outcome, out
            out.unlink(missing_ok=True)

        try:
            for number, sound in enumerate(sounds):
                out = Path(folder) / f"{number}.npy"
                ahead.append((sound, out, pool.submit(call, decoders, task_of(sound, str(out)))))
                if len(ahead) > 2 * count:
                    yield from next_one()
            while ahead:
                yield from next_one()
        finally:
            pool.shutdown(cancel_futures=True)


def padded(logmel: np.ndarray) -> np.ndarray:
    """Log-mel [F, M] of 100 frames or more: a shorter one goes on at its lowest level, as in training."""
    missing = SHORTEST_FRAMES - len(logmel)
    return np.pad(logmel, ((0, missing), (0, 0)), constant_values=logmel.min()) if missing > 0 else logmel


def mel_rate_hz(spec: AudioSpec, num_mel_frames: int, seconds: float) -> float:
    """Log-mel frames a second of a clip: 100, or by its frames and length where its sound was not resampled."""
    return float(schema.MEL_FRAMES_PER_SECOND) if spec.resample else (num_mel_frames - 1) / seconds


def as_spec(values: AudioSpec | Mapping[str, Any]) -> AudioSpec:
    """An AudioSpec from its values, which older datasets and encoders give without `downmix`.

    Errors: UserError where this version does not know all of them.
    """
    if isinstance(values, AudioSpec):
        return values
    unknown = sorted(set(values) - {field.name for field in dataclasses.fields(AudioSpec)})
    if unknown:
        raise UserError(f"The feature specification has {unknown[0]!r}, which this version does not know; update it.")
    with speaking_of("The feature specification"):
        return AudioSpec(**schema.named_downmix(values))


def _of_file(path: str) -> Sounding:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(f"The name of {os.fsencode(path)!r} is not UTF-8; rename the file.") from None
    return Sounding(Clip(clip_id=path, label="", split="", audio_path=path))
