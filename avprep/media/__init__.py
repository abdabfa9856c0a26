"""The only importers of decoders: probe (may it be opened), with_NAME, video, audio, logmel, clip, render (ffmpeg)."""
