"""A table for people: on the terminal, as Markdown, as csv of single results and of losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avprep.shared import store
from avtrain.reproduce import run_grid
from avtrain.reproduce.tables import published
from avtrain.reproduce.tables.matrix import Matrix
from avtrain.reproduce.tables.results import columns_of, gathered

OF_SEED = ("test_clips", "fit_clips", "validation_clips", "epoch", "digest")
RESULTS = ("sampling", "dataset", "column", "seed", "accuracy", "low_95", "high_95", "published", *OF_SEED)


def write_table(whole: Matrix) -> str:
    """Write OUT/TABLE.{md,json}, results.csv and losses.csv; the table as text."""
    values, out, name = gathered(whole), whole.site.out, whole.settings.table
    parts = [figures_of(values, whole), losses_of(values)]
    notes = notes_of(values, whole)
    store.write_json(out / f"{name}.json", values)
    store.write_bytes(out / "results.csv", results_csv(values).encode())
    store.write_bytes(out / "losses.csv", losses_csv(values).encode())
    markdown = [f"# {name}", *map(_markdown, parts), "\n".join(f"- {note}" for note in notes)]
    store.write_bytes(out / f"{name}.md", ("\n\n".join(filter(None, markdown)) + "\n").encode())
    return "\n\n".join(filter(None, [*map(_aligned, parts), "\n".join(notes)]))


Rows = list[list[str]]


def figures_of(values: dict[str, Any], whole: Matrix) -> Rows:
    """A header and two lines a row: what was measured here, what is published; per cent with 95 % intervals."""
    titles = [f"{whole.settings.tasks[dataset].title} {column}" for dataset, column in columns_of(whole)]
    lines = [["sampling", "", *titles]]
    for row in values["rows"]:
        figures = row["figures"]
        lines.append([row["row"], "here", *(_share(one["accuracy"], one["interval_95"]) for one in figures)])
        lines.append(["", "published", *(_share(one["published"], one["published_interval_95"]) for one in figures)])
    return lines


def _share(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f}" + ("" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]")


def losses_of(values: dict[str, Any]) -> Rows:
    """A header and a line a run: mean loss of its first and last epoch beside what the authors' code logged."""
    header = ["pretext loss", "seed", "ln batch", "first epoch", "logged", "last epoch", "here", "logged", "there"]
    lines = []
    for run in values["losses"]:
        epochs = run["epochs"]
        here = ["", "", ""] if not epochs else [f"{epochs[0]:.2f}", f"{epochs[-1]:.2f}", f"epoch {len(epochs)}"]
        there = ["", "", ""]
        if run["logged_first"] is not None:
            there = [f"{run['logged_first']:.2f}", f"{run['logged_last']:.2f}", f"epoch {run['logged_epochs']}"]
        lines.append(
            [run["row"], str(run["seed"]), f"{run['log_batch']:.2f}", here[0], there[0], here[1], here[2], *there[1:]]
        )
    return [header, *lines] if lines else []


def notes_of(values: dict[str, Any], whole: Matrix) -> list[str]:
    """What a reader must know of the table."""
    seeds, steps = values["seeds"], values["steps"]
    if len(seeds) == 1:
        here = f"Here: accuracy in % of seed {seeds[0]}, with the 95 % interval of 'avtrain evaluate' over test clips"
    else:
        here = (
            f"Here: mean accuracy in % of seeds {', '.join(map(str, seeds))}, with Student's 95 % interval over seeds"
        )
    notes = [f"{here}. Published: one run each, with Wilson's interval by the paper's number of test clips."]
    if steps["done"] < steps["all"]:
        notes.append(f"{steps['done']} of {steps['all']} steps are done; the same command goes on.")
    for name, data in values["datasets"].items():
        if data is not None:
            clips = ", ".join(f"{count:,} {split}" for split, count in data["clips"].items())
            notes.append(
                f"{whole.settings.tasks[name].title}: {clips} clips; "
                f"{data['without_file']:,} of the lists have no file, {data['failed']:,} could not be decoded."
            )
    notes += [f"Left out: {one}." for one in values["left_out"]]
    if whole.settings.table == "table2":
        fitted = whole.settings.vggsound.fitted_on
        here = f"the clips of '{' '.join(fitted)}'" if fitted else "all of its clips"
        notes.append(
            f"VGGSound's columns are fitted on {here} (setting vggsound.fitted_on; [] takes all). Section 3.3 of the "
            "paper names the balanced subset: its supervised 31.9 beside 31.7 of table 1 fits that, its 20 % from 5 % "
            "of the labels does not."
        )
    return [*notes, published.STRONGER]


def results_csv(values: dict[str, Any]) -> str:
    """A line for each cell and seed that is done."""
    lines: list[list[Any]] = []
    for row in values["rows"]:
        for one in row["figures"]:
            for seed in one["seeds"]:
                measured = (seed["seed"], seed["accuracy"], *seed["interval_95"])
                rest = (seed[name] for name in OF_SEED)
                lines.append([row["row"], one["dataset"], one["column"], *measured, one["published"], *rest])
    return run_grid.csv_text(RESULTS, lines)


def losses_csv(values: dict[str, Any]) -> str:
    """A line for each run and epoch."""
    lines = [
        [run["row"], run["seed"], epoch, loss]
        for run in values["losses"]
        for epoch, loss in enumerate(run["epochs"], 1)
    ]
    return run_grid.csv_text(("sampling", "seed", "epoch", "loss"), lines)


def _aligned(rows: Rows) -> str:
    return "\n".join(run_grid.aligned(rows))


def _markdown(rows: Rows) -> str:
    if not rows:
        return ""
    header, *lines = run_grid.markdown(rows)
    return "\n".join([header, "|" + "---|" * len(rows[0]), *lines])
