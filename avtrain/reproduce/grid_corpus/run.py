"""avtrain reproduce grid: which sampling teaches an audio encoder most from video of faces that speak.

Run s of a row tests fold s modulo their number; runs of one fold have the same clips and other seeds. Every row of a
run sees the same clips and is trained for equally many updates. What is done is never done again: the same command goes
on after any stop, to the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avprep.build.run import default_workers
from avprep.dataset import Dataset
from avprep.datasets.grid_corpus import sentences_below
from avprep.shared import configs
from avprep.shared.errors import UserError
from avtrain.reproduce.av_digits.rows import Row
from avtrain.reproduce.benchmark.cells import Cell
from avtrain.reproduce.benchmark.columns import add_columns, write_frozen_pairs
from avtrain.reproduce.benchmark.run import fill, in_turn, rows_among
from avtrain.reproduce.benchmark.table import Layout, Line
from avtrain.reproduce.grid_corpus.data import are_cut, prepare_fold
from avtrain.reproduce.grid_corpus.folds import folds_of
from avtrain.reproduce.grid_corpus.rows import QUICK, ROWS
from avtrain.reproduce.grid_corpus.settings import GridSettings
from avtrain.reproduce.grid_corpus.table import layout_of


@dataclass(frozen=True)
class Table:
    """What reproduce_grid returns."""

    lines: list[Line]
    layout: Layout


def rows_named(names: Sequence[str], quick: bool = False) -> tuple[Row, ...]:
    """The rows of these slugs, in the table's order; without names all, or those of the quick table.

    Errors: UserError for a slug that no row has.
    """
    return rows_among(ROWS, names, QUICK if quick else ROWS)


def reproduce_grid(
    out: Path,
    root: Path,
    settings: GridSettings,
    rows: Sequence[Row] = ROWS,
    *,
    workers: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Table:
    """Run the missing cells, all rows on all folds before any is on one again; the table's lines and layout.

    `out` gets data/, runs/, results.csv and table.md, which grow cell by cell. Errors: UserError where `root` is not
    the corpus or too small, or `out` was made with other settings or clips; Interrupted once `stopping()`.
    """
    workers = workers or default_workers()
    sentences = sentences_below(root)
    fold_of = folds_of(sentences, settings.label, settings.folds)
    fewest = min(int((fold_of != fold).sum()) for fold in range(settings.folds))
    if settings.batch_size > fewest:
        raise UserError(
            f"{root} leaves {fewest} clips to train on beside a fold, fewer than a batch of {settings.batch_size}; "
            "give more clips."
        )
    cut = are_cut(root, sentences, settings)
    speakers = len({sentence.speaker for sentence in sentences})
    on_record = {name: value for name, value in configs.to_dict(settings).items() if name != "runs"}
    corpus = {"clips": len(sentences), "speakers": speakers, "cut_to_the_word": cut}
    configs.claim(out / "settings.json", {**on_record, **corpus}, "table")  # more runs may be added later
    layout = layout_of(settings, speakers, cut)
    folders = [out / "data" / f"fold-{fold}" for fold in range(min(settings.folds, settings.runs))]
    shards = [
        prepare_fold(folder, root, sentences, fold_of == fold, cut, settings, workers, stopping)
        for fold, folder in enumerate(folders)
    ]
    for run in range(settings.runs):
        dataset = Dataset(shards[run % settings.folds])
        add_columns(dataset, {row.labels for row in rows}, run, f"-{run}")
        write_frozen_pairs(dataset, _frozen(folders, run), run)
    cells = [
        Cell(
            row=row,
            run=run,
            seed=run,
            dataset=shards[run % settings.folds],
            labels=row.labels if row.labels == "label" else f"{row.labels}-{run}",
            frozen=_frozen(folders, run),
            folder=out / "runs" / f"{row.slug}-{run}",
            amounts=settings.amounts_of(row),
        )
        for row, run in in_turn(rows, settings.runs, settings.folds)
    ]
    return Table(fill(out, cells, settings, layout, "GRID", workers, stopping), layout)


def _frozen(folders: Sequence[Path], run: int) -> Path:
    return folders[run % len(folders)] / f"frozen-{run}.parquet"
