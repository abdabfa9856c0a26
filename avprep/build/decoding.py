"""What a decoding process does: one clip after the other, under a limit of memory, its members written at an offset."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from avprep.build.members import ClipRecord, write_clip
from avprep.build.tasks import ClipTask, SamplesTask, SoundTask, Task
from avprep.errors import ClipError, UserError
from avprep.quality.measures import measure_decoded
from avprep.shared.processes import die_with_parent

if TYPE_CHECKING:
    from avprep.media.clip import DecodedClip
    from avprep.media.long import SoundRecord

STATM = Path("/proc/self/statm")

Outcome = Union[ClipRecord, "SoundRecord", int, tuple[str, str], BaseException]


def serve(pipe: Connection, parent_pid: int, memory_bytes: int) -> None:
    """The child: answer tasks until the parent is gone."""
    _begin(parent_pid, memory_bytes)
    pipe.send("ready")
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(_answer(task))
        except Exception as error:
            pipe.send(error)


def _begin(parent_pid: int, memory_bytes: int) -> None:
    """Prepare a child: die with the parent, leave signals to it, imports done, memory bounded."""
    die_with_parent(parent_pid)
    already = mapped_bytes()  # a script that builds with torch at its top has it here as well
    import numpy as np

    from avprep.config import AudioSpec
    from avprep.media import clip, probe
    from avprep.media.logmel import log_mel

    assert clip  # imported here so that its cost falls outside every deadline
    probe.silence()
    log_mel(np.zeros(4800, np.float32), AudioSpec())
    if already is not None:
        resource.setrlimit(resource.RLIMIT_AS, (already + memory_bytes, already + memory_bytes))


def mapped_bytes() -> int | None:
    """Address space of this process; None where there is no /proc."""
    try:
        return int(STATM.read_bytes().split()[0]) * resource.getpagesize()
    except OSError:
        return None


def _answer(task: Task) -> Outcome:
    """In the child: do the task; (reason, detail) where the clip is at fault."""
    too_much = "memory", f"more than {task.limits.memory_bytes} bytes of address space"
    decoded: Any
    try:
        if isinstance(task, SamplesTask):
            return _samples(task)
        decoded = _log_mel(task) if isinstance(task, SoundTask) else _decoded(task)
    except ClipError as error:
        return error.reason, error.detail
    except UserError:
        raise
    except MemoryError:
        return too_much
    except OSError as error:
        return too_much if error.errno == errno.ENOMEM else ("io", error.strerror or "read error")
    except Exception as error:  # a decoder's surprise must not end a build of days; it is counted and reported
        return "crash", f"the decoder raised {type(error).__name__}"
    if isinstance(task, SoundTask):
        return decoded
    try:
        record = write_clip(task.clip, decoded, task.config.video, task.tar_path, task.tar_offset)
        if not task.quality:
            return record
        seconds = float(decoded.span.duration)
        measured = measure_decoded(decoded.frames, decoded.logmel, decoded.samples, seconds, task.config)
        return dataclasses.replace(record, measured=measured)
    except MemoryError:
        return too_much


def _decoded(task: ClipTask) -> DecodedClip:
    from avprep.media.clip import decode_clip

    clip = task.clip
    return decode_clip(
        _path_of(task, clip.video_path) if clip.video_path else None,
        _path_of(task, clip.audio_path) if clip.audio_path else None,
        clip.start_seconds,
        clip.end_seconds,
        task.config,
        task.limits,
    )


def _log_mel(task: SoundTask) -> SoundRecord:
    from avprep.media.long import write_log_mel

    clip = task.clip
    sound = _path_of(task, clip.audio_path or clip.video_path)
    return write_log_mel(sound, clip.start_seconds, clip.end_seconds, task.spec, task.limits, Path(task.out))


def _samples(task: SamplesTask) -> int:
    from avprep.media.samples import write_samples

    clip = task.clip
    sound = _path_of(task, clip.audio_path or clip.video_path)
    span = clip.start_seconds or 0.0, clip.end_seconds
    return write_samples(sound, *span, task.rate_hz, task.decoder, task.limits, Path(task.out))


def _path_of(task: Task, written: str) -> Path:
    return Path(task.fetched.get(written) or os.path.join(task.root, written))
