"""Pairs that a run draws, as it trains on them: pictures of one clip above the sound of another, to be played."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from avprep.dataset import Dataset
from avprep.preview.content import sound_of, webp
from avprep.shared import html
from avprep.shared.errors import UserError
from avtrain.config import SOUNDS_ALONE
from avtrain.report.gather import Run

SHOWN_PAIRS = 6
TILES = 8
QUALITY = 75

_pair = html.template("""<figure class="drawn">
<img alt="{{ pictures_alt }}" src="data:image/webp;base64,{{ pictures }}">
<img class="sound" alt="{{ sound_alt }}" src="data:image/webp;base64,{{ spectrogram }}">
{% if sound %}<audio controls preload="none" aria-label="{{ sound_alt }}" src="data:audio/mpeg;base64,{{ sound }}">
</audio>{% endif %}<figcaption>{% if same %}{{ labels[0] }}: a clip's sound and its own pictures
{% else %}sound: {{ labels[0] }}, pictures: {{ labels[1] }}, of another clip{% endif %}<br>
<small>{{ ids[0] }}{% if not same %} with {{ ids[1] }}{% endif %}{% if silence %}; no sound: {{ silence }}{% endif %}
</small></figcaption></figure>
""")


@dataclass(frozen=True)
class Position:
    """A batch: its epoch, and its number in it."""

    epoch: int
    step: int


def position_of(run: Run) -> Position:
    """The batch that follows the newest checkpoint; of a run that is past its last epoch, the first of that one."""
    metas = sorted(run.folder.glob("step_*/meta.json"), key=lambda path: int(path.parent.name.removeprefix("step_")))
    try:
        loader = json.loads(metas[-1].read_bytes())["loader"] if metas else {"epoch": 0, "step": 0}
        position = Position(int(loader["epoch"]), int(loader["step"]))
    except (OSError, ValueError, KeyError, TypeError):  # removed meanwhile, or of another version
        return Position(0, 0)
    last = int(run.config["epochs"]) - 1
    return position if position.epoch <= last else Position(last, 0)


@dataclass(frozen=True)
class Drawn:
    """A pair of dataset rows, with the pictures uint8 [T, H, W, 3] and log-mel float16 [F, M] of its windows.

    `seconds`: start and end of the window of sound, in its clip. A window that its clip does not fill is shorter.
    """

    audio: int
    video: int
    frames: np.ndarray
    logmel: np.ndarray
    seconds: tuple[float, float]


def drawn_pairs(run: Run, dataset: Dataset, position: Position) -> list[Drawn]:
    """The first pairs of a batch of the run, with the windows that it trains on; no torch is needed.

    `dataset` is as the run's folds have it. Errors: UserError where it does not serve the run, or a shard is damaged.
    """
    from avtrain.data.plans import strategy_of, training_table
    from avtrain.data.splits import set_aside
    from avtrain.data.window_sizes import picture_lengths, window_of
    from avtrain.sampling.windows import draw_windows

    config: Mapping[str, Any] = run.config
    if config["loss"] == SOUNDS_ALONE:
        raise UserError(f"{SOUNDS_ALONE} trains on sounds without pictures")
    seed, epoch, step = config["seed"], position.epoch, position.step
    table = training_table(dataset, config["labels"], confidence=config["label_confidence"])
    table, _ = set_aside(dataset, table, config["labels"], config["val_share"], seed)
    strategy = strategy_of(config["strategy"], dataset, table)
    plans = strategy.plan(table, batch_size=config["batch_size"], seed=seed, epoch=epoch, first_step=step)
    plan = next(iter(plans), None)
    if plan is None:
        raise UserError(f"{run.folder} has no batch {step + 1} in epoch {epoch + 1}")
    spec = window_of(dataset, config["window_frames"], config["frame_stride"], config["audio_seconds"])
    windows = draw_windows(
        plan,
        picture_lengths(dataset),
        spec,
        seed=seed,
        epoch=epoch,
        step=step,
        mel_rates_hz=dataset.mel_rates_hz,
        positions=config["frozen_windows"],
    )
    drawn = []
    for item, (audio, video) in enumerate(plan[:SHOWN_PAIRS].tolist()):
        begin, first = int(windows.frame[item]), int(windows.mel_frame[item])
        end = min(begin + spec.picture_frames, int(dataset.num_frames[video]))
        frames = dataset.read_frames(video, begin, end, spec.frame_stride)
        rate_hz = float(dataset.mel_rates_hz[audio])
        drawn.append(
            Drawn(
                audio,
                video,
                frames[:, :, ::-1] if windows.flip[item] else frames,
                dataset.read_logmel(audio)[first : first + spec.num_mel_frames],
                (first / rate_hz, (first + spec.num_mel_frames) / rate_hz),
            )
        )
    return drawn


def shown_pairs(run: Run, dataset: Dataset, position: Position, root: Path | None) -> Markup:
    """`drawn_pairs` as pictures over spectrograms with sound; `root` is where relative source paths start."""
    from avtrain.data.folds import folded

    dataset = folded(dataset, run.config["fold_column"], run.config["fold"])
    column = dataset.labels(run.config["labels"])
    cards = Markup("")
    for pair in drawn_pairs(run, dataset, position):
        sound = sound_of(dataset, pair.audio, root, pair.seconds)
        labels = [_label(column.class_names, int(column.values[row])) for row in (pair.audio, pair.video)]
        ids = [dataset.clip_ids[row] for row in (pair.audio, pair.video)]
        cards += Markup(
            _pair.render(
                same=pair.audio == pair.video,
                ids=ids,
                labels=labels,
                pictures=_base64(webp(_strip(pair.frames), QUALITY)),
                pictures_alt=f"{len(pair.frames)} pictures of {ids[1]}",
                spectrogram=_base64(webp(_spectrogram(pair.logmel), QUALITY)),
                sound_alt=f"Sound of {ids[0]}",
                sound=_base64(sound) if isinstance(sound, bytes) else "",
                silence="" if isinstance(sound, bytes) else sound,
            )
        )
    return Markup('<div class="pairs">{}</div>').format(cards)


def _label(names: list[str], label: int) -> str:
    return names[label] if label >= 0 else "no label"


def _strip(frames: np.ndarray) -> np.ndarray:
    """uint8 [H, tiles * W, 3]: at most TILES of the pictures [T, H, W, 3], side by side."""
    chosen = np.linspace(0, len(frames) - 1, min(TILES, len(frames))).round().astype(int)
    return np.concatenate(list(frames[chosen]), axis=1)


def _spectrogram(logmel: np.ndarray) -> np.ndarray:
    """uint8 [M, F, 3] of log-mel [F, M], low bands below."""
    import matplotlib

    decibels = np.nan_to_num(logmel.astype(np.float32).T[::-1])
    low, high = np.percentile(decibels, [2, 99.8])
    levels = np.clip((decibels - low) / max(high - low, 1e-6), 0, 1)
    return (255 * matplotlib.colormaps["magma"](levels)[..., :3]).astype(np.uint8)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
