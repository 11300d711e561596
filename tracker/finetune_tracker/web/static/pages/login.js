import { logIn } from "../api.js";
import { fill, h } from "../dom.js";

/** Asks for an API key; `done` is called once it is accepted. */
export default function login(done) {
  const key = h("input", { type: "password", id: "key", name: "key", autocomplete: "current-password", required: true, autofocus: true });
  const problem = h("p", { class: "error", role: "alert" });
  const user = h("input", { type: "text", name: "username", autocomplete: "username", value: "api", hidden: true });
  const form = h("form", { class: "login" }, user,
    h("h1", {}, "Log in"),
    h("p", {}, "With the API key of this server: the one in the Secret that your resources name, or in the file given to ", h("code", {}, "--api-key-file"), "."),
    h("label", { for: "key" }, "API key"), key, problem, h("button", { type: "submit", class: "primary" }, "Log in"),
    h("p", { class: "hint" }, "The key is sent to this server once; the browser keeps a session cookie that scripts cannot read."));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    fill(problem);
    try {
      await logIn(key.value.trim());
      key.value = "";
      done();
    } catch (error) {
      fill(problem, error.name === "TypeError" ? "The server does not answer." : "This key is not known here.");
      key.focus();
    }
  });
  return form;
}
