// The shell: session, addresses, breadcrumbs, keys. Pages live in pages/ and get (parts, signal).

import { LoggedOut, logOut, whoami } from "./api.js";
import { empty, fill, h } from "./dom.js";
import { path } from "./runs.js";

const main = document.getElementById("main"), bar = document.getElementById("bar"), status = document.getElementById("status");
let session = null, leaving = new AbortController();

// The addresses are W&B's, so that a run's own link opens its page here.
const PAGES = [
  [/^\/?$/, "projects"],
  [/^\/registry\/?$/, "registry"],
  [/^\/(authorize|login)\/?$/, "login"],
  [/^\/([^/]+)\/([^/]+)\/sweeps\/([^/]+)\/?$/, "sweep"],
  [/^\/([^/]+)\/([^/]+)\/runs\/([^/]+)(?:\/[^/]*)?\/?$/, "run"],
  [/^\/([^/]+)\/([^/]+)\/artifacts\/([^/]+)\/([^/]+)(?:\/([^/]+))?\/?$/, "artifact"],
  [/^\/([^/]+)\/([^/]+)(?:\/(runs|sweeps|artifacts|workspace|table|overview))?\/?$/, "project"],
  [/^\/([^/]+)\/?$/, "projects"],
];

function breadcrumbs(name, parts) {
  const [entity, project, ...rest] = parts;
  const trail = [h("a", { href: "/", class: "home" }, "finetune-tracker")];
  if (entity && name !== "login") trail.push(h("a", { href: path(entity) }, entity));
  if (project) trail.push(h("a", { href: path(entity, project) }, project));
  if (["sweep", "run", "artifact"].includes(name)) trail.push(h("span", { "aria-current": "page" }, rest.filter(Boolean).join(" / ")));
  return h("nav", { "aria-label": "breadcrumbs" }, trail);
}

function head(name, parts) {
  fill(bar, breadcrumbs(name, parts), h("div", { class: "right" },
    session ? h("a", { href: "/registry" }, "Registry") : null,
    session ? h("button", { onclick: leave, title: "forget the session in this browser" }, `Log out ${session.user}`) : null));
}

async function leave() {
  await logOut();
  session = null;
  go("/");
}

export async function render() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const found = PAGES.map(([pattern, name]) => [location.pathname.match(pattern), name]).find(([match]) => match);
  let [name, parts] = found ? [found[1], found[0].slice(1).map((part) => part && decodeURIComponent(part))] : ["missing", []];
  try {
    head(name, parts);  // something to see before the first answer
    session ??= await whoami();
    if (name === "login") return go("/", true);
    head(name, parts);
    if (name === "missing") throw new Error("there is no such page");
    document.title = [...parts].reverse().filter(Boolean).concat("finetune-tracker").join(" · ");
    const page = (await import(`/static/pages/${name}.js`)).default;
    const content = await page(parts, signal, session);
    if (!signal.aborted) { fill(main, content); window.scrollTo(0, 0); }
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return undefined;
    if (error instanceof LoggedOut) {
      session = null;
      head("login", []);
      const page = (await import("/static/pages/login.js")).default;
      return fill(main, page(render));
    }
    fill(main, h("h1", {}, "That did not work"), empty(error.message), h("p", {}, h("a", { href: "/" }, "All projects")));
  }
  return undefined;
}

export function go(address, replace = false) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  return render();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const address = new URL(link.href, location.href);
  if (address.origin !== location.origin || link.hasAttribute("download") || link.target || address.pathname.startsWith("/storage/")) return;
  if (address.pathname === location.pathname && address.hash) return;
  event.preventDefault();
  go(address.pathname + address.search + address.hash);
});

const KEYS = { "/": "filter the rows", g: "all projects", r: "registry", u: "one level up", "?": "these keys" };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const actions = {
    "/": () => document.querySelector("main input.filter")?.focus(),
    g: () => go("/"),
    r: () => go("/registry"),
    u: () => [...bar.querySelectorAll("nav a")].filter((a) => a.pathname !== location.pathname).at(-1)?.click(),
    "?": () => { status.textContent = Object.entries(KEYS).map(([key, does]) => `${key}: ${does}`).join("   "); },
    Escape: () => { status.textContent = ""; },
  };
  if (actions[event.key]) { event.preventDefault(); actions[event.key](); }
});

window.addEventListener("popstate", render);
window.addEventListener("unhandledrejection", (event) => {
  if (event.reason instanceof LoggedOut) render();
  else if (event.reason?.name !== "AbortError") status.textContent = event.reason?.message ?? String(event.reason);
});
render();
