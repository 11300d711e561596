// Numbers, times and JSON as people read them.

export function number(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return typeof value === "object" ? JSON.stringify(value) : String(value);
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1e7 ? String(value) : value.toExponential(3);
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1e6 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

/** Whether numbers are better told apart by their logarithms: all above 0, over more than a decade or so. */
export function logarithmic(values) {
  const low = Math.min(...values);
  return low > 0 && Math.max(...values) / low > 20;
}

export function percent(value) {
  return typeof value === "number" ? `${(value * 100).toFixed(1)}%` : "";
}

/** A metric's value: error rates in percent, as in the tables of runs. */
export const score = (key, value) => (/(^|\/)[wc]er$/.test(key) ? percent(value) : number(value));

export function bytes(size) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (size >= 1024 && at < units.length - 1) { size /= 1024; at += 1; }
  return `${at && size < 10 ? size.toFixed(1) : Math.round(size)} ${units[at]}`;
}

export function when(text) {
  const date = time(text);
  return date ? date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) : "";
}

export function time(text) {
  if (!text) return null;
  const date = new Date(/[zZ]|[+-]\d\d:\d\d$/.test(text) ? text : `${text}Z`);
  return Number.isNaN(date.getTime()) ? null : date;
}

export function ago(text) {
  const date = time(text);
  return date ? `${duration((Date.now() - date) / 1000)} ago` : "";
}

export function duration(seconds) {
  seconds = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]]) {
    const count = Math.floor(seconds / size);
    seconds -= count * size;
    if (count || (unit === "s" && !parts.length)) parts.push(`${count}${unit}`);
  }
  return parts.slice(0, 2).join(" ");
}

export function took(run) {
  const start = time(run.createdAt), end = time(run.heartbeatAt);
  return start && end ? duration((end - start) / 1000) : "";
}

/** An object that came as a JSON string. */
export function parse(text) {
  try { return JSON.parse(text || "{}"); } catch { return {}; }
}

/** A run's configuration without W&B's wrapping and bookkeeping. */
export function config(text) {
  const out = {};
  for (const [key, item] of Object.entries(parse(text))) {
    if (!key.startsWith("_")) out[key] = item && typeof item === "object" && "value" in item ? item.value : item;
  }
  return out;
}

/** Nested objects as dotted keys: {a: {b: 1}} -> [["a.b", 1]]. */
export function flatten(object, prefix = "") {
  return Object.entries(object).flatMap(([key, value]) =>
    value && typeof value === "object" && !Array.isArray(value) && !value._type
      ? flatten(value, `${prefix}${key}.`) : [[prefix + key, value]]);
}

/** The number in a summary entry; define_metric nests it. */
export function metric(value) {
  if (value && typeof value === "object") value = value.min ?? value.max ?? value.best ?? value.last ?? value.mean;
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
