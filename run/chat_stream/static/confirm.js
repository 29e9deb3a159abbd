// Asking once more, with what will happen, before what cannot be taken back.

import { h } from "./dom.js";
import { explained } from "./words.js";

/**
 * Ask; `work` runs on yes, and the question stays while it fails, saying why. `typed` is a word
 * that must be written out first. Resolves to whether it was done.
 */
export function confirmed({ question, effect, yes, typed = "", work }) {
  const word = typed && h("input", { type: "text", autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
  const go = h("button", { type: "submit", class: "button danger solid", disabled: Boolean(typed) }, yes);
  const trouble = h("p", { class: "trouble", role: "alert" });
  const stay = h("button", { type: "button", class: "button secondary", onclick: () => dialog.close() }, "Cancel");
  const dialog = h("dialog", { class: "dialog confirm", "aria-label": question, dataset: { testid: "confirm" } },
    h("form", { method: "dialog" }, h("h2", {}, question), h("p", { class: "muted" }, effect),
      typed && h("label", {}, h("span", {}, "Write ", h("strong", {}, typed), " to go on"), word), trouble,
      h("div", { class: "dialog-buttons" }, h("span", { class: "grow" }), stay, go)));
  word?.addEventListener?.("input", () => { go.disabled = word.value.trim().toLowerCase() !== typed; });
  let done = false;
  dialog.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    go.disabled = true;
    try {
      await work();
      done = true;
      dialog.close();
    } catch (error) {
      go.disabled = false;
      trouble.textContent = explained(error);
    }
  });
  document.body.append(dialog);
  dialog.showModal();
  // Enter, pressed out of habit, must not delete anything.
  (word || stay).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(done);
    });
  });
}
