"""Manifests: rows read, checked and written; ids, addresses and tables as people have them."""
