import { live, query } from "../api.js";
import { bars, lines } from "../charts.js";
import { empty, facts, fill, h, tabs } from "../dom.js";
import { ago, bytes, config, flatten, number, parse, percent, took, when } from "../format.js";
import { lineage } from "../lineage.js";
import { files, media, plots } from "../media.js";
import { badge, path } from "../runs.js";
import { table } from "../table.js";

const RUN = `query Run($entity: String, $project: String, $run: String) { project(name: $project, entityName: $entity) { run(name: $run) {
  name displayName state createdAt heartbeatAt notes group tags jobType host sweep { name displayName } config summaryMetrics historyLineCount logLineCount
  fileCount user { username } alerts { title text severity createdAt }
  history(samples: 1500) events(samples: 400) } } }`;
const MORE = `query More($entity: String, $project: String, $run: String) { project(name: $project, entityName: $entity) { run(name: $run) {
  files(first: 1000) { edges { node { name sizeBytes directUrl updatedAt } } }
  inputArtifacts(first: 100) { edges { node { ...A } } } outputArtifacts(first: 100) { edges { node { ...A } } } } } }
  fragment A on Artifact { versionIndex artifactType { name } aliases { alias } artifactSequence { name project { name entityName } } size }`;
const LOGS = `query Logs($entity: String, $project: String, $run: String, $last: Int) { project(name: $project, entityName: $entity) { run(name: $run) {
  state logLineCount logLines(last: $last) { edges { node { number level line } } } } } }`;

/** One run: charts, scores, tables and media, console, files, lineage. */
export default async function run([entity, project, name], signal) {
  const where = { entity, project, run: name };
  const load = async () => {
    const found = (await query(RUN, where, signal)).project?.run;
    if (!found) throw new Error(`there is no run ${name} in ${entity}/${project}`);
    return { ...found, summary: parse(found.summaryMetrics), history: found.history.map(parse), events: found.events.map(parse) };
  };
  let known = await load();
  const find = files(where, signal);
  const top = h("div"), charts = h("div", { class: "charts" }), scores = h("div"), system = h("div", { class: "charts" });
  let drawn = -1;
  const draw = () => {
    fill(top, heading(known, entity, project));
    if (known.historyLineCount !== drawn || known.state !== "running") {
      redraw(charts, histories(known.history, "_"), "No numbers have been logged yet.");
      redraw(system, histories(known.events, "system."), "No system metrics yet.", true);
      fill(scores, summary(known.summary));
      drawn = known.historyLineCount;
    }
  };
  draw();
  live(async () => { known = await load(); draw(); return ["running", "pending", "preempting", "preempted"].includes(known.state); }, 4, signal);
  return [h("h1", {}, known.displayName || name), top, tabs([
    ["charts", "Charts", () => charts],
    ["scores", "Scores", () => scores],
    ["media", "Tables and media", () => gallery(known, find)],
    ["config", "Configuration", () => pairs(flatten(config(known.config)), "settings")],
    ["console", "Console", () => console_(where, signal)],
    ["files", "Files", () => more(where, signal, (found) => fileTable(found.files.edges.map((edge) => edge.node)))],
    ["artifacts", "Artifacts", () => more(where, signal, (found) => lineage(
      found.inputArtifacts.edges.map((edge) => edge.node), { label: known.displayName || name }, found.outputArtifacts.edges.map((edge) => edge.node).filter(made)))],
    ["system", "System", () => system],
  ], signal)];
}

// Tables are artifacts too; they are shown with the media.
const made = (artifact) => artifact.artifactType.name !== "run_table";

function heading(known, entity, project) {
  const gain = (key) => (typeof known.summary[key] === "number" ? known.summary[key] : null);
  const wer = gain("test/wer");
  return [facts([
    ["State", badge(known.state)],
    ["Sweep", known.sweep ? h("a", { href: path(entity, project, "sweeps", known.sweep.name) }, known.sweep.displayName || known.sweep.name) : null],
    ["Started", known.createdAt ? `${when(known.createdAt)} (${ago(known.createdAt)})` : null],
    ["Took", took(known)],
    ["Test WER", wer === null ? null : `${percent(wer)} (baseline ${percent(gain("test/baseline_wer"))}, p = ${number(gain("test/p_value"))})`],
    ["Failure", known.summary["failure/message"] ? `${known.summary["failure/class"]}: ${known.summary["failure/message"]}` : null],
    ["Group", known.group], ["Tags", known.tags?.join(", ")], ["Notes", known.notes], ["Host", known.host], ["User", known.user?.username],
  ]), known.alerts?.map((alert) => h("p", { class: `alert ${alert.severity?.toLowerCase()}` }, h("strong", {}, alert.title), ` ${alert.text}`))];
}

/** Numbers of a history by chart: the keys of one prefix that begin alike share none, as their scales differ. */
function histories(rows, hidden) {
  const found = new Map();
  for (const row of rows) {
    for (const [key, value] of Object.entries(row)) {
      if ((hidden === "_" && key.startsWith("_")) || typeof value !== "number" || !Number.isFinite(value)) continue;
      if (hidden !== "_" && !key.startsWith(hidden)) continue;
      const steps = /^(train|eval)\//.test(key) && typeof row["train/step"] === "number" ? row["train/step"] : null;
      const x = hidden === "_" ? steps ?? row._step : row._runtime ?? row._timestamp;
      if (key === "train/step" || typeof x !== "number") continue;
      if (!found.has(key)) found.set(key, []);
      found.get(key).push([x, value]);
    }
  }
  return [...found].sort(([a], [b]) => a.localeCompare(b));
}

/** Charts that stay on the page only get their new points, so that nothing jumps under a reader's pointer. */
function redraw(holder, series, nothing, seconds = false) {
  const shape = JSON.stringify(series.map(([key, points]) => [key, points.length > 1]));
  const label = (key) => key.split("/").pop();
  if (holder.dataset.shape === shape && series.length) {
    series.forEach(([key, points], i) => holder.children[i].update([{ label: label(key), points }]));
    return;
  }
  for (const child of holder.children) child.destroy?.();
  holder.dataset.shape = shape;
  fill(holder, series.length ? series.map(([key, points]) => (points.length > 1
    ? lines(key.replace(/^system\./, ""), [{ label: label(key), points }], { x: seconds ? "seconds" : "step" })
    : single(key.replace(/^system\./, ""), points))) : empty(nothing));
}

function single(key, points) {
  const value = h("strong", {}, number(points[0][1]));
  const figure = h("figure", { class: "chart single" }, h("figcaption", {}, key), value);
  figure.update = ([{ points: next }]) => fill(value, number(next[0][1]));
  return figure;
}

function summary(values) {
  const plain = flatten(values).filter(([key, value]) => !key.startsWith("_") && (typeof value !== "object" || value === null));
  const types = plain.filter(([key]) => key.startsWith("test/wer_by_type/"));
  const change = types.map(([key, value]) => [key.split("/").pop(), (values[key.replace("wer_by_type", "baseline_wer_by_type")] ?? 0) - value]);
  return [types.length ? bars("WER reduction by error type", change) : null, pairs(plain, "scores")];
}

function pairs(rows, label) {
  const shown = table([
    { title: "Name", value: (row) => row[0] },
    { title: "Value", value: (row) => (typeof row[1] === "object" ? JSON.stringify(row[1]) : row[1]), cell: (row, value) => number(value) },
  ], { label, sort: 0, filterable: rows.length > 12 });
  shown.update(rows);
  return shown.element;
}

function gallery(known, find) {
  const last = new Map(Object.entries(known.summary).filter(([, value]) => value?._type));
  for (const row of known.history) for (const [key, value] of Object.entries(row)) if (value?._type) last.set(key, value);
  const charts = plots(parse(known.config), known.summary, find), charted = new Set(charts.map(([key]) => `${key}_table`));
  const shown = [...last].filter(([key]) => !charted.has(key)).sort(([a], [b]) => a.localeCompare(b));
  if (!shown.length && !charts.length) return empty("No table, image, audio, video or HTML has been logged.");
  return [h("div", { class: "charts" }, charts.map(([key, element]) => h("section", { id: `plot-${key}` }, element))),
    shown.map(([key, value]) => h("section", { class: "logged" }, h("h2", {}, key), media(value, find, key)))];
}

function console_(where, signal) {
  const lines_ = h("pre", { class: "console", tabindex: "0", "aria-label": "console" });
  const note = h("p", { class: "hint" });
  const load = async () => {
    const found = (await query(LOGS, { ...where, last: 2000 }, signal)).project.run;
    const bottom = lines_.scrollTop + lines_.clientHeight >= lines_.scrollHeight - 4;
    fill(lines_, found.logLines.edges.map(({ node }) => h("span", { class: node.level === "error" ? "error" : null }, `${node.line.replace(/\n$/, "")}\n`)));
    fill(note, found.logLineCount > 2000 ? `the last 2000 of ${found.logLineCount} lines` : `${found.logLineCount} lines`);
    if (bottom) lines_.scrollTop = lines_.scrollHeight;
    return ["running", "pending"].includes(found.state);
  };
  load();
  live(load, 3, signal);
  return [note, lines_];
}

function more(where, signal, show) {
  const slot = h("div", {}, h("p", { class: "empty" }, "…"));
  query(MORE, where, signal).then((data) => fill(slot, show(data.project.run)), (error) => fill(slot, empty(error.message)));
  return slot;
}

function fileTable(rows) {
  const shown = table([
    { title: "File", value: (row) => row.name, cell: (row) => h("a", { href: row.directUrl, download: row.name.split("/").pop() }, row.name) },
    { title: "Size", value: (row) => row.sizeBytes, numeric: true, cell: (_, value) => bytes(value) },
    { title: "Changed", short: true, value: (row) => row.updatedAt, cell: (row) => ago(row.updatedAt) },
  ], { label: "files", sort: 0, filterable: rows.length > 8 });
  shown.update(rows);
  return shown.element;
}
