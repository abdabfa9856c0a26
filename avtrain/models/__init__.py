"""Encoders and what stands on them."""
