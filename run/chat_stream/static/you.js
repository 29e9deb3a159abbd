// What is the user's own: accounts, memories, plans, spending, what was done in their name, how
// things look, and the way out. A panel over the chat; each page is read when it is opened.

import { argumentList } from "./approval.js";
import { confirmed } from "./confirm.js";
import { connectionsPage } from "./connect.js";
import { h, icon } from "./dom.js";
import { phoneSection } from "./phone.js";
import { usagePage } from "./usage.js";
import { explained, title, when, words } from "./words.js";

const PAGES = [
  ["accounts", "Connections", accounts],
  ["memories", "Memory", memories],
  ["schedules", "Plans", schedules],
  ["usage", "Usage", usagePage],
  ["activity", "Activity", activity],
  ["account", "Account", account],
];
const KINDS = { reminder: "Reminder", briefing: "Briefing", watch: "Watch" };
const THEMES = [["auto", "Like the device"], ["light", "Light"], ["dark", "Dark"]];

/** Open the panel. `actions`: `connect(address)` leaves to link an account, `signOut()`. */
export function openYou(session, actions, wanted = "accounts") {
  const body = h("div", { class: "you-page", id: "you-page", role: "tabpanel", tabindex: "-1" });
  const tabs = PAGES.map(([name, label]) => h("button", {
    type: "button", role: "tab", id: `you-${name}`, "aria-controls": "you-page", dataset: { page: name }, onclick: () => show(name),
  }, label));
  const dialog = h("dialog", { class: "dialog you", "aria-labelledby": "you-title", dataset: { testid: "you" } },
    h("div", { class: "you-head" }, h("h2", { id: "you-title" }, "You"),
      h("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => dialog.close() }, icon("cross"))),
    h("div", { class: "you-tabs", role: "tablist", "aria-label": "Your pages", onkeydown: (event) => step(event, tabs) }, tabs),
    body);
  const trouble = h("p", { class: "notice", role: "alert" });
  const page = {
    session,
    actions,
    say: (message) => { trouble.textContent = message; body.prepend(trouble); body.scrollTop = 0; },
  };
  let asked = "";

  async function show(name) {
    // What is still on screen belongs to another page: it is seen until the new one is there, no more.
    if (asked !== name) for (const part of body.children) part.inert = true;
    asked = name;
    for (const tab of tabs) {
      const chosen = tab.dataset.page === name;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen) tab.scrollIntoView({ block: "nearest", inline: "center" });
    }
    body.setAttribute("aria-labelledby", `you-${name}`);
    body.setAttribute("aria-busy", "true");
    page.reload = () => { if (asked === name) show(name); };
    let content;
    try {
      content = await PAGES.find(([known]) => known === name)[2](page);
    } catch (error) {
      trouble.textContent = explained(error);
      content = trouble;
    }
    if (asked !== name) return; // another page was opened meanwhile
    body.removeAttribute("aria-busy");
    body.replaceChildren(...[content].flat().filter(Boolean));
  }

  dialog.addEventListener("close", () => dialog.remove());
  session.addEventListener("signedout", () => dialog.close(), { once: true });
  document.body.append(dialog);
  dialog.showModal();
  show(wanted);
}

/** Arrow keys walk along the tabs. */
function step(event, tabs) {
  const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  const next = tabs[(tabs.indexOf(document.activeElement) + by + tabs.length) % tabs.length];
  next.focus();
  next.click();
}

// ---------------------------------------------------------------- pages

async function accounts(page) {
  const [connected, phone] = await Promise.all([connectionsPage(page), phoneSection(page)]);
  // What is not set up goes last, below the phone.
  const rest = connected.filter((part) => part?.classList?.contains("not-set-up"));
  return [...connected.filter((part) => part && !rest.includes(part)), phone, ...rest];
}

async function memories(page) {
  const { memories: kept } = await page.session.call("GET", "/memories");
  const text = h("input", { type: "text", maxlength: "400", required: true, "aria-label": "Something to remember", placeholder: "I am vegetarian" });
  return [
    h("p", { class: "muted" }, "What ODAI keeps in mind in every chat. It is sealed with your own key."),
    h("form", { class: "add", onsubmit: act(page, () => page.session.call("POST", "/memories", { text: text.value })) },
      text, h("button", { type: "submit", class: "button" }, "Remember")),
    kept.length === 0 && h("p", { class: "empty" }, "Nothing is remembered yet. Say “remember that…”, or write it here."),
    ...kept.map((memory) => memoryRow(page, memory)),
  ];
}

function memoryRow(page, memory) {
  const path = `/memories/${memory.id}`;
  const edited = h("input", { type: "text", value: memory.text, required: true, maxlength: "400", "aria-label": "Memory", dir: "auto" });
  const save = h("button", { type: "submit", class: "button", disabled: true }, "Save");
  edited.addEventListener("input", () => { save.disabled = edited.value.trim() === memory.text; });
  return h("form", { class: "memory", onsubmit: act(page, () => page.session.call("PATCH", path, { text: edited.value })) },
    edited,
    h("div", { class: "memory-foot" },
      h("span", { class: "muted" }, `${memory.by === "user" ? "Written by you" : "Noted in a chat"} · ${when(memory.updated_at ?? memory.created_at)}`),
      save, sure("Forget", () => page.session.call("DELETE", path).then(page.reload))));
}

async function schedules(page) {
  const { schedules: planned } = await page.session.call("GET", "/schedules");
  if (!planned.length) {
    return h("div", { class: "empty" }, h("p", {}, "Nothing is planned."),
      h("p", { class: "muted" }, "Ask for a reminder, a daily briefing, or to be told when a price is reached."));
  }
  return planned.map((plan) => {
    const path = `/schedules/${plan.id}`;
    const paused = plan.status === "paused";
    const state = { paused: "Paused", done: "Done" }[plan.status] ?? (plan.next_at ? `Next ${when(plan.next_at)}` : "");
    return h("section", { class: "plan", dataset: { plan: plan.id, status: plan.status } },
      h("div", { class: "plan-what" }, h("strong", { dir: "auto" }, plan.text),
        h("p", { class: "muted" }, [KINDS[plan.kind] ?? title(plan.kind), plan.when].filter(Boolean).join(" · ")),
        state && h("p", { class: paused ? "state warn" : "muted" }, state)),
      h("div", { class: "account-buttons" },
        plan.status !== "done" && h("button", {
          type: "button", class: "button secondary", onclick: act(page, () => page.session.call("PATCH", path, { status: paused ? "active" : "paused" })),
        }, paused ? "Resume" : "Pause"),
        sure("Delete", () => page.session.call("DELETE", path).then(page.reload))));
  });
}

async function activity(page) {
  const { acts } = await page.session.call("GET", "/audit?limit=200");
  if (!acts.length) return h("p", { class: "empty" }, "Nothing was done in your name yet. What you approve is listed here.");
  return [
    h("p", { class: "muted" }, "What was done in your name, the latest first. This list is only ever added to."),
    h("ol", { class: "acts-done" }, acts.map((one) => h("li", { dataset: { status: one.status } },
      h("div", {}, h("strong", {}, one.title), one.connector_name && h("p", { class: "muted" }, one.connector_name),
        argumentList(one.arguments)),
      h("div", { class: "act-end" }, h("span", { class: one.status === "done" ? "muted" : "state warn" }, words(one.status ?? "under way")),
        h("time", { class: "muted", datetime: one.at }, when(one.at)),
        one.by !== "user" && h("span", { class: "muted" }, `by ${words(one.by)}`))))),
  ];
}

async function account(page) {
  return [
    section("Look", "", look()),
    section("Your data", "Everything of yours that ODAI holds, as a zip file: chats, memories, plans, spending, banks.",
      h("button", { type: "button", class: "button secondary", onclick: () => download(page) }, "Export everything")),
    section("Leave", "Your links are ended at Google, your bank and the others, your key is destroyed and all of yours with it. It cannot be undone.",
      h("button", { type: "button", class: "button danger", onclick: () => leave(page) }, "Delete my account")),
  ];
}

function section(name, about, ...parts) {
  return h("section", { class: "own" }, h("h3", {}, name), about && h("p", { class: "muted" }, about), parts);
}

function look() {
  const chosen = globalThis.odaiTheme?.chosen() ?? "auto";
  return h("fieldset", { class: "segments" }, h("legend", { class: "sr-only" }, "Light or dark"),
    THEMES.map(([name, label]) => h("label", {},
      h("input", { type: "radio", name: "theme", value: name, checked: name === chosen, onchange: () => globalThis.odaiTheme?.choose(name) }),
      h("span", {}, label))));
}

function leave(page) {
  let force = false;
  confirmed({
    question: "Delete your account?",
    effect: "Chats, memories, plans, connections and your number are gone for good. Export them first if you want them.",
    yes: "Delete everything",
    typed: "delete",
    work: async () => {
      try {
        await page.session.call("DELETE", "/account", { confirm: true, force });
      } catch (error) {
        if (error.status !== 503 || force) throw error;
        force = true; // pressed again, it goes on without telling that service
        error.message = "A connected service does not answer, so its link could not be ended. Delete all the same by pressing again, and end the link in its own settings.";
        error.retryAfter = 0;
        throw error;
      }
    },
  }).then((done) => done && page.actions.signOut());
}

async function download(page) {
  try {
    const url = URL.createObjectURL(await page.session.file("/account/export"));
    const link = h("a", { href: url, download: "odai-export.zip" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    page.say(explained(error));
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
      page.say(explained(error));
    }
  };
}

/** A button that asks once more before it does what cannot be undone. */
function sure(label, work) {
  const button = h("button", { type: "button", class: "button danger" }, label);
  button.addEventListener("blur", () => {
    delete button.dataset.armed;
    button.textContent = label;
  });
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
      button.textContent = explained(error);
    }
  });
  return button;
}
