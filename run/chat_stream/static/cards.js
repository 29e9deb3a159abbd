// What a tool returned, as something a person can read: any JSON becomes lists and tables, and the
// kinds asked for most get a look of their own. Links are the only live thing in a card.

import { h, icon } from "./dom.js";
import { link, safeUrl } from "./links.js";
import { LOOKS } from "./looks.js";
import { quantityView, weather } from "./weather.js";

const ROWS_SHOWN = 5;
const COLUMNS_SHOWN = 6;
const FOR_MACHINES = /(?:^|_)ids?$/; // nobody reads an id; the assistant does
const MAX_DEPTH = 4;
const LONG_TEXT = 480;
const WIDE_TEXT = 90;
const ISO_TIME = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?$/;
const NAMES = ["name", "title", "label"];
const LINKS = ["url", "link", "page_url", "website"];
const CONNECT = new Set(["account_needed", "google_account_needed", "connect_google_account",
  "request_google_access", "google_access_request", "connect_plaid_account"]);
const OPEN = new Set(["open_window", "open_tab"]);
/** The output of a call whose result comes in a turn of its own: its words are all there is. */
export const GOES_ON = "job_pending";

/** The card of a `tool_output` event, or null when it has nothing to show. */
export function outputCard({ output = {}, summary, sources }) {
  const kind = String(output.response_type ?? "");
  const data = parsed(output.response);
  if (output.display_response === false && !summary) return null;
  if (CONNECT.has(kind)) return connectCard(output, data, summary);
  if (kind === "error") return failureCard(summary || data?.message);
  const address = OPEN.has(kind) && ownOrSafe(addressIn(data));
  const shown = output.display_response !== false && kind !== GOES_ON;
  const look = shown ? special(kind, data) : null;
  const body = look ?? (shown ? generic(data, summary) : null);
  if (!summary && !body && !sources?.length && !address) return null;
  return h("div", { class: "card", dataset: { testid: "tool-output", kind } },
    summary && h("p", { class: look ? "sr-only" : "card-summary", dir: "auto" }, summary),
    address && h("p", {}, link(address, "Open the page")),
    body,
    sourceLine(sources));
}

function failureCard(message) {
  return typeof message === "string" && message
    ? h("p", { class: "tool-failure", dir: "auto", dataset: { testid: "tool-output", kind: "error" } }, message) : null;
}

// ---------------------------------------------------------------- any value

function generic(data, summary) {
  if (isEmpty(data) || (typeof data === "string" && data === summary)) return null;
  if (typeof data === "string") return longText(data);
  const view = valueView(data, 0);
  if (!view) return null;
  const rows = Array.isArray(data) ? data.length : Object.values(data).filter((value) => !isEmpty(value)).length;
  const small = rows <= 6 || Array.isArray(data) || Object.values(data).some(isTable);
  return h("details", { class: "card-data", open: small }, h("summary", {}, "Details"), view);
}

function valueView(value, depth) {
  if (isEmpty(value)) return null;
  if (typeof value !== "object") return scalar(value);
  const quantity = quantityView(value);
  if (quantity) return quantity;
  if (depth > MAX_DEPTH) return longText(JSON.stringify(value));
  if (isTable(value)) return tableView(value, depth);
  if (Array.isArray(value)) return listView(value, depth);
  const every = Object.entries(value).filter(([, inner]) => !isEmpty(inner));
  const told = every.filter(([name]) => !FOR_MACHINES.test(name));
  const entries = told.length ? told : every;
  return h("dl", {}, entries.map(([name, inner]) =>
    h("div", { class: typeof inner === "object" || String(inner).length > WIDE_TEXT ? "wide" : null },
      h("dt", {}, title(name)), h("dd", {}, valueView(inner, depth + 1)))));
}

function listView(values, depth) {
  const shown = values.filter((value) => !isEmpty(value));
  const short = shown.every((value) => typeof value !== "object" && String(value).length < 32);
  if (short && shown.length <= 12) return h("span", { dir: "auto" }, shown.map((value, at) => [at ? ", " : "", scalar(value)]));
  return capped(shown, (value) => h("li", { dir: "auto" }, valueView(value, depth + 1)), (rows) => h("ul", {}, rows));
}

function tableView(rows, depth) {
  const counts = new Map();
  const only = rows.every((row) => Object.keys(row).every((name) => FOR_MACHINES.test(name)));
  for (const row of rows.slice(0, 100)) {
    for (const [name, value] of Object.entries(row)) {
      if (!isEmpty(value) && (only || !FOR_MACHINES.test(name))) counts.set(name, (counts.get(name) ?? 0) + (typeof value === "object" && !quantityView(value) ? 0.1 : 1));
    }
  }
  const ranked = [...counts.keys()].sort((a, b) => Math.round(counts.get(b) - counts.get(a)));
  const kept = new Set(ranked.slice(0, COLUMNS_SHOWN));
  const [named, linked] = [NAMES, LINKS].map((names) => names.find((name) => counts.has(name)));
  const merged = named && linked && rows.every((row) => !row[linked] || safeUrl(row[linked]));
  if (merged) {
    kept.delete(linked);
    if (ranked.length > COLUMNS_SHOWN) kept.add(ranked[COLUMNS_SHOWN]);
    kept.add(named);
  }
  const columns = [...counts.keys()].filter((name) => kept.has(name));
  const cell = (row, name) => {
    const url = merged && name === named && row[name] && row[linked] ? safeUrl(row[linked]) : null;
    return url ? link(url, String(row[name])) : valueView(row[name], depth + 2);
  };
  const numeric = (name) => rows.every((row) => isEmpty(row[name]) || typeof row[name] === "number");
  const cellClass = new Map(columns.map((name) => [name, numeric(name) ? "align-end" : null]));
  const head = h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col", class: cellClass.get(name) }, title(name)))));
  const rowView = (row) => h("tr", {}, columns.map((name) =>
    h("td", { class: cellClass.get(name), dir: "auto" }, cell(row, name))));
  return capped(rows, rowView, (body) =>
    h("div", { class: "table-scroll", tabindex: "0", role: "group", "aria-label": "Results" }, h("table", {}, head, body)), "tbody");
}

function capped(values, view, wrap, tag) {
  const first = values.slice(0, ROWS_SHOWN).map(view);
  const body = tag ? h(tag, {}, first) : null;
  const box = wrap(body ?? first);
  const rest = values.length - first.length;
  if (rest <= 0) return box;
  const more = h("button", {
    type: "button",
    class: "quiet show-all",
    onclick: () => {
      const target = body ?? box;
      const added = values.slice(ROWS_SHOWN).map(view);
      target.append(...added);
      more.remove();
    },
  }, `Show all ${values.length}`);
  return h("div", {}, box, more);
}

function scalar(value) {
  if (typeof value === "boolean") return value ? "Yes" : "No";
  if (typeof value === "number") return String(Number(value.toPrecision(12)));
  const text = String(value);
  const url = /^(?:https?|mailto):/i.test(text) ? safeUrl(text) : null;
  if (url) return link(url, url.hostname ? url.hostname.replace(/^www\./, "") : url.pathname);
  if (ISO_TIME.test(text)) return h("time", { datetime: text, title: text }, moment(text));
  return text.length > LONG_TEXT ? longText(text) : text;
}

function longText(text) {
  if (text.length <= LONG_TEXT) return h("p", { class: "plain", dir: "auto" }, text);
  const body = h("p", { class: "plain", dir: "auto" }, `${text.slice(0, LONG_TEXT)}…`);
  const more = h("button", {
    type: "button",
    class: "quiet show-all",
    onclick: () => {
      body.textContent = text;
      more.remove();
    },
  }, "Show all");
  return h("div", {}, body, more);
}

function moment(text) {
  const dateOnly = text.length === 10;
  const time = new Date(dateOnly ? `${text}T00:00` : text.replace(" ", "T"));
  if (Number.isNaN(time.getTime())) return text;
  const year = time.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  const day = { weekday: "short", day: "numeric", month: "short", year };
  return new Intl.DateTimeFormat(undefined, dateOnly ? day : { ...day, hour: "2-digit", minute: "2-digit" }).format(time);
}

function title(name) {
  const words = name.replace(/([a-z\d])([A-Z])/g, "$1 $2").replace(/[_-]+/g, " ").trim().toLowerCase();
  return (words.charAt(0).toUpperCase() + words.slice(1)).replace(/\b(?:id|url|iata|utc|eta)\b/gi, (word) => word.toUpperCase());
}

function isTable(value) {
  return Array.isArray(value) && value.length > 0 &&
    value.every((row) => row && typeof row === "object" && !Array.isArray(row) && !quantityView(row));
}

function isEmpty(value) {
  if (value === null || value === undefined || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

function parsed(value) {
  if (typeof value !== "string" || !/^\s*[[{]/.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

function sourceLine(sources) {
  const links = (sources ?? []).map((source) => {
    const url = safeUrl(source?.url ?? source);
    return url && link(url, String(source?.title || source?.name || url.hostname.replace(/^www\./, "")));
  }).filter(Boolean);
  if (!links.length) return null;
  return h("p", { class: "sources" }, h("span", {}, links.length > 1 ? "Sources" : "Source"), links);
}

// ---------------------------------------------------------------- kinds with a look of their own

function special(kind, data) {
  if (!data || typeof data !== "object" || Array.isArray(data)) return null;
  if (/weather|forecast/.test(kind)) return weather(data);
  if (/conversion/.test(kind)) return conversion(data);
  return Object.hasOwn(LOOKS, kind) ? LOOKS[kind](data) : null;
}

const first = (object, ...names) => {
  for (const name of names) if (!isEmpty(object?.[name])) return object[name];
  return null;
};

function conversion(data) {
  const from = first(data, "from_currency", "base", "from");
  const to = first(data, "to_currency", "quote", "to");
  const amount = first(data, "amount") ?? 1;
  const result = first(data, "converted_amount", "converted", "result");
  const rate = first(data, "rate", "exchange_rate");
  if (typeof from !== "string" || typeof to !== "string" || typeof (result ?? rate) === "object") return null;
  const date = first(data, "rate_date", "date");
  return h("div", { class: "conversion" },
    h("span", {}, money(amount), " ", h("abbr", {}, from)),
    icon("arrow"),
    h("strong", {}, money(result ?? rate), " ", h("abbr", {}, to)),
    rate !== null && h("small", {}, `1 ${from} = ${rate} ${to}`, date && ` · ${moment(String(date))}`));
}

/** Decimal strings stay as the server rounded them; only their digits are grouped. */
function money(value) {
  const [whole, fraction] = String(value).split(".");
  const grouped = /^-?\d+$/.test(whole) ? whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") : whole;
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

function connectCard(output, data, summary) {
  const address = ownOrSafe(addressIn(data));
  const name = first(data, "name") ?? output.friendly_name ?? "this account";
  const words = summary ?? (typeof data === "string" && !address ? data : first(data, "message", "reason"));
  return h("div", { class: "card card-connect", dataset: { testid: "tool-output", kind: output.response_type } },
    h("p", { class: "card-summary", dir: "auto" }, icon("key"), typeof words === "string" ? words : `${name} needs to be connected first.`),
    address && h("a", { class: "button", href: address.href, ...opening(address) }, `Connect ${name}`));
}

/** Our own sign-in begins in this tab and in the user's name (app.js); other pages open beside it. */
function opening(address) {
  return address.origin === location.origin
    ? { dataset: { connect: "" } } : { target: "_blank", rel: "noopener noreferrer" };
}

function addressIn(data) {
  if (typeof data === "string") return data;
  return first(data, "url", "auth_url", "authorization_url", "authorize_url", "link");
}

/** A connect address may be our own path ("/auth/google/login"); anything else must be a safe link. */
function ownOrSafe(address) {
  if (typeof address !== "string") return null;
  if (/^\/[^/\\]/.test(address)) return new URL(address, location.origin);
  return safeUrl(address);
}
