"""Retrieved examples: the sound of a test clip, and the pictures that each kind of run finds nearest to it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from avprep.dataset import Dataset
from avprep.shared import html
from avprep.shared.errors import UserError
from avtrain.report.curves import swatch
from avtrain.report.gather import Run
from avtrain.report.kinds import Kind, name_of

QUERIES = 3
NEAREST = 5
GALLERY = 1000
MAX_KINDS = 6
JPEG_QUALITY = 85
GALLERY_DRAW, QUERY_DRAW = 0x6A11, 0x9E41  # streams of random numbers; never change them

_query = html.template("""<div class="query"><figure>{{ sound }}<figcaption>the sound of <b>{{ label }}</b><br>
<small>{{ clip_id }}</small></figcaption></figure><div>
{% for answer in answers %}<div class="answer" data-run="{{ answer.run }}"><span class="name">
{{ answer.mark }}{{ answer.kind }}</span><div class="tiles">
{% for tile in answer.tiles %}<figure class="tile {{ tile.css }}" data-clip="{{ tile.clip_id }}">
{{ tile.image }}<span>{{ tile.sign }} {{ tile.label }}</span></figure>{% endfor %}</div></div>
{% endfor %}</div></div>
""")


@dataclass(frozen=True)
class Retrieved:
    """Dataset rows int64 [queries, nearest] of one run, best first."""

    kind: Kind
    run: Run
    rows: np.ndarray


def examples(kinds: Sequence[Kind], datasets: Mapping[str, Dataset], device: str, seed: int = 0) -> Markup:
    """For clips drawn from the test split, the nearest pictures by the first run of each kind; or why not."""
    trained = [kind for kind in kinds if kind.runs[0].pretrained]
    digests = list(dict.fromkeys(kind.runs[0].dataset_digest for kind in trained))
    if not digests:
        return html.paragraph("None of the runs is a pretraining run, so there is nothing to retrieve with.")
    parts, missing = [], []
    for digest in digests:
        mine = [kind for kind in trained if kind.runs[0].dataset_digest == digest]
        if digest not in datasets:
            names = ", ".join(kind.name for kind in mine)
            missing.append(f"{names}: the dataset ({digest[:8]}) was not given; --data DIR shows what they retrieve.")
            continue
        dataset = datasets[digest]
        rows = gallery(dataset, seed)
        if len(rows) < 2:
            missing.append(f"{name_of(dataset)} has no test clips with a picture.")
            continue
        queries = choose_queries(dataset, rows, seed)
        shown = []
        for kind in mine[:MAX_KINDS]:
            try:
                shown.append(Retrieved(kind, kind.runs[0], nearest(dataset, kind.runs[0], rows, queries, device)))
            except (UserError, OSError) as error:
                missing.append(f"{kind.name}: {error}")
        missing += [f"{kind.name}: left out, {MAX_KINDS} kinds are shown." for kind in mine[MAX_KINDS:]]
        if shown:
            parts.append(_shown(dataset, rows, queries, shown))
    notes = Markup("").join(Markup('<p class="note missing">{}</p>').format(text) for text in missing)
    return Markup("").join(parts) + notes


def gallery(dataset: Dataset, seed: int) -> np.ndarray:
    """Test clips with a picture, at most GALLERY of them, drawn by the seed; in order of the index."""
    if "test" not in dataset.splits:
        return np.empty(0, np.int64)
    rows = dataset.rows_of("test")
    rows = rows[dataset.num_frames[rows] > 0]
    return np.sort(np.random.default_rng([seed, GALLERY_DRAW]).permutation(rows)[:GALLERY])


def choose_queries(dataset: Dataset, rows: np.ndarray, seed: int) -> np.ndarray:
    """Positions in `rows` of clips of different classes where there are enough, drawn by the seed."""
    order = np.random.default_rng([seed, QUERY_DRAW]).permutation(len(rows))
    _, first = np.unique(dataset.label[rows[order]], return_index=True)
    chosen = list(order[np.sort(first)]) + [position for position in order if position not in order[first]]
    return np.array(chosen[:QUERIES], np.int64)


def nearest(dataset: Dataset, run: Run, rows: np.ndarray, queries: np.ndarray, device: str) -> np.ndarray:
    """Dataset rows int64 [queries, NEAREST] whose pictures are nearest to the sounds of rows[queries]."""
    from avtrain.evaluation.retrieval import embed_rows

    audio, video = embed_rows(dataset, run.folder, rows, device)
    similarity = audio[queries] @ video.T
    return rows[np.argsort(-similarity, axis=1, kind="stable")[:, :NEAREST]]


def _shown(dataset: Dataset, rows: np.ndarray, queries: np.ndarray, shown: Sequence[Retrieved]) -> Markup:
    cards, pictures = Markup(""), dict[int, bytes]()
    for number, query in enumerate(rows[queries]):
        answers = []
        for one in shown:
            tiles = [_tile(dataset, int(query), int(row), pictures) for row in one.rows[number]]
            answers.append({"run": one.run.name, "kind": one.kind.name, "mark": swatch(one.kind), "tiles": tiles})
        label = dataset.class_names[dataset.label[query]]
        cards += Markup(
            _query.render(
                sound=_spectrogram(dataset, int(query)),
                label=label,
                clip_id=dataset.clip_ids[int(query)],
                answers=answers,
            )
        )
    text = (
        f"{len(queries)} clips, drawn by chance from {len(rows):,} test clips of {name_of(dataset)}, and the {NEAREST} "
        "pictures nearest to the sound of each, best first, by the first run of each kind. ● the clip's own picture, "
        "✓ another clip of its class, ✗ one of another class. No labels are used in the search."
    )
    return Markup('<p class="note">{}</p>').format(text) + cards


def _tile(dataset: Dataset, query: int, row: int, pictures: dict[int, bytes]) -> dict[str, Any]:
    if row not in pictures:
        frames = dataset.read_clip(row).frames
        assert frames is not None
        pictures[row] = _jpeg(frames[len(frames) // 2])
    label = dataset.class_names[dataset.label[row]]
    css = "own" if row == query else "alike" if dataset.label[row] == dataset.label[query] else "other"
    sign = {"own": "●", "alike": "✓", "other": "✗"}[css]
    image = html.image(pictures[row], f"{label}, {dataset.clip_ids[row]}", kind="jpeg")
    return {"css": css, "sign": sign, "label": label, "clip_id": dataset.clip_ids[row], "image": image}


def _jpeg(frame: np.ndarray) -> bytes:
    import simplejpeg

    return simplejpeg.encode_jpeg(np.ascontiguousarray(frame), JPEG_QUALITY, "RGB", "444")


def _spectrogram(dataset: Dataset, row: int) -> Markup:
    """A clip's log-mel, low bands below, as a small picture."""
    import matplotlib
    import matplotlib.image

    mel = dataset.read_clip(row).logmel.astype(np.float32).T[::-1]
    low, high = np.percentile(mel, [2, 99.8])
    colours = matplotlib.colormaps["magma"](np.clip((mel - low) / max(high - low, 1e-6), 0, 1))[..., :3]
    buffer = io.BytesIO()
    pixels = np.ascontiguousarray((colours * 255).astype(np.uint8))
    matplotlib.image.imsave(buffer, pixels, format="jpeg", pil_kwargs={"quality": JPEG_QUALITY})
    return html.image(buffer.getvalue(), f"log-mel spectrogram of {dataset.clip_ids[row]}", kind="jpeg")
