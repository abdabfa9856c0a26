"""avtrain: class-indexed shards in, audio-visual encoders and their scores out (the online half)."""

from avprep.shared import __version__

__all__ = ["__version__"]
