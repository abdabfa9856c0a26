"""Builds: plan, decoding workers, shards, done-markers, the index."""
