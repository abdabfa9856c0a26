"""Where the pictures of a late span may be decoded from the key frame before it, with the bytes of decoding them all.

That is so in MP4, QuickTime and Matroska, whose times do not depend on what was read before, and for key frames after
which no picture refers to one before: H.264's IDR, HEVC's random access pictures, key frames of VP8, VP9 and AV1.
Sound is always decoded from its start: what AAC, MP3 and Opus decode to depends on all that came before.
"""

from __future__ import annotations

from fractions import Fraction

from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from avprep.media import nal

LEAST_SECONDS = 10
CODECS = {"h264", "hevc", "vp8", "vp9", "libdav1d", "av1"}
H264_IDR, HEVC_RANDOM_ACCESS = 5, range(16, 22)


def worthwhile(container: InputContainer, stream: VideoStream, seconds: Fraction) -> bool:
    """Whether a track may be entered `seconds` after its first picture, and that is worth it."""
    name = container.format.name
    indexed = name.startswith("matroska") or (
        name.startswith("mov") and stream.frames > 0
    )  # fragments are counted as 0
    return seconds >= LEAST_SECONDS and indexed and stream.codec_context.name in CODECS


def skip_others(container: InputContainer, kept: Stream) -> None:
    """Leave all tracks but one unread, in containers that can jump over them."""
    if container.format.name.startswith(("mov", "matroska")):
        for stream in container.streams:
            if stream is not kept:
                stream.discard = Discard.all


def starts_anew(stream: VideoStream, packet: Packet) -> bool:
    """Whether no later picture refers to one before the packet's."""
    context = stream.codec_context
    if not packet.is_keyframe or packet.pts is None:
        return False
    if context.name == "h264":
        return nal.first_slice(bytes(packet), nal.h264_length_bytes(context.extradata), nal.H264) == H264_IDR
    if context.name == "hevc":
        kind = nal.first_slice(bytes(packet), nal.hevc_length_bytes(context.extradata), nal.HEVC)
        return kind in HEVC_RANDOM_ACCESS
    return True
