// What is the user's own: accounts, memories, plans, spending, what was done in their name, and the
// way out. A panel over the chat; each page is read from the server when it is opened.

import { h } from "./dom.js";

const PAGES = [
  ["accounts", "Connections", accounts],
  ["memories", "Memory", memories],
  ["schedules", "Plans", schedules],
  ["usage", "Usage", usage],
  ["activity", "Activity", activity],
  ["account", "Account", account],
];

/** Open the panel. `actions`: `connect(address)`, `signOut()`. */
export function openYou(session, actions, wanted = "accounts") {
  const body = h("div", { class: "you-page", tabindex: "-1", "aria-live": "polite" });
  const tabs = PAGES.map(([name, label]) => h("button", {
    type: "button", role: "tab", class: "quiet", dataset: { page: name }, onclick: () => show(name),
  }, label));
  const dialog = h("dialog", { class: "dialog you", "aria-label": "You", dataset: { testid: "you" } },
    h("div", { class: "you-head" }, h("div", { class: "you-tabs", role: "tablist" }, tabs),
      h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Close")),
    body);
  const page = { session, actions, say: (message) => body.prepend(h("p", { class: "notice", role: "alert" }, message)) };

  async function show(name) {
    for (const tab of tabs) tab.setAttribute("aria-selected", String(tab.dataset.page === name));
    body.replaceChildren(h("p", { class: "muted" }, "Loading…"));
    page.reload = () => show(name);
    try {
      const content = await PAGES.find(([known]) => known === name)[2](page);
      body.replaceChildren(...[content].flat().filter(Boolean));
    } catch (error) {
      body.replaceChildren(h("p", { class: "notice", role: "alert" }, error.message));
    }
  }

  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  show(wanted);
}

// ---------------------------------------------------------------- pages

async function accounts(page) {
  const { integrations } = await page.session.call("GET", "/account/integrations");
  const personal = new Map();
  for (const entry of integrations) {
    if (!entry.provider) continue;
    const known = personal.get(entry.provider) ?? { names: [], linked: entry.linked, on: false, provider: entry.provider };
    known.names.push(entry.name);
    known.on ||= entry.on;
    personal.set(entry.provider, known);
  }
  return [...personal.values()].map((service) => h("section", { class: "row", dataset: { provider: service.provider } },
    h("div", {}, h("strong", {}, title(service.provider)), h("p", { class: "muted" }, service.names.join(", "))),
    service.linked.map((one) => h("p", { class: "linked" }, h("span", { dir: "auto" }, `${one.label} · ${words(one.status)}`),
      sure("Disconnect", () => disconnect(page, service.provider, one.id)))),
    service.on
      ? h("button", { type: "button", class: "button secondary", onclick: () => page.actions.connect(loginOf(service.provider)) },
        service.linked.length ? "Connect another" : "Connect")
      : h("p", { class: "muted" }, "Not set up on this server: its client id and secret are missing.")));
}

function loginOf(provider) {
  return provider === "plaid" ? "/auth/plaid/login" : `/oauth_google/login?provider=${encodeURIComponent(provider)}`;
}

async function disconnect(page, provider, id) {
  if (provider === "plaid") await page.session.call("DELETE", `/auth/plaid/accounts/${encodeURIComponent(id)}`);
  else await page.session.call("DELETE", `/oauth_google/accounts/${encodeURIComponent(id)}`);
  page.reload();
}

async function memories(page) {
  const { memories: kept } = await page.session.call("GET", "/memories");
  const text = h("input", { type: "text", maxlength: "500", "aria-label": "Something to remember", placeholder: "I am vegetarian" });
  return [
    h("form", { class: "add", onsubmit: act(page, () => page.session.call("POST", "/memories", { text: text.value })) },
      text, h("button", { type: "submit", class: "button" }, "Remember")),
    kept.length === 0 && h("p", { class: "muted" }, "Nothing is remembered yet. Say “remember that…”, or write it here."),
    ...kept.map((memory) => {
      const edited = h("input", { type: "text", value: memory.text, "aria-label": "Memory", dir: "auto" });
      const path = `/memories/${memory.id}`;
      return h("form", { class: "row", onsubmit: act(page, () => page.session.call("PATCH", path, { text: edited.value })) },
        edited, h("button", { type: "submit", class: "quiet" }, "Save"),
        sure("Forget", () => page.session.call("DELETE", path).then(page.reload)));
    }),
  ];
}

async function schedules(page) {
  const { schedules: planned } = await page.session.call("GET", "/schedules");
  if (!planned.length) return h("p", { class: "muted" }, "Nothing is planned. Ask for a reminder, a daily briefing, or to be told when a price is reached.");
  return planned.map((plan) => {
    const path = `/schedules/${plan.id}`;
    const paused = plan.status === "paused";
    return h("section", { class: "row" },
      h("div", {}, h("strong", { dir: "auto" }, plan.text),
        h("p", { class: "muted" }, [plan.kind, plan.when, paused ? "paused" : plan.next_at && `next ${when(plan.next_at)}`].filter(Boolean).join(" · "))),
      plan.status !== "done" && h("button", {
        type: "button", class: "quiet",
        onclick: act(page, () => page.session.call("PATCH", path, { status: paused ? "active" : "paused" })),
      }, paused ? "Resume" : "Pause"),
      sure("Delete", () => page.session.call("DELETE", path).then(page.reload)));
  });
}

async function usage(page) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const { days, cost_usd: cost, limits } = await page.session.call("GET", `/usage?days=30&timezone=${encodeURIComponent(zone)}`);
  const most = Math.max(...days.map((day) => Number(day.cost_usd)), 1e-6);
  const limit = limits.hard_usd ?? limits.soft_usd;
  return [
    h("p", {}, h("strong", {}, `$${cost}`), " in the last 30 days",
      limit && ` · at most $${limit} a day`),
    days.length === 0 && h("p", { class: "muted" }, "Nothing yet."),
    h("div", { class: "spending" }, days.map((day) => h("div", {},
      h("span", {}, day.date),
      h("meter", { min: 0, max: most, value: Number(day.cost_usd), "aria-label": `${day.date}: $${day.cost_usd}` }),
      h("strong", {}, `$${day.cost_usd} · ${day.turns}`)))),
    days.length > 0 && h("p", { class: "muted" }, "Dollars and answers of each day."),
  ];
}

async function activity(page) {
  const { acts } = await page.session.call("GET", "/audit");
  if (!acts.length) return h("p", { class: "muted" }, "Nothing was done in your name yet. What you approve is listed here.");
  return h("div", { class: "table-scroll", tabindex: "0", role: "group", "aria-label": "What was done" },
    h("table", {}, h("thead", {}, h("tr", {}, ["When", "What", "How it ended", "Details"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, acts.map((one) => h("tr", {},
        h("td", {}, when(one.at)), h("td", {}, words(one.what)), h("td", {}, words(one.status)), h("td", { dir: "auto" }, one.details))))));
}

async function account(page) {
  const { session } = page;
  const state = await session.call("GET", "/account");
  const field = (label, type, extra) => h("input", { type, "aria-label": label, placeholder: label, autocomplete: "off", ...extra });
  const [number, code, pin] = [field("+14155550100", "tel"), field("The code", "text", { inputmode: "numeric" }), field("4 to 8 digits", "password", { inputmode: "numeric" })];
  const form = (label, input, work) => h("form", { class: "add", onsubmit: act(page, () => work(input.value)) },
    input, h("button", { type: "submit", class: "button secondary" }, label));
  const verify = h("div", { hidden: true }, form("Verify", code, (value) => session.call("POST", "/account/phone/verify", { code: value })));
  return [
    h("h4", {}, "Phone"),
    state.phone.verified
      ? h("p", { class: "linked" }, `Verified, ending in ${state.phone.ending}`, sure("Remove", () => session.call("DELETE", "/account/phone").then(page.reload)))
      : [h("form", { class: "add", onsubmit: async (event) => {
        event.preventDefault();
        try {
          await session.call("POST", "/account/phone", { number: number.value });
          verify.hidden = false;
          code.focus();
        } catch (error) {
          page.say(error.message);
        }
      } }, number, h("button", { type: "submit", class: "button secondary" }, "Send a code")), verify],
    h("h4", {}, "PIN for calls"),
    h("p", { class: "muted" }, state.pin_set ? "Set. A new one takes its place." : "Your own accounts are used on the phone only after this PIN."),
    form("Set", pin, (value) => session.call("POST", "/account/pin", { pin: value })),
    h("h4", {}, "Your data"),
    h("div", { class: "dialog-buttons" },
      h("button", { type: "button", class: "button secondary", onclick: () => download(page) }, "Export everything"),
      sure("Delete my account", async () => {
        await session.call("DELETE", "/account", { confirm: true });
        page.actions.signOut();
      })),
  ].flat();
}

async function download(page) {
  try {
    const url = URL.createObjectURL(await page.session.file("/account/export"));
    const link = h("a", { href: url, download: "odai-export.zip" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    page.say(error.message);
  }
}

// ---------------------------------------------------------------- small parts

/** A handler that does something, shows the page anew, and says what went wrong. */
function act(page, work) {
  return async (event) => {
    event?.preventDefault?.();
    try {
      await work();
      page.reload();
    } catch (error) {
      page.say(error.message);
    }
  };
}

/** A button that asks once more before it does what cannot be undone. */
function sure(label, work) {
  const button = h("button", { type: "button", class: "button danger" }, label);
  button.addEventListener("click", async () => {
    if (!button.dataset.armed) {
      button.dataset.armed = "yes";
      button.textContent = `${label}: sure?`;
      return;
    }
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      button.disabled = false;
      button.textContent = error.message;
    }
  });
  return button;
}

const words = (text) => String(text ?? "").replaceAll("_", " ");
const title = (text) => words(text).replace(/^./, (letter) => letter.toUpperCase());
const when = (text) => (text ? new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(new Date(text)) : "");
