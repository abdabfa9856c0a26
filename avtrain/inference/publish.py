"""avtrain export --publish: an export with its card into a model repository of the Hugging Face hub, as one commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avprep.shared import store
from avprep.shared.cards import README
from avprep.shared.commands import Progress
from avprep.shared.errors import UserError
from avprep.shared.hub import MODEL, Hub, Published, address_of, is_there
from avtrain.inference.contents import check_file, digests_of
from avtrain.inference.description import DESCRIPTION, read_description
from avtrain.inference.export import export
from avtrain.inference.model_card import ModelCardConfig
from avtrain.inference.packing import check_card, is_edited_card
from avtrain.runs import checkpoint


def export_and_publish(
    run: Path | str,
    out: Path,
    target: str,
    weights: str = "auto",
    *,
    side: str | None = None,
    projection: bool | None = None,
    card: ModelCardConfig | None = None,
    encoder_only: bool = False,
    public: bool = False,
    quiet: bool = False,
) -> tuple[dict[str, Any], Published]:
    """(what `export` returns, what was uploaded): an export to `out`, or what is missing of one there, and its upload.

    The repository hf://ORG/NAME gets the checkpoint with both encoders too, unless `encoder_only`; a new one is private
    unless `public`. Nothing is deleted there. Errors: UserError, as of `export`; where no licence is given; where
    `target` is no model; where the hub refuses or cannot be reached.
    """
    repository = address_of(target, MODEL).repository
    if not (card and card.license) and not is_edited_card(out):
        raise UserError("Published weights need a licence; give --license NAME, such as cc-by-4.0, or unknown.")
    if encoder_only and checkpoint.checkpoints(out):
        raise UserError(f"{out} has the checkpoint with both encoders already; choose another folder.")
    checked = export(
        run,
        out,
        weights,
        side=side,
        projection=projection,
        card=card,
        with_checkpoint=not encoder_only,
        again=True,
    )
    return checked, publish(out, repository, public=public, quiet=quiet)


def publish(folder: Path, repository: str, *, public: bool = False, quiet: bool = False) -> Published:
    """Upload the files of an export that a model repository ORG/NAME does not have. Errors: UserError."""
    description = read_description(folder)
    if description is None:
        raise UserError(f"{folder} holds no {DESCRIPTION}; 'avtrain export' writes what can be published.")
    path = folder / DESCRIPTION
    digests = digests_of(store.read_json(path), path)
    for name, sha256 in digests.items():
        check_file(folder / name, sha256, folder / name)
    check_card(folder, digests[description.file("safetensors")])
    files = {name: folder / name for name in (*digests, DESCRIPTION, README)}
    hub = Hub(repository, MODEL)
    page = hub.create(private=not public)
    there = hub.files()
    wanted = {name: path for name, path in files.items() if not is_there(there.get(name), path, digests.get(name))}
    with Progress(len(wanted), "files", "publish", quiet) as progress:
        if wanted:
            hub.add(wanted, f"avtrain export: {description.side} encoder of {description.training['run']}")
            progress.advance(len(wanted))
    return Published(page, len(wanted), sum(path.stat().st_size for path in wanted.values()), len(files) - len(wanted))
