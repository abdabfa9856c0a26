"""The GRID benchmark, whole."""
