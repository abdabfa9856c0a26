"""Encoders used elsewhere: embeddings and exports."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avprep.shared.side_by_side import SideBySide
from avprep.shared.urls import path_or_url

if TYPE_CHECKING:
    from avtrain.embed import Embedded

AnyPath = Path | str


def write_embeddings(
    sources: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    *,
    run: AnyPath,
    splits: Sequence[str] = (),
    side: str = "audio",
    projection: bool | None = None,
    window_seconds: float | None = None,
    frame_level: bool = False,
    workers: int | None = None,
    weights: str = "auto",
    device: str = "auto",
    processes: int = 1,
    executor: str = "local",
    address: str | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Embedded:
    """Write embeddings of a dataset, or of the sound of media files, folders and manifests, to a Parquet file.

    Files are decoded, and clips are shared, by spawned processes, so a script calls this below
    `if __name__ == "__main__":`.

    Args:
        sources: A dataset, a folder or URL; or files, folders of them and manifests.
        out: Parquet file to write, one row a clip; clips that cannot be used are in OUT's name with .failures.jsonl.
        run: Run, checkpoint or exported encoder; "hf://ORG/NAME[@REVISION]" is a published one.
        splits: Only clips of these splits; empty: all.
        side: `audio` or `video`: whose encoder. Pictures are embedded of datasets alone.
        projection: End with the layers into the common space; None: as an export was written, else without.
        window_seconds: One row for each window of this length; None: one for the whole clip.
        frame_level: Features of the sound over time, [T, D] a clip, with their hop in seconds.
        workers: Processes that decode files; None: all cores.
        weights: Of the checkpoint: `raw`, `ema` (their moving average) or `auto` (the average where there is one).
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        processes: Processes that share the clips, on CUDA each with a GPU of its own; with Ray, cores of one started
            here.
        executor: `local` or `ray`, where dataset and `out` lie in folders that all nodes see.
        address: Of a running Ray cluster; None: one is started here.
        stopping: Called between clips; once it returns True, nothing is written.

    Raises:
        UserError: There is nothing to embed, or the dataset has log-mel or pictures of another kind.
        Interrupted: `stopping` returned True.
    """
    from avtrain import embed
    from avtrain.devices import devices_for

    how = SideBySide(processes=processes, executor=executor, address=address)
    own, of_each = devices_for(device, how)
    load = embed.load_encoder if side == "audio" else embed.load_video_encoder
    encoder = load(run, own, weights, projection=projection)
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    return embed.embed(
        encoder,
        given,
        Path(out),
        splits=splits,
        window_seconds=window_seconds,
        frame_level=frame_level,
        workers=workers,
        how=how,
        device=of_each,
        stopping=stopping,
    )


def export(
    run: AnyPath,
    out: AnyPath,
    *,
    weights: str = "auto",
    side: str | None = None,
    projection: bool | None = None,
    license: str = "",
    creator: str = "",
    citation: str = "",
    publish: str = "",
    public: bool = False,
    encoder_only: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write an encoder of a run to a new folder: safetensors, ONNX, its description and a model card; or publish it.

    Args:
        run: Run, checkpoint or earlier export.
        out: Folder to write; it must not exist. To publish, it may have been exported from the same weights.
        weights: Of the checkpoint: `raw`, `ema` (their moving average) or `auto` (the average where there is one).
        side: `audio` or `video`; None: audio, or that of an earlier export.
        projection: End with the layers into the common space; None: as an earlier export, else without.
        license: Licence of the weights in the card: a name of the hub such as "cc-by-4.0", the address of its text, or
            "unknown".
        creator: Who made the model.
        citation: How to cite it, such as a BibTeX entry.
        publish: Upload the folder to this model of the Hugging Face hub, "hf://ORG/NAME".
        public: A repository that is new is public, not private.
        encoder_only: Publish without the checkpoint with both encoders, which `init_from` begins with.
        quiet: Print no progress.

    Returns:
        `num_features`, `opset`, and how far onnxruntime and torch differ; with `publish` also `published`: the page of
        the repository, `files` and `bytes` uploaded, `kept` files that were there.

    Raises:
        UserError: The extra `export` is missing, the encoder cannot be exported, or ONNX and torch differ; the hub
            refuses or cannot be reached.
    """
    from avtrain.inference.model_card import ModelCardConfig

    card = ModelCardConfig(license=license, creator=creator, citation=citation)
    named: dict[str, Any] = {"weights": weights, "side": side, "projection": projection, "card": card}
    if not publish:
        from avtrain.inference.export import export as write

        return write(path_or_url(run), Path(out), **named)
    from avtrain.inference.publish import export_and_publish

    checked, done = export_and_publish(
        path_or_url(run), Path(out), publish, **named, encoder_only=encoder_only, public=public, quiet=quiet
    )
    return {**checked, "published": dataclasses.asdict(done)}
