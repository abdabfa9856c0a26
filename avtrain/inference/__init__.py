"""An encoder on its own: loaded from a run or an export, exported to ONNX with its model card.

The names below are imported when first used. `export_encoder` is `avtrain.inference.export.export`: a function named
`export` here would be replaced by that submodule once it is imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avtrain.inference.description import Description
    from avtrain.inference.encoder import AudioEncoder, load_encoder
    from avtrain.inference.export import export as export_encoder
    from avtrain.inference.video_encoder import VideoEncoder, load_video_encoder

_HOME = {
    "load_encoder": ("avtrain.inference.encoder", "load_encoder"),
    "load_video_encoder": ("avtrain.inference.video_encoder", "load_video_encoder"),
    "AudioEncoder": ("avtrain.inference.encoder", "AudioEncoder"),
    "VideoEncoder": ("avtrain.inference.video_encoder", "VideoEncoder"),
    "Description": ("avtrain.inference.description", "Description"),
    "export_encoder": ("avtrain.inference.export", "export"),
}

__all__ = ["AudioEncoder", "Description", "VideoEncoder", "export_encoder", "load_encoder", "load_video_encoder"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, own_name = _HOME[name]
    return getattr(import_module(module), own_name)
