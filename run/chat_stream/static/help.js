// The sheet of keyboard shortcuts.

import { h, icon } from "./dom.js";

const APPLE = /Mac|iP(?:hone|ad|od)/.test(navigator.platform ?? "");
const COMMAND = APPLE ? "⌘" : "Ctrl";
const SHORTCUTS = [
  ["Send, or begin a new line", ["Enter"], ["Shift", "Enter"]],
  ["Go to the message box", ["/"]],
  ["Stop answering", ["Esc"]],
  ["New chat", [COMMAND, "Shift", "O"]],
  ["Search chats", [COMMAND, "K"]],
  ["Next, previous chat", ["Alt", "↓"], ["Alt", "↑"]],
  ["You: connections, usage and the rest", [COMMAND, ","]],
  ["This sheet", ["?"]],
];

export function openHelp() {
  const dialog = h("dialog", { class: "dialog help", "aria-labelledby": "help-title", dataset: { testid: "help" } },
    h("div", { class: "help-head" }, h("h2", { id: "help-title" }, "Keyboard shortcuts"),
      h("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => dialog.close() }, icon("cross"))),
    h("dl", {}, SHORTCUTS.map(([what, ...ways]) => h("div", {}, h("dt", {}, what),
      h("dd", {}, ways.map((keys, at) => [at ? " or " : "", keys.map((key, n) => [n ? " " : "", h("kbd", {}, key)])]))))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
