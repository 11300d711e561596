import { live, query } from "../api.js";
import { empty, fill, h } from "../dom.js";
import { ago, parse, percent, time, when } from "../format.js";
import { artifactLink } from "../lineage.js";
import { path } from "../runs.js";
import { table } from "../table.js";

const FIELDS = `projects(first: 500) { edges { node { name entityName artifactCollections(first: 500) { edges { node { __typename name description
  defaultArtifactType { name }
  artifactMemberships(first: 500) { edges { node { versionIndex createdAt aliases { alias }
    artifact { versionIndex artifactType { name } artifactSequence { name project { name entityName } }
      createdBy { name displayName summaryMetrics project { name entityName } } } } } } } } } } } }`;
const QUERY = `query Registry($entity: String) { entity(name: $entity) { ${FIELDS} organization { orgEntity { ${FIELDS} } } } }`;

/** The promotion trail: every registered model, its versions in the order they went in, and what each alias points to. */
export default async function registry(_parts, signal, session) {
  const holder = h("div");
  const load = async () => {
    const answers = await Promise.all(session.entities.map((entity) => query(QUERY, { entity }, signal)));
    const owners = [...answers.map((answer) => answer.entity), answers[0]?.entity?.organization?.orgEntity].filter(Boolean);
    const models = owners.flatMap((owner) => owner.projects.edges.flatMap(({ node: project }) =>
      project.artifactCollections.edges.map(({ node }) => ({ ...node, project })).filter((one) => one.__typename === "ArtifactPortfolio")));
    fill(holder, models.length ? models.map(model) : empty("No model has been promoted yet."));
  };
  await load();
  live(load, 5, signal);
  return [h("h1", {}, "Registry"), holder];
}

function model(one) {
  const versions = one.artifactMemberships.edges.map((edge) => edge.node);
  const score = (row, key) => { const value = parse(row.artifact?.createdBy?.summaryMetrics)[key]; return typeof value === "number" ? value : null; };
  const current = versions.flatMap((row) => row.aliases.map(({ alias }) => [alias, row])).filter(([alias]) => alias !== "latest" && !/^v\d+$/.test(alias));
  const shown = table([
    { title: "Version", value: (row) => row.versionIndex, cell: (row) => h("a", { href: path(one.project.entityName, one.project.name, "artifacts", one.defaultArtifactType?.name ?? "model", one.name, `v${row.versionIndex}`) }, `v${row.versionIndex}`) },
    { title: "Promoted", short: true, value: (row) => time(row.createdAt)?.getTime() ?? 0, cell: (row) => h("time", { title: when(row.createdAt) }, ago(row.createdAt)) },
    { title: "Aliases now", value: (row) => row.aliases.map((a) => a.alias).join(", "), cell: (row) => row.aliases.map((a) => h("span", { class: "badge alias" }, a.alias)) },
    { title: "Model", value: (row) => row.artifact?.artifactSequence?.name ?? "", cell: (row) => (row.artifact?.artifactSequence ? artifactLink(row.artifact) : "") },
    { title: "Run", value: (row) => row.artifact?.createdBy?.displayName ?? "", cell: (row, value) => {
      const run = row.artifact?.createdBy;
      return run ? h("a", { href: path(run.project.entityName, run.project.name, "runs", run.name) }, value || run.name) : "";
    } },
    { title: "Test WER", value: (row) => score(row, "test/wer"), numeric: true, cell: (_, value) => percent(value) },
    { title: "Baseline", value: (row) => score(row, "test/baseline_wer"), numeric: true, cell: (_, value) => percent(value) },
    { title: "Gates", value: (row) => parse(row.artifact?.createdBy?.summaryMetrics)["gates/passed"], cell: (_, value) => (value === undefined ? "" : value ? "passed" : "missed") },
  ], { label: "versions", sort: 0, descending: true, filterable: false });
  shown.update(versions);
  return h("section", { class: "logged" }, h("h2", {}, one.name), h("p", { class: "hint" },
    `${one.project.entityName}/${one.project.name}`, current.length ? ` · in service: ${current.map(([alias, row]) => `${alias} = v${row.versionIndex}`).join(", ")}` : ""), shown.element);
}
