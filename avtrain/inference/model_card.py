"""The model card of an exported encoder: Markdown, with YAML in front as the Hugging Face hub reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from avprep.shared import cards, store
from avtrain.inference.encoder import AudioEncoder
from avtrain.inference.results import Measured
from avtrain.inference.video_encoder import VideoEncoder

PROGRAM = "avtrain"
SHOWN_CLASSES = 20
METRICS = {"accuracy": "accuracy, %", "mean_average_precision": "mean average precision, %"}
CARD = """\
{front}

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

{licence} The encoder knows nothing of {what} that are not among them.
{citation}"""
UNLICENSED = "Licence: unknown. Whoever shares this model states it, with regard to the recordings that it learnt from."
LICENSED = (
    "Licence: {link}, as given by whoever wrote this card. It cannot grant more than the licences of the recordings do "
    "that it learnt from."
)
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


@dataclass(frozen=True, kw_only=True)
class ModelCardConfig:
    """What a model card states besides what an export records."""

    license: str = ""
    """licence of the weights: a name of the hub such as `cc-by-4.0`, the address of its text, or `unknown`; '' is that
    too"""
    creator: str = ""
    """who made the model: a person or a group"""
    citation: str = ""
    """how to cite it, such as a BibTeX entry"""

    def __post_init__(self) -> None:
        if self.license:
            cards.check_license(self.license)


def model_card(
    encoder: AudioEncoder | VideoEncoder,
    checked: dict[str, Any],
    results: Sequence[Measured] = (),
    config: ModelCardConfig | None = None,
) -> str:
    """README.md of an export: what the encoder is, what it learnt from and how, what it is worth, how to use it.

    `checked` is what export.check returned.
    """
    stated = config or ModelCardConfig()
    about, training = encoder.description, encoder.description.training
    settings, data = training["config"], training["dataset"]
    width, bands, size = encoder.num_features, len(about.logmel_mean), about.video.get("frame_size")
    own = {
        name: text.format(width=width, bands=bands, size=size)
        for name, text in (AUDIO if about.side == "audio" else VIDEO).items()
    }
    unknown = dict.fromkeys(("strategy", "labels", "loss", "batch_size", "seed"), "unknown")
    return CARD.format(
        **unknown | {name: settings[name] for name in unknown if name in settings},
        front=_front_matter(about.side, training["run"], results, stated.license or cards.UNKNOWN),
        run=cards.plain(training["run"]),
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
        measured=_measured(results, about.projection),
        opset=checked["opset"],
        inputs=", ".join(checked["differences"]),
        difference=max(checked["differences"].values()),
        tolerance=checked["tolerance"],
        licence=_licence(stated),
        citation=cards.citation_section(stated.citation),
    )


def _front_matter(side: str, run: str, results: Sequence[Measured], license: str) -> str:
    """The lines between and with the two `---`; `model-index` has the results in the hub's form."""
    lines = ["---", *cards.license_lines(license), "library_name: avprep-avtrain"]
    lines += cards.yaml_list("tags", [side, "audio-visual", "self-supervised"])
    if results:
        lines += ["model-index:", f"- name: {cards.quoted(run)}", "  results:"]
    for one in results:
        details = {"evaluation": one.evaluation, "interval_95": [_percent(end) for end in (one.low, one.high)]}
        counts = {"test_clips": one.test_clips, "test_clips_seen_in_training": one.seen}
        lines += [
            f"  - task: {cards.quoted({'type': f'{side}-classification', 'name': one.protocol or one.evaluation})}",
            f"    dataset: {cards.quoted({'type': one.dataset, 'name': one.dataset, 'split': 'test'})}",
            "    metrics:",
            f"    - type: {one.metric}",
            f"      value: {_percent(one.score)}",
            f"      name: {cards.quoted(METRICS[one.metric])}",
            f"      args: {cards.quoted({**details, **counts})}",
        ]
    return "\n".join([*lines, "---"])


def _percent(share: float) -> float:
    return round(100 * share, 4)


def _licence(config: ModelCardConfig) -> str:
    link = cards.license_link(config.license or cards.UNKNOWN)
    given = LICENSED.format(link=link) if link else UNLICENSED
    return given + (f" Made by {cards.plain(config.creator)}." if config.creator else "")


def _classes(names: list[str]) -> str:
    more = len(names) - SHOWN_CLASSES
    return f"{len(names)} classes ({', '.join(names[:SHOWN_CLASSES])}{f' and {more} more' if more > 0 else ''})"


def _measured(results: Sequence[Measured], projection: bool) -> str:
    """A table of the results; a sentence where there are none."""
    if not results:
        return "Nothing was measured of these weights when this card was written; `avtrain evaluate` measures."
    rows = [
        [
            one.evaluation,
            f"{'' if one.metric == 'accuracy' else 'mAP '}{100 * one.score:.1f}",
            f"{100 * one.low:.1f} to {100 * one.high:.1f}",
            one.test_clips,
            "not known" if one.seen is None else one.seen,
        ]
        for one in results
    ]
    table = cards.table(["evaluation", "accuracy, %", "95 % interval", "test clips", "of them seen in training"], rows)
    return table + ("\n\nMeasured on the encoder's own features, before its projection." if projection else "")
