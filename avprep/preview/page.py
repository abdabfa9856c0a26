"""The markup of the preview page: a Preview in, HTML out. One rule for every axis: a position is a percentage."""

from __future__ import annotations

import base64
from collections import Counter

import numpy as np
from markupsafe import Markup

from avprep.preview import summary
from avprep.preview.assets import SCRIPT, STYLE
from avprep.preview.axes import hertz_ticks, nice_ticks, percent
from avprep.preview.model import Picture, Preview, ShownClip
from avprep.shared import html

COARSE_COLUMNS = 150

_class = html.template("""<details class="class" id="class-{{ id }}" data-name="{{ name }}"{{ " open" if open }}>
<summary><h3><bdi>{{ name }}</bdi></h3><span class="note">{{ counts }}</span></summary>
<div class="clips">
{% for card in cards %}{{ card }}{% endfor %}</div>
</details>
""")

_clip = html.template("""<figure class="clip{{ " playable" if clip.sound }}" data-seconds="{{ clip.seconds }}">
<figcaption><bdi class="id">{{ clip.clip_id }}</bdi>
<span class="facts-of-clip">{{ "%.2f" | format(clip.seconds) }} s · {{ clip.split }}</span></figcaption>
<div class="chart{{ "" if clip.strip else " alone" }}">
{% if clip.strip %}
<div class="strip" style="--tiles: {{ clip.strip.columns }}">{{ strip }}</div>
{% endif %}
<div class="y" aria-hidden="true">{% for at, text in hertz %}<span style="bottom: {{ at }}%">{{ text }}</span>
{% endfor %}</div>
<div class="heat">{{ heat }}</div>
<div class="unit" aria-hidden="true">Hz</div>
<div class="x" aria-hidden="true">{% for tick in ticks %}<i style="left: {{ tick.position }}%"></i>
<span class="{{ tick.css }}" style="left: {{ tick.position }}%">{{ tick.text }}</span>{% endfor %}</div>
<div class="over"><i></i></div>
</div>
{% if clip.sound %}
<audio controls preload="none" aria-label="Sound of {{ clip.clip_id }}"
src="data:audio/mpeg;base64,{{ sound }}"></audio>
{% elif noted %}
<p class="note">No sound: {{ clip.silence }}.</p>
{% endif %}
</figure>
""")

_scale = html.template("""<div class="scale"><span>{{ low }} dB or less</span><i role="img"
aria-label="Colours from dark, {{ low }} dB, to bright, {{ high }} dB" style="background:
linear-gradient(to right{% for colour in colours %}, {{ colour }}{% endfor %})"></i><span>{{ high }} dB</span></div>
""")


def render(preview: Preview) -> str:
    """The whole page."""
    dataset = preview.dataset
    counts = summary.counts_of(dataset)
    sections = [
        ("Dataset", summary.facts(dataset, counts, len(preview.failures))),
        ("Clips per class", summary.overview(dataset, counts, {clip.class_id for clip in preview.clips})),
        ("Clips", reading_of(preview.clips, preview.scale_db, dataset.num_mel_bands) + _classes(preview, counts)),
        ("Failures", summary.failures(preview.failures)),
        ("Log-mel statistics", summary.statistics(dataset, preview.band_centres_hz)),
    ]
    of_split = f" of the split {preview.split}" if preview.split else ""
    lead = (
        f"{len(preview.clips)} of the dataset's {len(dataset):,} clips, drawn at random from each class{of_split}, "
        "as training will read them."
    )
    title = f"Preview of {dataset.local_folder.resolve().name}"
    return html.page(title, lead, sections, style=STYLE, script=SCRIPT, contents=True, kind="preview")


def reading_of(clips: list[ShownClip], scale_db: tuple[int, int], num_mel_bands: int) -> Markup:
    """How to read the cards of clips, whose colours run over `scale_db`, and which of them have sound."""
    import matplotlib

    low, high = scale_db
    colours = [matplotlib.colors.to_hex(colour) for colour in matplotlib.colormaps["magma"](np.linspace(0, 1, 9))]
    strips = any(clip.strip for clip in clips)
    above = "Above: frames as stored, each the one on show in the middle of its part of the clip. " if strips else ""
    below = "Below: its" if strips else "Each clip's"
    axis = "both on the time axis underneath" if strips else "over the time axis underneath"
    text = (
        f"{above}{below} log-mel spectrogram, {num_mel_bands} mel bands labelled in Hz, {axis}. "
        "Colours mean the same level for every clip:"
    )
    scale = Markup(_scale.render(low=low, high=high, colours=colours))
    return html.paragraph(text) + scale + html.paragraph(_sound_note(clips))


def _sound_note(clips: list[ShownClip]) -> str:
    audible = sum(clip.sound is not None for clip in clips)
    why = Counter(clip.silence for clip in clips if clip.sound is None)
    if not audible:
        return f"Sound is left out: {'; '.join(why)}."
    without = "".join(f"; {count} without: {reason}" for reason, count in why.most_common())
    return f"Sound: {audible} of {len(clips)} clips can be played, from their source files, as 48 kbit/s MP3{without}."


def _classes(preview: Preview, counts: dict[str, np.ndarray]) -> Markup:
    names = preview.dataset.class_names
    hertz = hertz_ticks(preview.band_centres_hz)
    noted = any(clip.sound for clip in preview.clips)  # else the note above is for all
    cards: dict[int, list[Markup]] = {}
    for clip in preview.clips:
        cards.setdefault(clip.class_id, []).append(card(clip, hertz, noted))
    parts = [
        _class.render(
            id=class_id,
            name=names[class_id],
            counts=summary.in_words(counts, class_id),
            open=len(cards) <= summary.FEW_CLASSES,
            cards=mine,
        )
        for class_id, mine in cards.items()
    ]
    return Markup("").join(Markup(part) for part in parts)


def card(clip: ShownClip, hertz: list[tuple[str, str]], noted: bool) -> Markup:
    """A clip's pictures, spectrogram and sound; where `noted`, also why it has no sound."""
    strip = ""
    if clip.strip:
        alt = f"{clip.strip.columns} frames of {clip.clip_id}, evenly spaced over its {clip.seconds:.2f} s"
        strip = _placed(clip.strip, clip.seconds, alt)
    heat = _placed(clip.spectrogram, clip.seconds, f"log-mel spectrogram of {clip.clip_id}")
    sound = base64.b64encode(clip.sound).decode() if clip.sound else ""
    ticks = nice_ticks(clip.seconds)
    return Markup(_clip.render(clip=clip, strip=strip, heat=heat, hertz=hertz, ticks=ticks, sound=sound, noted=noted))


def _placed(picture: Picture, seconds: float, alt: str) -> Markup:
    """The picture over its own time on an axis from 0 to `seconds`."""
    left = percent(100 * picture.start_seconds / seconds)
    width = percent(100 * (picture.end_seconds - picture.start_seconds) / seconds)
    return Markup(
        '<img class="{}" alt="{}" loading="lazy" decoding="async" style="left: {}%; width: {}%" '
        'src="data:image/webp;base64,{}">'
    ).format(
        "coarse" if picture.columns < COARSE_COLUMNS else "",
        alt,
        left,
        width,
        base64.b64encode(picture.data).decode(),
    )
