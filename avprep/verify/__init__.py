"""Checks of a dataset: its tables, shards, tars, and the sources of its clips."""
