// The first thing a new user sees: what works now, to try with one click, and what a key or an
// account would add, with the way to the settings that add it.

import { h, icon } from "./dom.js";
import { suggestionChip } from "./turn.js";

const EXAMPLES_SHOWN = 6;
const CATEGORIES = ["information", "finance", "travel", "shopping", "productivity"];
const NAMES = { information: "Information", finance: "Money", travel: "Travel", shopping: "Shopping", productivity: "Work and home" };

/** Parts of the page. `ask(text)` sends; `connect()` shows what can be connected. */
export function welcome(config, ask, connect) {
  const connectors = config.connectors ?? [];
  const on = connectors.filter((one) => one.on);
  const accounts = connectors.filter((one) => one.account && !one.missing?.length);
  const keys = connectors.filter((one) => !one.on && one.missing?.length);
  return [
    h("h2", {}, "What can I do for you?"),
    h("p", { class: "lede" }, lede(config, on)),
    h("div", { class: "examples", role: "group", "aria-label": "Try one of these" },
      pickExamples(on).map(({ text, name }) => suggestionChip(text, ask, name))),
    on.length > 0 && h("div", { class: "works" }, h("h3", {}, "Works now"),
      h("ul", { class: "names" }, on.map((one) => h("li", { title: one.description ?? one.category }, one.name)))),
    h("div", { class: "works more-works" },
      config.offline && addition("A language model", "It understands whatever you ask, in your own words, and writes answers.",
        setting("OPENAI_API_KEY"), " or ", setting("OPENAI_BASE_URL"), " for any compatible endpoint"),
      accounts.length > 0 && addition("Your own accounts", `${few(accounts)}: connect what you want ODAI to help with.`,
        h("button", { type: "button", class: "button secondary", dataset: { testid: "open-connections" }, onclick: connect }, icon("key"), "Connect"))),
    keys.length > 0 && h("details", { class: "works", dataset: { testid: "more-with-keys" } },
      h("summary", {}, `${keys.length} more services with a key`),
      h("p", {}, "Whoever runs this server sets them. ", h("a", { href: "/docs/settings", target: "_blank", rel: "noopener" }, "All settings")),
      CATEGORIES.map((category) => group(NAMES[category], keys.filter((one) => one.category === category)))),
  ];
}

function group(name, connectors) {
  return connectors.length > 0 && [h("h4", {}, name), h("dl", {}, connectors.map((one) => h("div", {},
    h("dt", {}, one.name), h("dd", {}, one.description ?? ""),
    h("dd", {}, one.missing.map((key, at) => [at ? ", " : "", setting(key)])))))];
}

function addition(name, what, ...how) {
  return h("div", { class: "addition" }, h("div", {}, h("strong", {}, name), h("p", {}, what)), h("div", { class: "how" }, how));
}

function setting(name) {
  return h("a", { href: `/docs/settings#${encodeURIComponent(name)}`, target: "_blank", rel: "noopener" }, h("code", {}, name));
}

function few(connectors) {
  const names = connectors.map((one) => one.name);
  return names.length > 4 ? `${names.slice(0, 4).join(", ")} and more` : names.join(", ");
}

function lede(config, on) {
  if (!on.length) return "Ask in your own words.";
  if (config.offline) {
    return "No model key is set, so a small built-in planner answers: it understands plain requests and calls the real services below. Try one:";
  }
  return "Ask in your own words. I look things up, compare, and ask you before anything is sent, booked or bought.";
}

/**
 * One example of each: first of what several services could answer (weather, currencies, search),
 * then of every category. None that would only lead to connecting something.
 */
function pickExamples(connectors) {
  const first = (one) => one.examples?.[0];
  const fit = connectors.filter((one) => first(one) && !/\bconnect\b|:\/\//i.test(first(one)));
  const general = new Map(fit.filter((one) => one.capability).reverse().map((one) => [one.capability, one]));
  const rest = fit.filter((one) => !one.capability);
  const turns = [0, 1, 2].flatMap((turn) => ["travel", "productivity", "finance", "shopping", "information"]
    .map((category) => rest.filter((one) => one.category === category)[turn]).filter(Boolean));
  return [...general.values()].reverse().slice(0, 4).concat(turns).slice(0, EXAMPLES_SHOWN)
    .map((one) => ({ text: first(one), name: one.name }));
}
