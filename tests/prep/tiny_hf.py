"""Tiny CLIP and CLAP models with random weights and a tokenizer of single bytes, saved as save_pretrained does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the extra transformers is not installed")
ByteLevel = pytest.importorskip("tokenizers").pre_tokenizers.ByteLevel

MEL_BANDS = 16
SOUND_SECONDS = 2


def save_clip(folder: Path) -> Path:
    """A CLIP of 32 x 32 pictures; returns `folder`."""
    torch.manual_seed(0)
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    ids: dict[str, Any] = {
        "bos_token_id": len(words) - 2,
        "eos_token_id": len(words) - 1,
        "pad_token_id": len(words) - 1,
    }
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**small, **ids, "vocab_size": len(words), "max_position_embeddings": 40, "projection_dim": 8},
        vision_config={**small, "image_size": 32, "patch_size": 16, "projection_dim": 8},
        projection_dim=8,
    )
    tokenizer = transformers.CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])
    pictures = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder


def save_clap(folder: Path, *, fusion: bool = False) -> Path:
    """A CLAP of sounds of up to SOUND_SECONDS at 48 kHz; returns `folder`."""
    torch.manual_seed(0)
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.ClapConfig(
        text_config={**small, "vocab_size": len(words), "max_position_embeddings": 82, "projection_dim": 8},
        audio_config={
            "num_mel_bins": MEL_BANDS,
            "spec_size": 64,
            "window_size": 4,
            "hidden_size": 16,
            "patch_embeds_hidden_size": 8,
            "depths": [1, 1],
            "num_attention_heads": [1, 1],
            "projection_dim": 8,
            "enable_fusion": fusion,
            "fusion_type": "aff_2d" if fusion else None,
        },
        projection_dim=8,
    )
    tokenizer = transformers.RobertaTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])
    sounds = transformers.ClapFeatureExtractor(
        feature_size=MEL_BANDS, max_length_s=SOUND_SECONDS, truncation="fusion" if fusion else "rand_trunc"
    )
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapProcessor(sounds, tokenizer).save_pretrained(folder)
    return folder
