// Parallel coordinates: one line per run through its hyperparameters to its metric. A canvas, so that thousands stay quick.

import { h } from "./dom.js";
import { logarithmic, number } from "./format.js";

const TOP = 34, BOTTOM = 26, SIDE = 46;

/** rows: [{values: {key: number|string}, metric: number}]; the last axis is the metric, the better the stronger. */
export function parallel(title, rows, keys, metricName, { minimise = true } = {}) {
  const axes = [...keys.map((key) => scale(key, rows.map((row) => row.values[key]))), scale(metricName, rows.map((row) => row.metric))];
  const canvas = h("canvas", { role: "img", "aria-label": `${title}: ${rows.length} runs over ${keys.join(", ")}` });
  const holder = h("div", { class: "scroll" }, canvas);
  const metrics = rows.map((row) => row.metric).filter(Number.isFinite);
  const low = Math.min(...metrics), high = Math.max(...metrics);

  const draw = () => {
    const width = Math.max(holder.clientWidth, axes.length * 92), height = 280, ratio = window.devicePixelRatio || 1;
    canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
    canvas.width = width * ratio; canvas.height = height * ratio;
    const pen = canvas.getContext("2d"), css = getComputedStyle(document.documentElement);
    const tint = (name) => css.getPropertyValue(name).trim();
    pen.scale(ratio, ratio);
    const x = (i) => SIDE + (width - 2 * SIDE) * (axes.length > 1 ? i / (axes.length - 1) : 0.5);
    const y = (share) => height - BOTTOM - share * (height - TOP - BOTTOM);
    const ranked = rows.map((row) => ({ row, good: high > low ? (minimise ? high - row.metric : row.metric - low) / (high - low) : 1 }))
      .filter((one) => Number.isFinite(one.good)).sort((a, b) => a.good - b.good);
    ranked.forEach(({ row, good }, rank) => {
      pen.globalAlpha = Math.min(1, (0.12 + 0.8 * good ** 3) * (rows.length > 300 ? 0.6 : 1));
      const best = rank === ranked.length - 1;
      pen.strokeStyle = best ? tint("--c2") : tint("--c1");
      pen.lineWidth = best ? 2.5 : 1;
      pen.beginPath();
      let begun = false;
      axes.forEach((axis, i) => {
        const share = axis.share(i === keys.length ? row.metric : row.values[axis.name]);
        if (share === null) return;
        if (begun) pen.lineTo(x(i), y(share)); else pen.moveTo(x(i), y(share));
        begun = true;
      });
      pen.stroke();
    });
    pen.globalAlpha = 1;
    pen.font = "11px system-ui";
    pen.textAlign = "center";
    axes.forEach((axis, i) => {
      pen.strokeStyle = tint("--muted"); pen.lineWidth = 1;
      pen.beginPath(); pen.moveTo(x(i), y(0)); pen.lineTo(x(i), y(1)); pen.stroke();
      pen.fillStyle = tint("--text"); pen.fillText(axis.name, x(i), 14, 110);
      pen.fillStyle = tint("--muted");
      axis.ticks.forEach(([label, share]) => pen.fillText(label, x(i), share > 0.99 ? y(share) - 5 : share < 0.01 ? y(share) + 14 : y(share) + 4, 90));
    });
  };
  new ResizeObserver(draw).observe(holder);
  return h("figure", { class: "chart wide" }, h("figcaption", {}, title), holder);
}

/** Where a value lies on an axis: numbers linear or logarithmic; texts in order. */
function scale(name, values) {
  const present = values.filter((value) => value !== null && value !== undefined);
  if (present.length && present.every((value) => typeof value === "number")) {
    const low = Math.min(...present), high = Math.max(...present), log = logarithmic(present);
    const f = log ? Math.log10 : (value) => value;
    const share = (value) => (typeof value !== "number" ? null : high > low ? (f(value) - f(low)) / (f(high) - f(low)) : 0.5);
    return { name, share, ticks: high > low ? [[number(low), 0], [number(high), 1]] : [[number(low), 0.5]] };
  }
  const kinds = [...new Set(present.map(String))].sort();
  const place = (value) => (kinds.length > 1 ? kinds.indexOf(String(value)) / (kinds.length - 1) : 0.5);
  return {
    name, share: (value) => (value === null || value === undefined ? null : place(value)),
    ticks: kinds.length <= 12 ? kinds.map((kind) => [kind, place(kind)]) : [],
  };
}
