"""The settings of `avprep pseudo-label`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from avprep.shared.configs import check

FRAMES = {"first": 0.0, "middle": 0.5, "last": 1.0}
HF = "hf:"
BLANK = "{}"
REVISION = "@"


@dataclass(frozen=True, kw_only=True)
class PseudoLabelConfig:
    """Which network labels which frame, or the sound, and what becomes of it."""

    model: str = "efficientnet_b0"
    """a torchvision classifier by name; efficientnet-lite0; or hf:NAME, a CLIP or CLAP model: a folder that
    save_pretrained wrote, or ORG/NAME of the Hugging Face hub, @REVISION where one is wanted"""
    weights: Path | None = None
    """state dict (.safetensors, or .pth as torch saves it); default: torchvision's download, or lite0's package"""
    classes: Path | None = None
    """of hf:NAME: the classes to choose from, one a line, `dog` or `dog: dog, puppy`"""
    templates: tuple[str, ...] = ()
    """of hf:NAME: prompts with {} for the class, averaged; default: `a photo of {}`, or `this is a sound of {}`"""
    clusters: int | None = None
    """k-means over the features before the last linear layer, instead of the network's own classes; fitted on the train
    split, so that no validation or test clip has a part in them"""
    frame: str = "middle"
    """`first`, `middle` (number T // 2 of T) or `last`; of a sound longer than the network takes, that part"""
    top_k: int = 1
    """above 1: a multi-label column of up to this many classes a clip, those that are not below `threshold`"""
    threshold: float = 0.0
    """a class of a lower probability is no label"""
    batch_size: int = 32
    """frames or sounds at a time"""
    device: str = "auto"
    """a torch device; `auto` is cuda where there is one, else cpu"""
    seed: int = 0
    """of k-means"""

    def __post_init__(self) -> None:
        check(self.frame in FRAMES, f"frame must be first, middle or last, not {self.frame!r}.")
        check(self.clusters is None or self.clusters >= 2, f"clusters must be 2 or more, not {self.clusters}.")
        check(self.batch_size >= 1, f"batch_size must be 1 or more, not {self.batch_size}.")
        check(self.top_k >= 1, f"top_k must be 1 or more, not {self.top_k}.")
        check(0 <= self.threshold <= 1, f"threshold must be 0 to 1, not {self.threshold}.")
        check(
            self.clusters is None or (self.top_k == 1 and self.threshold == 0),
            "clusters have no probability, so top_k and threshold cannot be given with them.",
        )
        if self.zero_shot:
            check(self.classes is not None, f"{self.model} needs --classes FILE: the classes, one a line.")
            check(self.weights is None, f"{self.model} comes with its weights; leave out --weights.")
            check(self.clusters is None, f"{self.model} labels by names; for --clusters take an image classifier.")
        else:
            check(
                self.classes is None and not self.templates,
                f"{self.model} has classes of its own; --classes and --template are for --model hf:NAME.",
            )
        for template in self.templates:
            check(BLANK in template, f"--template {template!r} has no {BLANK} where the name of a class goes.")

    @property
    def zero_shot(self) -> str:
        """The folder or hub name of a CLIP or CLAP model; '' for an image classifier."""
        return self.model.removeprefix(HF) if self.model.startswith(HF) else ""

    @property
    def column_name(self) -> str:
        """Name of the label column where none is given."""
        if self.zero_shot:
            return re.sub(r"[^A-Za-z0-9_.-]", "-", Path(self.zero_shot).absolute().name.partition(REVISION)[0])[:80]
        return self.model if self.clusters is None else f"{self.model}-k{self.clusters}"
