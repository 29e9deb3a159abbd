// The web client's entry: signs in, shows one chat at a time, and wires the page's fixed controls.

import { Chat } from "./chat.js";
import { ChatList } from "./chat_list.js";
import { h, icon } from "./dom.js";
import { Session, storage } from "./session.js";
import { welcome } from "./welcome.js";

const $ = (id) => document.getElementById(id);
const CHAT_ADDRESS = /^#\/chats\/([A-Za-z0-9_-]{1,128})$/;
const DRAFT = "odai.draft.";
const LINKING = "odai.linking";
const FAR_TOO_LONG = 64_000; // UTF-16 units: twice what a message may have at most
const CONNECTION_WORDS = {
  off: "", open: "Connected", connecting: "Connecting…", waiting: "Reconnecting…", idle: "Resting", refused: "Not connected",
};

const session = new Session();
const chatList = new ChatList(session, $("chats"), {
  select: (id) => { openChat(id); closeDrawer(); },
  removed: (id) => { if (chat?.chatId === id) newChat(); },
  renamed: (id, title) => { if (chat?.chatId === id) showTitle(title); },
  failed: showNotice,
});
let config = {};
let chat = null;
let call = null; // a VoiceCall's panel, while there is one

for (const button of document.querySelectorAll("[data-icon]")) button.prepend(icon(button.dataset.icon));
session.addEventListener("signedout", ({ detail }) => showSignIn(detail));
window.addEventListener("hashchange", followAddress);
start();

async function start() {
  wireControls();
  try {
    config = await session.call("GET", "/client/config");
  } catch (error) {
    showSignIn(error.message);
    return;
  }
  $("sandbox").hidden = !config.sandbox;
  $("model").textContent = config.offline ? "offline planner" : config.model ?? "";
  session.firebase = config.firebase;
  if (session.token && !session.renewal?.pending) enter();
  else showSignIn();
}

// ---------------------------------------------------------------- signing in

function showSignIn(message = "") {
  leaveChat();
  chatList.clear();
  document.body.dataset.view = "sign-in";
  $("sign-in-error").textContent = message;
  $("development-sign-in").hidden = !config.development_sign_in;
  $("token-sign-in").hidden = Boolean(config.development_sign_in || config.firebase) || !config.environment;
  offerFirebase();
  closeDrawer();
}

/** Where the server names a project of Firebase, its users sign in there, and accept the terms. */
async function offerFirebase() {
  if (!config.firebase) return;
  try {
    const { acceptTerms, offerSignIn } = await import("./sign_in.js");
    const place = $("firebase-sign-in");
    if (session.token) acceptTerms(place, session).then(enter, (error) => { $("sign-in-error").textContent = error.message; });
    else offerSignIn(place, session, enter);
  } catch {
    $("sign-in-error").textContent = "Signing in could not be loaded. Check the connection and load the page again.";
  }
}

async function signIn(event) {
  event.preventDefault();
  const button = $("sign-in");
  button.disabled = true;
  try {
    const name = $("sign-in-name").value.trim() || "developer";
    const { token } = await session.call("POST", "/client/sign_in", { name });
    session.signIn(token, { keep: $("keep").checked });
    enter();
  } catch (error) {
    $("sign-in-error").textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

function useToken(event) {
  event.preventDefault();
  const token = $("token").value.trim();
  if (!token) return;
  $("token").value = "";
  session.signIn(token, { keep: $("keep-token").checked });
  enter();
}

function enter() {
  document.body.dataset.view = "chat";
  const outcome = takeLinking();
  followAddress();
  if (outcome.get("link") === "plaid") explainConnecting("/auth/plaid/login");
  else if (outcome.get("link")) explainConnecting(`/oauth_google/login?${new URLSearchParams({ provider: outcome.get("link"), feature: outcome.get("feature") ?? "", account: outcome.get("account") ?? "" })}`);
  else tellLinking(outcome);
  chatList.load().catch((error) => { if (error.status !== 401) showNotice(error.message); });
}

// ---------------------------------------------------------------- linking accounts

/** Tell what connecting would allow, before anybody leaves for a provider's page. */
async function explainConnecting(address) {
  try {
    const { askConnect } = await import("./connect.js");
    await askConnect(session, address, connect);
  } catch (error) {
    showNotice(error.message);
  }
}

/** Open the user's own pages, which are loaded when they are first wanted. */
async function showYou(page) {
  if (document.querySelector("dialog[open]")) return;
  closeDrawer();
  try {
    const { openYou } = await import("./you.js");
    openYou(session, { connect, signOut: () => session.signOut() }, page);
  } catch {
    showNotice("That page could not be loaded. Check the connection and try again.");
  }
}

/** Begin linking in the user's name: the server answers where to go, and knows this browser again. */
async function connect(address) {
  const { pathname, searchParams } = new URL(address, location.origin);
  searchParams.set("next", location.pathname + location.hash);
  try {
    const { url } = await session.call("GET", `${pathname}?${searchParams}`);
    storage.set("sessionStorage", LINKING, pathname.includes("/plaid/") && !searchParams.has("item_id") ? String(Date.now()) : "1");
    location.assign(url);
  } catch (error) {
    showNotice(error.message);
  }
}

/** Take what a flow came back with out of the address, so that a reload does not tell it again. */
function takeLinking() {
  const query = new URLSearchParams(location.search);
  if (location.search) history.replaceState(null, "", location.pathname + location.hash);
  return query;
}

function tellLinking(outcome) {
  const begun = storage.get("sessionStorage", LINKING);
  storage.set("sessionStorage", LINKING, null);
  if (!begun) return; // An address can be made up by anybody: only what this tab began is told.
  const missing = outcome.get("link_missing");
  if (outcome.get("link_error")) showNotice(outcome.get("link_message") ?? "The account was not connected.");
  else if (missing) showNotice(`The account is connected, without permission for: ${missing}.`);
  else if (outcome.get("linked")) {
    showNotice("The account is connected.");
    $("notice").dataset.tone = "good";
  } else if (begun > 1) tellBank(Number(begun));
}

/** A bank's page comes back without saying how it went: what is linked by now tells. */
async function tellBank(begun) {
  const { accounts } = await session.call("GET", "/auth/plaid/accounts").catch(() => ({ accounts: [] }));
  if (!accounts.some((bank) => Date.parse(bank.linked_at) > begun - 60_000)) return; // Clocks differ.
  showNotice("Your bank is connected.");
  $("notice").dataset.tone = "good";
}

// Back from a bank's page, this one may be as it was left.
addEventListener("pageshow", (event) => { if (event.persisted && session.token) tellLinking(new URLSearchParams()); });

// ---------------------------------------------------------------- the open chat

function followAddress() {
  // A sign-in link opened in a tab that is already here changes the fragment only.
  if (/^#(?:.*&)?token=/.test(location.hash)) { location.reload(); return; }
  if (!session.token) return;
  const match = location.hash.match(CHAT_ADDRESS);
  if (match?.[1] === chat?.chatId && chat) return;
  if (match) openChat(match[1]);
  else newChat();
}

function newChat() {
  if (location.hash) history.pushState(null, "", location.pathname + location.search);
  showChat(freshId(), true);
  closeDrawer();
  // On a phone focus would raise the keyboard over the examples.
  if (matchMedia("(pointer: fine)").matches) $("composer").focus({ preventScroll: true });
}

function openChat(id) {
  if (chat?.chatId === id) return;
  if (location.hash !== `#/chats/${id}`) history.pushState(null, "", `#/chats/${id}`);
  showChat(id, false);
}

function showChat(id, fresh) {
  leaveChat();
  $("scroller").scrollTop = 0;
  chat = new Chat(session, id, { scroller: $("scroller"), list: $("turns"), announcer: $("announcer"), fresh });
  chat.addEventListener("change", refresh);
  chat.addEventListener("title", ({ detail }) => { showTitle(detail); chatList.retitle(id, detail); });
  chat.addEventListener("state", ({ detail }) => showConnection(detail));
  chat.addEventListener("stale", () => showChat(id, false));
  chat.addEventListener("gone", () => { showNotice("This chat no longer exists."); newChat(); });
  showTitle(fresh ? "" : chatList.title(id));
  showConnection({ state: "off" });
  chatList.mark(fresh ? null : id);
  $("composer").value = storage.get("sessionStorage", DRAFT + (fresh ? "new" : id)) ?? "";
  fitComposer();
  $("notice").hidden = true;
  $("welcome").replaceChildren(...(fresh ? welcome(config, ask, () => showYou("accounts")).filter(Boolean) : []));
  refresh();
  chat.open();
}

function leaveChat() {
  call?.close();
  chat?.close();
  chat = null;
  $("turns").replaceChildren();
  $("announcer").replaceChildren();
}

function ask(text) {
  if (chat.fresh) {
    storage.set("sessionStorage", `${DRAFT}new`, null);
    begun(text.slice(0, 60));
  }
  $("notice").hidden = true;
  chat.ask(text);
}

/** A fresh chat has something in it: it gets its address and its place in the list. */
function begun(title) {
  if (!chat.fresh) return;
  chat.fresh = false;
  history.replaceState(null, "", `#/chats/${chat.chatId}`);
  chatList.add(chat.chatId, title);
  chatList.mark(chat.chatId);
}

/** Talk about the open chat. */
async function talk() {
  if (call) return;
  const about = chat;
  const { openVoice } = await import("./voice.js").catch(() => ({}));
  if (!openVoice) showNotice("Calls could not be loaded. Check the connection and try again.");
  if (!openVoice || call || chat !== about) return;
  $("notice").hidden = true;
  $("voice").disabled = true;
  call = openVoice({
    session, config, chat, place: $("composer-form"),
    actions: {
      began: () => { begun("Call"); refresh(); },
      closed: (focused) => { call = null; $("voice").disabled = false; if (focused) $("voice").focus(); },
    },
  });
}

function submit(event) {
  event?.preventDefault();
  const text = $("composer").value.trim();
  if (!text || !chat) return;
  const refusal = chat.refusal(text);
  if (refusal) {
    showNotice(refusal);
    return;
  }
  $("composer").value = "";
  keepDraft();
  fitComposer();
  ask(text);
}

function refresh() {
  if (!chat) return;
  const { running, empty } = chat;
  $("welcome").hidden = !(chat.fresh && empty);
  $("stop").hidden = !running;
  $("send").disabled = !$("composer").value.trim();
  $("latest").hidden = chat.following || empty;
}

function showTitle(title) {
  $("title").textContent = title;
  document.title = title ? `${title} · ODAI` : "ODAI";
}

function showConnection({ state, reason }) {
  const indicator = $("connection");
  indicator.dataset.state = state;
  $("connection-words").textContent = CONNECTION_WORDS[state];
  if (state !== "refused") return;
  showNotice(reason, h("button", { type: "button", class: "button secondary", onclick: () => session.signOut() }, "Sign in again"));
}

function showNotice(message, ...controls) {
  delete $("notice").dataset.tone;
  $("notice").replaceChildren(h("span", { dir: "auto" }, message), ...controls);
  $("notice").hidden = false;
}

function freshId() {
  // randomUUID exists on secure origins only; a laptop reached over the local network is none.
  if (crypto.randomUUID) return crypto.randomUUID().replaceAll("-", "");
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// ---------------------------------------------------------------- composer, drawer

function keepDraft() {
  if (chat) storage.set("sessionStorage", DRAFT + (chat.fresh ? "new" : chat.chatId), $("composer").value);
}

function fitComposer() {
  const box = $("composer");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, 220)}px`;
  $("send").disabled = !box.value.trim();
}

function closeDrawer() {
  delete document.body.dataset.drawer;
  $("menu").setAttribute("aria-expanded", "false");
}

function toggleDrawer() {
  if ("drawer" in document.body.dataset) {
    closeDrawer();
    return;
  }
  document.body.dataset.drawer = "open";
  $("menu").setAttribute("aria-expanded", "true");
  $("new-chat").focus();
}

async function showHelp() {
  closeDrawer();
  const { openHelp } = await import("./help.js").catch(() => ({}));
  openHelp?.();
}

/** The keys that help.js lists. */
function shortcut(event) {
  if (document.body.dataset.view !== "chat" || document.querySelector("dialog[open]")) return;
  const command = event.ctrlKey || event.metaKey;
  const writing = /^(?:INPUT|TEXTAREA)$/.test(event.target.tagName ?? "");
  if (command && !event.shiftKey && event.key.toLowerCase() === "k") $("search").focus();
  else if (command && event.shiftKey && event.key.toLowerCase() === "o") newChat();
  else if (command && event.key === ",") showYou();
  else if (event.key === "/" && !writing && !command) $("composer").focus();
  else if (event.key === "?" && !writing && !command) showHelp();
  else if (event.altKey && /^Arrow(?:Up|Down)$/.test(event.key) && (!writing || !event.target.value)) openNeighbour(event.key === "ArrowDown" ? 1 : -1);
  else if (event.key === "Escape" && chat?.running && !("drawer" in document.body.dataset)) chat.stop();
  else return;
  event.preventDefault();
}

function openNeighbour(by) {
  const id = chatList.neighbour(by);
  if (id) openChat(id);
}

function wireControls() {
  const composer = $("composer");
  $("composer-form").addEventListener("submit", submit);
  composer.addEventListener("input", () => {
    fitComposer();
    keepDraft();
    // Connecting while the user still types hides the handshake, and wakes a socket closed as idle.
    chat?.connection.ensure();
  });
  composer.addEventListener("beforeinput", (event) => {
    const text = event.data ?? event.dataTransfer?.getData("text/plain") ?? "";
    // Laying out a megabyte stops the page for seconds: what could never be sent is not taken in.
    const refusal = text.length > FAR_TOO_LONG && chat?.refusal(text);
    if (!refusal) return;
    event.preventDefault();
    showNotice(refusal);
  });
  composer.addEventListener("keydown", (event) => {
    // An input method's Enter chooses a word; it does not send.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) submit(event);
  });
  $("stop").addEventListener("click", () => chat?.stop());
  $("voice").addEventListener("click", talk);
  $("new-chat").addEventListener("click", newChat);
  $("latest").addEventListener("click", () => { chat.following = true; chat.follow(); });
  $("menu").addEventListener("click", toggleDrawer);
  $("scrim").addEventListener("click", closeDrawer);
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("a[data-connect]");
    if (!button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    explainConnecting(button.href);
  });
  let typing = 0;
  $("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => chatList.search($("search").value.trim(), $("found")), 200);
  });
  $("you").addEventListener("click", () => showYou());
  $("help").addEventListener("click", showHelp);
  document.addEventListener("keydown", (event) => shortcut(event));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && "drawer" in document.body.dataset && !document.querySelector("dialog[open]")) { closeDrawer(); $("menu").focus(); }
  });
  $("sign-out").addEventListener("click", () => session.signOut());
  $("development-sign-in").addEventListener("submit", signIn);
  $("token-sign-in").addEventListener("submit", useToken);
}
