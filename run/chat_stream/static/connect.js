// Accounts of other services: what connecting would allow, told before anybody leaves for the
// service's own page; what is connected, when it was last used, and how it ends.

import { confirmed } from "./confirm.js";
import { h, icon } from "./dom.js";
import { lastUsed, listed, settingAddress } from "./words.js";

const STATES = {
  ok: ["", ""],
  expiring: ["warn", "Ends soon: sign in again"],
  reauth: ["warn", "Needs signing in again"],
};

async function services(session) {
  return (await session.call("GET", "/account/connections")).services;
}

// ---------------------------------------------------------------- the page of connections

/** What the page of connections holds. `page`: session, actions.connect(address), reload(). */
export async function connectionsPage(page) {
  const all = await services(page.session);
  const shown = all.filter((service) => service.on || service.accounts.length);
  const off = all.filter((service) => !service.on && !service.accounts.length);
  return [
    h("p", { class: "muted" }, "What ODAI may use of yours. Nothing is connected that you did not connect, and each can be ended here."),
    ...shown.map((service) => section(page, service)),
    off.length > 0 && h("section", { class: "not-set-up" },
      h("h3", {}, shown.length ? "Not set up on this server" : "Nothing can be connected on this server yet"),
      h("p", { class: "muted" }, "Whoever runs it registers ODAI with the service and sets its keys."),
      h("dl", {}, off.map((service) => h("div", { dataset: { provider: service.slug } },
        h("dt", {}, service.name), h("dd", {}, settings(service.missing)))))),
  ];
}

function section(page, service) {
  const { slug, name, accounts } = service;
  const labels = service.features.map((feature) => feature.label);
  const about = slug === "plaid" ? "Balances and transactions, through Plaid" : labels.length > 1 ? listed(labels) : allows(service);
  return h("section", { class: "service", dataset: { provider: slug } },
    h("div", { class: "service-head" },
      h("span", { class: "service-mark", "aria-hidden": "true" }, name[0]),
      h("div", { class: "service-name" }, h("h3", {}, name), h("p", { class: "muted" }, about)),
      service.on ? h("button", {
        type: "button", class: accounts.length ? "button secondary" : "button",
        onclick: () => explain(service, {}, page.actions.connect),
      }, accounts.length ? "Connect another" : "Connect", h("span", { class: "sr-only" }, ` ${name}`))
        : h("p", { class: "muted" }, "Not set up any more: ", settings(service.missing))),
    accounts.length > 0 && h("ul", { class: "accounts" }, accounts.map((account) => row(page, service, account))));
}

function allows(service) {
  return service.features.flatMap((feature) => feature.asks).slice(0, 2).join("; ").replace(/^./, (letter) => letter.toUpperCase());
}

function row(page, service, account) {
  const [tone, state] = STATES[account.status] ?? ["warn", account.status];
  const has = service.features.filter((feature) => account.features.includes(feature.name)).map((feature) => feature.label);
  const lacks = service.features.length > account.features.length && account.features.length > 0;
  const parts = service.slug === "plaid" ? account.parts : has;
  const again = { account: account.id, features: account.features };
  return h("li", { class: "account", dataset: { account: account.id } },
    h("div", { class: "account-what" },
      h("strong", { dir: "auto" }, account.label),
      h("p", { class: "muted", dir: "auto" }, [parts.length > 0 && listed(parts), lastUsed(account.used_at)].filter(Boolean).join(" · ")),
      state && h("p", { class: `state ${tone}` }, icon("alert"), state)),
    h("div", { class: "account-buttons" },
      service.on && state && h("button", { type: "button", class: "button", onclick: () => explain(service, again, page.actions.connect) }, "Sign in again"),
      service.on && !state && lacks && h("button", {
        type: "button", class: "button secondary", onclick: () => explain(service, { account: account.id }, page.actions.connect),
      }, "Allow more"),
      h("button", {
        type: "button", class: "button secondary", onclick: () => end(page, service, account),
      }, "Disconnect", h("span", { class: "sr-only" }, ` ${account.label}`))));
}

async function end(page, service, account) {
  const where = service.slug === "plaid" ? "/auth/plaid/accounts/" : "/oauth_google/accounts/";
  const at = service.slug === "plaid" ? "Plaid" : service.name;
  const done = await confirmed({
    question: `Disconnect ${account.label}?`,
    effect: `ODAI's access is taken back at ${at}, and what it holds of this account is deleted. What was said in your chats stays there.`,
    yes: "Disconnect",
    work: () => page.session.call("DELETE", where + encodeURIComponent(account.id)),
  });
  if (done) page.reload();
}

function settings(names) {
  return names.map((name, at) => [at ? ", " : "", h("a", { href: settingAddress(name), target: "_blank", rel: "noopener" }, h("code", {}, name))]);
}

// ---------------------------------------------------------------- before leaving

/** Explain what the page at `address` (where linking begins) will ask for; `go(address)` leaves. */
export async function askConnect(session, address, go) {
  const { pathname, searchParams: query } = new URL(address, location.origin);
  const slug = pathname.startsWith("/auth/plaid") ? "plaid" : query.get("provider") ?? "google";
  const service = (await services(session)).find((one) => one.slug === slug);
  if (!service) throw new Error("That service cannot be connected here.");
  const features = (query.get("feature") ?? "").split(",").filter(Boolean);
  explain(service, { account: query.get("item_id") ?? query.get("account") ?? "", features }, go);
}

function explain(service, { account = "", features = [] }, go) {
  const known = service.accounts.find((one) => one.id === account);
  const mending = Boolean(known && STATES[known.status]?.[1]);
  const granted = mending ? [] : known?.features ?? [];
  const only = service.features.length === 1;
  const at = service.slug === "plaid" ? "your bank" : service.name;
  const choices = service.features.map((feature) => choice(feature, service, {
    only,
    granted: !only && granted.includes(feature.name),
    wanted: only || features.includes(feature.name),
  }));
  const next = h("button", { type: "submit", class: "button", disabled: !service.on }, `Continue to ${at}`, icon("arrow"));
  const hint = h("p", { class: "muted hint", role: "status" });
  const dialog = h("dialog", { class: "dialog connect", "aria-label": `Connect ${service.name}`, dataset: { testid: "connect" } },
    h("form", { method: "dialog" },
      h("h2", {}, mending ? `Sign in to ${at} again` : `Connect ${service.slug === "plaid" ? "a bank" : service.name}`),
      h("p", { class: "muted" }, lede(service, at, only)),
      h("div", { class: "choices" }, choices.map((one) => one.element)),
      !service.on && h("p", {}, "It is not set up on this server: ", settings(service.missing)),
      hint,
      h("div", { class: "dialog-buttons" }, h("span", { class: "grow" }),
        h("button", { type: "button", class: "button secondary", onclick: () => dialog.close() }, "Not now"), next)));
  const chosen = () => choices.filter((one) => one.chosen()).map((one) => one.name);
  const check = () => {
    const none = !only && !chosen().length;
    next.disabled = none || !service.on;
    hint.textContent = none ? "Choose what you want help with. More can be added later." : "";
  };
  dialog.addEventListener("change", check);
  check();
  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (next.disabled) return;
    dialog.close();
    go(loginAddress(service, chosen(), account));
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function lede(service, at, only) {
  if (service.slug === "plaid") {
    return "You sign in on a page of Plaid's, which ODAI cannot see, and choose accounts there. ODAI reads them; it cannot move money.";
  }
  const choose = only ? "This is what ODAI would use." : "Choose what ODAI may help with.";
  return `${choose} ${at} asks you once more on its own page. You can take it back here at any time.`;
}

function loginAddress(service, features, account) {
  const address = new URL(service.login, location.origin);
  if (service.slug === "plaid") {
    if (account) address.searchParams.set("item_id", account);
  } else {
    const named = features.filter(Boolean);
    if (named.length) address.searchParams.set("feature", named.join(","));
    if (account) address.searchParams.set("account", account);
  }
  return address.href;
}

/** One feature: what the service will ask for it, and what ODAI does with it. */
function choice(feature, service, { only, granted, wanted }) {
  const box = h("input", { type: "checkbox", checked: granted || wanted, disabled: granted });
  const asks = [
    h("p", { class: "asks-head" }, `${service.slug === "plaid" ? "Plaid" : service.name} will let ODAI`),
    h("ul", {}, feature.asks.map((ask) => h("li", {}, ask))),
    h("details", {}, h("summary", {}, "What ODAI does with it"),
      feature.looks.length > 0 && [h("p", { class: "asks-head" }, "When you ask"), h("ul", {}, feature.looks.map((one) => h("li", {}, one)))],
      feature.acts.length > 0
        ? [h("p", { class: "asks-head" }, "Only after you said yes to each"), h("ul", { class: "acts" }, feature.acts.map((one) => h("li", {}, one)))]
        : h("p", { class: "muted" }, "It changes nothing there.")),
  ];
  const element = only
    ? h("div", { class: "choice", dataset: { feature: feature.name } }, asks)
    : h("div", { class: "choice", dataset: { feature: feature.name } },
      h("label", { class: "check" }, box, h("strong", {}, feature.label), granted && h("span", { class: "muted" }, "allowed already")),
      h("div", { class: "choice-body" }, asks));
  return { element, name: feature.name, chosen: () => only || (box.checked && !granted) };
}
