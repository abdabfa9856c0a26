"""What settings can be chosen from, and their limits."""

from __future__ import annotations

from avtrain.config.rules import LOSS_RULES

MODEL_SIZES = {"full": ("r2plus1d_18", "cnn9"), "tiny": ("tiny", "tiny")}
"""video and audio encoder of each size"""
MODEL_SETTINGS = ("model_size", "video_model", "video_pool", "video_weights", "audio_model")
"""fields of PretrainConfig that choose the encoders"""
PROJECTIONS = ("linear", "mlp")
HEAD_SETTINGS = ("projection", "projection_hidden", "embedding_dim")
"""fields of PretrainConfig that choose the layers into the common space"""
MOST_WIDTH = 65_536
OPTIMIZERS = ("adam", "adamw")
PROTOCOLS = ("linear", "finetune", "supervised", "knn")
PROBES = ("standard", "released")
SPLITS = ("auto", "group", "released")
SIDES = ("audio", "video", "both")
NEAR_BY = (*SIDES, "log-mel")
VOTERS = (*NEAR_BY, "cross")
"""whose features judge the labels of clips"""
METHODS = ("vote", "confident")
"""how they do"""
NEIGHBOURS_KEY = b"neighbours"
"""in the metadata of a file of pairs that 'avtrain neighbours' wrote"""
SOUNDS_ALONE = "audio-supcon"
LOSS_NAMES = tuple(LOSS_RULES)
"""losses that have a name"""
FREEZES = ("none", "video", "audio")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("fp32", "bf16")
JPEG_DECODERS = ("cpu", "device")
CHECKPOINTS = ("newest", "best")
WEIGHTS = ("auto", "raw", "ema")
NORMS = ("dataset", "encoder")
BALANCES = ("none", "weights", "sampling")
CACHE_BYTES = 100 << 30
READ_THREADS = 2
MOST_WINDOW_FRAMES = 1000
