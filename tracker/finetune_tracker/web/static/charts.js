// Charts, drawn by uPlot (vendor/): lines over steps, and points.

import { h } from "./dom.js";
import { number } from "./format.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6"];
export const colour = (index) => css(COLOURS[index % COLOURS.length]);

const axis = (extra = {}) => ({
  stroke: css("--muted"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") }, font: "11px system-ui", ...extra,
});
const values = (_, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick)));

/** A box that holds a chart and keeps its width; `build(width)` makes the uPlot once the box is on the page. */
function box(title, build, height, description) {
  const holder = h("div", { class: "plot", role: "img", "aria-label": description ?? title });
  const figure = h("figure", { class: "chart" }, h("figcaption", {}, title), holder);
  let plot = null;
  const observer = new ResizeObserver(() => {
    const width = Math.floor(holder.clientWidth);
    if (!width) return;
    if (plot) plot.setSize({ width, height });
    else plot = build(width, holder);
  });
  observer.observe(holder);
  figure.destroy = () => { observer.disconnect(); plot?.destroy(); };
  figure.draw = (data, text) => { plot?.setData(data); holder.setAttribute("aria-label", text); };
  return figure;
}

/** Series as uPlot's columns over a common x. */
function columnsOf(series) {
  const xs = [...new Set(series.flatMap((one) => one.points.map((point) => point[0])))].sort((a, b) => a - b);
  const place = new Map(xs.map((value, i) => [value, i]));
  const columns = series.map((one) => {
    const column = new Array(xs.length).fill(null);
    for (const [at, value] of one.points) column[place.get(at)] = value;
    return column;
  });
  return [xs, ...columns];
}

/** Lines over a common x. series: [{label, points: [[x, y], ...]}]. The figure's `update(series)` moves them on. */
export function lines(title, series, { x = "step", height = 200 } = {}) {
  let data = columnsOf(series);
  const describe = ([{ points }]) => `${title}: ${points.length} points, last ${number(points.at(-1)[1])}`;
  const figure = box(title, (width, holder) => new window.uPlot({
    width, height, cursor: { focus: { prox: 24 } }, legend: { show: true, live: true },
    scales: { x: { time: false } },
    axes: [axis({ values }), axis({ values, size: 56 })],
    series: [{ label: x }, ...series.map((one, i) => ({
      label: one.label, stroke: colour(i), width: 1.5, spanGaps: true,
      points: { show: one.points.length < 60, size: 4 }, value: (_, value) => (value === null ? "–" : number(value)),
    }))],
  }, data, holder), height, describe(series));
  figure.update = (next) => { data = columnsOf(next); figure.draw(data, describe(next)); };
  return figure;
}

/** Points; `pick(index)` is called when one is chosen. points: [[x, y], ...]. */
export function scatter(title, points, { x, y, log = false, height = 220, best = null, pick = null } = {}) {
  const order = points.map((point, i) => [...point, i]).sort((a, b) => a[0] - b[0]);
  const hits = (plot) => {
    const { left, top } = plot.cursor;
    let found = null, nearest = 18 ** 2;
    order.forEach((point) => {
      const far = (plot.valToPos(point[0], "x") - left) ** 2 + (plot.valToPos(point[1], "y") - top) ** 2;
      if (far < nearest) [nearest, found] = [far, point[2]];
    });
    return found;
  };
  // Room at both ends: uPlot draws no more than one of the points that lie on the very edge.
  const range = (_, low, high) => {
    if (log) return [low / 1.3, high * 1.3];
    const room = (high - low) * 0.05 || Math.abs(low) * 0.05 || 1;
    return [low - room, high + room];
  };
  const marks = order.map((point) => (point[2] === best ? point[1] : null));
  return box(title, (width, holder) => new window.uPlot({
    width, height, legend: { show: false }, cursor: { points: { show: false } },
    scales: { x: { time: false, distr: log ? 3 : 1, range } },
    axes: [axis({ values, label: x, labelSize: 18, labelFont: "11px system-ui" }), axis({ values, size: 56, label: y, labelSize: 16, labelFont: "11px system-ui" })],
    series: [{}, { stroke: colour(0), paths: () => null, points: { show: true, size: 6, fill: colour(0) } },
      { stroke: colour(1), paths: () => null, points: { show: true, size: 12, fill: colour(1) } }],
    hooks: pick ? { ready: [(plot) => plot.over.addEventListener("click", () => { const i = hits(plot); if (i !== null) pick(i); })] } : {},
  }, [order.map((p) => p[0]), order.map((p) => p[1]), marks], holder), height, `${title}: ${points.length} points`);
}

/** Horizontal bars: [[label, value], ...]. */
export function bars(title, rows) {
  const most = Math.max(1e-12, ...rows.map(([, value]) => Math.abs(value)));
  return h("figure", { class: "chart bars" }, h("figcaption", {}, title), h("table", {}, h("tbody", {}, rows.map(([label, value]) => {
    const meter = h("span", { class: value < 0 ? "bar minus" : "bar" });
    meter.style.setProperty("--share", `${Math.abs(value) / most * 100}%`);
    return h("tr", {}, h("th", { scope: "row" }, label), h("td", {}, meter), h("td", { class: "numeric" }, number(value)));
  }))));
}
