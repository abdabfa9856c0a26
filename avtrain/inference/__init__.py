"""An encoder on its own: load, export, model card."""
