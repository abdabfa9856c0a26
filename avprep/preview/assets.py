"""Style and script of the preview page; the script only adds comfort, all content is there without it."""

STYLE = """
body { max-width: 78rem; }
:root { --s0: #2f6fb3; --s1: #d67a1d; --s2: #3f9b6c; --s3: #8a63b8; --s4: #b8496b; --s5: #7a8591; --link: #1f5fa8; }
@media (prefers-color-scheme: dark) {
  :root { --s0: #5a9bdd; --s1: #e79a4a; --s2: #5fbd8c; --s3: #ab8ad8; --s4: #d8708f; --s5: #96a1ad; --link: #82b6ee; }
}
[hidden] { display: none !important; }
a { color: var(--link); }
h1, h3, .id { overflow-wrap: anywhere; }
h2, details.class { scroll-margin-top: 1rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.facts { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.facts div { flex: 1 1 7rem; background: var(--card); border-radius: 8px; padding: .6rem .9rem; }
.facts dt { color: var(--soft); font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.text td, .text th { text-align: left; white-space: normal; vertical-align: top; }
.text td { overflow-wrap: anywhere; min-width: 2.5rem; }
.text td:first-child { min-width: 5.5rem; }
.wide { margin: 1rem 0; }

.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .5rem 0; padding: 0; list-style: none; }
.legend i { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin-right: .4rem; }
.scale { display: flex; gap: .6rem; align-items: center; font-variant-numeric: tabular-nums; }
.scale span { white-space: nowrap; }
.scale i { flex: 0 1 16rem; min-width: 3rem; height: .8rem; border-radius: 3px; }

.tools { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; margin: .8rem 0; }
.tools input, .tools button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: .35rem .7rem; }
.tools input { flex: 0 1 18rem; min-width: 8rem; } .tools button { cursor: pointer; }
.overview { list-style: none; margin: .5rem 0; padding: 0; display: grid; column-gap: 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
.overview.few { grid-template-columns: 1fr; }
.overview.many { max-height: 26rem; overflow-y: auto; border: 1px solid var(--line); border-radius: 8px;
  padding: .4rem .8rem; }
.overview li { display: grid; grid-template-columns: minmax(0, 1fr) 6rem 3.2rem; gap: .6rem; align-items: center;
  padding: .1rem 0; min-width: 0; }
.overview.few li { grid-template-columns: minmax(7rem, 16rem) minmax(0, 1fr) 3.2rem; }
.overview .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; padding: .1rem 2px; }
.overview.few .name { white-space: normal; overflow-wrap: anywhere; }
.overview .count { text-align: right; font-variant-numeric: tabular-nums; }
.bar { display: flex; height: .75rem; border-radius: 3px; overflow: hidden; background: var(--card); }

details.class { border-top: 1px solid var(--line); }
details.class summary { cursor: pointer; padding: .6rem 0; }
details.class h3 { display: inline; font-size: 1.05rem; margin-right: .6rem; }
.clips { display: grid; gap: 1rem; padding: .2rem 0 1.4rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); }
figure.clip { margin: 0; background: var(--card); border-radius: 10px; padding: .8rem; min-width: 0;
  display: flex; flex-direction: column; gap: .6rem; }
.clip figcaption { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem; }
.clip .id { color: var(--ink); font: .85rem/1.35 ui-monospace, monospace; min-width: 0; }
.clip .facts-of-clip { white-space: nowrap; font-size: .85rem; font-variant-numeric: tabular-nums; }
.chart { display: grid; grid-template-columns: 2.4rem minmax(0, 1fr); column-gap: .4rem; }
.chart > * { position: relative; }
.strip, .heat, .lines { grid-column: 2; overflow: hidden; }
.strip { grid-row: 1; aspect-ratio: var(--tiles); border-radius: 4px 4px 0 0; margin-bottom: 2px; }
.strip::after { content: ""; position: absolute; inset: 0; background: linear-gradient(to right, var(--card) 1px,
  transparent 1px) -1px 0 / calc(100% / var(--tiles)) 100%; }
.heat, .lines { grid-row: 2; height: 9rem; background: #000; border-radius: 0 0 4px 4px; }
.alone .heat, .lines { border-radius: 4px; }
.chart img { position: absolute; top: 0; height: 100%; max-width: none; border-radius: 0; }
.chart img.coarse { image-rendering: pixelated; }
.chart .y { grid-row: 2; grid-column: 1; }
.chart .x { grid-row: 3; grid-column: 2; height: 1.35rem; }
.chart .unit { grid-column: 1; grid-row: 3; }
.chart .y, .chart .x, .chart .unit { color: var(--soft); font-size: .72rem; line-height: 1.3;
  font-variant-numeric: tabular-nums; }
.chart .unit { padding: .3rem 0 0 .35rem; }
.y span { position: absolute; right: 0; transform: translateY(50%); padding-right: .35rem; }
.y span::after { content: ""; position: absolute; right: -.1rem; top: 50%; width: .3rem; height: 1px;
  background: var(--soft); }
.x span { position: absolute; top: .3rem; transform: translateX(-50%); white-space: nowrap; }
.x span.first { transform: none; } .x span.last { transform: translateX(-100%); }
.x i { position: absolute; top: 0; width: 1px; height: .3rem; background: var(--soft); }
.over { grid-column: 2; grid-row: 1 / 3; pointer-events: none; }
.over i { position: absolute; top: 0; bottom: 0; left: 0; width: 2px; margin-left: -1px; background: #fff;
  box-shadow: 0 0 0 1px rgba(0, 0, 0, .55); opacity: 0; }
.clip.playing .over i, .clip.paused .over i { opacity: 1; }
.clip.playable .strip, .clip.playable .heat { cursor: pointer; }
.clip audio { width: 100%; height: 2.4rem; display: block; }
.clip p.note { margin: 0; font-size: .85rem; }
.lines { height: 13rem; background: var(--card); }
.lines svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.lines path { vector-effect: non-scaling-stroke; fill: none; stroke: var(--s0); stroke-width: 2; }
.lines path.band { fill: var(--s0); fill-opacity: .22; stroke: none; }
.lines line { vector-effect: non-scaling-stroke; stroke: var(--line); }
@media (max-width: 32rem) {
  .overview li, .overview.few li { grid-template-columns: minmax(0, 1fr) 5rem 2.6rem; }
  .clips { margin: 0 -.3rem; } figure.clip { padding: .6rem; }
  .stack th { display: none; } .stack tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  .stack td { display: block; border: 0; padding: 0 .8rem; } .stack td:first-child { font-weight: 600; }
  .clip figcaption { flex-direction: column; gap: 0; }
}
@media print { .tools, audio { display: none; } .overview.many { max-height: none; } }
"""

SCRIPT = """
const all = (query, root = document) => [...root.querySelectorAll(query)];
for (const clip of all("figure.clip.playable")) {
  const audio = clip.querySelector("audio"), head = clip.querySelector(".over i");
  const seconds = Number(clip.dataset.seconds);
  const draw = () => {
    head.style.left = Math.min(100, 100 * audio.currentTime / seconds) + "%";
    if (!audio.paused) requestAnimationFrame(draw);
  };
  audio.addEventListener("play", () => {
    for (const other of all("audio")) if (other !== audio) other.pause();
    clip.classList.add("playing"); clip.classList.remove("paused"); draw();
  });
  audio.addEventListener("pause", () => { clip.classList.remove("playing"); clip.classList.add("paused"); });
  audio.addEventListener("ended", () => clip.classList.remove("paused"));
  audio.addEventListener("seeking", () => { clip.classList.add("paused"); draw(); });
  for (const part of all(".strip, .heat", clip)) part.addEventListener("click", event => {
    const box = part.getBoundingClientRect();
    audio.currentTime = seconds * (event.clientX - box.left) / box.width;
    audio.play();
  });
}
const open = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.matches("details")) { target.open = true; target.scrollIntoView(); }
};
addEventListener("hashchange", open);
open();
const tools = document.querySelector(".tools");
if (tools) {
  tools.hidden = false;
  const status = tools.querySelector("[role=status]");
  tools.querySelector("input").addEventListener("input", event => {
    const wanted = event.target.value.trim().toLowerCase();
    let left = 0;
    for (const item of all(".overview li, details.class")) {
      item.hidden = !item.dataset.name.toLowerCase().includes(wanted);
      if (!item.hidden && item.matches("li")) left++;
    }
    status.textContent = wanted ? left + " shown" : "";
  });
  for (const button of all("button", tools)) button.addEventListener("click", () => {
    for (const part of all("details.class")) part.open = button.dataset.open === "yes";
  });
}
"""
