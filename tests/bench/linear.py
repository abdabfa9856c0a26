"""Linear evaluation with features cached once, against encoding the same windows anew in every epoch.

    python -m tests.bench.linear FOLDER [--size full|tiny] [--clips 2000] [--seconds 10] [--epochs 100] [--threads 2]

`avtrain evaluate --protocol linear` as it is is timed whole: reading, encoding, three learning rates, the test clips.
Encoding anew is what it would take besides: `--epochs` - 1 further encodings of the windows to fit on and to choose by,
timed `--encodings` times, in turns, median taken. Beside it, an epoch of `--probe released`, which encodes one random
window of each clip to fit on and the same windows to choose by. Samples: noise of 128 bands, a fifth of the clips for
test, kept in FOLDER. To be at least 20.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from avprep.dataset import Dataset
from avtrain.config import MODEL_SIZES, EvaluateConfig
from avtrain.data.augment import Normalise
from avtrain.data.reader import Reader
from avtrain.data.splits import Split, split_rows
from avtrain.evaluation.evaluate import evaluate
from avtrain.evaluation.features import Source, window_features
from avtrain.evaluation.finetune import Fitting, fit_encoder
from avtrain.models.encoder import place
from avtrain.models.two_tower import audio_encoder
from tests.bench.contest import CLASSES, prepared
from tests.train.forge import Forged, forge_dataset


def seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=MODEL_SIZES, default="full")
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--encodings", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clips = [
        Forged(f"c{number % CLASSES}", "train" if number // CLASSES % 5 else "test", arguments.seconds)
        for number in range(arguments.clips)
    ]
    folder = prepared(
        arguments.folder / f"sounds-{arguments.clips}-{arguments.seconds}",
        lambda part: forge_dataset(part, clips, 32, mel_bands=128),
    )
    dataset = Dataset(folder)
    config = EvaluateConfig(model_size=arguments.size, epochs=arguments.epochs)
    split = split_rows(dataset)
    untested = Split(split.fit, split.validation, split.test[:1])
    encoder = place(audio_encoder(arguments.size), "cpu")
    probe = Fitting(epochs=1, frozen=True, dropout=0.5)
    ways: dict[str, list[float]] = {"cached": [], "encoding": [], "released": []}
    with Reader(dataset) as reader:
        source = Source(dataset, reader, Normalise(dataset.logmel_mean, dataset.logmel_std), "cpu")
        ways["cached"].append(seconds(lambda: evaluate(folder, config)))
        for _ in range(arguments.encodings):
            ways["encoding"].append(
                seconds(
                    lambda: [
                        window_features(encoder, source, rows, config.windows_per_clip)
                        for rows in (split.fit, split.validation)
                    ]
                )
            )
            ways["released"].append(seconds(lambda: fit_encoder(encoder, source, untested, probe, "released")))
    cached, encoding, released = (statistics.median(each) for each in ways.values())
    anew = cached + (arguments.epochs - 1) * encoding
    print(
        f"{arguments.size}, {arguments.clips} clips of {arguments.seconds} s, {arguments.epochs} epochs, "
        f"{arguments.threads} threads: {cached:.1f} s; encoding once {encoding:.2f} s, in every epoch "
        f"{anew:.1f} s, {anew / cached:.1f} times as long; the released probe {arguments.epochs * released:.1f} s, "
        f"{arguments.epochs * released / cached:.1f} times"
    )


if __name__ == "__main__":
    main()
