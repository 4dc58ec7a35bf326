"use strict";
// Draws every figure from the JSON beside it, in the colours of the reader's scheme; on paper always in the light ones.
(() => {
  const palette = JSON.parse(document.getElementById("palette").textContent);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const root = document.documentElement;
  const canvases = [...document.querySelectorAll(".canvas")];
  const config = { displayModeBar: false, displaylogo: false, showTips: false };
  let paper = false;

  const read = (canvas) => {
    const darken = scheme.matches && !paper;
    return JSON.parse(canvas.nextElementSibling.textContent, (_, value) =>
      darken && typeof value === "string" && Object.hasOwn(palette, value) ? palette[value] : value);
  };

  const draw = (canvas) => {
    const { data, layout } = read(canvas);
    layout.width = canvas.clientWidth;
    layout.height = canvas.clientHeight;
    if (touch) layout.dragmode = false; // a finger scrolls the page
    return Plotly.react(canvas, data, layout, config);
  };

  const drawAll = async () => {
    root.dataset.state = "drawing";
    for (const canvas of canvases) {
      await draw(canvas);
      await new Promise((done) => setTimeout(done)); // the page stays usable meanwhile
    }
    root.dataset.state = "drawn";
  };

  let queue = Promise.resolve();
  const redraw = () => { queue = queue.then(drawAll); };

  const forPaper = (on) => {
    paper = on;
    root.classList.toggle("paper", on);
    document.querySelectorAll("details").forEach((part) => { if (on) part.open = true; });
    canvases.forEach(draw);
  };

  let timer = 0;
  new ResizeObserver(() => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const stale = (canvas) => canvas._fullLayout && canvas._fullLayout.width !== canvas.clientWidth;
      if (!paper) canvases.filter(stale).forEach(draw);
    }, 120);
  }).observe(document.querySelector("main"));
  scheme.addEventListener("change", redraw);
  addEventListener("beforeprint", () => forPaper(true));
  addEventListener("afterprint", () => forPaper(false));
  redraw();
})();
