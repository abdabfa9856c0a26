"""Style of the report: a colour a kind and nothing else in colour; Okabe and Ito's first, lighter in the dark."""

COLOURS = 7
HUES = (250, 2, 285, 95, 183)  # of the next kinds, far from the first ones'
GOLDEN_ANGLE = 137.508
DASHES = ("", "7 4", "2 3", "10 3 2 3")

STYLE = """
body { max-width: 76rem; }
:root { --k0: #5f6b76; --k1: #0072b2; --k2: #c4520a; --k3: #008a63; --k4: #a8508a; --k5: #a87900; --k6: #3a93c7;
  --heat: 88, 99, 110; }
@media (prefers-color-scheme: dark) {
  :root { --k0: #a9b4bf; --k1: #5cb3ee; --k2: #f2894a; --k3: #3ccb9c; --k4: #dd8fc2; --k5: #e8bd4a; --k6: #93d2f7;
    --heat: 154, 167, 180; }
}
h1, h2, h3, td, dd, .name, figcaption { overflow-wrap: anywhere; }
h1 { font-size: clamp(1.6rem, 4vw, 2.2rem); margin-bottom: .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; border-top: 1px solid var(--line); padding-top: 1.6rem; scroll-margin-top: 1rem; }
h3 { font-size: 1.02rem; margin: 1.6rem 0 .5rem; }
p.lead { font-size: 1.12rem; max-width: 60rem; } .note { font-size: .88rem; max-width: 60rem; }
a { color: inherit; text-underline-offset: .2em; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin: 1.2rem 0; }
.facts div { background: var(--card); border-radius: 10px; padding: .65rem .9rem; }
.facts dt { color: var(--soft); font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.4rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.swatch { display: inline-block; width: 1.5rem; height: .7rem; margin-right: .45rem; vertical-align: baseline; }
.swatch line { stroke-width: 4; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.4rem; margin: .6rem 0; padding: 0; list-style: none; }

.forest { display: grid; grid-template-columns: minmax(8rem, max-content) minmax(10rem, 1fr) max-content max-content;
  column-gap: 1.1rem; margin: .8rem 0; font-variant-numeric: tabular-nums; }
.forest > .row { display: grid; grid-column: 1 / -1; grid-template-columns: subgrid; align-items: center;
  border-bottom: 1px solid var(--line); }
.forest .head { color: var(--soft); font-size: .85rem; padding-bottom: .3rem; }
.forest .track { position: relative; height: 2.5rem; }
.forest .axis { position: relative; height: 1.6rem; grid-column: 2; color: var(--soft); font-size: .8rem; }
.axis span { position: absolute; top: .25rem; transform: translateX(-50%); white-space: nowrap; }
.track .grid { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--line); }
.track .chance { position: absolute; top: 0; bottom: 0; border-left: 2px dashed var(--soft); margin-left: -1px; }
.track .bar { position: absolute; top: 50%; height: 4px; margin-top: -2px; border-radius: 2px; opacity: .75; }
.track .bar::before, .track .bar::after { content: ""; position: absolute; top: -4px; height: 12px; width: 2px;
  background: inherit; }
.track .bar::before { left: 0; } .track .bar::after { right: 0; }
.track .mean { position: absolute; top: 50%; width: 14px; height: 14px; margin: -7px; border-radius: 50%;
  border: 2px solid var(--paper); box-sizing: border-box; }
.track .one { position: absolute; top: 50%; width: 8px; height: 8px; margin: -4px; border-radius: 50%;
  border: 1.5px solid var(--ink); box-sizing: border-box; background: var(--paper); opacity: .85; }
.forest .value { text-align: right; font-weight: 600; white-space: nowrap; }
.forest .value small, .forest .gap small { font-weight: 400; color: var(--soft); margin-left: .4rem; }
.forest .gap { white-space: nowrap; }
.mark { display: inline-block; min-width: 1.2em; font-weight: 700; }
.better, .worse { color: var(--ink); } .open, .untested { color: var(--soft); }

.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.6rem; }
.chart { display: grid; grid-template-columns: max-content minmax(0, 1fr); column-gap: .5rem; margin: 0;
  font-variant-numeric: tabular-nums; }
.chart h3 { grid-column: 1 / 3; margin: 0 0 .6rem; }
.chart .y { grid-column: 1; position: relative; min-width: 2.3rem; color: var(--soft); font-size: .8rem; }
.chart .y span { position: absolute; right: 0; transform: translateY(50%); line-height: 1; white-space: nowrap; }
.chart .lines { grid-column: 2; height: 15rem; position: relative; }
.chart svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.chart svg * { vector-effect: non-scaling-stroke; } .chart line.rule { stroke: var(--line); stroke-width: 1; }
.chart line.chance { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 5 4; }
.chart path { fill: none; stroke-width: 2; stroke-linejoin: round; }
.chart circle { stroke: none; }
.chart .x { grid-column: 2; position: relative; height: 1.5rem; color: var(--soft); font-size: .8rem; }
.chart .x span { position: absolute; top: .3rem; transform: translateX(-50%); white-space: nowrap; }
.chart .x span.last { transform: translateX(-100%); } .chart .x span.first { transform: none; }
.chart .unit { grid-column: 2; text-align: right; color: var(--soft); font-size: .8rem; }

.wide { margin: .8rem 0; } .wide th { color: var(--soft); font-weight: 500; font-size: .85rem; vertical-align: bottom; }
.wide td:first-child, .wide th { white-space: normal; } .wide td:first-child { min-width: 8.5rem; }
.wide th { min-width: 4.5rem; }
.text td, .text th { text-align: left; white-space: normal; vertical-align: top; }
.text td { min-width: 6rem; }
details { margin: .8rem 0; } summary { cursor: pointer; color: var(--soft); padding: .25rem 0; }
.matrices { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.4rem 2rem; }
.matrix { margin: 0; min-width: 0; } .matrix table { font-size: .8rem; width: 100%; table-layout: fixed; }
.matrix th, .matrix td { padding: .3rem .1rem; text-align: center; border: 0; overflow: hidden; }
.matrix th:first-child, .matrix td:first-child { text-align: right; padding-right: .5rem; width: 32%; min-width: 0;
  color: var(--soft); font-weight: 400; white-space: normal; overflow-wrap: anywhere; line-height: 1.15; }
.matrix .column { display: inline-block; writing-mode: vertical-rl; transform: rotate(180deg); max-height: 9rem;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; line-height: 1.15; }
.matrix th { vertical-align: bottom; font-weight: 400; color: var(--soft); }
.matrix td { color: var(--ink); border: 1px solid var(--paper); }
.matrix img { width: 100%; image-rendering: pixelated; background: var(--card); border-radius: 4px; }
.matrix p { margin: .4rem 0; font-size: .88rem; }
.heat .cell { display: inline-block; min-width: 3.4rem; padding: .15rem .45rem; border-radius: 5px; text-align: right; }

.query { background: var(--card); border-radius: 12px; padding: 1rem; margin: 1rem 0; display: grid; gap: .4rem 1.4rem;
  grid-template-columns: minmax(12rem, 15rem) minmax(0, 1fr); }
.query > * { min-width: 0; }
.query > figure { margin: 0; } .query > figure img { width: 100%; height: 8rem; display: block; border-radius: 6px; }
.query > figure figcaption { font-size: .88rem; padding-top: .4rem; color: var(--ink); }
.query > figure small { color: var(--soft); }
.answer { display: grid; grid-template-columns: 11.5rem minmax(0, 1fr); gap: .2rem .8rem; align-items: center;
  padding: .35rem 0; }
.answer + .answer { border-top: 1px solid var(--line); }
.answer .name { font-size: .9rem; }
.tiles { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); gap: .5rem; max-width: 34rem; }
.tile { margin: 0; font-size: .74rem; line-height: 1.2; text-align: center; min-width: 0; }
.tile img { width: 100%; aspect-ratio: 1; display: block; border-radius: 6px; border: 3px solid transparent;
  box-sizing: border-box; margin-bottom: .2rem; }
.tile.own img { border-color: var(--ink); border-style: double; border-width: 5px; }
.tile.alike img { border-color: var(--ink); } .tile.other img { border: 3px dashed var(--soft); }
.tile span { display: block; overflow: hidden; text-overflow: ellipsis; }
.stack { display: flex; height: .9rem; min-width: 10rem; border-radius: 4px; overflow: hidden; }
.stack i { display: block; }

@media (max-width: 45rem) {
  .forest { grid-template-columns: minmax(0, 1fr) max-content; }
  .forest > .row:first-child { display: none; }
  .forest > .row { padding: .5rem 0; } .forest .value { order: 1; } .forest .name { order: 0; }
  .forest .track { order: 2; grid-column: 1 / 3; height: 2rem; }
  .forest .gap { order: 3; grid-column: 1 / 3; white-space: normal; }
  .forest .axis { grid-column: 1 / 3; }
  .query { grid-template-columns: minmax(0, 1fr); padding: .8rem; }
  .answer { grid-template-columns: minmax(0, 1fr); }
  .tiles { gap: .3rem; } .tile { font-size: .68rem; }
  th, td { padding: .35rem .5rem; }
}
@media print { .query, .matrix, .chart { break-inside: avoid; } }
"""


def style_of(kinds: int) -> str:
    """STYLE with a colour for each of so many kinds: beyond the first COLOURS, HUES, then a golden angle apart."""
    hues = [*HUES, *(round(number * GOLDEN_ANGLE % 360) for number in range(kinds))]
    more = list(zip(range(COLOURS, kinds), hues, strict=False))
    light, dark = (
        " ".join(f"--k{number}: hsl({hue} {saturation}% {lightness}%);" for number, hue in more)
        for saturation, lightness in ((75, 33), (70, 72))
    )
    return (
        STYLE + f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        if more
        else STYLE
    )
