"""The exception tree of avprep.

Exception
├── UserError            one plain sentence, exit code 2 (shared.errors)
│   ├── ManifestError    the manifest: all its problems, together
│   └── BusyError        another process holds it (shared.errors)
├── Interrupted          stopped on request, resumable, exit code 75 (shared.errors)
└── ClipError            one clip cannot be used: reason code + detail; counted, never fatal
"""

from __future__ import annotations

from avprep.shared.errors import Interrupted, UserError

__all__ = ["PASSING_REASONS", "REASONS", "RETRIED_REASONS", "ClipError", "Interrupted", "ManifestError", "UserError"]

REASONS = {
    "missing": "the file is not there",
    "empty": "the file has no bytes",
    "not-media": "no accepted media container",
    "truncated": "the file ends before the end that its container records",
    "clock-restarts": "recordings joined byte for byte: a track's time starts over",
    "no-video": "no video track, or it holds no decodable picture",
    "no-audio": "no audio track, or it holds no decodable sound",
    "av-mismatch": "picture and sound share less than half of the longer track",
    "not-finite": "the sound has samples that are NaN, infinite or too large for a spectrogram",
    "too-short": "less than one frame is left of the clip",
    "too-large": "more pixels or bytes than the limit",
    "too-long": "longer than the limit",
    "encrypted": "the tracks are encrypted",
    "io": "the file could not be read",
    "damaged": "the archive's bytes of the clip are damaged, or cannot be unpacked",
    "deadline": "decoding took longer than the deadline",
    "memory": "decoding needed more memory than the limit",
    "crash": "the decoder process died",
}
RETRIED_REASONS = frozenset({"io", "deadline", "memory", "crash"})
PASSING_REASONS = frozenset({"missing", "io"})  # of the storage of a clip's files, not of the clip


class ManifestError(UserError):
    """All that is wrong with a manifest, one line a problem."""


class ClipError(Exception):
    """A clip that cannot be used: `reason` is a key of REASONS, `detail` one line without absolute paths."""

    def __init__(self, reason: str, detail: str, clip_id: str = "") -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown reason {reason!r}")
        super().__init__(f"{clip_id}: {reason}: {detail}" if clip_id else f"{reason}: {detail}")
        self.clip_id, self.reason, self.detail = clip_id, reason, detail
