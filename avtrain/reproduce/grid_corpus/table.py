"""The table of the GRID benchmark: its columns and notes."""

from __future__ import annotations

from avtrain.reproduce.av_digits.comparisons import COMPARISONS
from avtrain.reproduce.benchmark.table import MAIN, Layout
from avtrain.reproduce.grid_corpus.rows import ROWS
from avtrain.reproduce.grid_corpus.settings import GridSettings


def layout_of(settings: GridSettings, speakers: int, cut: bool) -> Layout:
    """The table of clips of so many speakers; `cut`: to the word that is their label."""
    seconds = settings.window_seconds
    tested = (
        "Test clips are of sentences outside training, spoken by the one speaker of all clips"
        if speakers == 1
        else "Test clips are of speakers outside training; their sentences may be in training by other speakers"
    )
    where = (
        f"Clips are cut to {seconds + 0.5:g} s around the {settings.label}, by the align files."
        if cut
        else f"Windows of {seconds} s lie anywhere in the 3 s of a clip, so that many have no {settings.label}."
    )
    return Layout(
        rows=ROWS,
        accuracies=(MAIN, "finetune"),
        folds=settings.folds,
        comparisons=COMPARISONS,
        notes=(
            f"{tested}. {where}",
            "Linear minus random: run by run with Student's 95 % interval; p corrected by Holm for all rows. Runs s "
            f"and s + {settings.folds} are of one fold and share its test clips, so that over runs intervals are too "
            f"narrow and p too small. Over means of folds they are not, but {settings.folds} values show little.",
            f"Columns ... windows: the mean features of 8 windows of {seconds} s, the length that was fitted on, of "
            "each test clip; the others: whole test clips, which are longer.",
            "Finetuned: the epoch of least validation loss of as many as the settings ask. Supervised: the same "
            "updates as pretraining and finetuning together; longer: until the validation loss no longer falls.",
        ),
    )
