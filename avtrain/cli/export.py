"""avtrain embed and export: what an encoder makes of sounds or pictures, and the encoder itself for use elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from avprep.shared.commands import Command
from avprep.shared.signals import stop_on_signals
from avtrain.cli.options import DIRECTORY, OUT_EMBEDDINGS, OUT_FOLDER, device_of, device_options, weights_option

SHOWN_FAILURES = 20
SIDE = click.option("--side", type=click.Choice(["audio", "video"]), default="audio", help="Encoder to use.")
PROJECTION = click.option(
    "--projection",
    is_flag=True,
    default=None,
    help="End with the encoder's layers into the common space, and unit length; default: its own features.",
)


@click.command(cls=Command)
@click.argument("sources", metavar="DIR|FILE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--run", type=DIRECTORY, required=True, help="Run (its newest checkpoint), checkpoint or exported encoder."
)
@weights_option
@click.option("--out", type=OUT_EMBEDDINGS, required=True, help="Parquet file to write.")
@SIDE
@PROJECTION
@click.option("--split", "splits", multiple=True, help="Only clips of it, in datasets and manifests; may be repeated.")
@click.option(
    "--window-seconds",
    type=click.FloatRange(0.1),
    default=None,
    help="A row for each window of this length; default: one for the whole clip.",
)
@click.option(
    "--frame-level", is_flag=True, help="Features of the sound over time, [T, D] a clip, with their hop in seconds."
)
@click.option(
    "--workers", type=click.IntRange(1), default=None, help="Processes that decode files; default: all cores."
)
@device_options
def embed(
    sources: tuple[str, ...],
    run: Path,
    weights: str,
    out: Path,
    side: str,
    projection: bool | None,
    splits: tuple[str, ...],
    window_seconds: float | None,
    frame_level: bool,
    workers: int | None,
    device: str,
    threads: int | None,
) -> None:
    """Embeddings of a dataset DIR, or of the sound of files, folders of such and manifests, as one Parquet file."""
    from avtrain.embed import embed as write
    from avtrain.embed import failures_path, load_encoder, load_video_encoder

    load = load_encoder if side == "audio" else load_video_encoder
    encoder = load(run, device_of(device, threads), weights, projection=projection)
    with stop_on_signals() as request:
        written = write(
            encoder,
            sources,
            out,
            splits=splits,
            window_seconds=window_seconds,
            frame_level=frame_level,
            workers=workers,
            stopping=lambda: bool(request),
        )
    failed = len(written.failures)
    click.echo(f"{out}: {written.rows} embeddings of {written.clips} clips, {failed} failed")
    for one in written.failures[:SHOWN_FAILURES]:
        click.echo(f"  {one['reason']}: {one['clip_id']} ({one['detail']})")
    if failed > SHOWN_FAILURES:
        click.echo(f"  and {failed - SHOWN_FAILURES} more in {failures_path(out)}")


@click.command(cls=Command)
@click.option("--run", type=DIRECTORY, required=True, help="Run (its newest checkpoint) or one of its checkpoints.")
@weights_option
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder to write; it must not be there yet.")
@click.option(
    "--side",
    type=click.Choice(["audio", "video"]),
    default=None,
    help="Encoder to write; default: audio, or that of an earlier export.",
    show_default=False,
)
@PROJECTION
def export(run: Path, weights: str, out: Path, side: str | None, projection: bool | None) -> None:
    """Write an encoder as safetensors and ONNX with its feature spec and statistics inside, and a model card."""
    from avtrain.inference.export import export as write

    checked = write(run, out, weights, side=side, projection=projection)
    click.echo(
        f"{out}: {checked['num_features']} features, ONNX opset {checked['opset']}; "
        f"{max(checked['differences'].values()):.1e} of the largest feature is how far it is from torch"
    )
