// Requests to this server, and to nothing else.

export class LoggedOut extends Error {}

async function answer(response) {
  if (response.status === 401) throw new LoggedOut("log in with an API key");
  const body = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok || body?.errors) throw new Error(body?.errors?.[0]?.message ?? `the server answered ${response.status}`);
  return body;
}

const JSON_BODY = { "content-type": "application/json" };

export async function whoami() {
  const session = await answer(await fetch("/session"));
  if (!session) throw new LoggedOut("log in with an API key");
  return session;
}
export const logOut = async () => answer(await fetch("/session", { method: "DELETE" }));
export const logIn = async (key) =>
  answer(await fetch("/session", { method: "POST", headers: JSON_BODY, body: JSON.stringify({ key }) }));

/** The data of a GraphQL query. */
export async function query(text, variables = {}, signal = undefined) {
  const body = JSON.stringify({ query: text, variables });
  return (await answer(await fetch("/session/query", { method: "POST", headers: JSON_BODY, body, signal }))).data;
}

const RUN = "name displayName state createdAt heartbeatAt config summaryMetrics sweep { name displayName } group tags jobType";
const PAGE = 500;

const RUNS = `query Runs($entity: String, $project: String, $filters: JSONString, $first: Int, $after: String) {
  project(name: $project, entityName: $entity) { runs(filters: $filters, first: $first, after: $after, order: "-created_at") {
    edges { node { ${RUN} } } pageInfo { endCursor hasNextPage } } } }`;
const WHOLE = 15;

/**
 * Runs of a project or sweep, newest first. Returns `look`: its first call reads the first hundred at once and then all
 * others, later ones only what has changed since (every fifteenth all again, as deleted runs tell nobody).
 * `seen(nodes, complete)` gets each new list.
 */
export function runs(entity, project, sweep, seen, signal) {
  const scope = sweep ? { sweep } : {};
  let known = new Map(), since = null, looks = 0;

  async function pages(filters, first, each) {
    for (let after = null, more = true; more; first = PAGE) {
      const data = await query(RUNS, { entity, project, filters: JSON.stringify(filters), first, after }, signal);
      const page = data.project?.runs;
      if (!page) throw new Error(`there is no project ${entity}/${project}`);
      ({ endCursor: after, hasNextPage: more } = page.pageInfo);
      each(page.edges.map((edge) => edge.node), !more);
    }
  }

  function show(found, complete) {
    for (const node of found.values()) if (!since || node.heartbeatAt > since) since = node.heartbeatAt;
    seen([...found.values()].sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1)), complete);
  }

  return async () => {
    if (looks++ % WHOLE && since) {
      await pages({ $and: [scope, { heartbeatAt: { $gte: since } }] }, PAGE, (nodes) => nodes.forEach((node) => known.set(node.name, node)));
      return show(known, true);
    }
    const found = new Map(), whole = known.size;
    await pages(scope, whole ? PAGE : 100, (nodes, last) => {
      nodes.forEach((node) => found.set(node.name, node));
      if (last) known = found;
      if (last || !whole) show(found, last);
    });
    return undefined;
  };
}

const TYPES = {
  png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp", bmp: "image/bmp", svg: "image/svg+xml",
  wav: "audio/wav", mp3: "audio/mpeg", ogg: "audio/ogg", flac: "audio/flac", m4a: "audio/mp4",
  mp4: "video/mp4", webm: "video/webm",
};

/** A stored file. The server hands everything out as plain bytes, so that nothing uploaded runs in its origin. */
export async function download(url) {
  const address = new URL(url, location.origin);
  if (address.origin !== location.origin) throw new Error("the file lies on another server");
  const response = await fetch(address);
  if (!response.ok) throw new Error(`the file is not there (${response.status})`);
  return response.blob();
}

/** A stored file as an address for img, audio and video. */
export async function object(url, name) {
  const type = TYPES[name.split(".").pop().toLowerCase()] ?? "application/octet-stream";
  return URL.createObjectURL(new Blob([await download(url)], { type }));
}

/** Repeats `look` while the page is visible and `signal` allows it; stops once it returns false. */
export function live(look, seconds, signal) {
  let timer = null;
  const next = () => { if (!signal.aborted) timer = setTimeout(tick, seconds * 1000); };
  const tick = async () => {
    if (document.hidden) return next();
    try { if (await look() === false) return undefined; } catch (error) { if (error instanceof LoggedOut) throw error; }
    return next();
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  next();
}
