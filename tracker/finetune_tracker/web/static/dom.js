// Small helpers over the DOM. Text always becomes a text node, so nothing that a run logs is ever read as HTML.

/** Creates an element: h("a", {href, onclick, class}, "text", child, [children], null). */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Creates an SVG element. */
export function s(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(props)) element.setAttribute(key, value);
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Replaces an element's children. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** Tabs whose choice is kept in the address, so that Back and links work. `panels` is [[id, title, build], ...]. */
export function tabs(panels, signal) {
  const body = h("div", { class: "panel", role: "tabpanel" });
  const built = new Map();
  const buttons = panels.map(([id, title]) =>
    h("button", { role: "tab", id: `tab-${id}`, onclick: () => history.replaceState(null, "", `#${id}`) ?? show(id) }, title));
  const bar = h("div", { class: "tabs", role: "tablist" }, buttons);
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = buttons.indexOf(document.activeElement);
    const next = buttons[(at + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
  const show = (id) => {
    const chosen = panels.find((panel) => panel[0] === id) ?? panels[0];
    panels.forEach(([other], i) => {
      buttons[i].setAttribute("aria-selected", String(other === chosen[0]));
      buttons[i].tabIndex = other === chosen[0] ? 0 : -1;
    });
    if (!built.has(chosen[0])) built.set(chosen[0], chosen[2]());
    fill(body, built.get(chosen[0]));
    body.setAttribute("aria-labelledby", `tab-${chosen[0]}`);
    requestAnimationFrame(() => bar.querySelector("[tabindex='0']").scrollIntoView({ block: "nearest", inline: "nearest" }));
    window.dispatchEvent(new Event("resize"));
  };
  window.addEventListener("hashchange", () => show(location.hash.slice(1)), { signal });
  queueMicrotask(() => show(location.hash.slice(1)));
  return h("div", {}, bar, body);
}

/** A two-column list of facts; rows without a value are left out. */
export function facts(rows) {
  return h("dl", { class: "facts" }, rows
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([label, value]) => [h("dt", {}, label), h("dd", {}, value)]));
}

export const empty = (text) => h("p", { class: "empty" }, text);
