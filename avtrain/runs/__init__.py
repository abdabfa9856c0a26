"""The run folder: settings, checkpoints, metrics, how it ended; here or at a URL."""
