// Where artifacts come from and go to, as three columns of linked boxes; on a phone the columns stack.

import { empty, h } from "./dom.js";
import { bytes } from "./format.js";
import { path } from "./runs.js";

export const nameOf = (artifact) => `${artifact.artifactSequence.name}:v${artifact.versionIndex}`;

export function artifactLink(artifact, text = nameOf(artifact)) {
  const { name, project } = artifact.artifactSequence;
  return h("a", { href: path(project.entityName, project.name, "artifacts", artifact.artifactType.name, name, `v${artifact.versionIndex}`) }, text);
}

function box(item) {
  if (item.href) return h("li", { class: "node run" }, h("a", { href: item.href }, item.label), h("small", {}, "run"));
  const aliases = item.aliases?.map((one) => one.alias).filter((alias) => !/^v\d+$/.test(alias)).join(", ");
  return h("li", { class: "node" }, artifactLink(item),
    h("small", {}, [item.artifactType.name, aliases, item.size ? bytes(item.size) : ""].filter(Boolean).join(" · ")));
}

/** before -> middle -> after; items are artifacts, or runs as {href, label}. */
export function lineage(before, middle, after) {
  const column = (title, items, nothing) => h("section", {}, h("h3", {}, title), items.length ? h("ul", {}, items.map(box)) : empty(nothing));
  return h("div", { class: "lineage" },
    column("from", before, "nothing"), h("span", { class: "arrow", "aria-hidden": "true" }, "→"),
    h("section", {}, h("h3", {}, "this"), h("ul", {}, h("li", { class: "node this" }, middle.label))),
    h("span", { class: "arrow", "aria-hidden": "true" }, "→"), column("to", after, "nothing yet"));
}
