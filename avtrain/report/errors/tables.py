"""Tables of the page of errors: which classes are taken for which, and in which groups of clips it happens."""

from __future__ import annotations

from collections import Counter

import numpy as np
from markupsafe import Markup

from avprep.dataset import Dataset
from avprep.shared import html
from avtrain.report.errors.judged import Judged

SHOWN_PAIRS = 40
SHOWN_GROUPS = 20
CLIPS_A_GROUP = 2
"""mean test clips a group, from which on groups are worth a table"""

Pair = tuple[int, int]


def key_of(pair: Pair) -> str:
    """The pair as the page's script knows it: true class, predicted class."""
    return f"{pair[0]}-{pair[1]}"


def words_of(judged: Judged, pair: Pair) -> str:
    """A pair in words."""
    true, predicted = (judged.names[label] for label in pair)
    return f"{true} as {predicted}"


def pairs_of(judged: Judged) -> list[tuple[Pair, np.ndarray]]:
    """(true and predicted class, positions of its clips, worst first), most frequent pair first."""
    by_pair: dict[Pair, list[int]] = {}
    for position in judged.wrong.tolist():
        by_pair.setdefault(judged.pair_of(position), []).append(position)
    return sorted(((pair, np.array(clips)) for pair, clips in by_pair.items()), key=lambda one: (-len(one[1]), one[0]))


def groups_of(judged: Judged, dataset: Dataset) -> np.ndarray | None:
    """The group (speaker, source video ...) of each test clip, str [N]; None where most clips are one of their own."""
    try:
        groups = dataset.group_names[judged.rows]
    except FileNotFoundError:
        return None
    count = len(np.unique(groups))
    return groups if 1 < count <= len(groups) / CLIPS_A_GROUP else None


def confusions(judged: Judged, groups: np.ndarray | None, shown: set[int]) -> Markup:
    """A row a pair of classes, most frequent first: clips, shares, probabilities, groups; `shown` have a card."""
    pairs = pairs_of(judged)
    if not pairs:
        return html.paragraph("No test clip is predicted wrong.")
    header = ["true as predicted", "clips", "share of the class, %", "probability, %", "of the true class, %"]
    header += ["from"] if groups is not None else []
    clips_of = np.bincount(judged.predictions.label, minlength=len(judged.names))
    predicted, true = judged.shares
    rows = []
    for pair, clips in pairs[:SHOWN_PAIRS]:
        link = Markup('<a href="#clips" data-pair="{}">{}</a>').format(key_of(pair), words_of(judged, pair))
        of_page = sum(clip in shown for clip in clips.tolist())
        rows.append(
            [
                link if of_page else words_of(judged, pair),
                f"{len(clips):,}" if of_page == len(clips) else f"{len(clips):,} ({of_page or 'none'} below)",
                f"{100 * len(clips) / clips_of[pair[0]]:.0f}",
                f"{100 * predicted[clips].mean():.0f}",
                f"{100 * true[clips].mean():.0f}",
                *([most_of(groups[clips])] if groups is not None else []),
            ]
        )
    left = pairs[SHOWN_PAIRS:]
    note = f" {len(left):,} more pairs have {sum(len(clips) for _, clips in left):,} clips." if left else ""
    text = f"Share: of the test clips of the true class. Probabilities are means over the clips of a row.{note}"
    return html.table(header, rows, css="pairs-of-classes") + Markup('<p class="note">{}</p>').format(text)


def most_of(groups: np.ndarray) -> str:
    """The most frequent of some groups, and of how many: `george, 19 of 20`."""
    name, count = Counter(groups.tolist()).most_common(1)[0]
    return f"{name}, {count} of {len(groups)}"


def by_group(judged: Judged, groups: np.ndarray) -> Markup:
    """A row a group, by share of wrong clips: its test clips, those predicted wrong, its most frequent mistake."""
    right = judged.predictions.right
    names, of_group = np.unique(groups, return_inverse=True)
    clips = np.bincount(of_group)
    wrong = np.bincount(of_group[~right], minlength=len(names))
    order = np.argsort(-wrong / clips, kind="stable")
    rows = []
    for group in order[:SHOWN_GROUPS].tolist():
        mistakes = Counter(judged.pair_of(one) for one in judged.wrong.tolist() if of_group[one] == group)
        pair, count = mistakes.most_common(1)[0] if mistakes else ((0, 0), 0)
        share = f"{100 * wrong[group] / clips[group]:.1f}"
        often = f"{words_of(judged, pair)} ({count:,})" if count else ""
        rows.append([str(names[group]), f"{clips[group]:,}", f"{wrong[group]:,}", share, often])
    table = html.table(["group", "test clips", "wrong", "wrong, %", "most often"], rows, css="groups")
    more = f" The worst {SHOWN_GROUPS} of {len(names):,} are shown." if len(names) > SHOWN_GROUPS else ""
    text = f"Groups are those of the manifest, such as speakers; no group is in two splits.{more}"
    return table + Markup('<p class="note">{}</p>').format(text)
