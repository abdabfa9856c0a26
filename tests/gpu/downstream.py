"""What comes after pretraining: evaluation, retrieval, embeddings, pseudo-labels, and an export held against it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torchvision import models

from avprep.dataset import Dataset
from avprep.labels.pseudo_label import PseudoLabelConfig, pseudo_label
from avtrain.config import EvaluateConfig
from avtrain.embed import embed, load_encoder, load_video_encoder
from avtrain.evaluation.measure import measure
from avtrain.inference.export import TOLERANCE, export
from tests.gpu.bench import Bench
from tests.gpu.rows import PASS, Row, at_most, holds

CLASSIFIER = "mobilenet_v3_small"
MOST_APART = 1e-2
"""of the largest feature, device against CPU: convolutions are in TF32 there, as is torch's default"""


def downstream(bench: Bench) -> Iterator[Row]:
    """A row for each command, with its time, and one for how far embeddings are from the CPU's."""
    run, data = bench.run, bench.raw
    batch = bench.size.evaluation_batch
    for protocol, epochs in (("linear", 3), ("finetune", 1), ("knn", 1)):
        settings = {"protocol": protocol, "epochs": epochs, "batch_size": batch}
        yield _scored(bench, f"evaluate, {protocol}", lambda s=settings: _evaluated(bench, s)["accuracy"])
    yield _scored(bench, "evaluate, retrieval", lambda: _evaluated(bench, {"protocol": "retrieval"}, "retrieval"))
    for side, load in (("audio", load_encoder), ("video", load_video_encoder)):
        made, reference = (bench.fresh(f"{side}-{name}.parquet") for name in ("device", "cpu"))
        with bench.timed() as seconds:
            done = embed(load(run, bench.device), [data], made, splits=["test"])
        embed(load(run, "cpu"), [data], reference, splits=["test"])
        vectors, wanted = (np.stack(pq.read_table(path)["embedding"].to_numpy()) for path in (made, reference))
        apart = float(np.abs(vectors - wanted).max() / np.abs(wanted).max())
        rate = f"{done.clips / seconds[0]:,.0f} clips/s, one after the other"
        yield Row(f"embed, {side}", PASS, rate, "", {"seconds": seconds[0]})
        yield at_most(f"embed, {side}: apart from the CPU", apart, MOST_APART)
    yield _scored(bench, f"pseudo-label, {CLASSIFIER}", lambda: _pseudo_labelled(bench))


def exported(bench: Bench) -> Iterator[Row]:
    """The export of each side, and the device's features against onnxruntime's on a CPU."""
    import onnxruntime

    for side, load in (("audio", load_encoder), ("video", load_video_encoder)):
        folder = bench.fresh(f"export-{side}")
        checked = export(bench.run, folder, side=side)
        worst = max(checked["differences"].values())
        yield at_most(f"export, {side}: onnxruntime and torch on the CPU", worst, TOLERANCE)
        session = onnxruntime.InferenceSession(str(folder / f"{side}_encoder.onnx"), providers=["CPUExecutionProvider"])
        media = _media(bench, side)
        (wanted,) = session.run(None, {session.get_inputs()[0].name: media})
        made = load(folder, bench.device).encode(media)
        apart = float(np.abs(made - wanted).max() / np.abs(wanted).max())
        yield at_most(f"export, {side}: onnxruntime and torch on the device", apart, MOST_APART)


def _media(bench: Bench, side: str) -> np.ndarray:
    draw = np.random.default_rng(0)
    if side == "audio":
        return draw.uniform(-60, 0, (2, 101, 128)).astype(np.float32)
    return draw.integers(0, 256, (2, 8, bench.size.frame_size, bench.size.frame_size, 3)).astype(np.uint8)


def _scored(bench: Bench, what: str, work: Callable[[], float]) -> Row:
    """The row of a command that gives a score, with its time and memory."""
    bench.clean()
    with bench.timed() as seconds:
        score = work()
    value = f"{seconds[0]:.2f} s{bench.memory()}"
    return holds(what, math.isfinite(score), value, score=score, seconds=seconds[0], bytes=bench.memory_bytes())


def _evaluated(bench: Bench, settings: dict[str, Any], name: str = "") -> Any:
    out: Path = bench.fresh(name or settings["protocol"])
    known = {key: value for key, value in settings.items() if key in EvaluateConfig.__dataclass_fields__}
    scores, _ = measure(bench.raw, bench.run, out, known, device=bench.device)
    return next(value for value in scores.values() if isinstance(value, float)) if name else scores


def _pseudo_labelled(bench: Bench) -> float:
    """The mean probability of the labels of a network with random weights."""
    torch.manual_seed(0)
    weights = bench.folder / f"{CLASSIFIER}.pth"
    torch.save(models.get_model(CLASSIFIER, weights=None).state_dict(), weights)
    config = PseudoLabelConfig(
        model=CLASSIFIER, weights=weights, device=bench.device, batch_size=bench.size.evaluation_batch
    )
    path = pseudo_label(Dataset(bench.raw), config, "noise", replace=True)
    probability = pq.read_table(path)["probability"].to_numpy()
    return float(np.mean(probability))
