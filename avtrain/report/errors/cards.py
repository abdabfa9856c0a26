"""Cards of the clips that are predicted wrong: what they were taken for, then the clip as 'avprep preview' shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from markupsafe import Markup

from avprep.dataset import Dataset
from avprep.preview.axes import hertz_ticks
from avprep.preview.content import centres_of, shown_clips
from avprep.preview.page import card, reading_of
from avprep.shared import html
from avtrain.report.errors.judged import Judged
from avtrain.report.errors.tables import key_of, pairs_of, words_of

SHOWN_CLASSES = 3

_card = html.template("""<article class="wrong" id="clip-{{ position }}" data-pair="{{ pair }}">
<p class="verdict"><b>{{ own }}</b> predicted as <b>{{ predicted }}</b></p>
<ul class="shares">{% for name, share, is_true in shares %}<li{% if is_true %} class="true"{% endif %}>
<span class="name">{{ name }}</span><span class="bar" aria-hidden="true"><i style="width: {{ share }}%"></i></span>
<span class="count">{{ share }} %</span></li>
{% endfor %}</ul>
{{ clip }}</article>
""")

_pick = html.template("""<div class="pick" hidden><label for="pair">Show</label>
<select id="pair"><option value="">all {{ total }} clips</option>
{% for key, words, count in pairs %}<option value="{{ key }}">{{ words }} ({{ count }})</option>
{% endfor %}</select> <span class="note" role="status"></span></div>
""")


def cards(judged: Judged, dataset: Dataset, shown: np.ndarray, root: Path | None) -> tuple[Markup, int]:
    """(how to read the cards, a choice of classes and a card each of the clips `shown`; how many of them have sound).

    `root` is where relative source paths start. Errors: UserError where a shard is damaged or not on this machine.
    """
    clips, scale_db = shown_clips(dataset, judged.rows[shown].tolist(), root, "errors")
    hertz = hertz_ticks(centres_of(dataset))
    audible = sum(clip.sound is not None for clip in clips)
    parts = [
        _card.render(
            position=position,
            pair=key_of(judged.pair_of(position)),
            own=judged.names[judged.pair_of(position)[0]],
            predicted=judged.names[judged.pair_of(position)[1]],
            shares=_shares(judged, position),
            clip=card(clip, hertz, audible > 0),
        )
        for position, clip in zip(shown.tolist(), clips, strict=True)
    ]
    of_page = set(shown.tolist())
    counted = [(pair, sum(one in of_page for one in members.tolist())) for pair, members in pairs_of(judged)]
    pairs = [(key_of(pair), words_of(judged, pair), count) for pair, count in counted if count]
    pick = Markup(_pick.render(pairs=pairs, total=len(shown)))
    grid = Markup('<div class="clips">{}</div>').format(Markup("").join(Markup(part) for part in parts))
    return reading_of(clips, scale_db, dataset.num_mel_bands) + pick + grid, audible


def _shares(judged: Judged, position: int) -> list[tuple[str, str, bool]]:
    """(class, probability in %, whether it is the true one) of the most probable classes and of the true one."""
    of_clip = judged.predictions.probabilities[position]
    true, predicted = judged.pair_of(position)
    best = [predicted, *(one for one in np.argsort(-of_clip, kind="stable").tolist() if one != predicted)]
    listed = best[:SHOWN_CLASSES]
    listed += [] if true in listed else [true]
    return [(judged.names[label], f"{100 * of_clip[label]:.1f}", label == true) for label in listed]
