// The open chat: its history, its socket, its turns on screen.

import { Connection } from "./connection.js";
import { h } from "./dom.js";
import { TurnView } from "./turn.js";

const NEAR_END_PX = 120;
const PAGE = 20;
const EARLIER = 50; // turns fetched at a time while scrolling back
const AHEAD = "1200px"; // earlier messages are fetched before the reader reaches them
const MAX_CHARACTERS = 32_000; // of a message, as the server counts
const MAX_FRAME_BYTES = 65_536;
const ANNOUNCED = 2_000;

/**
 * Events: "change" (running, empty or queue state changed), "title" (detail: text),
 * "state" (detail: the connection's), "gone" (the chat does not exist), "stale" (load it anew).
 */
export class Chat extends EventTarget {
  constructor(session, chatId, { scroller, list, announcer, fresh }) {
    super();
    Object.assign(this, { session, chatId, scroller, list, announcer, fresh });
    this.turns = new Map(); // turn_id → TurnView
    this.pending = new Map(); // prompt id → TurnView
    this.decisions = new Map(); // approval id → its approval_decided event
    this.deciding = []; // approval ids sent to the server and not yet decided
    this.forgotten = new Set(); // ids of turns that another answer took the place of
    this.again = null; // {view, gone, socket}: a regenerate or edit that the server has not begun
    this.following = true;
    this.editing = false; // what is being edited stays in sight
    this.alive = true;
    this.said = ""; // what the last "change" told
    this.connection = new Connection(session, chatId);
    this.connection.addEventListener("event", ({ detail }) => this.apply(detail));
    this.connection.addEventListener("state", ({ detail }) => this.emit("state", detail));
    this.top = 0; // where the list was scrolled to last
    this.onScroll = () => {
      const up = scroller.scrollTop < this.top;
      this.top = scroller.scrollTop;
      // What came since the last frame, or a keyboard that opened, has not moved the reader away.
      if (up || !this.following) this.following = this.distance() < NEAR_END_PX;
      this.changed();
    };
    scroller.addEventListener("scroll", this.onScroll, { passive: true });
    // What grows is followed once a frame, after its layout: asking for a height before would force one.
    this.resizes = new ResizeObserver(() => this.follow());
    this.resizes.observe(list);
    this.resizes.observe(scroller);
    list.replaceChildren();
  }

  get running() {
    for (const turn of this.turns.values()) if (turn.running) return true;
    return false;
  }

  get empty() {
    return !this.turns.size && !this.pending.size && !this.again;
  }

  async open() {
    if (this.fresh) return;
    const page = await this.page();
    if (!this.alive || !page) return;
    this.emit("title", page.chat?.title ?? "");
    const chips = page.turns.at(-1)?.events.findLast((event) => event.type === "suggested_prompts");
    if (chips) this.turns.get(page.turns.at(-1).turn_id).suggest(chips);
    this.connection.seen(page.cursor);
    this.following = true;
    this.follow();
    this.connection.ensure();
    this.changed();
  }

  async page(before = null) {
    const query = before ? `&before=${encodeURIComponent(before)}` : "";
    let page;
    try {
      page = await this.session.call("GET", `/chats/${this.chatId}/turns?limit=${before ? EARLIER : PAGE}${query}`);
    } catch (error) {
      if (error.status === 404) this.emit("gone");
      else if (this.alive) this.showError(error.message);
      return null;
    }
    if (!this.alive) return null;
    const bottom = this.scroller.scrollHeight - this.scroller.scrollTop;
    this.earlier?.remove();
    this.sight?.disconnect();
    const views = page.turns.map((turn) => this.restore(turn));
    this.list.prepend(...views.map((view) => view.element));
    if (page.more && page.turns.length) this.offerEarlier(page.turns[0].turn_id);
    if (before) this.scroller.scrollTop = this.scroller.scrollHeight - bottom;
    return page;
  }

  restore(turn) {
    const view = this.view();
    view.turnId = turn.turn_id;
    if (turn.prompt) view.setPrompt(turn.prompt);
    view.quiet = true;
    for (const event of turn.events) {
      if (event.type === "approval_decided") this.decided(event);
      else if (event.type !== "suggested_prompts") view.apply(event);
    }
    const last = turn.events.findLast((event) => Number.isInteger(event.seq));
    if (last) this.connection.lastSeq.set(turn.turn_id, last.seq);
    view.running = !turn.events.some((event) => event.type === "end_of_stream") && turn.status === "running";
    if (!view.running) view.end({ status: turn.status });
    view.apply({});
    view.quiet = false;
    if (view.running) view.goOn();
    this.turns.set(turn.turn_id, view);
    return view;
  }

  offerEarlier(before) {
    const load = async () => {
      if (button.disabled) return;
      button.disabled = true;
      button.textContent = "Loading earlier messages…";
      if (await this.page(before)) return;
      button.disabled = false;
      button.textContent = "Earlier messages";
    };
    const button = h("button", { type: "button", class: "quiet earlier", onclick: load }, "Earlier messages");
    this.earlier = button;
    this.list.prepend(button);
    this.sight = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) load(); },
      { root: this.scroller, rootMargin: `${AHEAD} 0px 0px` });
    this.sight.observe(button);
  }

  view() {
    return new TurnView({
      ask: (text) => this.ask(text),
      again: (turn, text) => this.askAgain(turn, text),
      decide: (approvalId, approve, given) => this.decide(approvalId, approve, given),
      decision: (approvalId) => this.decisions.get(approvalId),
      announce: (text) => this.announce(text),
      editing: (on) => { this.editing = on; },
      refusal: (text) => this.refusal(text),
    });
  }

  /** Why the server would not take this message, in a sentence, or "". */
  refusal(text) {
    return tooLong(text);
  }

  ask(text) {
    const id = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;
    const view = this.view();
    view.setPrompt(text);
    view.apply({});
    this.pending.set(id, view);
    this.add(view);
    this.following = true;
    this.follow();
    this.connection.prompt(text, id);
    this.changed();
  }

  /** Answer a prompt again, as it was or as `text`: that turn and all after it are forgotten. */
  askAgain(turn, text) {
    if (this.running || this.again || this.pending.size) return;
    const gone = [...this.turns.values()].filter((one) => one.turnId >= turn.turnId);
    for (const one of gone) {
      this.turns.delete(one.turnId);
      this.forgotten.add(one.turnId);
      one.element.remove();
    }
    const view = this.view();
    view.setPrompt(text ?? turn.prompt);
    view.apply({});
    this.list.append(view.element);
    const open = this.connection.state === "open";
    this.again = { view, gone, socket: open ? this.connection.socket : null };
    this.following = true;
    this.connection.send(text === null
      ? { type: "regenerate", message_id: turn.turnId }
      : { type: "edit", message_id: turn.turnId, text });
    this.follow();
    this.changed();
  }

  /** The server would not answer again: show what was there. */
  takeBackAgain() {
    const { view, gone } = this.again;
    this.again = null;
    view.element.remove();
    for (const one of gone) {
      this.turns.set(one.turnId, one);
      this.forgotten.delete(one.turnId);
      this.list.append(one.element);
    }
  }

  /** A lost socket may or may not have carried the request: the stored chat says what became of it. */
  checkAgain() {
    if (!this.again) return;
    this.again.socket ??= this.connection.socket;
    if (this.again.socket !== this.connection.socket) this.emit("stale");
  }

  decide(approvalId, approve, { arguments: changed = null, always = false } = {}) {
    this.deciding.push(approvalId);
    const frame = { type: approve ? "approve" : "deny", approval_id: approvalId };
    if (changed) frame.arguments = changed;
    if (always) frame.always = true;
    this.connection.send(frame);
  }

  decided(event) {
    this.decisions.set(event.approval_id, event);
    this.deciding = this.deciding.filter((id) => id !== event.approval_id);
    for (const turn of this.turns.values()) turn.approvalDecided(event);
  }

  stop() {
    const running = [...this.turns.values()].findLast((turn) => turn.running);
    this.connection.send({ type: "stop", turn_id: running?.turnId });
  }

  add(view) {
    for (const turn of this.turns.values()) turn.clearSuggestions();
    this.list.append(view.element);
  }

  apply(event) {
    if (event.type === "title") this.emit("title", event.title ?? event.name ?? "");
    else if (event.type === "hello") {
      if (event.title) this.emit("title", event.title);
      this.checkAgain();
    } else if (event.type === "prompt_queued") this.queued(event);
    else if (event.turn_id && this.forgotten.has(event.turn_id)) return;
    else if (event.turn_id) this.applyToTurn(event);
    else if (event.type === "error") this.refused(event);
    this.connection.busy = this.running;
    this.changed();
  }

  applyToTurn(event) {
    if (event.type === "approval_decided") this.decided(event);
    this.turnFor(event).apply(event);
  }

  /** An error outside a turn answers what was asked last and is not yet under way. */
  refused({ message }) {
    const approvalId = this.deciding.shift();
    const turn = [...this.turns.values()].find((one) => one.approvals.has(approvalId));
    if (turn) {
      turn.approvals.get(approvalId).refused(message);
      return;
    }
    if (this.again) this.takeBackAgain();
    else this.refusePending();
    this.showError(message);
  }

  queued({ prompt_id: promptId, position }) {
    const view = promptId ? this.pending.get(promptId) : this.again?.view;
    view?.setPrompt(view.prompt, position > 1 ? `Waiting: number ${position} in line` : "Waiting for the current answer to end");
    if (view) {
      view.running = false;
      view.apply({});
    }
  }

  /** An error outside a turn answers the oldest prompt that the server has not taken, if there is one. */
  refusePending() {
    const [promptId] = this.connection.unanswered.keys();
    if (!promptId) return;
    this.connection.unanswered.delete(promptId);
    this.pending.get(promptId)?.refuse();
  }

  turnFor(event) {
    const known = this.turns.get(event.turn_id);
    if (known) return known;
    const promptId = event.type === "turn_started" ? this.pendingId(event) : null;
    const again = event.type === "turn_started" && !event.prompt_id && event.prompt === this.again?.view.prompt;
    const view = again ? this.again.view : this.pending.get(promptId) ?? this.view();
    if (again) this.again = null;
    if (event.replaces && !again) this.forgetFrom(event.replaces);
    if (promptId) this.pending.delete(promptId);
    view.turnId = event.turn_id;
    view.running = true;
    this.turns.set(event.turn_id, view);
    // A turn of another tab comes before what is still waiting here.
    if (!view.element.isConnected) this.add(view);
    for (const waiting of this.pending.values()) this.list.append(waiting.element);
    for (const turn of this.turns.values()) if (turn !== view) turn.clearSuggestions();
    return view;
  }

  /** Another device edited or asked again: what it replaces is gone here too. */
  forgetFrom(turnId) {
    for (const [known, view] of this.turns) {
      if (known < turnId) continue;
      view.element.remove();
      this.turns.delete(known);
    }
  }

  pendingId({ prompt_id: promptId, prompt }) {
    if (promptId) return this.pending.has(promptId) ? promptId : null;
    return [...this.pending].find(([, view]) => view.prompt === prompt)?.[0] ?? null;
  }

  showError(message) {
    this.list.append(h("div", { class: "error", role: "alert", dataset: { testid: "error" } }, message));
    this.follow();
  }

  announce(text) {
    // One live region for the whole chat: a streaming element would be read out word by word.
    this.announcer.append(h("p", {}, text.slice(0, ANNOUNCED)));
    while (this.announcer.childElementCount > 4) this.announcer.firstElementChild.remove();
  }

  distance() {
    return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight;
  }

  follow() {
    if (this.following && !this.editing && !this.empty) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  close() {
    this.alive = false;
    this.connection.close();
    this.resizes.disconnect();
    this.sight?.disconnect();
    this.scroller.removeEventListener("scroll", this.onScroll);
  }

  /** Tell "change", if what it is about did change: deltas come a hundred times a second. */
  changed() {
    const says = `${this.running} ${this.empty} ${this.following}`;
    if (says === this.said) return;
    this.said = says;
    this.emit("change");
  }

  emit(name, detail) {
    if (this.alive) this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** Why the server would refuse this message for its length, or "". */
function tooLong(text) {
  const count = (number) => new Intl.NumberFormat().format(number);
  const characters = [...text].length;
  if (characters > MAX_CHARACTERS) {
    return `This message has ${count(characters)} characters; the most is ${count(MAX_CHARACTERS)}. Send it in parts.`;
  }
  const bytes = new TextEncoder().encode(JSON.stringify(text)).length + 200;
  return bytes > MAX_FRAME_BYTES ? `This message is ${count(Math.ceil(bytes / 1024))} KB; the most is 64 KB. Send it in parts.` : "";
}
