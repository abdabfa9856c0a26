"""Rendered clips: the demo's shapes, and av-digits."""
