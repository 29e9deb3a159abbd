// Putting text on the clipboard, also where the page's origin is not secure (a laptop on the local
// network) and the clipboard's own interface does not exist.

import { h, icon } from "./dom.js";

const TOLD_MS = 1500;

/** A button that copies what `text()` returns; with `name` it is an icon of that name and label. */
export function copyButton(text, { class: kind, testid = null, name = null }) {
  const words = h("span", { class: name ? "sr-only" : null, role: "status" }, name ?? "Copy");
  const button = h("button", { type: "button", class: kind, title: name, dataset: testid ? { testid } : {},
    onclick: async () => {
      const copied = await copy(text());
      words.textContent = copied ? "Copied" : "Not allowed";
      button.dataset.state = copied ? "done" : "failed";
      setTimeout(() => { words.textContent = name ?? "Copy"; delete button.dataset.state; }, TOLD_MS);
    } }, name && icon("copy"), words);
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelecting(text);
  }
}

function copyBySelecting(text) {
  const box = h("textarea", { class: "sr-only", readonly: true, "aria-hidden": "true" });
  box.value = text;
  const focused = document.activeElement;
  document.body.append(box);
  box.select();
  const copied = document.execCommand("copy");
  box.remove();
  focused?.focus();
  return copied;
}
