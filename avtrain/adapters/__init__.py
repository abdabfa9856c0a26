"""An encoder as other libraries want one: HEAR, X-ARES, mteb, transformers; each file imports its own library alone.

`avtrain.adapters.benchmark` runs their tasks.
"""
