"""The map: a dot a test clip where t-SNE has its features, coloured by class; under the pointer, the clip."""

from __future__ import annotations

import base64
from collections import Counter

import numpy as np
from markupsafe import Markup

from avprep.dataset import Dataset
from avprep.preview.content import webp
from avprep.shared import html
from avprep.shared.errors import UserError
from avtrain.report.errors.features import Neighbours, drawn, features_of, flat, neighbours_of
from avtrain.report.errors.judged import Judged
from avtrain.report.errors.tables import key_of

SIDE, MARGIN = 600, 18
COLOURED = 12
OTHER = 0
TILE_HEIGHT, PICTURE_WIDTH, SOUND_WIDTH = 64, 64, 96
TILE_COLUMNS = 40
QUALITY = 70

_map = html.template("""<div class="map"><ul class="legend classes" aria-label="Colours of the true classes">
{% for name, colour, key, clips in legend %}<li><button type="button"{% if key %} data-class="{{ key }}"{% endif %}>
<i style="background: var(--c{{ colour }})"></i>{{ name }} <small>{{ clips }}</small></button></li>
{% endfor %}</ul>
<div class="sheet"><svg viewBox="0 0 {{ side }} {{ tall }}" role="img" aria-label="{{ caption }}">
{% for dot in dots %}<circle{% if dot.wrong %} class="wrong"{% endif %} cx="{{ dot.x }}" cy="{{ dot.y }}"
 r="{{ 6 if dot.wrong else 4.5 }}" data-clip="{{ dot.clip }}" data-tile="{{ loop.index0 }}" data-true="{{ dot.true }}"
 data-pair="{{ dot.pair }}" style="fill: var(--c{{ dot.fill }}){% if dot.wrong %}; stroke: var(--c{{ dot.ring }})
{% endif %}"><title>{{ dot.title }}</title></circle>
{% endfor %}</svg>
<div class="hover" hidden data-columns="{{ columns }}" data-width="{{ width }}" data-height="{{ height }}">
<div class="tile" style="width: {{ width }}px; height: {{ height }}px; background-image:
url(data:image/webp;base64,{{ sprite }})"></div><p></p></div></div></div>
<p class="note">{{ caption }}</p>
""")


def clip_map(judged: Judged, dataset: Dataset, groups: np.ndarray | None, device: str, seed: int) -> tuple[Markup, int]:
    """(the map with its legend and what the neighbours are, clips on it); or why there is none, and 0."""
    positions = drawn(len(judged.rows), seed)
    try:
        features, what = features_of(judged, dataset, positions, device)
        xy = flat(features, seed)
    except (UserError, OSError) as error:
        return Markup('<p class="note missing">No map: {}</p>').format(str(error).rstrip(".") + "."), 0
    predicted = judged.predictions
    around = neighbours_of(
        features,
        predicted.label[positions],
        predicted.predicted[positions],
        None if groups is None else groups[positions],
    )
    colours = colours_of_classes(judged)
    dots = [_dot(judged, position, point, colours) for position, point in zip(positions.tolist(), xy, strict=True)]
    clips_of = np.bincount(predicted.label[positions], minlength=len(judged.names))
    legend = [(judged.names[label], colour, str(label), clips_of[label]) for label, colour in colours.items()]
    left = int(clips_of.sum()) - sum(int(clips_of[label]) for label in colours)
    legend += [("other classes", OTHER, "", left)] if left else []
    picture_width = PICTURE_WIDTH if (dataset.num_frames[judged.rows[positions]] > 0).any() else 0
    sprite = webp(_sprite(dataset, judged.rows[positions], picture_width), QUALITY)
    caption = (
        f"{len(positions):,} of {len(judged.rows):,} test clips by t-SNE of the {what}. "
        "Fill: true class; a ring: predicted wrong, in the colour of the predicted class. Clips that are near each "
        "other have like features; distances between groups of clips mean little."
    )
    text = sentences_of(around, int((~predicted.right[positions]).sum()), len(positions))
    body = _map.render(
        side=SIDE,
        tall=round(2 * MARGIN + (SIDE - 2 * MARGIN) * float(xy[:, 1].max())),
        dots=dots,
        legend=legend,
        caption=caption,
        columns=TILE_COLUMNS,
        width=picture_width + SOUND_WIDTH,
        height=TILE_HEIGHT,
        sprite=base64.b64encode(sprite).decode(),
    )
    return html.paragraph(text) + Markup(body), len(positions)


def sentences_of(around: Neighbours, wrong: int, clips: int) -> str:
    """What the nearest neighbours are, in words, of so many clips, some of them predicted wrong."""
    parts = []
    if wrong < clips:
        parts.append(
            f"Of the {around.count} nearest other clips of one that is predicted right, {100 * around.right_alike:.0f} "
            "% are of its class."
        )
    if wrong:
        parts.append(
            f"Of the {wrong:,} clips that are predicted wrong, {around.among_own:,} lie mostly among clips of their "
            f"own class and {around.among_predicted:,} mostly among clips of the class that they are taken for. The "
            "former are a matter of the classifier, which was fitted on other clips, the latter of the features."
        )
    if around.one_group is not None:
        parts.append(f"{100 * around.one_group:.0f} % of all neighbours are of the clip's own group.")
    return " ".join(parts)


def colours_style(judged: Judged) -> str:
    """The colours --c0 (of other classes), --c1 ... of the map: hues apart, every other one lighter."""
    count = len(colours_of_classes(judged))

    def rule(saturation: int, levels: tuple[int, int]) -> str:
        hues = (f"--c{n + 1}: hsl({360 * n // count} {saturation}% {levels[n % 2]}%);" for n in range(count))
        return f":root {{ --c{OTHER}: #8a94a0; {' '.join(hues)} }}"

    return f"{rule(75, (38, 58))}\n@media (prefers-color-scheme: dark) {{ {rule(75, (52, 74))} }}\n"


def colours_of_classes(judged: Judged) -> dict[int, int]:
    """The colour number, from 1 on, of the classes with most wrong clips; all classes where there are few."""
    if len(judged.names) <= COLOURED:
        return {label: label + 1 for label in range(len(judged.names))}
    counts = Counter(label for position in judged.wrong.tolist() for label in judged.pair_of(position))
    return {label: number + 1 for number, label in enumerate(sorted(one for one, _ in counts.most_common(COLOURED)))}


def _dot(judged: Judged, position: int, point: np.ndarray, colours: dict[int, int]) -> dict[str, object]:
    true, predicted = judged.pair_of(position)
    of_predicted, of_true = (100 * float(share[position]) for share in judged.shares)
    title = f"{judged.predictions.clip_ids[position]}: {judged.names[true]}"
    if true != predicted:
        title += f", predicted {judged.names[predicted]} ({of_predicted:.0f} % against {of_true:.0f} %)"
    else:
        title += f", predicted right ({of_true:.0f} %)"
    x, y = (round(MARGIN + (SIDE - 2 * MARGIN) * float(value), 1) for value in point)
    return {
        "x": x,
        "y": y,
        "wrong": true != predicted,
        "clip": position,
        "true": true,
        "pair": key_of((true, predicted)),
        "fill": colours.get(true, OTHER),
        "ring": colours.get(predicted, OTHER),
        "title": title,
    }


def _sprite(dataset: Dataset, rows: np.ndarray, picture_width: int) -> np.ndarray:
    """uint8 [H, W, 3]: a tile a clip, TILE_COLUMNS a row: the picture in its middle beside its log-mel."""
    import matplotlib

    colours = matplotlib.colormaps["magma"]
    width = picture_width + SOUND_WIDTH
    columns = min(TILE_COLUMNS, len(rows))
    sheet = np.zeros((-(-len(rows) // columns) * TILE_HEIGHT, columns * width, 3), np.uint8)
    for number, row in enumerate(rows.tolist()):
        top, left = TILE_HEIGHT * (number // columns), width * (number % columns)
        tile = sheet[top : top + TILE_HEIGHT, left : left + width]
        if dataset.num_frames[row] > 0:
            middle = int(dataset.num_frames[row]) // 2
            tile[:, :picture_width] = resized(dataset.read_frames(row, middle, middle + 1)[0], picture_width)
        decibels = np.nan_to_num(dataset.read_logmel(row).astype(np.float32).T[::-1])
        low, high = np.percentile(decibels, [2, 99.8])
        levels = np.clip((decibels - low) / max(high - low, 1e-6), 0, 1)
        tile[:, picture_width:] = resized((255 * colours(levels)[..., :3]).astype(np.uint8), SOUND_WIDTH)
    return sheet


def resized(pixels: np.ndarray, width: int) -> np.ndarray:
    """uint8 [TILE_HEIGHT, width, 3]: means of the pixels [H, W, 3] under each new one, or repeats of them."""
    out = pixels.astype(np.float32)
    for axis, size in ((0, TILE_HEIGHT), (1, width)):
        edges = np.linspace(0, out.shape[axis], size, endpoint=False).astype(np.int64)
        counts = np.maximum(np.diff(np.append(edges, out.shape[axis])), 1)
        out = np.add.reduceat(out, edges, axis=axis) / np.expand_dims(counts, [one for one in range(3) if one != axis])
    return np.rint(out).astype(np.uint8)
