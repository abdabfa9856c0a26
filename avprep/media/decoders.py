"""The decoders by name, behind one interface; `auto` is PyAV, then an ffmpeg child where PyAV cannot read the file."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, cast

from avprep.config import Limits, VideoSpec
from avprep.media.audio import Sound
from avprep.media.frames import Pictures

SECOND_CHANCE = {"not-media", "no-video", "no-audio"}


class Decoder(Protocol):
    """What a module with_NAME offers. Errors of both: ClipError."""

    def open_pictures(self, path: Path, spec: VideoSpec, limits: Limits) -> AbstractContextManager[Pictures]:
        """The pictures of a file."""
        ...

    def open_sound(self, path: Path, limits: Limits, downmix: str = "mean") -> AbstractContextManager[Sound]:
        """The sound of a file, to be mixed to mono by AudioSpec.downmix."""
        ...


def names(choice: str) -> list[str]:
    """The decoders to try one after the other: the next where one fails for a reason of SECOND_CHANCE."""
    return ["pyav", "ffmpeg"] if choice == "auto" else [choice]


def decoder(name: str) -> Decoder:
    """The decoder `pyav`, `decord` or `ffmpeg`; its libraries are loaded now."""
    return cast(Decoder, importlib.import_module(f"avprep.media.with_{name}"))
