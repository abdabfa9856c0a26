"""The model card of an exported encoder, as Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from avprep.shared import store
from avtrain.inference.encoder import AudioEncoder
from avtrain.inference.video_encoder import VideoEncoder
from avtrain.runs.checkpoint import is_checkpoint

SHOWN_CLASSES = 20
CARD = """\
---
license: unknown
tags: [{side}, audio-visual, self-supervised]
---

# {Side} encoder of {run}

{What} to a vector of {width} features: `{model}` ({parameters:.1f} M parameters) over {input}.
It was trained by matching sounds to pictures. {ending}

## What it learnt from

- Data: `{dataset}`, {clips:,} training clips of {classes}; digest `{dataset_digest}`.
- Plan: strategy `{strategy}` over label column `{labels}`, loss `{loss}`, batches of {batch_size} pairs, seed {seed}.
- {step:,} updates; config digest `{config_digest}`. All settings are in `encoder.json`.

## Its input

{made}

```json
{spec}
```

## What it is worth

{measured}

## Use

```python
{use}
```

Without torch: `{side}_encoder.onnx` (opset {opset}) maps {onnx} to `embedding` [batch, {width}]. Its metadata `avtrain`
is what `encoder.json` holds. onnxruntime and torch were held against each other on {inputs}: they differ by
{difference:.1e} of the largest feature (limit {tolerance:g}).

## Licence and limits

Licence: unknown. Whoever shares this model states it, with regard to the recordings that it learnt from. The
encoder knows nothing of {what} that are not among them.
"""
AUDIO = {
    "What": "Sound",
    "what": "sounds",
    "input": "log-mel of any length",
    "made": (
        "Log-mel in dB as its training data had it; normalisation is inside the model. Sounds shorter than 100 frames "
        "are padded\nwith their lowest level. The log-mel is made by avprep with:"
    ),
    "use": """from avtrain.embed import embed_file, load_encoder

embedding = embed_file(load_encoder("this-folder"), "sound.wav")  # float32 [{width}]""",
    "onnx": "`logmel` float32 [batch, frames, {bands}], batch and frames free,",
}
VIDEO = {
    "What": "Pictures",
    "what": "pictures",
    "input": "clips of any length",
    "made": (
        "RGB pictures as avprep stores them, uint8; crop and normalisation are inside the model. They are made by "
        "avprep with:"
    ),
    "use": """from avprep import Dataset
from avtrain.inference import load_video_encoder

frames = Dataset("my-data").read_clip(0).frames  # uint8 [pictures, {size}, {size}, 3]
embedding = load_video_encoder("this-folder").encode(frames[None])[0]  # float32 [{width}]""",
    "onnx": "`frames` uint8 [batch, pictures, {size}, {size}, 3], batch and pictures free,",
}
"""what the cards of the two sides do not share"""
ENDINGS = {
    False: "The features are the encoder's own, before its projection.",
    True: "The features are unit vectors in the space that sounds and pictures share.",
}


def model_card(encoder: AudioEncoder | VideoEncoder, checked: dict[str, Any], run: Path) -> str:
    """README.md of an export: what the encoder is, what it learnt from and how, what it is worth, how to use it.

    `checked` is what export.check returned; measurements are read from the eval folder of `run`, if it has one.
    """
    about, training = encoder.description, encoder.description.training
    config, data = training["config"], training["dataset"]
    width, bands, size = encoder.num_features, len(about.logmel_mean), about.video.get("frame_size")
    own = {
        name: text.format(width=width, bands=bands, size=size)
        for name, text in (AUDIO if about.side == "audio" else VIDEO).items()
    }
    unknown = dict.fromkeys(("strategy", "labels", "loss", "batch_size", "seed"), "unknown")
    return CARD.format(
        **unknown | {name: config[name] for name in unknown if name in config},
        run=training["run"],
        step=training["step"],
        model=about.model,
        width=width,
        side=about.side,
        Side=about.side.capitalize(),
        **own,
        ending=ENDINGS[about.projection],
        parameters=sum(weights.numel() for weights in encoder.network.parameters()) / 1e6,
        dataset=data["name"],
        clips=data["train_clips"],
        classes=_classes(data["class_names"]),
        dataset_digest=data["digest"][:16],
        config_digest=training["config_digest"][:16],
        spec=store.json_text(about.audio if about.side == "audio" else about.video, indent=1),
        measured=_measured(run.parent if is_checkpoint(run) else run, about.side),
        opset=checked["opset"],
        inputs=", ".join(checked["differences"]),
        difference=max(checked["differences"].values()),
        tolerance=checked["tolerance"],
    )


def _classes(names: list[str]) -> str:
    more = len(names) - SHOWN_CLASSES
    return f"{len(names)} classes ({', '.join(names[:SHOWN_CLASSES])}{f' and {more} more' if more > 0 else ''})"


def _measured(run: Path, side: str) -> str:
    """A table of the classification results below run/eval that are of a side; a sentence where there are none."""
    rows = []
    for path in sorted(run.glob("eval/*/result.json")):
        result = json.loads(path.read_bytes())
        if result.get("interval_95") and result.get("config", {}).get("side", "audio") == side:
            low, high = (100 * end for end in result["interval_95"])
            several = "accuracy" not in result
            score = (
                f"mAP {100 * result['mean_average_precision']:.1f}" if several else f"{100 * result['accuracy']:.1f}"
            )
            figures = f"{score} | {low:.1f} to {high:.1f} | {result['test_clips']}"
            rows.append(f"| {path.parent.name} | {result['step']} | {figures} |")
    if not rows:
        return "Nothing was measured when this card was written; `avtrain evaluate` measures."
    return "\n".join(
        ["| evaluation | step | accuracy, % | 95 % interval | test clips |", "|---|---|---|---|---|", *rows]
    )
