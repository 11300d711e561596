import { live, query, runs } from "../api.js";
import { empty, fill, h, tabs } from "../dom.js";
import { ago, time } from "../format.js";
import { badge, path, read, runTable } from "../runs.js";
import { table } from "../table.js";

const HEAD = `query Project($entity: String, $project: String) { project(name: $project, entityName: $entity) {
  name runCount totalSweeps
  sweeps(first: 200) { edges { node { name displayName state method runCount runCountExpected bestLoss createdAt } } }
  artifactTypes { edges { node { name artifactCollections(first: 200) { edges { node { __typename name description createdAt updatedAt
    aliases(first: 50) { edges { node { alias } } } latestArtifact { versionIndex createdAt size } } } } } } } } }`;

/** One project: its runs, sweeps and artifacts. */
export default async function project([entity, name, tab], signal) {
  const head = async () => {
    const found = (await query(HEAD, { entity, project: name }, signal)).project;
    if (!found) throw new Error(`there is no project ${entity}/${name}`);
    return found;
  };
  let known = await head();
  const shown = runTable(entity, name), note = h("p", { class: "hint", role: "status" });
  const load = runs(entity, name, null, (nodes, all) => {
    shown.update(nodes.map(read));
    fill(note, all ? "" : `loading ${nodes.length} of ${known.runCount} runs…`);
  }, signal);
  const sweepTable = sweeps(entity, name);
  sweepTable.update(known.sweeps.edges.map((edge) => edge.node));
  if (known.runCount) await new Promise((done, failed) => { load().then(done, failed); setTimeout(done, 400); });
  live(async () => { known = await head(); sweepTable.update(known.sweeps.edges.map((edge) => edge.node)); await load(); }, 5, signal);
  if (tab && ["sweeps", "artifacts", "runs"].includes(tab)) history.replaceState(null, "", `${path(entity, name)}#${tab}`);
  return [h("h1", {}, name), tabs([
    ["runs", `Runs (${known.runCount})`, () => h("div", {}, note, known.runCount ? shown.element : empty("No run yet."))],
    ["sweeps", `Sweeps (${known.totalSweeps})`, () => (known.totalSweeps ? sweepTable.element : empty("No sweep yet."))],
    ["artifacts", "Artifacts", () => artifacts(entity, name, known)],
  ], signal)];
}

function sweeps(entity, project) {
  return table([
    { title: "Sweep", value: (row) => row.displayName || row.name, cell: (row) => h("a", { href: path(entity, project, "sweeps", row.name) }, row.displayName || row.name) },
    { title: "State", value: (row) => row.state, cell: (row) => badge(row.state.toLowerCase()) },
    { title: "Method", value: (row) => row.method },
    { title: "Runs", value: (row) => row.runCount, numeric: true, cell: (row) => `${row.runCount}${row.runCountExpected ? ` of ${row.runCountExpected}` : ""}` },
    { title: "Best", value: (row) => row.bestLoss, numeric: true, cell: (row, value) => (value === null ? "" : value.toPrecision(4)) },
    { title: "Started", short: true, value: (row) => time(row.createdAt)?.getTime() ?? 0, cell: (row) => ago(row.createdAt) },
  ], { label: "sweeps", sort: 5, descending: true, filterable: false });
}

function artifacts(entity, project, known) {
  const rows = known.artifactTypes.edges.filter(({ node }) => node.name !== "run_table").flatMap(({ node: type }) =>
    type.artifactCollections.edges.map(({ node }) => ({ ...node, type: type.name })));
  if (!rows.length) return empty("No artifact yet.");
  const shown = table([
    { title: "Artifact", value: (row) => row.name, cell: (row) => h("a", { href: path(entity, project, "artifacts", row.type, row.name) }, row.name) },
    { title: "Type", value: (row) => row.type },
    { title: "Latest", value: (row) => row.latestArtifact?.versionIndex ?? -1, cell: (row, value) => (value < 0 ? "" : `v${value}`) },
    { title: "Aliases", value: (row) => row.aliases.edges.map((edge) => edge.node.alias).join(" ") },
    { title: "Changed", short: true, value: (row) => time(row.latestArtifact?.createdAt ?? row.createdAt)?.getTime() ?? 0, cell: (row) => ago(row.latestArtifact?.createdAt ?? row.createdAt) },
  ], { label: "artifacts", filterable: rows.length > 8 });
  shown.update(rows);
  return shown.element;
}
