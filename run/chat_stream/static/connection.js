// One chat's socket: a fresh ticket for every attempt, resume by cursor, every event once, in order.

import { ApiError } from "./session.js";

const FIRST_DELAY_MS = 400;
const LONGEST_DELAY_MS = 20_000;
const PONG_PATIENCE_MS = 6_000;
const SILENCE_MS = 25_000;
const IDLE = 4000;
const REFUSED = 1008;
const TOO_BIG = 1009;
const TRY_LATER = 1013;

/**
 * Events: "event" (detail: a protocol event, deduplicated), "state" (detail: {state, reason}).
 * States: off, connecting, open, waiting (a retry is due), idle (until the user types), refused.
 */
export class Connection extends EventTarget {
  constructor(session, chatId) {
    super();
    this.session = session;
    this.chatId = chatId;
    this.cursor = null;
    this.lastSeq = new Map(); // turn_id → last seq seen
    this.askedFor = null; // the gap a resume was sent for
    this.outbox = []; // frames to send once open
    this.unanswered = new Map(); // prompt id → frame, until the server took it
    this.state = "off";
    this.attempts = 0;
    this.refused = false; // the last socket was
    this.busy = false;
    this.onWake = () => this.wake();
    window.addEventListener("online", this.onWake);
    document.addEventListener("visibilitychange", this.onWake);
  }

  /** Remember a position learned from history, so that the socket goes on from there. */
  seen(cursor) {
    if (!cursor) return;
    const split = cursor.lastIndexOf(":");
    this.lastSeq.set(cursor.slice(0, split), Number(cursor.slice(split + 1)));
    this.cursor = cursor;
  }

  /** Connect unless connected or on the way; what idles or waits is woken. */
  ensure() {
    if (this.state === "open" || this.state === "connecting" || this.state === "refused") return;
    clearTimeout(this.timer);
    this.connect();
  }

  /** Send a prompt; it is sent again after a lost connection until the server has taken it (same id: one turn). */
  prompt(text, id) {
    const frame = { type: "prompt", text, id };
    this.unanswered.set(id, frame);
    if (this.state === "open") this.write(frame);
    else this.ensure();
  }

  send(frame) {
    if (this.state === "open") this.write(frame);
    else {
      this.outbox.push(frame);
      this.ensure();
    }
  }

  close() {
    window.removeEventListener("online", this.onWake);
    document.removeEventListener("visibilitychange", this.onWake);
    clearTimeout(this.timer);
    clearInterval(this.watch);
    this.closed = true;
    this.drop();
  }

  async connect() {
    this.become("connecting");
    let ticket;
    try {
      ({ ticket } = await this.session.call("POST", "/tickets"));
    } catch (error) {
      this.ticketFailed(error);
      return;
    }
    if (this.closed) return;
    const query = this.cursor ? `?cursor=${encodeURIComponent(this.cursor)}` : "";
    const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/chats/${this.chatId}${query}`;
    const socket = new WebSocket(address, ["odai.v1", `ticket.${ticket}`]);
    this.socket = socket;
    const current = (handler) => (event) => { if (this.socket === socket) handler(event); };
    socket.addEventListener("open", current(() => this.opened()));
    socket.addEventListener("message", current(({ data }) => this.received(data)));
    socket.addEventListener("close", current(({ code, reason }) => this.lost(code, reason)));
  }

  ticketFailed(error) {
    if (this.closed || error.status === 401) return;
    const lasting = error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429;
    if (lasting) this.become("refused", error.message);
    else this.retry(error.retryAfter * 1000);
  }

  opened() {
    this.askedFor = null;
    this.heard = performance.now();
    this.become("open");
    for (const frame of this.unanswered.values()) this.write(frame);
    for (const frame of this.outbox.splice(0)) this.write(frame);
    clearInterval(this.watch);
    this.watch = setInterval(() => {
      if (this.busy && performance.now() - this.heard > SILENCE_MS) this.probe();
    }, 5_000);
  }

  lost(code, reason) {
    clearInterval(this.watch);
    // A ticket may go stale on a slow way: a refusal counts when a fresh one is refused as well.
    const again = code === REFUSED && !this.refused;
    this.refused = code === REFUSED;
    if (again) this.retry(0);
    else if (code === REFUSED) this.become("refused", reason || "The server refused this connection.");
    else if (code === TOO_BIG) this.tooBig();
    else if (code === IDLE && !this.unanswered.size) this.become("idle");
    else this.retry(code === TRY_LATER ? 3_000 : 0);
  }

  /** Sent again, it would be refused again: what was too long is given up, and said. */
  tooBig() {
    this.outbox.length = 0;
    const event = { type: "error", code: "invalid_input", message: "That is longer than the server takes. Send less at a time.", retryable: false };
    this.dispatchEvent(new CustomEvent("event", { detail: event }));
    this.retry(0);
  }

  retry(atLeastMs) {
    const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.attempts);
    this.attempts += 1;
    this.become("waiting");
    // Full jitter above a floor: a restarted server must not meet everybody at once.
    this.timer = setTimeout(() => this.connect(), Math.max(atLeastMs, ceiling * (0.3 + 0.7 * Math.random())));
  }

  /** The tab came back or the network did: retry now, or find out whether the socket still lives. */
  wake() {
    if (document.visibilityState !== "visible") return;
    if (this.state === "waiting") this.ensure();
    else if (this.state === "open") this.probe();
  }

  probe() {
    const asked = performance.now();
    this.write({ type: "ping" });
    setTimeout(() => {
      if (this.closed || this.state !== "open" || this.heard >= asked) return;
      this.drop();
      this.lost(1006, "");
    }, PONG_PATIENCE_MS);
  }

  drop() {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  write(frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  received(data) {
    this.heard = performance.now();
    const event = parsed(data);
    if (!event) return;
    // Only a server that speaks resets the backoff: one that accepts and hangs up must not be hammered.
    this.attempts = 0;
    this.refused = false;
    // Who brought no cursor is shown what follows this one.
    if (event.type === "hello" && this.cursor === null) this.seen(event.cursor);
    if (event.turn_id && Number.isInteger(event.seq) && !this.isNext(event)) return;
    this.acknowledge(event);
    this.dispatchEvent(new CustomEvent("event", { detail: event }));
  }

  isNext({ turn_id: turnId, seq, from_seq: fromSeq = seq }) {
    const last = this.lastSeq.get(turnId) ?? 0;
    if (seq <= last) return false;
    const gap = `${turnId}:${last}`;
    // A hole, or a merged range that overlaps what was seen: ask once for what follows, in order.
    if (fromSeq !== last + 1 && this.askedFor !== gap) {
      this.askedFor = gap;
      this.write({ type: "resume", cursor: gap });
      return false;
    }
    this.lastSeq.set(turnId, seq);
    this.cursor = `${turnId}:${seq}`;
    return true;
  }

  acknowledge({ type, prompt_id: promptId }) {
    if ((type === "turn_started" || type === "prompt_queued") && promptId) this.unanswered.delete(promptId);
    else if (type === "turn_started" && this.unanswered.size) {
      this.unanswered.delete(this.unanswered.keys().next().value);
    }
  }

  become(state, reason = "") {
    if (this.closed) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, reason } }));
  }
}

/** The event in a frame, or null for what is none: nothing a server sends may end the conversation. */
function parsed(data) {
  try {
    const event = JSON.parse(data);
    return event && typeof event === "object" && typeof event.type === "string" ? event : null;
  } catch {
    return null;
  }
}
