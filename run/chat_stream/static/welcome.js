// The first thing a new user sees: what works now, to try with one click, and what a key would add.

import { h } from "./dom.js";
import { suggestionChip } from "./turn.js";

const EXAMPLES_SHOWN = 6;

export function welcome(config, ask) {
  const connectors = config.connectors ?? [];
  const on = connectors.filter((connector) => connector.on);
  const off = connectors.filter((connector) => !connector.on);
  return [
    h("h2", {}, "What can I do for you?"),
    h("p", { class: "lede" }, lede(config, on)),
    h("div", { class: "examples", role: "group", "aria-label": "Examples" },
      pickExamples(on).map(({ text, name }) => suggestionChip(text, ask, name))),
    on.length > 0 && h("div", { class: "works" }, h("h3", {}, "Works now"),
      h("ul", { class: "names" }, on.map((connector) => h("li", { title: connector.category }, connector.name)))),
    off.length > 0 && h("details", { class: "works" },
      h("summary", {}, `${off.length} more with a key or an account`),
      h("dl", {}, off.map((connector) => h("div", {},
        h("dt", {}, connector.name),
        h("dd", {}, missing(connector)))))),
  ];
}

function lede(config, on) {
  if (!on.length) return "Ask in your own words.";
  if (config.offline) {
    return "No model key is set, so a small built-in planner answers: it understands plain requests and calls the real services below.";
  }
  return "Ask in your own words. I look things up, compare, and ask you before anything is sent, booked or bought.";
}

/** One example of each connector first, then second ones. */
function pickExamples(connectors) {
  const rounds = [0, 1, 2].flatMap((round) => connectors
    .filter((connector) => connector.examples?.[round])
    .map((connector) => ({ text: connector.examples[round], name: connector.name })));
  return rounds.slice(0, EXAMPLES_SHOWN);
}

function missing(connector) {
  const keys = connector.missing ?? [];
  if (!keys.length) return "connect your account";
  return keys.map((key, at) => [at ? ", " : "", h("code", {}, key)]);
}
