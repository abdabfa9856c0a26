"""avtrain embed and export: what an encoder makes of sounds or pictures, and the encoder itself for use elsewhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avprep.shared.answers import answer, json_option
from avprep.shared.commands import Command
from avprep.shared.errors import UserError
from avprep.shared.options import side_by_side_options
from avprep.shared.outputs import PathOrUrl
from avprep.shared.signals import stop_on_signals
from avprep.shared.text import readable_bytes
from avtrain.cli.options import FILE, OUT_EMBEDDINGS, OUT_FOLDER, device_options, set_threads_of, weights_option

if TYPE_CHECKING:
    from avprep.shared.hub import Published

SHOWN_FAILURES = 20
RUN_OR_HUB = PathOrUrl(path_type=Path, file_okay=False)
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
    "--run",
    type=RUN_OR_HUB,
    required=True,
    help="Run (its newest checkpoint), checkpoint or exported encoder; hf://ORG/NAME[@REVISION]: a published one.",
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
@side_by_side_options
@json_option
def embed(
    sources: tuple[str, ...],
    run: Path | str,
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
    processes: int,
    executor: str,
    address: str | None,
) -> None:
    """Embeddings of a dataset DIR, or of the sound of files, folders of such and manifests, as one Parquet file."""
    from avprep.shared.side_by_side import SideBySide
    from avtrain.devices import devices_for
    from avtrain.embed import embed as write
    from avtrain.embed import failures_path, load_encoder, load_video_encoder

    load = load_encoder if side == "audio" else load_video_encoder
    how = SideBySide(processes=processes, executor=executor, address=address)
    set_threads_of(threads)
    own, of_each = devices_for(device, how)
    encoder = load(run, own, weights, projection=projection)
    with stop_on_signals() as request:
        written = write(
            encoder,
            sources,
            out,
            splits=splits,
            window_seconds=window_seconds,
            frame_level=frame_level,
            workers=workers,
            how=how,
            device=of_each,
            threads=threads,
            stopping=lambda: bool(request),
        )
    failed = len(written.failures)
    lines = [f"{out}: {written.rows} embeddings of {written.clips} clips, {failed} failed"]
    lines += [f"  {one['reason']}: {one['clip_id']} ({one['detail']})" for one in written.failures[:SHOWN_FAILURES]]
    if failed > SHOWN_FAILURES:
        lines.append(f"  and {failed - SHOWN_FAILURES} more in {failures_path(out)}")
    answer(written, lines)


@click.command(cls=Command)
@click.option("--run", type=RUN_OR_HUB, required=True, help="Run (its newest checkpoint) or one of its checkpoints.")
@weights_option
@click.option(
    "--out", type=OUT_FOLDER, required=True, help="Folder to write; it must not be there yet, but to publish it again."
)
@click.option(
    "--side",
    type=click.Choice(["audio", "video"]),
    default=None,
    help="Encoder to write; default: audio, or that of an earlier export.",
    show_default=False,
)
@PROJECTION
@click.option(
    "--publish",
    "target",
    metavar="hf://ORG/NAME",
    default="",
    help="Upload OUT to this model of the Hugging Face hub; the same command goes on (extra hub).",
)
@click.option(
    "--license",
    metavar="NAME",
    default="",
    help="Licence of the weights: a name of the hub such as cc-by-4.0, the address of its text, or unknown.",
)
@click.option("--creator", default="", help="Who made the model: a person or a group.")
@click.option("--citation", type=FILE, default=None, help="Text file: how to cite it, such as a BibTeX entry.")
@click.option("--public", is_flag=True, help="With --publish: a repository that is new is public; default: private.")
@click.option(
    "--encoder-only",
    is_flag=True,
    help="With --publish: leave out the checkpoint with both encoders, which pretrain --init-from begins with.",
)
@json_option
def export(
    run: Path | str,
    weights: str,
    out: Path,
    side: str | None,
    projection: bool | None,
    target: str,
    license: str,
    creator: str,
    citation: Path | None,
    public: bool,
    encoder_only: bool,
) -> None:
    """Write an encoder as safetensors and ONNX with its feature spec and statistics inside, and a model card."""
    from avprep.shared.cards import citation_of
    from avtrain.inference.model_card import ModelCardConfig

    card = ModelCardConfig(license=license, creator=creator, citation=citation_of(citation))
    named: dict[str, Any] = {"side": side, "projection": projection, "card": card}
    if target:
        from avtrain.inference.publish import export_and_publish

        checked, published = export_and_publish(
            run, out, target, weights, **named, encoder_only=encoder_only, public=public
        )
        answer(
            {**checked, "published": dataclasses.asdict(published)},
            [_exported(out, checked), *_published(out, published)],
        )
        return
    if public or encoder_only:
        raise UserError("--public and --encoder-only are of what --publish uploads; give --publish hf://ORG/NAME.")
    from avtrain.inference.export import export as write

    checked = write(run, out, weights, **named)
    answer(checked, [_exported(out, checked)])


def _exported(out: Path, checked: dict[str, Any]) -> str:
    return (
        f"{out}: {checked['num_features']} features, ONNX opset {checked['opset']}; "
        f"{max(checked['differences'].values()):.1e} of the largest feature is how far it is from torch"
    )


def _published(out: Path, published: Published) -> list[str]:
    from avtrain.inference.packing import named_paths

    paths = named_paths(out)
    done = f"{published.files} files, {readable_bytes(published.bytes)} uploaded, {published.kept} were there"
    note = f"note: {', '.join(paths)} in its settings are paths of this machine, which are published too"
    return [*([note] if paths else []), f"{published.page}: {done}"]
