// What runs log beside numbers: tables, images, audio, video, HTML, histograms, and the SDK's own chart kinds.

import { download, object, query } from "./api.js";
import { bars, lines, scatter } from "./charts.js";
import { empty, fill, h } from "./dom.js";
import { number } from "./format.js";
import { table } from "./table.js";

/** Addresses of a run's files by name. */
export function files(where, signal) {
  const known = new Map();
  return async (name) => {
    if (!known.has(name)) {
      known.set(name, query(
        `query Files($entity: String, $project: String, $run: String, $names: [String]) { project(name: $project, entityName: $entity) {
          run(name: $run) { files(names: $names) { edges { node { name directUrl } } } } } }`,
        { ...where, names: [name] }, signal)
        .then((data) => data.project?.run?.files.edges[0]?.node.directUrl ?? Promise.reject(new Error(`${name} is not uploaded yet`))));
      known.get(name).catch(() => known.delete(name));
    }
    return known.get(name);
  };
}

/** Shows something once it is loaded. */
function later(promise, show) {
  const slot = h("div", { class: "media" }, h("span", { class: "empty" }, "…"));
  promise.then((value) => fill(slot, show(value)), (error) => fill(slot, empty(error.message)));
  return slot;
}

/** One logged value with a `_type`, as an element. `find(name)` gives a file's address. */
export function media(entry, find, title = "") {
  const load = (path) => find(path).then((url) => object(url, path));
  switch (entry._type) {
    case "table-file": case "joined-table": case "partitioned-table":
      return later(find(entry.path).then(download).then((blob) => blob.text()).then(JSON.parse), (document) => rows(document, find));
    case "image-file":
      return later(load(entry.path), (src) => h("img", { src, alt: entry.caption ?? title, loading: "lazy" }));
    case "images/separated": case "images":
      return h("div", { class: "gallery" }, (entry.filenames ?? []).map((path, i) =>
        h("figure", {}, later(load(path), (src) => h("img", { src, alt: entry.captions?.[i] || `${title} ${i + 1}` })),
          entry.captions?.[i] ? h("figcaption", {}, entry.captions[i]) : null)));
    case "audio-file":
      return later(load(entry.path), (src) => h("audio", { src, controls: true, "aria-label": entry.caption ?? title }));
    case "audio":
      return h("div", {}, (entry.audio ?? []).map((one) => media({ _type: "audio-file", ...one }, find, title)));
    case "video-file":
      return later(load(entry.path), (src) => h("video", { src, controls: true, "aria-label": title }));
    case "html-file":
      return later(find(entry.path).then(download).then((blob) => blob.text()), (text) => {
        // No scripts, no forms, an origin of its own: the sandbox is what keeps a logged page from acting as this one.
        const frame = h("iframe", { sandbox: "", title: title || "HTML", loading: "lazy" });
        frame.srcdoc = text;
        return frame;
      });
    case "histogram":
      return histogram(entry, title);
    default: {
      const path = entry.path ?? entry.sha256;
      return entry.path ? later(find(path), (url) => h("a", { href: url, download: "" }, `download ${path.split("/").pop()}`))
        : h("pre", {}, JSON.stringify(entry, null, 1));
    }
  }
}

function rows(document, find) {
  const columns = (document.columns ?? []).map((title, i) => ({
    title: String(title), value: (row) => (row[i] && typeof row[i] === "object" ? JSON.stringify(row[i]) : row[i]),
    numeric: (document.data ?? []).every((row) => typeof row[i] === "number" || row[i] === null),
    cell: (row, value) => (row[i]?._type ? media(row[i], find) : typeof value === "boolean" ? (value ? "yes" : "no") : number(value)),
  }));
  const shown = table(columns, { filterable: (document.data ?? []).length > 8, size: 25 });
  shown.update(document.data ?? []);
  return shown.element;
}

function histogram(entry, title) {
  const counts = entry.values ?? [];
  const edges = entry.bins ?? counts.map((_, i) => (entry.packedBins?.min ?? 0) + i * (entry.packedBins?.size ?? 1));
  const merged = Math.max(1, Math.ceil(counts.length / 16)), rows = [];
  for (let i = 0; i < counts.length; i += merged) {
    rows.push([`from ${number(edges[i])}`, counts.slice(i, i + merged).reduce((sum, count) => sum + count, 0)]);
  }
  return bars(title, rows);
}

/** Charts that were logged with wandb.plot: [[key, element]], from the run's own section of the configuration. */
export function plots(config, summary, find) {
  const wanted = config._wandb?.value?.visualize ?? {};
  return Object.entries(wanted).flatMap(([key, { panel_config: panel } = {}]) => {
    const source = summary[panel?.userQuery?.queryFields?.[0]?.fields?.find((f) => f.name === "summaryTable")?.args?.[0]?.value ?? `${key}_table`];
    if (!panel || !source?.path) return [];
    const title = panel.stringSettings?.title || key;
    return [[key, later(find(source.path).then(download).then((blob) => blob.text()).then(JSON.parse), (document) =>
      plot(panel.panelDefId ?? "", panel.fieldSettings ?? {}, title, document) ?? rows(document, find))]];
  });
}

function plot(kind, fields, title, document) {
  const at = (name) => document.columns.findIndex((column) => String(column) === fields[name]);
  const pick = (name) => document.data.map((row) => row[at(name)]);
  if (kind.startsWith("wandb/bar")) return bars(title, pick("label").map((label, i) => [String(label), pick("value")[i]]));
  if (kind.startsWith("wandb/histogram")) return null;
  if (!("x" in fields) || !("y" in fields)) return null;
  const points = pick("x").map((x, i) => [x, pick("y")[i]]).filter((point) => point.every(Number.isFinite));
  if (kind.startsWith("wandb/scatter")) return scatter(title, points, { x: fields.x, y: fields.y });
  if (kind.startsWith("wandb/line")) return lines(title, [{ label: fields.y, points }], { x: fields.x });
  return null;
}
