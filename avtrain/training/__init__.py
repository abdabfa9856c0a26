"""Pretraining: the loop and what it alone needs."""
