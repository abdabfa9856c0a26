"""The only importers of decoders: probe (may it be opened), video, audio, logmel, clip (one clip), render (ffmpeg)."""
