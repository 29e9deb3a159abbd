// One turn on screen: what the user asked, what was done for it, what was answered.

import { ApprovalCard, argumentList } from "./approval.js";
import { GOES_ON, outputCard } from "./cards.js";
import { everySecond, now, span } from "./clock.js";
import { copyButton } from "./copying.js";
import { h, icon } from "./dom.js";
import { MarkdownStream } from "./markdown.js";

const STATUS_LINES = {
  stopped: "Stopped.",
  failed: "This answer was cut short.",
  waiting_for_approval: "Waiting for your decision.",
};

const JOB_WORDS = { queued: "waiting its turn", again: "waiting to try again", running: "at work", progress: "at work", failed: "did not work" };
const ULID = /^[0-9A-HJKMNP-TV-Z]{26}$/;
const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const SLOW_S = 3; // what takes longer is counted on screen
const TAINTED = "This answer has read text by strangers: I ask before I act on it.";

/**
 * `actions`: `decide(approvalId, approve, {arguments, always})`, `decision(approvalId)` (an earlier
 * `approval_decided`), `ask(text)`, `again(turn, text)` (null: the prompt as it was),
 * `refusal(text)` (why a text is not taken, or ""), `editing(on)`, `announce(text)`.
 */
export class TurnView {
  constructor(actions) {
    this.actions = actions;
    this.turnId = null;
    this.prompt = "";
    this.running = true;
    this.quiet = false; // history is shown, not announced
    this.answers = []; // {stream, element, sealed, confirmed}
    this.tools = new Map(); // call_id → {holder, step, line, mark, label, note, begun, busy}
    this.approvals = new Map();
    this.agent = null;
    this.parts = h("div", { class: "parts" });
    this.thinking = h("div", { class: "thinking", "aria-hidden": "true" }, h("i"), h("i"), h("i"));
    this.foot = h("div", { class: "turn-foot" });
    this.element = h("section", { class: "turn" }, this.parts, this.thinking, this.foot);
  }

  setPrompt(text, state = "") {
    this.prompt = text;
    if (!this.bubble) {
      this.bubble = h("div", { class: "message-user", dir: "auto", dataset: { testid: "message-user" } });
      this.note = h("p", { class: "prompt-note", role: "status" });
      this.element.prepend(h("div", { class: "from-user" }, h("h2", { class: "sr-only" }, "You said"), this.bubble, this.note));
    }
    this.bubble.textContent = text;
    this.note.textContent = state;
  }

  /** What may be done with a turn that ended; a turn that the user did not begin has no prompt. */
  offerActions() {
    if (!this.turnId) return;
    const actions = h("div", { class: "turn-actions" });
    if (this.answers.length) actions.append(this.copyButton ??= copyButton(
      () => this.answers.map(({ stream }) => stream.text.trim()).filter(Boolean).join("\n\n"),
      { class: "icon-button", testid: "copy", name: "Copy this answer" }));
    if (this.prompt) this.offerAgain(actions);
    if (actions.childElementCount) this.foot.append(actions);
  }

  offerAgain(actions) {
    this.editButton ??= h("button", {
      type: "button", class: "icon-button", "aria-label": "Edit this message", title: "Edit",
      dataset: { testid: "edit" }, onclick: () => this.edit(),
    }, icon("edit"));
    this.againButton ??= h("button", {
      type: "button", class: "icon-button", "aria-label": "Answer again", title: "Answer again",
      dataset: { testid: "regenerate" }, onclick: () => this.actions.again(this, null),
    }, icon("again"));
    this.bubble.before(this.editButton);
    actions.append(this.againButton);
  }

  edit() {
    const box = h("textarea", { rows: "1", dir: "auto", "aria-label": "Message", dataset: { testid: "edit-text" } });
    const problem = h("p", { class: "prompt-note", role: "alert" });
    box.value = this.prompt;
    const close = () => {
      form.remove();
      this.bubble.hidden = this.editButton.hidden = false;
      this.actions.editing(false);
    };
    const cancel = () => { close(); this.editButton.focus(); };
    const send = () => {
      const text = box.value.trim();
      problem.textContent = this.actions.refusal(text);
      if (problem.textContent) return;
      close();
      if (text) this.actions.again(this, text);
    };
    const form = h("form", { class: "edit-prompt" }, box, problem, h("div", { class: "approval-buttons" },
      h("button", { type: "button", class: "button secondary", onclick: cancel }, "Cancel"),
      h("button", { type: "submit", class: "button", dataset: { testid: "edit-send" } }, "Send")));
    form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") cancel();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
    });
    this.bubble.hidden = this.editButton.hidden = true;
    this.bubble.before(form);
    this.actions.editing(true);
    box.style.height = `${Math.min(box.scrollHeight + 2, 260)}px`;
    box.focus();
    form.scrollIntoView({ block: "center" });
  }

  apply(event) {
    const handler = HANDLERS[event.type];
    if (handler) handler.call(this, event);
    const idle = !this.isThinking();
    if (this.thinking.hidden !== idle) this.thinking.hidden = idle;
  }

  isThinking() {
    if (!this.running) return false;
    const answering = this.answers.some((answer) => !answer.sealed && !answer.confirmed);
    return !answering && ![...this.tools.values()].some((tool) => tool.busy);
  }

  announce(text) {
    if (!this.quiet) this.actions.announce(text);
  }

  place(element) {
    this.parts.append(element);
    return element;
  }

  // ---- answers

  openAnswer() {
    const last = this.answers.at(-1);
    if (last && !last.sealed && !last.confirmed) return last;
    const element = this.place(h("div", { class: "message-assistant", dataset: { testid: "message-assistant" } }));
    const answer = { element, stream: new MarkdownStream(element), sealed: false, confirmed: false };
    this.answers.push(answer);
    return answer;
  }

  delta({ delta }) {
    if (typeof delta === "string" && delta) this.openAnswer().stream.append(delta);
  }

  wholeAnswer({ response, partial }) {
    if (typeof response !== "string" || !response.trim()) return;
    // The whole text may come after the tool call that followed it: find the answer it belongs to.
    const unconfirmed = this.answers.filter((answer) => !answer.confirmed);
    const answer = unconfirmed.find(({ stream }) => response.startsWith(stream.text.trimEnd())) ??
      unconfirmed.at(-1) ?? this.openAnswer();
    answer.stream.replace(response);
    answer.confirmed = !partial;
    if (answer.confirmed) this.announce(answer.element.textContent);
  }

  /** What the user said by voice: while this turn went on, or to begin it, told late. */
  transcript({ text, begins }) {
    const bubble = h("div", { class: "from-user" }, h("h2", { class: "sr-only" }, "You said"),
      h("div", { class: "message-user", dir: "auto", dataset: { testid: "message-user" } }, text));
    if (begins) {
      this.element.prepend(bubble);
      return;
    }
    this.sealAnswer();
    this.place(bubble);
  }

  sealAnswer() {
    const last = this.answers.at(-1);
    if (last) last.sealed = true;
  }

  // ---- tools

  toolCall({ call_id: callId, name, description, arguments: given, current_agent: agent }) {
    this.sealAnswer();
    const note = h("span", { class: "tool-note" });
    const label = h("span", { class: "tool-label", dir: "auto" }, description || name || "Working…");
    const mark = h("span", { class: "tool-mark" }, h("span", { class: "spinner" }));
    const line = h("summary", { class: "tool-line", dataset: { testid: "tool-call", state: "running", tool: name ?? "" } }, mark, label, note);
    const step = h("details", { class: "tool-step" }, line);
    // Most are never opened: what a call was given is drawn when somebody looks.
    step.addEventListener("toggle", () => step.append(callFacts({ name, agent, given })), { once: true });
    const holder = this.place(h("div", { class: "tool step" }, step));
    const tool = { holder, step, line, mark, label, note, begun: performance.now(), busy: true, words: "" };
    this.tools.set(callId ?? `${name}#${this.tools.size}`, tool);
    if (!this.quiet) this.keepCounting(tool);
    this.announce(label.textContent);
  }

  /** What a chat that is opened finds at work is counted from when its turn began. */
  goOn() {
    const ago = now() - begunAt(this.turnId);
    for (const tool of this.tools.values()) {
      if (!tool.busy) continue;
      if (ago > 0) tool.begun = performance.now() - ago;
      this.keepCounting(tool);
    }
  }

  keepCounting(tool) {
    everySecond(tool.note, () => this.count(tool));
  }

  /** Count the seconds of a call that takes its time. */
  count(tool) {
    if (!tool.busy) return false;
    const seconds = (performance.now() - tool.begun) / 1000;
    tool.note.textContent = [tool.words, seconds >= SLOW_S && span(seconds)].filter(Boolean).join(" · ");
    return true;
  }

  toolOutput(event) {
    const tool = this.tools.get(event.call_id) ?? [...this.tools.values()].find((one) => one.busy);
    const ok = event.ok !== false;
    if (tool && event.output?.response_type === GOES_ON) this.pauseTool(tool, "goes on in the background");
    else if (tool) this.settleTool(tool, ok, ok ? "" : "did not work", event.duration_ms);
    if (event.untrusted) this.taint(tool);
    const card = outputCard(event);
    if (card) (tool?.holder ?? this.parts).append(card);
  }

  /** From here on the turn has read what anybody may have written: said once, and marked where it came in. */
  taint(tool) {
    tool?.line.querySelector(".tool-label").after(h("span", { class: "taint-mark", title: "Text by strangers" },
      icon("eye"), h("span", { class: "sr-only" }, "Read text by strangers. ")));
    if (this.tainted) return;
    this.tainted = h("p", { class: "taint", dataset: { testid: "taint" } }, icon("eye"), TAINTED);
    this.parts.after(this.tainted);
  }

  /** The call waits, for the user or for a slow service: it neither worked nor failed. */
  pauseTool(tool, words) {
    tool.busy = false;
    tool.bar?.remove();
    tool.line.dataset.state = "waiting";
    tool.mark.replaceChildren(icon("pause"));
    tool.note.textContent = words;
  }

  settleTool(tool, ok, words, durationMs) {
    tool.busy = false;
    tool.bar?.remove();
    tool.line.dataset.state = ok ? "done" : "failed";
    tool.mark.replaceChildren(icon(ok ? "check" : "alert"), h("span", { class: "sr-only" }, ok ? "Done: " : "Failed: "));
    tool.label.textContent = tool.label.textContent.replace(/\s*(?:…|\.\.\.)$/, "");
    tool.note.textContent = [words, duration(durationMs)].filter(Boolean).join(" · ");
  }

  job({ call_id: callId, status, message }) {
    const tool = this.tools.get(callId);
    if (!tool?.busy) return;
    tool.words = JOB_WORDS[status === "queued" && tool.words ? "again" : status] ?? "";
    this.count(tool);
    if (message) tool.label.textContent = message;
    if (status === "done" || status === "failed") return;
    tool.bar ??= h("progress", { class: "tool-progress", "aria-label": "Progress", dataset: { testid: "job" } });
    const percent = /(\d{1,3}(?:\.\d+)?)\s?%/.exec(message ?? "");
    if (percent) Object.assign(tool.bar, { max: 100, value: Math.min(100, Number(percent[1])) });
    tool.step.after(tool.bar);
  }

  setAgent({ type, new_agent: newAgent, name }) {
    const raw = String((type === "handoff" ? name : newAgent ?? name) ?? "");
    const words = raw.replace(/^(?:transfer|handoff|hand_off)_to_/, "").replace(/[_-]+/g, " ").replace(/\s*agent$/i, "").trim();
    const key = words.toLowerCase();
    if (!key || key === this.agent || key === "handoff requested" || key === "handoff occured") return;
    const first = this.agent === null;
    this.agent = key;
    // The turn opens with the orchestrator: only a change of speaker is news.
    if (first && /^(odai|orchestrator|assistant)$/.test(key)) return;
    this.sealAnswer();
    this.place(h("p", { class: "agent-line step", dataset: { testid: "handoff" } }, h("span", { class: "tool-mark" }, icon("arrow")),
      h("span", { class: "sr-only" }, "Handed over to "), words.charAt(0).toUpperCase() + words.slice(1)));
  }

  // ---- approvals

  approval(event) {
    if (this.approvals.has(event.approval_id)) return;
    this.sealAnswer();
    const card = new ApprovalCard(event, (approve, given) => this.actions.decide(event.approval_id, approve, given));
    this.approvals.set(event.approval_id, card);
    this.place(card.element);
    if (event.tainted && this.tainted) this.tainted.hidden = true; // the card says it, where it matters
    const known = this.actions.decision(event.approval_id);
    if (known) this.approvalDecided(known);
    else this.announce(`Your approval is needed: ${card.heading}`);
  }

  /** A decision is told in a turn of its own: every turn hears of it, and the one that asked acts. */
  approvalDecided(event) {
    const card = this.approvals.get(event.approval_id);
    if (!card) return;
    card.decided(event);
    if ([...this.approvals.values()].every((one) => one.closed)) this.foot.querySelector(".turn-status")?.remove();
  }

  // ---- endings

  /** The server would not take this prompt: nothing is coming. */
  refuse() {
    this.running = false;
    this.thinking.hidden = true;
    if (this.note) this.note.textContent = "Not sent.";
  }

  error({ message, retryable }) {
    this.failed = true;
    const again = retryable && this.prompt && h("button", {
      type: "button", class: "button secondary", onclick: () => this.actions.ask(this.prompt),
    }, "Try again");
    this.place(h("div", { class: "error", role: "alert", dataset: { testid: "error" } },
      icon("alert"), h("span", { dir: "auto" }, message || "Something went wrong."), again));
  }

  end({ status }) {
    this.running = false;
    this.element.removeAttribute("aria-busy");
    for (const { stream } of this.answers) stream.finish();
    for (const tool of this.tools.values()) {
      if (!tool.busy) continue;
      if (status === "waiting_for_approval") this.pauseTool(tool, "needs your approval");
      else this.settleTool(tool, false, status === "stopped" ? "stopped" : "no result");
    }
    const decided = status === "waiting_for_approval" && [...this.approvals.values()].every((card) => card.closed);
    const line = decided || (this.failed && status === "failed") ? null : STATUS_LINES[status];
    this.foot.replaceChildren(...(line ? [h("p", { class: "turn-status" }, line)] : []));
    if (line) this.announce(line);
    this.offerActions();
  }

  suggest({ prompts }) {
    const usable = (prompts ?? []).map((entry) => entry?.prompt ?? entry).filter((text) => typeof text === "string" && text);
    if (!usable.length) return;
    this.clearSuggestions();
    this.foot.append(h("div", { class: "suggestions", role: "group", "aria-label": "Suggestions" },
      usable.slice(0, 4).map((text) => suggestionChip(text, this.actions.ask))));
  }

  clearSuggestions() {
    this.foot.querySelector(".suggestions")?.remove();
  }
}

const HANDLERS = {
  turn_started(event) {
    this.turnId = event.turn_id;
    this.running = true;
    this.foot.replaceChildren();
    this.element.setAttribute("aria-busy", "true");
    if (event.prompt) this.setPrompt(event.prompt);
  },
  transcript: TurnView.prototype.transcript,
  raw_response_event: TurnView.prototype.delta,
  llm_response: TurnView.prototype.wholeAnswer,
  tool_call: TurnView.prototype.toolCall,
  tool_output: TurnView.prototype.toolOutput,
  job: TurnView.prototype.job,
  agent_updated: TurnView.prototype.setAgent,
  handoff: TurnView.prototype.setAgent,
  approval_required: TurnView.prototype.approval,
  error: TurnView.prototype.error,
  end_of_stream: TurnView.prototype.end,
  suggested_prompts: TurnView.prototype.suggest,
};

export function suggestionChip(text, ask, label = null) {
  return h("button", { type: "button", class: "chip", dir: "auto", dataset: { testid: "suggestion" }, onclick: () => ask(text) },
    label && h("small", {}, label), h("span", {}, text));
}

/** What a call was: its tool, the agent that made it, and exactly what it was given. */
function callFacts({ name, agent, given }) {
  const facts = [["Tool", name], ["Asked by", agent]].filter(([, value]) => typeof value === "string" && value);
  return h("div", { class: "tool-facts", dataset: { testid: "tool-facts" } },
    h("p", {}, facts.map(([title, value], at) => [at > 0 && " · ", `${title}: `, h("code", {}, value)])),
    argumentList(given) ?? h("p", {}, "It was given nothing."));
}

/** When a turn began, in milliseconds since 1970, as its id tells it; NaN for an id of another kind. */
function begunAt(turnId) {
  if (!ULID.test(turnId ?? "")) return NaN;
  return [...turnId.slice(0, 10)].reduce((sum, digit) => sum * 32 + DIGITS.indexOf(digit), 0);
}

function duration(ms) {
  if (typeof ms !== "number") return "";
  return ms < 1000 ? `${Math.max(0.1, ms / 1000).toFixed(1)} s` : `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}
