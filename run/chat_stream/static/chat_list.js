// The list of chats at the side: choose, search, rename, export, delete.

import { h, icon } from "./dom.js";

const UNTITLED = "New chat";
const PAGE = 50;
const LONGEST = 100; // chats that the server lists at a time

/** `actions`: `select(id)`, `removed(id)`, `renamed(id, title)`, `failed(message)`. */
export class ChatList {
  constructor(session, element, actions) {
    this.session = session;
    this.element = element;
    this.actions = actions;
    this.chats = [];
    this.current = null;
    this.after = ""; // where older chats begin; "" where there are none
    // Tabs of this browser keep their lists in step; what other devices did shows when one looks again.
    this.others = new BroadcastChannel("odai.chats");
    this.others.onmessage = () => this.refresh();
    document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") this.refresh(); });
  }

  /** Load again, quietly: the list on screen is better than none. */
  refresh() {
    if (this.session.token) this.load().catch(() => {});
  }

  async load() {
    const listed = Math.min(Math.max(this.chats.length, PAGE), LONGEST);
    const { chats, after } = await this.session.call("GET", `/history?limit=${listed}`);
    const known = new Set(chats.map((chat) => chat.id));
    this.chats = [...this.chats.filter((chat) => chat.local && !known.has(chat.id)), ...chats];
    this.after = after;
    this.render();
  }

  async loadOlder() {
    try {
      const { chats, after } = await this.session.call("GET", `/history?limit=${PAGE}&after=${encodeURIComponent(this.after)}`);
      const known = new Set(this.chats.map((chat) => chat.id));
      this.chats.push(...chats.filter((chat) => !known.has(chat.id)));
      this.after = after;
    } catch (error) {
      this.actions.failed(error.message);
    }
    this.render();
  }

  /** The id of the chat `by` places below the open one, or null at the end. */
  neighbour(by) {
    const at = this.chats.findIndex((chat) => chat.id === this.current);
    return this.chats[at < 0 ? (by > 0 ? 0 : -1) : at + by]?.id ?? null;
  }

  /** A chat this client just began: listed before the server has stored it. */
  add(id, title) {
    if (this.chats.some((chat) => chat.id === id)) return;
    this.chats.unshift({ id, title, local: true });
    this.render();
  }

  retitle(id, title) {
    const chat = this.chats.find((one) => one.id === id);
    if (!chat || !title || chat.title === title) return;
    chat.title = title;
    this.render();
    this.others.postMessage("changed");
  }

  title(id) {
    return this.chats.find((chat) => chat.id === id)?.title || UNTITLED;
  }

  mark(id) {
    this.current = id;
    this.render();
  }

  clear() {
    this.chats = [];
    this.after = "";
    this.render();
  }

  render() {
    const focused = document.activeElement?.closest?.("[data-chat]")?.dataset.chat;
    this.element.replaceChildren(...this.chats.map((chat) => this.item(chat)));
    if (this.after) {
      this.element.append(h("li", {}, h("button", {
        type: "button", class: "quiet more-chats", dataset: { testid: "older-chats" },
        onclick: (event) => { event.target.disabled = true; this.loadOlder(); },
      }, "Older chats")));
    }
    if (focused) this.element.querySelector(`[data-chat="${CSS.escape(focused)}"] button`)?.focus();
  }

  item(chat) {
    const title = chat.title || UNTITLED;
    const current = chat.id === this.current;
    return h("li", { class: current ? "current" : null, dataset: { chat: chat.id } },
      h("button", {
        type: "button", class: "chat-name", dir: "auto", "aria-current": current ? "page" : null,
        dataset: { testid: "chat-item" }, onclick: () => this.actions.select(chat.id),
      }, title),
      h("button", {
        type: "button", class: "icon-button", "aria-label": `Rename or delete ${title}`,
        dataset: { testid: "chat-options" }, onclick: () => this.edit(chat),
      }, icon("more")));
  }

  edit(chat) {
    const name = h("input", { type: "text", maxlength: "120", value: chat.title || "", autocomplete: "off", "aria-label": "Title" });
    const remove = h("button", { type: "button", class: "button danger" }, "Delete");
    const dialog = h("dialog", { class: "dialog", "aria-label": "Chat options" },
      h("form", { method: "dialog" }, h("label", {}, "Title", name),
        h("div", { class: "dialog-buttons" }, remove,
          h("button", { type: "submit", class: "button secondary", value: "export", formnovalidate: true }, "Export"),
          h("span", { class: "grow" }),
          h("button", { type: "submit", class: "button secondary", value: "" , formnovalidate: true }, "Cancel"),
          h("button", { type: "submit", class: "button", value: "save" }, "Save"))));
    remove.addEventListener("click", () => {
      if (remove.dataset.armed) dialog.close("delete");
      else {
        remove.dataset.armed = "yes";
        remove.textContent = "Delete for good";
      }
    });
    name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      dialog.close("save");
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (dialog.returnValue === "save" && name.value.trim()) this.rename(chat, name.value.trim());
      if (dialog.returnValue === "export") this.export(chat);
      if (dialog.returnValue === "delete") this.remove(chat);
    });
    document.body.append(dialog);
    dialog.showModal();
    name.select();
  }

  /** Show, in `found`, where `text` was said in any chat; nothing for an empty text. */
  async search(text, found) {
    this.sought = text;
    this.element.hidden = Boolean(text);
    found.hidden = !text;
    if (!text) return;
    let hits;
    try {
      ({ hits } = await this.session.call("GET", `/history/search?q=${encodeURIComponent(text)}`));
    } catch (error) {
      if (this.sought === text) found.replaceChildren(h("li", {}, error.message));
      return;
    }
    if (this.sought !== text) return; // an answer to what is no longer asked
    found.replaceChildren(...hits.map(({ chat, excerpt }) => h("li", {},
      h("button", {
        type: "button", class: "chat-name", dir: "auto", dataset: { testid: "found" }, onclick: () => this.actions.select(chat.id),
      }, chat.title || UNTITLED, h("small", {}, marked(excerpt, text))))));
    if (!hits.length) found.replaceChildren(h("li", {}, "Nothing was found."));
  }

  async export(chat) {
    try {
      const url = URL.createObjectURL(await this.session.file(`/chats/${chat.id}/export?format=markdown`));
      h("a", { href: url, download: `${chat.title || "chat"}.md` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } catch (error) {
      this.actions.failed(error.message);
    }
  }

  async rename(chat, title) {
    const before = chat.title;
    this.retitle(chat.id, title);
    this.actions.renamed(chat.id, title);
    try {
      await this.session.call("PATCH", `/chats/${chat.id}`, { title });
      this.others.postMessage("changed");
    } catch (error) {
      this.retitle(chat.id, before);
      this.actions.renamed(chat.id, before);
      this.actions.failed(error.message);
    }
  }

  async remove(chat) {
    try {
      await this.session.call("DELETE", `/chats/${chat.id}`);
    } catch (error) {
      // Never stored on the server: forgetting it here is all there is to do.
      if (error.status !== 404) {
        this.actions.failed(error.message);
        return;
      }
    }
    this.chats = this.chats.filter((one) => one.id !== chat.id);
    this.render();
    this.others.postMessage("changed");
    this.actions.removed(chat.id);
  }
}

/** The excerpt with what was sought in it stressed. */
function marked(excerpt, sought) {
  const terms = sought.match(/[\p{L}\p{N}]{2,}/gu) ?? [];
  if (!terms.length) return excerpt;
  return excerpt.split(new RegExp(`(${terms.join("|")})`, "iu")).map((part, at) => (at % 2 ? h("mark", {}, part) : part));
}
