// An action that waits for the user: what will be done, to be changed, approved or declined.

import { everySecond, inHours, now, span } from "./clock.js";
import { h, icon } from "./dom.js";
import { words } from "./words.js";

const VERDICTS = { approved: "Approved.", denied: "Declined: nothing was done.", expired: "Expired: nothing was done." };
const RISKS = { write: "Changes something", money: "Spends money", external: "Reaches other people" };
const LONG_TEXT = 60;
const SOON_S = 600; // the last minutes are worth a look

/** The card of an `approval_required` event; `decide(approve, {arguments, always})` tells the server. */
export class ApprovalCard {
  constructor(event, decide) {
    this.event = event;
    this.decide = decide;
    this.closed = false;
    this.fields = null; // name → () => value, while arguments are edited
    this.heading = event.question || event.title || `Allow ${event.tool}?`;
    this.outcome = h("p", { class: "approval-outcome", role: "status" });
    this.list = argumentList(event.arguments) ?? h("p", { class: "approval-expiry" }, "Without any details.");
    // A standing permission covers the user's own data alone: never money, never other people.
    this.always = event.risk === "write" && h("input", { type: "checkbox", dataset: { testid: "always" } });
    this.buttons = h("div", { class: "approval-buttons" },
      this.button("Approve", "button", "approve", () => this.send(true)),
      this.button("Decline", "button secondary", "deny", () => this.send(false)),
      this.names().length > 0 && this.button("Change", "button secondary", "change", () => this.edit()));
    this.element = h("div", { class: "card card-approval", role: "group", "aria-label": this.heading, dataset: { testid: "approval" } },
      h("p", { class: "approval-title", dir: "auto" }, icon("shield"), h("span", { class: "words" }, this.heading),
        RISKS[event.risk] && h("span", { class: `risk risk-${event.risk}` }, RISKS[event.risk])),
      event.tainted && h("p", { class: "taint", dataset: { testid: "taint" } }, icon("eye"),
        "Before this, I read text by strangers. Look closely at what it asks for."),
      this.list,
      this.always && h("label", { class: "always" }, this.always, " Always allow this without asking"),
      this.buttons, this.outcome,
      this.expiry = event.expires_at && h("p", { class: "approval-expiry", dataset: { testid: "expiry" } }));
    if (this.expiry) this.countDown();
  }

  /** Show how long it stays open, by the server's clock; what expired cannot be decided any more. */
  countDown() {
    const ends = Date.parse(this.event.expires_at);
    if (Number.isNaN(ends)) return;
    const draw = () => {
      if (this.closed) return false;
      const left = (ends - now()) / 1000;
      if (left <= 0) {
        this.decided({ decision: "expired" });
        return false;
      }
      const words = `Open for ${left > SOON_S ? inHours(Math.round(left / 60)) : span(left)}, until ${clock(ends - now() + Date.now())}`;
      if (this.expiry.textContent !== words) this.expiry.textContent = words;
      this.expiry.classList.toggle("soon", left <= SOON_S);
      return true;
    };
    if (draw()) everySecond(this.element, draw);
  }

  /** Show how it was decided, here or on another device. */
  decided({ decision }) {
    this.closed = true;
    this.buttons.remove();
    this.always && this.always.parentElement.remove();
    this.element.dataset.state = decision;
    this.outcome.textContent = VERDICTS[decision] ?? decision;
    if (this.fields) this.showList();
  }

  /** The server would not take the decision: say why, and let it be taken again. */
  refused(message) {
    if (this.closed) return;
    this.outcome.textContent = message;
    this.disable(false);
  }

  button(words, kind, testid, onclick) {
    return h("button", { type: "button", class: kind, dataset: { testid }, onclick }, words);
  }

  names() {
    const given = this.event.arguments ?? {};
    return (this.event.editable ?? []).filter((name) => typeof given === "object" && name in given);
  }

  edit() {
    const rows = this.names().map((name) => [name, field(this.event.arguments[name])]);
    this.fields = new Map(rows.map(([name, { read }]) => [name, read]));
    const form = h("div", { class: "approval-arguments approval-form" }, rows.map(([name, { input }]) =>
      h("label", { class: input.type === "checkbox" ? "always" : null }, h("span", {}, words(name)), input)));
    this.list.replaceWith(form);
    this.list = form;
    this.buttons.querySelector("[data-testid=change]")?.remove();
    form.querySelector("input, textarea")?.focus();
  }

  showList() {
    const list = argumentList(this.sent ?? this.event.arguments) ?? h("p");
    this.list.replaceWith(list);
    this.list = list;
  }

  send(approve) {
    let changed;
    try {
      changed = approve && this.fields ? this.changed() : null;
    } catch (error) {
      this.outcome.textContent = error.message;
      return;
    }
    this.sent = changed;
    this.disable(true);
    this.outcome.textContent = approve ? "Approving…" : "Declining…";
    this.decide(approve, { arguments: changed, always: approve && Boolean(this.always?.checked) });
  }

  /** The whole arguments with what was edited, or null where nothing differs. */
  changed() {
    const all = { ...this.event.arguments };
    for (const [name, read] of this.fields) all[name] = read(words(name));
    return JSON.stringify(all) === JSON.stringify(this.event.arguments) ? null : all;
  }

  disable(off) {
    for (const control of this.element.querySelectorAll("button, input, textarea")) control.disabled = off;
  }
}

/** An input for a value and a function that reads it back in the value's own type. */
function field(value) {
  if (typeof value === "boolean") {
    const input = h("input", { type: "checkbox", checked: value });
    return { input, read: () => input.checked };
  }
  if (typeof value === "number") {
    const input = h("input", { type: "number", step: "any", value });
    return { input, read: (name) => numberIn(input.value, name) };
  }
  const text = asText(value, "\n");
  const input = text.length > LONG_TEXT || text.includes("\n") || isTextList(value)
    ? h("textarea", { rows: Math.min(8, Math.ceil(text.length / LONG_TEXT) + text.split("\n").length - 1), dir: "auto" }, text)
    : h("input", { type: "text", value: text, dir: "auto", autocomplete: "off" });
  if (isTextList(value)) return { input, read: () => input.value.split("\n").map((line) => line.trim()).filter(Boolean) };
  if (value !== null && typeof value === "object") return { input, read: (name) => jsonIn(input.value, name) };
  return { input, read: () => (value === null && !input.value ? null : input.value) };
}

function numberIn(text, name) {
  if (text.trim() === "" || Number.isNaN(Number(text))) throw new Error(`${name} must be a number.`);
  return Number(text);
}

function jsonIn(text, name) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${name} must stay in its form, with brackets and quotation marks.`);
  }
}

/** What an action was given, name by name; null where that is nothing. */
export function argumentList(given) {
  if (typeof given === "string") return given ? h("pre", { class: "plain", tabindex: "0" }, given) : null;
  const entries = Object.entries(given ?? {}).filter(([, value]) => value !== null && value !== "");
  if (!entries.length) return null;
  // Shown whole and as plain text: this is exactly what will be done.
  return h("dl", { class: "approval-arguments" }, entries.map(([name, value]) => h("div", {},
    h("dt", {}, words(name)),
    h("dd", { dir: "auto" }, asText(value, ", ")))));
}

function asText(value, between) {
  if (value === null) return "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (isTextList(value)) return value.join(between);
  return typeof value === "object" ? JSON.stringify(value, null, 1) : String(value);
}

function isTextList(value) {
  return Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === "string" && !one.includes("\n"));
}

/** A moment of this device's clock, which is what its reader will look at. */
function clock(when) {
  return new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit" }).format(new Date(when));
}
