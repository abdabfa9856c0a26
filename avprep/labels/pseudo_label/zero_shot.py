"""Zero-shot classifiers over a user's classes: CLIP for pictures, CLAP for sounds, by Hugging Face's transformers.

The probability of a class is the softmax of the network's own scaled cosines between the picture or sound and the
class. A class is the mean of the normalised embeddings of its prompts, one for each of its words and each template,
normalised again: the prompt ensembles of Radford et al. 2021, "Learning Transferable Visual Models From Natural
Language Supervision", section 3.1.4.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from avprep.errors import UserError
from avprep.labels.pseudo_label.class_list import NamedClass
from avprep.labels.pseudo_label.classifiers import Classifier, SoundInput
from avprep.labels.pseudo_label.config import BLANK, HF, REVISION
from avprep.shared import store
from avprep.shared.configs import digest
from avprep.shared.errors import first_line

TEMPLATES = {"clip": "a photo of {}", "clap": "this is a sound of {}"}
HUB_NAME = re.compile(rf"([\w.-]+/[\w.-]+)(?:{REVISION}([\w./-]+))?", re.ASCII)
FILES = ("*.json", "*.txt", "model*.safetensors")
"""what is fetched from the hub, and what the digest is of: nothing that could hold code"""
PROMPTS_AT_ONCE = 256


@dataclass(frozen=True)
class ZeroShot:
    """A classifier over the user's classes, the name of its model, and the templates of its prompts."""

    classifier: Classifier
    model: str
    templates: list[str]


def load_zero_shot(
    name: str, classes: Sequence[NamedClass], templates: Sequence[str], device: torch.device
) -> ZeroShot:
    """The CLIP or CLAP model `name`, a folder or a name of the hub, as a classifier over `classes`.

    Weights are read as safetensors alone, and no code that comes with a model is run. Errors: UserError where the model
    or its preparation is missing or damaged, is of another kind, or a prompt is longer than it takes.
    """
    try:
        import transformers
    except ImportError:
        raise UserError(f"{HF}NAME needs transformers: pip install 'avprep-avtrain[transformers]'.") from None
    folder, known_as = _folder_of(name)
    kind = _kind_of(folder)
    of_kind = {"clip": ("CLIPModel", "CLIPProcessor"), "clap": ("ClapModel", "ClapProcessor")}
    model_class, processor_class = (getattr(transformers, one) for one in of_kind[kind])
    with _quiet(transformers.utils.logging):
        network = _network(folder, model_class)
        processor = _processor(folder, processor_class)
    used = list(templates) or [TEMPLATES[kind]]
    network.to(device)
    features = _class_features(network, processor.tokenizer, classes, used, folder)
    head = _ZeroShotHead(network, kind, features)
    files = sorted(path for pattern in FILES for path in folder.glob(pattern))
    sha256 = digest({path.name: store.sha256(path) for path in files})
    names = [one.name for one in classes]
    if kind == "clip":
        return ZeroShot(Classifier(head, _pictures(processor, device), names, sha256), known_as, used)
    extractor = processor.feature_extractor
    sound_input = SoundInput(extractor.sampling_rate, extractor.nb_max_samples / extractor.sampling_rate)
    return ZeroShot(Classifier(head, _sounds(processor, device), names, sha256, sound_input), known_as, used)


class _ZeroShotHead(nn.Module):
    """Logits [B, classes] of prepared pictures or sounds, by the class `features` [classes, D]."""

    def __init__(self, network: Any, kind: str, features: torch.Tensor) -> None:
        super().__init__()
        self.network, self.kind, self.features = network, kind, features

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        network = self.network
        if self.kind == "clip":
            own, scale = network.visual_projection(network.vision_model(**inputs).pooler_output), network.logit_scale
        else:
            own, scale = network.audio_projection(network.audio_model(**inputs).pooler_output), network.logit_scale_a
        return scale.exp() * functional.normalize(own, dim=-1) @ self.features.T


def _pictures(processor: Any, device: torch.device) -> Any:
    def prepare(pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        frames = list(pictures.permute(0, 2, 3, 1).cpu().numpy())
        prepared = processor.image_processor(frames, return_tensors="pt", input_data_format="channels_last")
        return {"pixel_values": prepared["pixel_values"].to(device)}

    return prepare


def _sounds(processor: Any, device: torch.device) -> Any:
    extractor = processor.feature_extractor

    def prepare(sounds: list[np.ndarray]) -> dict[str, torch.Tensor]:
        # none is longer than the network takes: the extractor would cut those at random
        cut = [sound[: extractor.nb_max_samples] for sound in sounds]
        prepared = extractor(cut, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        # of a batch without a longer one the extractor calls one at random longer
        longer = torch.zeros_like(prepared["is_longer"], dtype=torch.bool)
        return {"input_features": prepared["input_features"].float().to(device), "is_longer": longer.to(device)}

    return prepare


def _class_features(
    network: Any, tokenizer: Any, classes: Sequence[NamedClass], templates: Sequence[str], folder: Path
) -> torch.Tensor:
    """The normalised embedding of each class, float32 [classes, D]. Errors: UserError for a prompt that is too long."""
    prompts = [[template.replace(BLANK, word) for word in one.words for template in templates] for one in classes]
    flat = [prompt for group in prompts for prompt in group]
    text = network.config.text_config
    longest = text.max_position_embeddings - (text.pad_token_id + 1 if text.model_type == "clap_text_model" else 0)
    for prompt, tokens in zip(flat, tokenizer(flat)["input_ids"], strict=True):
        if len(tokens) > longest:
            raise UserError(
                f"The prompt {prompt!r:.120} has {len(tokens)} tokens, and {folder} takes {longest}; shorten it."
            )
    with torch.inference_mode():
        features = torch.cat(list(_prompt_features(network, tokenizer, flat)))
        means = [group.mean(0) for group in features.split([len(group) for group in prompts])]
        return functional.normalize(torch.stack(means), dim=-1)


def _prompt_features(network: Any, tokenizer: Any, prompts: list[str]) -> Iterator[torch.Tensor]:
    for begin in range(0, len(prompts), PROMPTS_AT_ONCE):
        tokens = tokenizer(prompts[begin : begin + PROMPTS_AT_ONCE], padding=True, return_tensors="pt")
        tokens = {name: tokens[name].to(network.device) for name in ("input_ids", "attention_mask")}
        pooled = network.text_model(**tokens).pooler_output
        yield functional.normalize(network.text_projection(pooled), dim=-1)


def _folder_of(name: str) -> tuple[Path, str]:
    """(the folder of a model, its name in a column's origin); that of the hub's cache for a name of the hub.

    Errors: UserError where it is neither, or cannot be fetched.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder, HF + folder.absolute().name
    match = HUB_NAME.fullmatch(name)
    if match is None:
        raise UserError(f"{name} is no folder here, nor ORG/NAME of the Hugging Face hub; check --model {HF}{name}.")
    from huggingface_hub import snapshot_download

    try:
        copy = snapshot_download(match[1], revision=match[2], allow_patterns=list(FILES), ignore_patterns=["*/*"])
    except Exception as error:  # the network's, the hub's and the cache's
        raise UserError(
            f"{name} is no folder here, is not in the cache of the Hugging Face hub and could not be fetched "
            f"({first_line(error)[:200]}); check the name and the network, or copy the model's folder here and give "
            f"--model {HF}FOLDER."
        ) from None
    return Path(copy), HF + name


def _kind_of(folder: Path) -> str:
    """`clip` or `clap`. Errors: UserError where the folder holds neither."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} has no config.json; give a folder that save_pretrained of a CLIP or CLAP wrote.")
    values = store.read_json(path)
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind not in TEMPLATES:
        raise UserError(f"{folder} holds a model of type {kind!r}; give a CLIP model (pictures) or CLAP (sounds).")
    return str(kind)


@contextlib.contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Without the progress bars and reports that transformers prints: what is wrong is in our sentences."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _processor(folder: Path, processor_class: Any) -> Any:
    """The tokenizer and preparation of a folder, none of them by default. Errors: UserError."""
    advice = "save the model's processor there with save_pretrained"
    for files in (("processor_config.json", "preprocessor_config.json"), ("tokenizer.json", "vocab.json")):
        if not any((folder / name).is_file() for name in files):
            raise UserError(f"{folder} has neither {files[0]} nor {files[1]}; {advice}.")
    try:
        return processor_class.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever a foreign file makes the readers raise
        raise UserError(f"{folder} has no usable tokenizer ({first_line(error)[:200]}); {advice}.") from None


def _network(folder: Path, model_class: Any) -> Any:
    """The model of a folder with all its weights, float32, in eval mode. Errors: UserError."""
    if not list(folder.glob("model*.safetensors")):
        raise UserError(
            f"{folder} has no weights as safetensors, and others are not read: they can hold code; save the model "
            "again with save_pretrained."
        )
    try:
        network, report = model_class.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # whatever a foreign file makes the readers raise
        raise UserError(
            f"{folder} cannot be read as a model ({first_line(error)[:200]}); copy it there again."
        ) from None
    missing = sorted({*report["missing_keys"], *(one[0] for one in report["mismatched_keys"])})
    if missing:
        raise UserError(f"{folder} has no fitting weights for {len(missing)} tensors, such as {missing[0]}.")
    return network.eval()
