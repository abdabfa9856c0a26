"""avprep build-shards, finalize, demo: options in, a config object out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from avprep.cli.types import DIRECTORY, FILE_OR_URL, FOLDER_OR_URL, OUT_FOLDER, OUT_FOLDER_OR_URL
from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command, config_option
from avprep.shared.signals import stop_on_signals


@click.command(cls=Command)
@click.argument("out_dir", type=OUT_FOLDER)
@click.option(
    "--kind",
    type=click.Choice(["shapes", "av-digits"]),
    default="shapes",
    show_default=True,
    help="Synthetic shapes and timbres, or spoken digits with handwritten ones.",
)
@click.option(
    "--clips-per-class",
    type=click.IntRange(2, 10_000),
    default=None,
    help="shapes: in all, 52, at least 5; av-digits: for training, 40 (as many for test, half as many for validation).",
)
@click.option(
    "--instance-cue",
    type=click.FloatRange(0, 1),
    default=None,
    help="shapes: how strongly picture and sound of one clip share their rhythm, default 1.",
)
@click.option(
    "--root", type=DIRECTORY, default=None, help="av-digits: folder of the Free Spoken Digit Dataset's recordings."
)
@click.option(
    "--link",
    type=click.Choice(["envelope", "none"]),
    default=None,
    help="av-digits: what the digit's brightness follows, the recording's loudness (default) or nothing.",
)
@click.option(
    "--fold", type=click.IntRange(0, 2), default=None, help="av-digits: which two speakers are the test, default 0."
)
@click.option("--size", type=click.IntRange(48, 64), default=None, help="av-digits: of the pictures, default 64 px.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=None, help="Rendering processes; default: all cores.")
@json_option
def demo(
    out_dir: Path,
    kind: str,
    clips_per_class: int | None,
    instance_cue: float | None,
    root: Path | None,
    link: str | None,
    fold: int | None,
    size: int | None,
    seed: int,
    workers: int | None,
) -> None:
    """Render a small labelled set of real mp4 files and their manifest."""
    from avprep.build.run import default_workers
    from avprep.manifest.read_write import read_manifest
    from avprep.synthetic.av_digits import DigitsConfig, render_digits
    from avprep.synthetic.demo import DemoConfig, render_demo

    of_shapes = {"instance_cue": instance_cue}
    of_digits = {"link": link, "fold": fold, "frame_size": size}
    for flag, value, owner in (
        ("--instance-cue", instance_cue, "shapes"),
        ("--root", root, "av-digits"),
        ("--link", link, "av-digits"),
        ("--fold", fold, "av-digits"),
        ("--size", size, "av-digits"),
    ):
        if value is not None and kind != owner:
            raise click.UsageError(f"{flag} is for --kind {owner}, not {kind}; leave it out.")
    own = {"clips_per_class": clips_per_class, "seed": seed, **(of_shapes if kind == "shapes" else of_digits)}
    chosen: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    with stop_on_signals() as request:
        rest = (workers or default_workers(), lambda: bool(request))
        if kind == "shapes":
            path = render_demo(out_dir, DemoConfig(**chosen), *rest)
        elif root is None:
            raise click.UsageError(
                "--kind av-digits needs --root, a folder with the recordings of the Free Spoken Digit Dataset, "
                "from https://github.com/Jakobovski/free-spoken-digit-dataset"
            )
        else:
            path = render_digits(out_dir, root, DigitsConfig(**chosen), *rest)
    splits = Counter(clip.split for clip in read_manifest(path))
    counts = ", ".join(f"{count} {split}" for split, count in splits.items())
    values = {"path": path, "clips": splits.total(), "splits": splits}
    answer(values, [f"{path}: {splits.total()} clips, {counts}"])


def _upgraded(saved: dict[str, Any]) -> dict[str, Any]:
    """The settings of a build, older ones with the mix that they had."""
    from avprep.schema import named_downmix

    return {**saved, "audio": named_downmix(saved["audio"])} if "audio" in saved else saved


@click.command(cls=Command)
@click.argument("manifest_file", metavar="MANIFEST", type=FILE_OR_URL)
@click.option("--out", type=OUT_FOLDER_OR_URL, required=True, help="Dataset folder to write.")
@click.option(
    "--root", type=FOLDER_OR_URL, default=None, help="Where relative paths start; default: the manifest's folder."
)
@click.option("--workers", type=click.IntRange(1), default=None, help="Decoding processes; default: all cores.")
@click.option(
    "--partition",
    default="0/1",
    show_default=True,
    metavar="I/N",
    help="Build part I of N; 'avprep finalize' joins the parts.",
)
@click.option(
    "--frame-size", type=int, default=112, show_default=True, help="Height and width of stored frames, in pixels."
)
@click.option("--frame-rate-hz", type=int, default=16, show_default=True, help="Stored frames a second.")
@click.option(
    "--resize",
    type=click.Choice(["stretch", "crop"]),
    default="stretch",
    show_default=True,
    help="To a square: ignore the aspect ratio, as the paper does, or take the middle of the picture.",
)
@click.option("--resize-filter", type=click.Choice(["area", "bicubic", "lanczos"]), default="area", show_default=True)
@click.option("--frame-codec", type=click.Choice(["raw", "jpeg"]), default="raw", show_default=True)
@click.option("--jpeg-quality", type=int, default=90, show_default=True, help="For --frame-codec jpeg.")
@click.option(
    "--logmel-preset",
    type=click.Choice(["paper", "text-16k", "released-code"]),
    default="paper",
    show_default=True,
    help="Values of the options of sound below that are not given.",
)
@click.option("--sample-rate-hz", type=int, default=None, help="Rate that sound is resampled to; paper: 48000.")
@click.option("--window-samples", type=int, default=None, help="Length of the Fourier transform; paper: 2048.")
@click.option("--hop-samples", type=int, default=None, help="Samples between log-mel frames; paper: 480.")
@click.option("--num-mel-bands", type=int, default=None, help="Slaney mel bands; paper: 128.")
@click.option("--amplitude-floor", type=float, default=None, help="Smaller magnitudes count as this; paper: 1e-5.")
@click.option("--top-db", type=float, default=None, help="Range kept below a clip's loudest bin, in dB; paper: 100.")
@click.option("--decibels", type=click.Choice(["amplitude", "power"]), default=None, help="20 or 10 log10; paper: 20.")
@click.option("--resample/--no-resample", default=None, help="Or take samples as if at --sample-rate-hz.")
@click.option(
    "--downmix",
    type=click.Choice(["mean", "swresample"]),
    default=None,
    help="Mono is the mean of the channels (default), or FFmpeg's mix, which earlier versions had.",
)
@click.option("--clips-per-shard", type=int, default=64, show_default=True)
@click.option(
    "--decoder",
    type=click.Choice(["pyav", "decord", "ffmpeg", "auto"]),
    default="pyav",
    show_default=True,
    help="auto: pyav, then ffmpeg for what pyav cannot read.",
)
@click.option("--deadline-seconds", type=float, default=120.0, show_default=True, help="Time that one clip may take.")
@click.option("--max-clip-seconds", type=float, default=300.0, show_default=True, help="Longer clips fail as too-long.")
@click.option("--memory-bytes", type=int, default=1_500_000_000, show_default=True, help="Address space of a decoder.")
@click.option(
    "--max-consecutive-failures", type=int, default=50, show_default=True, help="Then the build stops; 0: never."
)
@click.option("--executor", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--address", default=None, help="Running Ray cluster, host:port or 'auto'; default: one is started here.")
@click.option("--retry-failed", is_flag=True, help="Build the shards again in which a clip failed.")
@click.option("--allow-local-paths", is_flag=True, help="A MANIFEST at a URL may name any file of this machine.")
@click.option("--quality", is_flag=True, help="Measure clips while they are decoded: write DIR/quality.parquet too.")
@click.option("--dry-run", is_flag=True, help="Print what would be built: clips, shards, disk, hours; write nothing.")
@config_option(_upgraded)
@json_option
def build_shards(
    manifest_file: Path | str,
    out: Path | str,
    root: Path | str | None,
    workers: int | None,
    partition: str,
    deadline_seconds: float,
    max_clip_seconds: float,
    memory_bytes: int,
    max_consecutive_failures: int,
    executor: str,
    address: str | None,
    retry_failed: bool,
    allow_local_paths: bool,
    quality: bool,
    dry_run: bool,
    **settings: Any,
) -> None:
    """Decode the clips of MANIFEST into class-indexed shards; the same command resumes.

    MANIFEST, --root, --out and the clips' own paths may be URLs: s3://, gs://, and to be read also http(s)://.
    """
    from avprep.api.datasets import build_shards as build
    from avprep.build.finalize import emptied_lines
    from avprep.build.run import default_workers
    from avprep.config import Limits, build_config

    config = build_config(**settings)
    with stop_on_signals() as request:
        work: dict[str, Any] = {
            "limits": Limits(
                deadline_seconds=deadline_seconds, max_clip_seconds=max_clip_seconds, memory_bytes=memory_bytes
            ),
            "root": root,
            "workers": workers or default_workers(),
            "partition": _partition(partition),
            "retry_failed": retry_failed,
            "allow_local_paths": allow_local_paths,
            "stopping": lambda: bool(request),
        }
        if dry_run:
            from avprep.build.dry_run import forecast

            foreseen = forecast(manifest_file, out, config, **work)
            answer(foreseen, foreseen.lines())
            return
        result = build(
            manifest_file,
            out,
            config=config,
            **work,
            executor=executor,
            address=address,
            max_consecutive_failures=max_consecutive_failures,
            quality=quality,
        )
    failed = sum(result.failures.values())
    lines = [
        f"{out}: {result.clips} clips, {failed} failed; {result.shards_built} shards built, {result.shards_kept} kept",
        *failed_lines(result.failed_clips, result.failures),
        *(f"  {line}" for line in emptied_lines(result.emptied)),
    ]
    if not result.complete:
        lines.append(f"one part of {partition.split('/')[1]}: run 'avprep finalize {out}' when all are built")
    answer(result, lines)


@click.command(cls=Command)
@click.argument("dataset_dir", metavar="DIR", type=FOLDER_OR_URL)
@json_option
def finalize(dataset_dir: Path | str) -> None:
    """Join the partitions of a build: index.parquet, failures.jsonl, dataset.json."""
    from avprep.build.finalize import emptied_lines
    from avprep.build.finalize import finalize as join

    totals = join(dataset_dir)
    answer(
        totals,
        [
            f"{dataset_dir}: {totals.clips} clips, {sum(totals.failures.values())} failed",
            *(f"  {line}" for line in emptied_lines(totals.emptied)),
        ],
    )


def failed_lines(first: list[tuple[str, str]], failures: dict[str, int]) -> list[str]:
    """A line for each of the first clips that failed, and one for the others."""
    more = sum(failures.values()) - len(first)
    lines = [f"  {reason}: {clip_id}" for clip_id, reason in first]
    return lines + ([f"  and {more} more: {', '.join(f'{n} {r}' for r, n in failures.items())}"] if more > 0 else [])


def _partition(text: str) -> tuple[int, int]:
    try:
        index, parts = text.split("/")
        return int(index), int(parts)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not I/N, such as 0/3", param_hint="--partition") from None
