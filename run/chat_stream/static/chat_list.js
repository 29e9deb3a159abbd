// The list of chats at the side: choose, search, rename, export, delete.

import { h, icon } from "./dom.js";

const UNTITLED = "New chat";

/** `actions`: `select(id)`, `removed(id)`, `renamed(id, title)`, `failed(message)`. */
export class ChatList {
  constructor(session, element, actions) {
    this.session = session;
    this.element = element;
    this.actions = actions;
    this.chats = [];
    this.current = null;
  }

  async load() {
    const { chats } = await this.session.call("GET", "/chats");
    const known = new Set(chats.map((chat) => chat.id));
    this.chats = [...this.chats.filter((chat) => chat.local && !known.has(chat.id)), ...chats];
    this.render();
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
    this.render();
  }

  render() {
    const focused = document.activeElement?.closest?.("[data-chat]")?.dataset.chat;
    this.element.replaceChildren(...this.chats.map((chat) => this.item(chat)));
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
      }, chat.title || UNTITLED, h("small", {}, excerpt)))));
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
    this.actions.removed(chat.id);
  }
}
