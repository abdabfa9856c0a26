"""Decoding in child processes that can be killed: one bad clip costs that clip, never the build.

The child decodes a clip and writes its tar members itself, at a given offset of the shard's temporary file: no array
crosses a pipe and no byte is copied by the parent, which only learns where things lie. If the child dies, the
parent cuts the file back to that offset and goes on.
"""

from __future__ import annotations

import ctypes
import errno
import json
import multiprocessing
import os
import resource
import signal
from concurrent.futures import TimeoutError as DeadlineExceeded
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

from avprep import schema
from avprep.config import BuildConfig, Limits
from avprep.errors import RETRIED_REASONS, ClipError
from avprep.manifest import Clip

PR_SET_PDEATHSIG = 1
CLIPS_PER_PROCESS = 2000  # a decoder that leaks is replaced before it matters


@dataclass(frozen=True)
class ClipTask:
    """What a child needs: the clip, where its paths start, what to make of it, where its bytes go."""

    clip: Clip
    root: str
    config: BuildConfig
    limits: Limits
    tar_path: str
    tar_offset: int


@dataclass(frozen=True)
class ClipRecord:
    """What a child has written: index values of one clip and float64 sums [M] of its stored log-mel."""

    index: dict[str, Any]
    end_offset: int
    logmel_sum: list[float]
    logmel_sum_of_squares: list[float]


class Workers:
    """`count` decoding processes, shared by any number of threads; use as a context manager."""

    def __init__(self, count: int, limits: Limits) -> None:
        self._limits = limits
        self._pool = ProcessPool(
            max_workers=count,
            max_tasks=CLIPS_PER_PROCESS,
            initializer=_begin,
            initargs=(os.getpid(), limits.memory_bytes),
            context=multiprocessing.get_context("spawn"),
        )

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: object, *_exc: object) -> None:
        if kind is None:
            self._pool.close()
        else:
            self._pool.stop()
        self._pool.join()

    def run(self, task: ClipTask) -> ClipRecord:
        """The record of a clip now in the tar; ClipError after the one retry that its reason allows."""
        try:
            return self._once(task)
        except ClipError as error:
            if error.reason not in RETRIED_REASONS:
                raise
            return self._once(task)

    def _once(self, task: ClipTask) -> ClipRecord:
        limits, clip_id = self._limits, task.clip.clip_id
        future = self._pool.schedule(_decode_into, args=[task], timeout=limits.deadline_seconds)
        try:
            outcome = future.result()
        except DeadlineExceeded:
            raise ClipError("deadline", f"more than {limits.deadline_seconds:g} s", clip_id) from None
        except ProcessExpired as error:
            raise ClipError("crash", f"the decoder ended with {_how(error.exitcode)}", clip_id) from None
        if isinstance(outcome, tuple):
            raise ClipError(*outcome, clip_id)
        return outcome


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"


def _begin(parent_pid: int, memory_bytes: int) -> None:
    """Prepare a child: die with the parent, leave signals to it, one BLAS thread, imports done, memory bounded."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
    import numpy as np

    from avprep.config import AudioSpec
    from avprep.media import clip, probe
    from avprep.media.logmel import log_mel

    assert clip  # imported here so that its cost falls outside every deadline
    probe.silence()
    log_mel(np.zeros(4800, np.float32), AudioSpec())
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _decode_into(task: ClipTask) -> ClipRecord | tuple[str, str]:
    """In the child: decode and write one clip; (reason, detail) where the clip is at fault."""
    from avprep.media.clip import decode_clip

    clip, root = task.clip, Path(task.root)
    try:
        decoded = decode_clip(
            root / clip.video_path if clip.video_path else None,
            root / clip.audio_path if clip.audio_path else None,
            clip.start_seconds,
            clip.end_seconds,
            task.config,
            task.limits,
        )
        return _write(task, decoded)
    except ClipError as error:
        return error.reason, error.detail
    except MemoryError:
        return "memory", f"more than {task.limits.memory_bytes} bytes of address space"
    except OSError as error:
        if error.errno == errno.ENOMEM:
            return "memory", f"more than {task.limits.memory_bytes} bytes of address space"
        raise


def _write(task: ClipTask, decoded: Any) -> ClipRecord:
    import numpy as np

    clip, offset = task.clip, task.tar_offset
    key = schema.clip_key(clip.clip_id)
    index: dict[str, Any] = {
        "clip_id": clip.clip_id,
        "key": key,
        "frames_offset": -1,
        "frames_bytes": 0,
        "num_frames": 0,
        "num_mel_frames": len(decoded.logmel),
        "duration_seconds": float(decoded.span.duration),
        "av_offset_seconds": decoded.av_offset_seconds,
    }
    parts: list[Any] = []

    def member(suffix: str, *pieces: Any) -> int:
        """Queue a member; returns the offset of its last piece."""
        nonlocal offset
        size = sum(memoryview(piece).nbytes for piece in pieces)
        last = offset + schema.TAR_BLOCK_BYTES + size - memoryview(pieces[-1]).nbytes
        padding = schema.tar_padding(size)
        parts.extend([schema.tar_header(key + suffix, size), *pieces, padding])
        offset += schema.TAR_BLOCK_BYTES + size + len(padding)
        return last

    if decoded.frames is not None:
        frames = decoded.frames
        index["frames_offset"] = member(schema.FRAMES_SUFFIX, schema.npy_header(frames.dtype, frames.shape), frames)
        index["frames_bytes"], index["num_frames"] = frames.nbytes, len(frames)
    logmel = decoded.logmel
    index["logmel_offset"] = member(schema.LOGMEL_SUFFIX, schema.npy_header(logmel.dtype, logmel.shape), logmel.data)
    meta = {
        "clip_id": clip.clip_id,
        "label": clip.label,
        "split": clip.split,
        "group": clip.group,
        "video_path": clip.video_path,
        "audio_path": clip.audio_path,
        "span_seconds": [float(decoded.span.start), float(decoded.span.end)],
        "av_offset_seconds": decoded.av_offset_seconds,
        "decoder": "pyav",
    }
    member(schema.META_SUFFIX, json.dumps(meta, ensure_ascii=False, sort_keys=True).encode())
    with open(task.tar_path, "r+b", buffering=0) as tar:
        _write_all(tar.fileno(), [memoryview(part).cast("B") for part in parts if len(part)], task.tar_offset)
    values = logmel.astype(np.float64)
    return ClipRecord(index, offset, values.sum(0).tolist(), np.square(values).sum(0).tolist())


def _write_all(handle: int, parts: list[memoryview], offset: int) -> None:
    while parts:
        written = os.pwritev(handle, parts, offset)
        offset += written
        while parts and written >= len(parts[0]):
            written -= len(parts.pop(0))
        if written:
            parts[0] = parts[0][written:]
