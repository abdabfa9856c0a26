"""Self-contained HTML pages: one skeleton, tables, pictures as data. Works offline, on a phone, light and dark."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from typing import Any

import numpy as np
from jinja2 import Environment, Template
from markupsafe import Markup

from avprep.shared.outputs import generator

_environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)


def anchor(heading: str) -> str:
    """The id of the section under `heading`."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


_environment.filters["anchor"] = anchor


def template(text: str) -> Template:
    """A jinja template that escapes what it is given."""
    return _environment.from_string(text)


_page = template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
{{ generator }}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
{% if refresh_seconds %}
<noscript><meta http-equiv="refresh" content="{{ "%g" | format(refresh_seconds) }}"></noscript>
{% endif %}
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --ink: #1c2530; --paper: #fff; --soft: #5b6875; --line: #d9dfe5; --card: #f5f7f9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaee; --paper: #14181d; --soft: #9aa7b4; --line: #323a43; --card: #1c2229; }
}
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--paper); }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
p.lead, figcaption, .note { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; border-radius: 6px; }
figure.plot { background: #fff; border-radius: 8px; padding: .5rem; } figure.plot figcaption { color: #5b6875; }
.pairs { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem; }
.pairs figure { margin: 0; background: var(--card); border-radius: 8px; padding: .6rem; }
.pairs img { width: 100%; display: block; } .pairs img.pixels { image-rendering: pixelated; }
.pairs img.pixels + img.pixels { height: 8rem; }
pre { overflow-x: auto; background: var(--card); padding: .8rem; border-radius: 8px; }
nav.contents { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; }
{{ style }}
</style>
<main>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
{% if contents %}
<nav class="contents" aria-label="On this page">
{% for heading, _ in sections %}<a href="#{{ heading | anchor }}">{{ heading }}</a>
{% endfor %}</nav>
{% endif %}
{% for heading, body in sections %}
<h2 id="{{ heading | anchor }}">{{ heading }}</h2>
{{ body }}
{% endfor %}
</main>
{% if script %}<script>{{ script }}</script>{% endif %}
</html>
""")

_table = template("""<div class="wide {{ css }}"><table>
<tr>{% for name in header %}<th scope="col">{{ name }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
""")


def page(
    title: str,
    lead: str,
    sections: list[tuple[str, Markup]],
    *,
    style: str = "",
    script: str = "",
    contents: bool = False,
    kind: str = "page",
    refresh_seconds: float | None = None,
) -> str:
    """A whole page; `sections` are (heading, body) pairs, `contents` lists them under the title.

    `kind` is by what outputs.is_page knows it. Without scripts, a browser loads the page again each `refresh_seconds`.

    The page's policy allows no address at all, data in the page itself, and no script but `script` (by its digest).
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if script else "'none'"
    policy = f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    return _page.render(
        title=title,
        lead=lead,
        sections=sections,
        policy=policy,
        generator=Markup(generator(kind)),
        style=Markup(style),
        script=Markup(script),
        contents=contents,
        refresh_seconds=refresh_seconds,
    )


def table(header: list[str], rows: list[list[Any]], css: str = "") -> Markup:
    """A table; cells are escaped. `css` is a further class of the box around it."""
    return Markup(_table.render(header=header, rows=rows, css=css))


def paragraph(text: str) -> Markup:
    """One paragraph, escaped."""
    return Markup("<p>{}</p>\n").format(text)


def image(data: bytes, alt: str, kind: str = "png", css: str = "") -> Markup:
    """An image element that carries its bytes."""
    return Markup('<img class="{}" alt="{}" src="data:image/{};base64,{}">').format(
        css, alt, kind, base64.b64encode(data).decode()
    )


def figure(body: Markup, caption: str, css: str = "") -> Markup:
    """A figure with its caption."""
    return Markup('<figure class="{}">{}<figcaption>{}</figcaption></figure>\n').format(css, body, caption)


def pixels(array: np.ndarray, alt: str) -> Markup:
    """Pixels uint8 [H, W, 3] as a PNG that is shown with hard edges."""
    import matplotlib.image

    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, np.ascontiguousarray(array), format="png")
    return image(buffer.getvalue(), alt, css="pixels")


def plot(figure: Any, alt: str) -> Markup:
    """A matplotlib figure as an SVG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight")
    return image(buffer.getvalue(), alt, kind="svg+xml")
