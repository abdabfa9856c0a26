"""Style and script of the page of errors, on top of those of the preview; the script only adds comfort."""

STYLE = """
h2, article.wrong { scroll-margin-top: 1rem; }
.clips { grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); }
article.wrong { background: var(--card); border-radius: 10px; padding: .8rem .8rem 0; min-width: 0; }
article.wrong:target, article.wrong.chosen { outline: 3px solid var(--link); }
article.wrong figure.clip { padding: .5rem 0 .8rem; }
.verdict { margin: 0 0 .3rem; overflow-wrap: anywhere; }
.shares { list-style: none; margin: 0; padding: 0; font-size: .85rem; }
.shares li { display: grid; grid-template-columns: minmax(3rem, 8rem) minmax(0, 1fr) 3.6rem; gap: .5rem;
  align-items: center; color: var(--soft); }
.shares .true { color: var(--ink); font-weight: 600; }
.shares .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.shares .bar { background: var(--line); height: .55rem; } .shares .bar i { background: currentColor; }
.shares .count { text-align: right; font-variant-numeric: tabular-nums; }
.pick { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; margin: 1rem 0; }
.pick select, .classes button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: .3rem .6rem; max-width: 100%; }
.classes { gap: .35rem; } .classes button { cursor: pointer; padding: .15rem .5rem; font-size: .88rem; }
.classes button[aria-pressed=true] { border-color: var(--ink); } .classes small { color: var(--soft); }
.sheet { position: relative; max-width: 46rem; background: var(--card); border-radius: 10px; }
.sheet svg { display: block; width: 100%; touch-action: pan-y; }
.sheet circle { stroke: var(--card); stroke-width: 1; } .sheet circle.wrong { stroke-width: 3; cursor: pointer; }
.sheet circle.dim { opacity: .12; } .sheet circle.near { stroke: var(--ink) !important; stroke-width: 3; }
.hover { position: absolute; pointer-events: none; background: var(--paper); border: 1px solid var(--line);
  border-radius: 8px; padding: .5rem; box-shadow: 0 2px 10px rgba(0, 0, 0, .25); width: max-content; max-width: 12rem; }
.hover p { margin: .4rem 0 0; font-size: .8rem; line-height: 1.3; overflow-wrap: anywhere; }
.missing { border-left: 3px solid var(--line); padding-left: .8rem; }
@media print { .pick, .classes { display: none; } }
"""

SCRIPT = """
{
  const pick = document.querySelector("#pair"), cards = all("article.wrong"), dots = all(".sheet circle");
  const dim = faded => { for (const dot of dots) dot.classList.toggle("dim", faded(dot.dataset)); };
  const press = chosen => {
    for (const button of all(".classes button")) button.setAttribute("aria-pressed", String(button === chosen));
  };
  const show = pair => {
    if (!pick) return;
    pick.value = pair;
    let shown = 0;
    for (const card of cards) {
      card.hidden = pair !== "" && card.dataset.pair !== pair;
      if (!card.hidden) shown++;
      else for (const audio of all("audio", card)) audio.pause();
    }
    dim(clip => pair !== "" && clip.pair !== pair);
    press(null);
    document.querySelector(".pick [role=status]").textContent = pair ? shown + " shown" : "";
  };
  if (pick) {
    document.querySelector(".pick").hidden = false;
    pick.addEventListener("change", () => show(pick.value));
    for (const link of all("a[data-pair]")) link.addEventListener("click", () => show(link.dataset.pair));
  }
  for (const button of all(".classes button[data-class]")) button.addEventListener("click", () => {
    const wanted = button.getAttribute("aria-pressed") === "true" ? null : button;
    show("");
    press(wanted);
    dim(clip => wanted !== null && clip.true !== button.dataset.class);
  });
  const svg = document.querySelector(".sheet svg"), hover = document.querySelector(".hover");
  if (svg) {
    for (const dot of dots) {
      const title = dot.querySelector("title");
      dot.dataset.title = title.textContent;
      title.remove();
    }
    let at = null, before = null;
    const nearest = event => {
      const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
      let best = null, least = 18 * scale;
      for (const dot of dots) {
        const away = Math.hypot(dot.cx.baseVal.value - x, dot.cy.baseVal.value - y);
        if (away < least && !dot.classList.contains("dim")) { best = dot; least = away; }
      }
      return best;
    };
    const look = dot => {
      if (at) at.classList.remove("near");
      at = dot;
      hover.hidden = dot === null;
      if (dot === null) return;
      dot.classList.add("near");
      const columns = Number(hover.dataset.columns), tile = Number(dot.dataset.tile);
      hover.querySelector(".tile").style.backgroundPosition = -(tile % columns) * hover.dataset.width + "px "
        + -Math.floor(tile / columns) * hover.dataset.height + "px";
      const card = document.getElementById("clip-" + dot.dataset.clip);
      hover.querySelector("p").textContent = dot.dataset.title + (card ? ". Click: its card." : "");
      const scale = svg.clientWidth / svg.viewBox.baseVal.width;
      const x = dot.cx.baseVal.value * scale, y = dot.cy.baseVal.value * scale;
      hover.style.left = Math.max(0, Math.min(x + 12, svg.clientWidth - hover.offsetWidth)) + "px";
      hover.style.top = (y + 12 + hover.offsetHeight > svg.clientHeight ? y - 12 - hover.offsetHeight : y + 12) + "px";
    };
    svg.addEventListener("pointermove", event => look(nearest(event)));
    svg.addEventListener("pointerdown", event => { before = event.pointerType === "mouse" ? nearest(event) : at;
      look(nearest(event)); });
    svg.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") look(null); });
    svg.addEventListener("click", () => {
      const card = at && at === before && document.getElementById("clip-" + at.dataset.clip);
      if (!card) return;
      if (card.hidden) show("");
      for (const other of cards) other.classList.toggle("chosen", other === card);
      look(null);
      card.scrollIntoView({block: "center"});
    });
  }
}
"""
