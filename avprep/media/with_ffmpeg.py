"""The decoder of last resort: an ffmpeg child, which shrinks and turns the pictures and sends them through a pipe.

The child gets the same whitelists and limits as PyAV, no standard input, and dies with this process. It writes NUT with
raw pictures or samples and their own timestamps, so that the clip is cut by the same code whoever decoded. Pictures
at another angle than a quarter turn are turned by it exactly.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import av.error
import ffmpeg
import imageio_ffmpeg
from av.container import InputContainer

from avprep.config import Limits, VideoSpec
from avprep.errors import ClipError
from avprep.media import probe, restarts, wav, with_pyav
from avprep.media.audio import Sound
from avprep.media.frames import WIDEST_ASPECT
from avprep.media.video import VideoTrack
from avprep.shared.processes import die_with_parent

ZERO_SECONDS = 1000  # added by the child, since NUT knows no time before 0
UNREADABLE = {"not-media", "no-video", "no-audio"}
SILENT = "ffmpeg reads nothing of it"


@contextlib.contextmanager
def open_pictures(path: Path, spec: VideoSpec, limits: Limits) -> Iterator[VideoTrack]:
    """The pictures of a file, made small by the child."""
    size = spec.frame_size
    scale, crop = f"w={size}:h={size}", ""
    if spec.resize == "crop":
        side = "round({}*clip({},1,{}))"
        scale = f"w='{side.format(size, 'dar', WIDEST_ASPECT)}':h='{side.format(size, '1/dar', WIDEST_ASPECT)}'"
        crop = f"crop={size}:{size},"
    filters = f"scale={scale}:flags={spec.resize_filter}:in_chroma_loc=left,format=gbrp,{crop}setsar=1"
    header, number, refused = _header(path, limits, "vide")
    options = {
        "map": f"0:V:{number}",
        "vf": filters,
        "c:v": "rawvideo",
        "fps_mode": "passthrough",
        "enc_time_base:v": "demux",
    }
    with _child(path, limits, options, refused or ClipError("no-video", SILENT)) as container:
        track = VideoTrack(container, spec, limits, Fraction(ZERO_SECONDS))
        track.header = header or track.header
        yield track


@contextlib.contextmanager
def open_sound(path: Path, limits: Limits, downmix: str = "mean") -> Iterator[Sound]:
    """The sound of a file at its own rate: all channels for a `downmix` of mean, else mixed to mono by the child.

    PyAV reads it where the header must be corrected (media/wav.py): the child opens files by name alone.
    """
    header, number, refused = _header(path, limits, "soun")
    if wav.corrected(path):
        with with_pyav.open_sound(path, limits, downmix) as sound:
            yield sound
        return
    options = {"map": f"0:a:{number}", "c:a": "pcm_f32le", **({} if downmix == "mean" else {"ac": 1})}
    with _child(path, limits, options, refused or ClipError("no-audio", SILENT)) as container:
        yield Sound(container=container, header=header or probe.Header(), zero=Fraction(ZERO_SECONDS), downmix=downmix)


def _header(path: Path, limits: Limits, handler: str) -> tuple[probe.Header | None, int, ClipError | None]:
    """(header, number of the track among those of its kind, None), or why PyAV cannot read the file: (None, 0, error).

    Errors: ClipError, where no decoder may open it.
    """
    try:
        with probe.open_media(path, limits, handler) as container:
            stream = probe.video_stream(container, limits) if handler == "vide" else probe.audio_stream(container)
            header, number = probe.header(container, stream), probe.tracks(container, stream.type).index(stream)
            rate = stream.average_rate if handler == "vide" else None
            restarts.check_packets(container, stream, 1 / Fraction(rate) if rate else None)
            return header, number, None
    except ClipError as error:
        if error.reason not in UNREADABLE:
            raise
        return None, 0, error


@contextlib.contextmanager
def _child(path: Path, limits: Limits, options: Mapping[str, object], failure: ClipError) -> Iterator[InputContainer]:
    """What the child writes, as a container. Errors: `failure` where it writes nothing."""
    source = ffmpeg.input(f"file:{path.absolute()}", threads=1, **probe.input_options(limits))
    sent = source.output("pipe:1", format="nut", copyts=None, output_ts_offset=ZERO_SECONDS, **options)
    command = sent.global_args("-loglevel", "quiet", "-nostdin", "-filter_threads", "1").compile(
        cmd=imageio_ffmpeg.get_ffmpeg_exe()
    )
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=partial(die_with_parent, os.getpid()),
    )
    try:
        try:
            container = av.open(process.stdout, "r", format="nut")
        except av.error.FFmpegError:
            raise failure from None
        with container:
            yield container
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
