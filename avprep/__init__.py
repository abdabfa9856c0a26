"""avprep: labelled clips in, class-indexed audio-visual WebDataset shards out (the offline half)."""

from avprep.shared import __version__

__all__ = ["__version__"]
