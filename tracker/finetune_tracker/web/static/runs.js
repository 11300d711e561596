// The table of runs that projects and sweeps share.

import { h } from "./dom.js";
import { ago, config, metric, number, parse, percent, time, took } from "./format.js";
import { table } from "./table.js";

/** A run as the pages use it: the node of the query with its JSON parsed. */
export function read(node) {
  const summary = parse(node.summaryMetrics);
  return { ...node, config: config(node.config), summary, score: (key) => metric(summary[key]) };
}

export const badge = (state) => h("span", { class: `badge ${state}` }, state);
export const path = (...parts) => `/${parts.map(encodeURIComponent).join("/")}`;

const SCORES = ["eval/wer", "test/wer", "test/baseline_wer"];

/** Hyperparameters that differ between runs, at most eight. */
export function swept(runs) {
  const values = new Map();
  for (const run of runs) {
    for (const [key, value] of Object.entries(run.config)) {
      if (typeof value === "object") continue;
      if (!values.has(key)) values.set(key, new Set());
      values.get(key).add(value);
    }
  }
  return [...values].filter(([, seen]) => seen.size > 1).map(([key]) => key).sort().slice(0, 8);
}

/** A table of runs; its columns follow from the first runs it is given. */
export function runTable(entity, project, { sort = "Started", showSweep = true } = {}) {
  const holder = h("div");
  let shown = null, drawn = "";
  return {
    element: holder,
    update(runs) {
      const keys = swept(runs), scores = SCORES.filter((key) => runs.some((run) => run.score(key) !== null));
      const shape = JSON.stringify([keys, scores]);
      if (shape !== drawn) {
        const columns = columnsOf(entity, project, keys, scores, showSweep && runs.some((run) => run.sweep));
        const place = columns.findIndex((column) => column.title === sort);
        shown = table(columns, { label: "runs", sort: place < 0 ? null : place, descending: sort === "Started" });
        holder.replaceChildren(shown.element);
        drawn = shape;
      }
      shown.update(runs);
    },
  };
}

function columnsOf(entity, project, keys, scores, showSweep) {
  const link = (run) => h("a", { href: path(entity, project, "runs", run.name) }, run.displayName || run.name);
  return [
    { title: "Run", value: (run) => run.displayName || run.name, cell: link },
    { title: "State", value: (run) => run.state, cell: (run) => badge(run.state) },
    ...scores.map((key) => ({ title: key, numeric: true, value: (run) => run.score(key), cell: (_, value) => percent(value) })),
    ...keys.map((key) => ({
      title: key, value: (run) => run.config[key], numeric: true, cell: (_, value) => number(value),
    })),
    ...(showSweep ? [{
      title: "Sweep", short: true, value: (run) => run.sweep?.displayName || run.sweep?.name || "",
      cell: (run, value) => (value ? h("a", { href: path(entity, project, "sweeps", run.sweep.name) }, value) : ""),
    }] : []),
    { title: "Started", short: true, value: (run) => time(run.createdAt)?.getTime() ?? 0, cell: (run) => h("time", { title: run.createdAt }, ago(run.createdAt)) },
    { title: "Took", short: true, value: (run) => time(run.heartbeatAt) - time(run.createdAt), cell: took },
  ];
}
