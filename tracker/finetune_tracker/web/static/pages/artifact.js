import { query } from "../api.js";
import { empty, facts, h, tabs } from "../dom.js";
import { ago, bytes, flatten, number, parse, time, when } from "../format.js";
import { lineage } from "../lineage.js";
import { path } from "../runs.js";
import { table } from "../table.js";

const QUERY = `query Artifact($entity: String, $project: String, $name: String!, $full: String!) { project(name: $project, entityName: $entity) {
  artifactCollection(name: $name) { name description createdAt
    artifactMemberships(first: 1000) { edges { node { versionIndex createdAt aliases { alias }
      artifact { size fileCount createdBy { name displayName project { name entityName } } } } } } }
  artifactCollectionMembership(name: $full) { versionIndex aliases { alias } artifact { ...A
    description metadata digest fileCount createdAt
    createdBy { name displayName project { name entityName } inputArtifacts(first: 50) { edges { node { ...A } } } }
    usedBy(first: 50) { edges { node { name displayName project { name entityName } } } }
    artifactMemberships { edges { node { versionIndex createdAt aliases { alias } artifactCollection { __typename name project { name entityName } } } } }
    files(first: 1000) { edges { node { name sizeBytes directUrl } } } } } } }
  fragment A on Artifact { versionIndex size artifactType { name } aliases { alias } artifactSequence { name project { name entityName } } }`;

const runNode = (run) => ({ label: run.displayName || run.name, href: path(run.project.entityName, run.project.name, "runs", run.name) });

/** One artifact: its versions, and of one version the lineage, files and metadata. */
export default async function artifact([entity, project, type, name, version], signal) {
  const found = (await query(QUERY, { entity, project, name, full: `${name}:${version ?? "latest"}` }, signal)).project;
  const collection = found?.artifactCollection;
  if (!collection) throw new Error(`there is no artifact ${name} in ${entity}/${project}`);
  const versions = collection.artifactMemberships.edges.map((edge) => edge.node).sort((a, b) => b.versionIndex - a.versionIndex);
  const shown = found.artifactCollectionMembership;
  if (!shown) return [h("h1", {}, name), versionTable(entity, project, type, name, versions)];
  const one = shown.artifact, metadata = flatten(parse(one.metadata));
  const links = one.artifactMemberships.edges.map((edge) => edge.node).filter((node) => node.artifactCollection.__typename === "ArtifactPortfolio");
  return [h("h1", {}, `${name}:v${shown.versionIndex}`), facts([
    ["Type", type], ["Aliases", shown.aliases.map((one_) => one_.alias).join(", ")],
    ["Created", `${when(one.createdAt)} (${ago(one.createdAt)})`],
    ["Size", `${bytes(one.size)} in ${one.fileCount} file${one.fileCount === 1 ? "" : "s"}`], ["Digest", h("code", {}, one.digest)],
    ["Description", one.description ?? collection.description],
    ["In the registry", links.length ? links.map((link) => h("div", {}, h("a", {
      href: path(link.artifactCollection.project.entityName, link.artifactCollection.project.name, "artifacts", type, link.artifactCollection.name, `v${link.versionIndex}`),
    }, `${link.artifactCollection.name}:v${link.versionIndex}`), ` ${link.aliases.map((a) => a.alias).join(", ")}`)) : null],
  ]), tabs([
    ["lineage", "Lineage", () => lineage(
      [...(one.createdBy?.inputArtifacts.edges.map((edge) => edge.node) ?? []), ...(one.createdBy ? [runNode(one.createdBy)] : [])],
      { label: `${name}:v${shown.versionIndex}` }, one.usedBy.edges.map((edge) => runNode(edge.node)))],
    ["versions", `Versions (${versions.length})`, () => versionTable(entity, project, type, name, versions)],
    ["files", "Files", () => fileTable(one.files.edges.map((edge) => edge.node))],
    ["metadata", "Metadata", () => (metadata.length ? facts(metadata.map(([key, value]) => [key, number(value)])) : empty("No metadata."))],
  ], signal)];
}

function versionTable(entity, project, type, name, versions) {
  const shown = table([
    { title: "Version", value: (row) => row.versionIndex, cell: (row) => h("a", { href: path(entity, project, "artifacts", type, name, `v${row.versionIndex}`) }, `v${row.versionIndex}`) },
    { title: "Aliases", value: (row) => row.aliases.map((one) => one.alias).join(", ") },
    { title: "Made by", value: (row) => row.artifact?.createdBy?.displayName ?? "", cell: (row, value) => (row.artifact?.createdBy ? h("a", { href: runNode(row.artifact.createdBy).href }, value) : "") },
    { title: "Size", value: (row) => row.artifact?.size, numeric: true, cell: (_, value) => bytes(value ?? 0) },
    { title: "Created", short: true, value: (row) => time(row.createdAt)?.getTime() ?? 0, cell: (row) => ago(row.createdAt) },
  ], { label: "versions", sort: 0, descending: true, filterable: versions.length > 12 });
  shown.update(versions);
  return shown.element;
}

function fileTable(rows) {
  const shown = table([
    { title: "File", value: (row) => row.name, cell: (row) => (row.directUrl?.startsWith("/") ? h("a", { href: row.directUrl, download: row.name.split("/").pop() }, row.name) : row.name) },
    { title: "Size", value: (row) => row.sizeBytes, numeric: true, cell: (_, value) => bytes(value) },
  ], { label: "files", sort: 0, filterable: rows.length > 8 });
  shown.update(rows);
  return shown.element;
}
