"""avprep: labelled clips in, class-indexed audio-visual WebDataset shards out (the offline half)."""

__version__ = "0.1.0"
