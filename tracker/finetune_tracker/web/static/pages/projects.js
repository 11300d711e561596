import { query } from "../api.js";
import { empty, h } from "../dom.js";
import { ago, time } from "../format.js";
import { path } from "../runs.js";
import { table } from "../table.js";

const QUERY = `query Projects($entity: String) { entity(name: $entity) { name projects(first: 500) {
  edges { node { name createdAt runCount totalSweeps } } } } }`;

/** All projects of the user's entities, or of one. */
export default async function projects([entity], signal, session) {
  const names = entity ? [entity] : session.entities;
  const found = await Promise.all(names.map((name) => query(QUERY, { entity: name }, signal)));
  if (entity && !found[0].entity) throw new Error(`there is no entity ${entity}`);
  const rows = found.flatMap(({ entity: owner }) => (owner?.projects.edges ?? []).map(({ node }) => ({ ...node, entity: owner.name })));
  const shown = table([
    { title: "Project", value: (row) => row.name, cell: (row) => h("a", { href: path(row.entity, row.name) }, row.name) },
    { title: "Entity", value: (row) => row.entity },
    { title: "Runs", value: (row) => row.runCount, numeric: true },
    { title: "Sweeps", value: (row) => row.totalSweeps, numeric: true },
    { title: "Created", short: true, value: (row) => time(row.createdAt)?.getTime() ?? 0, cell: (row) => ago(row.createdAt) },
  ], { label: "projects", sort: 4, descending: true, filterable: rows.length > 8 });
  shown.update(rows);
  return [h("h1", {}, entity ? `Projects of ${entity}` : "Projects"),
    rows.length ? shown.element : empty("No project yet: the first run or sweep makes one.")];
}
