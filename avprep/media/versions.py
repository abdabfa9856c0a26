"""Which decoders are installed, whether they load, and which codecs they know."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from avprep.shared.errors import first_line

VIDEO_CODECS = ("h264", "hevc", "av1", "vp9", "vp8", "mpeg4", "mpeg2video", "mjpeg")
CODECS = (*VIDEO_CODECS, "aac", "opus", "vorbis", "mp3", "flac", "ac3", "pcm_s16le")
SOFTWARE = {"av1": {"libdav1d", "libaom-av1"}}  # FFmpeg's own av1 needs a graphics card
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Decoder:
    """A decoder: its version and those of CODECS it decodes (none where that is unknown), or why it does not load."""

    name: str
    version: str = ""
    codecs: tuple[str, ...] = ()
    error: str = ""


def probe_pyav() -> Decoder:
    """PyAV, the default decoder."""

    def probe() -> Decoder:
        import av

        return Decoder("pyav", av.__version__, _known(av.codec.codecs_available))

    return _loaded("pyav", probe)


def probe_decord() -> Decoder:
    """decord, which does not report the codecs that it was built with."""
    return _loaded("decord", lambda: Decoder("decord", importlib.import_module("decord").__version__))


def probe_ffmpeg() -> Decoder:
    """The ffmpeg program that comes in a wheel, or the one that IMAGEIO_FFMPEG_EXE names."""

    def probe() -> Decoder:
        import imageio_ffmpeg

        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-decoders"]
        done = subprocess.run(command, capture_output=True, check=True, timeout=ANSWER_SECONDS)
        names = {words[1].decode() for words in map(bytes.split, done.stdout.split(b"\n")) if len(words) > 1}
        return Decoder("ffmpeg", imageio_ffmpeg.get_ffmpeg_version(), _known(names))

    return _loaded("ffmpeg", probe)


def probe_librosa() -> Decoder:
    """librosa, whose formulas those of the log-mel are."""
    return _loaded("librosa", lambda: Decoder("librosa", importlib.import_module("librosa").__version__))


def _known(names: set[str]) -> tuple[str, ...]:
    return tuple(codec for codec in CODECS if names & SOFTWARE.get(codec, {codec}))


def _loaded(name: str, probe: Callable[[], Decoder]) -> Decoder:
    """What `probe` finds; a library that does not load, for whatever reason, is a finding as well."""
    try:
        return probe()
    except Exception as error:
        return Decoder(name, error=first_line(error))
