"""avtrain errors: the test clips that an evaluation predicts wrong, and a map of all, as one self-contained page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from avprep.dataset import Dataset
from avprep.preview import assets as preview_assets
from avprep.preview.summary import facts_of
from avprep.shared import html, store
from avtrain.report.errors import assets
from avtrain.report.errors.cards import cards
from avtrain.report.errors.judged import Judged, read_judged
from avtrain.report.errors.map import clip_map, colours_style
from avtrain.report.errors.tables import by_group, confusions, groups_of

AnyPath = Path | str

CLIPS = 100


@dataclass(frozen=True)
class Errors:
    """What the page holds: clips tested, of them predicted wrong, with a card, with sound, on the map."""

    clips: int
    wrong: int
    shown: int
    audible: int
    mapped: int


def write_errors(
    run: AnyPath,
    dataset: AnyPath,
    out: AnyPath,
    *,
    evaluation: str | None = None,
    clips: int = CLIPS,
    root: AnyPath | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Errors:
    """Write a self-contained HTML page of the test clips that an evaluation predicts wrong, and a map of all.

    Args:
        run: A run folder, a folder of `evaluate`, or a predictions.parquet.
        dataset: The folder of the dataset that was evaluated.
        out: The page, FILE.html.
        evaluation: Folder below RUN/eval, where a run has several.
        clips: Most clips with a card, the worst first.
        root: Folder where relative source paths start, for the sounds.
        seed: Seed of the map.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UserError: There is no such evaluation, it has not ended, or it is of another dataset.
    """
    from avtrain.devices import device_for

    opened = Dataset(dataset)
    judged = read_judged(Path(run), opened, evaluation)
    groups = groups_of(judged, opened)
    shown = judged.wrong[:clips]
    mapped, on_map = clip_map(judged, opened, groups, device_for(device), seed)
    body, audible = html.paragraph("No test clip is predicted wrong."), 0
    if len(shown):
        body, audible = cards(judged, opened, shown, None if root is None else Path(root))
    sections = [
        ("Confusions", _facts(judged) + confusions(judged, groups, set(shown.tolist()))),
        *([("Groups", by_group(judged, groups))] if groups is not None else []),
        ("Map", mapped),
        ("Clips", _order(judged, len(shown)) + body),
    ]
    style = preview_assets.STYLE + colours_style(judged) + assets.STYLE
    page = html.page(
        f"Errors of {judged.folder.name}",
        _lead(judged),
        sections,
        style=style,
        script=preview_assets.SCRIPT + assets.SCRIPT,
        contents=True,
        kind="errors",
    )
    store.write_bytes(Path(out), page.encode())
    return Errors(len(judged.rows), len(judged.wrong), len(shown), audible, on_map)


def _lead(judged: Judged) -> str:
    result = judged.result
    return (
        f"{len(judged.wrong):,} of {len(judged.rows):,} test clips are predicted as another class than their own, by "
        f"{result['protocol']} on {result.get('encoder', 'an encoder')}."
    )


def _facts(judged: Judged) -> Markup:
    figures = [("accuracy", f"{100 * judged.result['accuracy']:.1f} %")]
    if "interval_95" in judged.result:  # not of the first versions
        low, high = judged.result["interval_95"]
        figures += [("95 % interval", f"{100 * low:.1f} to {100 * high:.1f}")]
    figures += [
        ("predicted wrong", f"{len(judged.wrong):,}"),
        ("test clips", f"{len(judged.rows):,}"),
        ("classes", f"{len(judged.names):,}"),
    ]
    return facts_of(figures)


def _order(judged: Judged, shown: int) -> Markup:
    if not shown:
        return Markup("")
    count = f"All {shown:,}" if shown == len(judged.wrong) else f"{shown:,} of the {len(judged.wrong):,}"
    return html.paragraph(
        f"{count} clips that are predicted wrong, the worst first: by how much more probable the predicted class is "
        "than the true one."
    )
