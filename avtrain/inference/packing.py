"""What an export has beside its weights: the checkpoint that they come from, and the model card."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avprep.shared import cards, store
from avprep.shared.errors import UserError
from avtrain.inference.description import DESCRIPTION, read_description
from avtrain.inference.encoder import AudioEncoder
from avtrain.inference.model_card import PROGRAM, ModelCardConfig, model_card
from avtrain.inference.results import Measured
from avtrain.inference.video_encoder import VideoEncoder
from avtrain.runs import checkpoint
from avtrain.runs.load import checkpoint_at, has_average


def copy_checkpoint(source: Path, folder: Path) -> list[str]:
    """Copy the checkpoint that the run or checkpoint `source` means into `folder`, without its optimiser's state.

    Returns the names of its files; none where `source` is an export. One that is there stays. Errors: UserError.
    """
    if read_description(source) is not None:
        return []
    of_run = checkpoint_at(source)
    average = [checkpoint.AVERAGE] if has_average(checkpoint.read_meta(of_run)) else []
    names = [checkpoint.MODEL, *average, checkpoint.META]
    copy = folder / of_run.name
    if not copy.exists():
        with tempfile.TemporaryDirectory(dir=folder, prefix=".checkpoint.") as scratch:
            (begun := Path(scratch) / of_run.name).mkdir()
            for name in names:
                shutil.copyfile(of_run / name, begun / name)
                with open(begun / name, "rb") as written:
                    os.fsync(written.fileno())
            os.rename(begun, copy)
    for name in names:
        if store.sha256(copy / name) != store.sha256(of_run / name):
            raise UserError(f"{copy / name} is not that of {of_run}; remove {copy}, or choose another folder.")
    return [f"{of_run.name}/{name}" for name in names]


def write_card(
    folder: Path,
    encoder: AudioEncoder | VideoEncoder,
    checked: dict[str, Any],
    results: Sequence[Measured],
    config: ModelCardConfig | None,
) -> None:
    """Write README.md of an export; an edited one stays. Errors: UserError where `config` would change such a one."""
    path = folder / cards.README
    if path.exists() and not cards.is_own_card(path, PROGRAM):
        if config not in (None, ModelCardConfig()):
            raise UserError(
                f"{path} was edited since it was written, so --license, --creator and --citation cannot change it; "
                "edit them there and leave the options out, or remove the file."
            )
        return
    subject = store.sha256(folder / encoder.description.file("safetensors"))
    store.write_bytes(path, cards.marked(model_card(encoder, checked, results, config), PROGRAM, subject))


def is_edited_card(folder: Path) -> bool:
    """Whether the folder has a card that somebody wrote or edited."""
    path = folder / cards.README
    return path.exists() and not cards.is_own_card(path, PROGRAM)


def check_card(folder: Path, subject: str) -> None:
    """Raise UserError where an export has no card, or that of other weights; `subject` is the digest of its own."""
    path = folder / cards.README
    if not path.is_file():
        raise UserError(f"{path} does not exist; export the encoder again.")
    written_for = cards.subject_of(path.read_text(encoding="utf-8", errors="replace"), PROGRAM)
    if written_for not in (None, subject):
        raise UserError(
            f"{path} was written for other weights than those beside it; remove it, and repeat the command."
        )


def named_paths(folder: Path) -> list[str]:
    """Settings of an export's training that name files by an absolute path of the machine, which a reader sees."""
    description = read_description(folder)
    assert description is not None, DESCRIPTION
    settings = description.training["config"]
    return sorted(name for name, value in settings.items() if isinstance(value, str) and _names_a_path(value))


def _names_a_path(value: str) -> bool:
    return any(part.startswith("/") and not part.startswith("//") for part in (value, *value.split(":")[1:]))
