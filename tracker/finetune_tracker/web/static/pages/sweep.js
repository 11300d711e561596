import { live, query, runs } from "../api.js";
import { scatter } from "../charts.js";
import { empty, facts, fill, h } from "../dom.js";
import { logarithmic, percent, score, when } from "../format.js";
import { go } from "../app.js";
import { parallel } from "../parallel.js";
import { badge, path, read, runTable, swept } from "../runs.js";

const HEAD = `query Sweep($entity: String, $project: String, $sweep: String!) { project(name: $project, entityName: $entity) {
  sweep(sweepName: $sweep) { name displayName state method config description runCount runCountExpected createdAt } } }`;

/** One sweep: where the metric stands, what drives it, and its runs. */
export default async function sweep([entity, project, name], signal) {
  const head = async () => {
    const found = (await query(HEAD, { entity, project, sweep: name }, signal)).project?.sweep;
    if (!found) throw new Error(`there is no sweep ${name} in ${entity}/${project}`);
    return found;
  };
  let known = await head();
  const metric = known.config.match(/metric:[^]*?name:\s*["']?([^"'\n,}]+)/)?.[1]?.trim() ?? "eval/wer";
  const minimise = !/goal:\s*["']?maximize/.test(known.config);
  const top = h("div"), charts = h("div", { class: "charts" }), shown = runTable(entity, project, { sort: metric, showSweep: false });
  let drawn = "";
  const load = runs(entity, project, name, (nodes, all) => {
    const found = nodes.map(read);
    shown.update(found);
    if (all || !drawn) {
      const state = JSON.stringify([known.state, found.map((run) => [run.name, run.state, run.score(metric)])]);
      if (state !== drawn) { fill(charts, figures(entity, project, found, metric, minimise)); fill(top, summary(known, found, metric, minimise, entity, project)); drawn = state; }
    }
  }, signal);
  fill(top, summary(known, [], metric, minimise, entity, project));
  await new Promise((done, failed) => { load().then(done, failed); setTimeout(done, 400); });
  live(async () => { known = await head(); await load(); return /RUNNING|PENDING|PAUSED/i.test(known.state); }, 4, signal);
  return [h("h1", {}, known.displayName || name), top, charts, known.runCount ? shown.element : empty("No run yet."),
    h("details", {}, h("summary", {}, "Configuration"), h("pre", {}, known.config))];
}

function best(found, metric, minimise) {
  const done = found.filter((run) => run.state === "finished" && run.score(metric) !== null);
  return done.sort((a, b) => (minimise ? 1 : -1) * (a.score(metric) - b.score(metric)))[0] ?? null;
}

function summary(known, found, metric, minimise, entity, project) {
  const winner = best(found, metric, minimise), count = (state) => found.filter((run) => run.state === state).length;
  const states = ["running", "pending", "finished", "failed", "crashed", "killed", "preempted"].filter(count).map((state) => `${count(state)} ${state}`);
  return facts([
    ["State", badge(known.state.toLowerCase())],
    ["Method", known.method],
    ["Metric", `${metric}, ${minimise ? "minimised" : "maximised"}`],
    ["Runs", `${known.runCount}${known.runCountExpected ? ` of ${known.runCountExpected}` : ""}${states.length ? `: ${states.join(", ")}` : ""}`],
    ["Best", winner ? h("span", {}, h("a", { href: path(entity, project, "runs", winner.name) }, winner.displayName || winner.name), ` ${score(metric, winner.score(metric))}`,
      winner.score("baseline/wer") === null ? null : ` (baseline ${percent(winner.score("baseline/wer"))})`,
      winner.score("test/wer") === null ? null : `, test WER ${percent(winner.score("test/wer"))}`) : null],
    ["Started", when(known.createdAt)],
  ]);
}

function figures(entity, project, found, metric, minimise) {
  const scored = [...found].reverse().filter((run) => run.score(metric) !== null);
  if (scored.length < 2) return empty("Charts appear with the second finished run.");
  const open = (i) => go(path(entity, project, "runs", scored[i].name));
  const winner = scored.indexOf(best(scored, metric, minimise)), keys = swept(scored);
  const numeric = keys.filter((key) => scored.every((run) => run.config[key] === undefined || typeof run.config[key] === "number"));
  const rows = scored.map((run) => ({ values: run.config, metric: run.score(metric) }));
  return [
    keys.length ? parallel(`${metric} by hyperparameters`, rows, keys, metric, { minimise }) : null,
    scatter(`${metric} by order`, scored.map((run, i) => [i + 1, run.score(metric)]), { x: "run", y: metric, best: winner, pick: open }),
    numeric.map((key) => {
      const values = scored.map((run) => run.config[key]).filter((value) => value !== undefined);
      const points = scored.filter((run) => run.config[key] !== undefined).map((run) => [run.config[key], run.score(metric)]);
      return scatter(`${metric} by ${key}`, points, { x: key, y: metric, log: logarithmic(values), best: points.length === scored.length ? winner : null, pick: open });
    }),
  ];
}
