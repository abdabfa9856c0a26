"""How good clips are and which are there twice: measures and hashes of each clip, near duplicates, selections."""
