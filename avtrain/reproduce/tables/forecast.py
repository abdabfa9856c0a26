"""What a table will take before anything is made: clips, disk, pairs, updates, hours of each step; no media is decoded.

Clips come from the lists and from which files are there. Hours rest on figures of others or on arithmetic (`BASIS`):
nothing is tried out here.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avprep.build.run import default_workers
from avprep.config import BuildConfig
from avprep.manifest.clips import Clips
from avprep.manifest.read_write import read_manifest
from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.data.plans import steps_of
from avtrain.reproduce.tables.matrix import Matrix, Step
from avtrain.reproduce.tables.published import LOGGED_CLIPS, LOGS
from avtrain.reproduce.tables.running import Call
from avtrain.sampling import ClipTable, parse_strategy
from avtrain.sampling.accumulation import updates_per_epoch

CLIP_SECONDS = {"vggsound": 10.0, "tau2021": 10.0, "fsdnoisy18k": 8.3}
CLIPS_A_SECOND, SOUNDS_A_SECOND = 4.0, 20.0  # of one core
SECONDS_A_PAIR = LOGS["random"].seconds / LOGGED_CLIPS
FLOP_A_SECOND = 2.7e9  # of the 9-layer CNN, forward, for a second of log-mel; three times that in training
FLOPS = 8e12
JPEG_SHARE = 1 / 8
BASIS = (
    "Rests on: clips listed and present; disk from the stored sizes of clips of 10 s (FSDnoisy18k: 8.3 s, its mean), "
    f"JPEG at an eighth; decoding at {CLIPS_A_SECOND:g} clips a second and core with picture (measured at 640x360), "
    f"{SOUNDS_A_SECOND:g} without (assumed); pretraining at {1000 * SECONDS_A_PAIR:.1f} ms a pair, which the authors "
    "logged on four A100, for the full-size model; fitting on sound by arithmetic, at "
    f"{FLOPS / 1e12:g} TFLOP/s (one GPU, fp32; not measured). One step after the other."
)


@dataclass
class Work:
    """What a step takes: words for it, bytes on disk, hours."""

    words: str
    stored_bytes: float = 0.0
    hours: float = 0.0


def forecast(whole: Matrix, call: Call) -> list[str]:
    """Lines for a person: one a step, totals, what they rest on. Nothing is written below --out.

    Errors: UserError where a list or a folder is not there, or a batch cannot be filled.
    """
    listed = {step.name: _clips(step, call) for step in whole.steps if step.kind == "manifest"}
    lines, total = [], Work("")
    width = max(len(step.name) for step in whole.steps)
    for step in whole.steps:
        work = _work(whole, step, listed)
        state = "done" if step.is_done else "to do"
        if not step.is_done:
            total.stored_bytes += work.stored_bytes
            total.hours += work.hours
        lines.append(f"{step.name:<{width}}  {state:<5}  {_hours(work.hours):>8}  {work.words}")
    out = next(path for path in (whole.site.out, *whole.site.out.parents) if path.exists())
    free = shutil.disk_usage(out).free
    short = ", NOT ENOUGH" if free < total.stored_bytes else ""
    lines.append(
        f"To do: {sum(not step.is_done for step in whole.steps)} of {len(whole.steps)} steps, about "
        f"{_hours(total.hours)}; {total.stored_bytes / 1e9:,.1f} GB of shards, {free / 1e9:,.1f} GB free{short}."
    )
    return [*lines, *(f"Left out: {one}." for one in whole.left_out), BASIS]


def _clips(manifest: Step, call: Call) -> tuple[Clips, int]:
    """(clips of a manifest, as made or as it would be, how many have no file)."""
    with tempfile.TemporaryDirectory(prefix="avtrain-") as folder:
        path = manifest.ends_with
        if not manifest.is_done:
            path = Path(folder) / path.name
            words = [str(path) if word == str(manifest.ends_with) else word for word in manifest.command]
            with contextlib.redirect_stdout(io.StringIO()):
                call(words)
        report = path.with_suffix(".report.json")
        return read_manifest(path), len(store.read_json(report)["missing"]) if report.exists() else 0


def _work(whole: Matrix, step: Step, listed: dict[str, tuple[Clips, int]]) -> Work:
    """What a step takes."""
    clips, gone = listed[_manifest_of(step).name]
    if step.kind == "manifest":
        return Work(f"{_splits(clips)} clips; {gone:,} of the lists have no file")
    if step.kind == "build":
        return _of_build(whole, clips, CLIP_SECONDS[step.dataset])
    if step.kind == "pretrain":
        return _of_pretrain(step, clips)
    if step.kind == "evaluate":
        return _of_evaluation(step, clips, CLIP_SECONDS[step.dataset])
    return Work(f"{len(clips):,} clips")


def _manifest_of(step: Step) -> Step:
    """The manifest that a step makes, or the one of the clips that it goes through."""
    if step.kind == "manifest":
        return step
    fitted = [need for need in step.needs if need.kind == "add-labels"]
    last = fitted[0].needs if fitted else step.needs
    return _manifest_of(next((need for need in last if need.kind == "manifest"), last[0]))


def _splits(clips: Clips) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in sorted(Counter(clips.values("split")).items()))


def _of_build(whole: Matrix, clips: Clips, seconds: float) -> Work:
    config = whole.settings.build
    pictures = sum(bool(path) for path in clips.values("video_path"))
    sounds_alone = len(clips) - pictures
    stored = seconds * (len(clips) * _sound_bytes(config) + pictures * _picture_bytes(config))
    cores = whole.site.workers or default_workers()
    hours = seconds / 10 * (pictures / CLIPS_A_SECOND + sounds_alone / SOUNDS_A_SECOND) / cores / 3600
    return Work(f"{len(clips):,} clips, {stored / 1e9:,.1f} GB, {cores} processes", stored, hours)


def _sound_bytes(config: BuildConfig) -> float:
    """Of a second of log-mel, float16."""
    return 100 * config.audio.num_mel_bands * 2


def _picture_bytes(config: BuildConfig) -> float:
    """Of a second of frames."""
    raw = config.video.frame_rate_hz * config.video.frame_size**2 * 3
    return raw if config.video.frame_codec == "raw" else raw * JPEG_SHARE


def _of_pretrain(step: Step, clips: Clips) -> Work:
    settings = step.settings
    splits, split = clips.coded("split")
    train = np.flatnonzero(split == splits.index("train"))
    table = ClipTable(train, clips.coded("label")[1][train])
    try:
        strategy = parse_strategy(settings["strategy"])
    except ValueError as error:
        raise UserError(str(error)) from None
    batches = steps_of(strategy, table, settings["batch_size"])
    pairs = sum(map(len, strategy.plan(table, batch_size=settings["batch_size"], seed=settings["seed"], epoch=0)))
    updates = settings["epochs"] * updates_per_epoch(batches, settings["accumulate"])
    updates = min(updates, settings["max_steps"]) if settings["max_steps"] else updates
    hours = settings["epochs"] * pairs * SECONDS_A_PAIR / 3600
    words = f"{len(train):,} clips, {pairs:,} pairs and {batches:,} batches of {settings['batch_size']} an epoch"
    return Work(f"{words}, {updates:,} updates", hours=hours)


def _of_evaluation(step: Step, clips: Clips, seconds: float) -> Work:
    settings = step.settings
    splits = Counter(clips.values("split"))
    held = splits["val"] if settings["split"] == "auto" and splits["val"] else 0
    share = 0.2 if settings["split"] == "released" else settings["validation_share"]
    fit = splits["train"] if held else round((1 - share) * splits["train"])
    held = held or splits["train"] - fit
    fit = round(settings["label_fraction"] * fit)
    window, epochs = settings["window_seconds"], settings["epochs"]
    trained = settings["protocol"] != "linear"
    flop = epochs * fit * window * FLOP_A_SECOND * (3 if trained else 1)
    flop += epochs * held * settings["windows_per_clip"] * window * FLOP_A_SECOND
    flop += splits["test"] * seconds * FLOP_A_SECOND
    updates = epochs * -(-fit // settings["batch_size"])
    words = f"fits on {fit:,} clips, chooses on {held:,}, tests on {splits['test']:,}; {updates:,} updates"
    return Work(words, hours=flop / FLOPS / 3600)


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"
