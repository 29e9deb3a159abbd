// One turn on screen: what the user asked, what was done for it, what was answered.

import { ApprovalCard } from "./approval.js";
import { outputCard } from "./cards.js";
import { h, icon } from "./dom.js";
import { MarkdownStream } from "./markdown.js";

const STATUS_LINES = {
  stopped: "Stopped.",
  failed: "This answer was cut short.",
  waiting_for_approval: "Waiting for your decision.",
};

/**
 * `actions`: `decide(approvalId, approve, {arguments, always})`, `decision(approvalId)` (an earlier
 * `approval_decided`), `ask(text)`, `again(turn, text)` (null: the prompt as it was),
 * `announce(text)`, `rendered()`.
 */
export class TurnView {
  constructor(actions) {
    this.actions = actions;
    this.turnId = null;
    this.prompt = "";
    this.running = true;
    this.quiet = false; // history is shown, not announced
    this.answers = []; // {stream, element, sealed, confirmed}
    this.tools = new Map(); // call_id → {line, label, note, card}
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
  offerAgain() {
    if (!this.turnId || !this.prompt) return;
    this.editButton ??= h("button", {
      type: "button", class: "icon-button", "aria-label": "Edit this message", title: "Edit",
      dataset: { testid: "edit" }, onclick: () => this.edit(),
    }, icon("edit"));
    this.againButton ??= h("button", {
      type: "button", class: "icon-button", "aria-label": "Answer again", title: "Answer again",
      dataset: { testid: "regenerate" }, onclick: () => this.actions.again(this, null),
    }, icon("again"));
    this.bubble.before(this.editButton);
    this.foot.append(h("div", { class: "turn-actions" }, this.againButton));
  }

  edit() {
    const box = h("textarea", { rows: "1", dir: "auto", maxlength: "32000", "aria-label": "Message", dataset: { testid: "edit-text" } });
    box.value = this.prompt;
    const close = () => { form.remove(); this.bubble.hidden = this.editButton.hidden = false; };
    const send = () => {
      const text = box.value.trim();
      close();
      if (text) this.actions.again(this, text);
    };
    const form = h("form", { class: "edit-prompt" }, box, h("div", { class: "approval-buttons" },
      h("button", { type: "button", class: "button secondary", onclick: close }, "Cancel"),
      h("button", { type: "submit", class: "button", dataset: { testid: "edit-send" } }, "Send")));
    form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
    });
    this.bubble.hidden = this.editButton.hidden = true;
    this.bubble.before(form);
    box.style.height = `${Math.min(box.scrollHeight + 2, 260)}px`;
    box.focus();
    form.scrollIntoView({ block: "center" });
  }

  apply(event) {
    const handler = HANDLERS[event.type];
    if (handler) handler.call(this, event);
    this.thinking.hidden = !this.isThinking();
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
    const answer = { element, stream: new MarkdownStream(element, { afterRender: this.actions.rendered }), sealed: false, confirmed: false };
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

  sealAnswer() {
    const last = this.answers.at(-1);
    if (last) last.sealed = true;
  }

  // ---- tools

  toolCall({ call_id: callId, name, description }) {
    this.sealAnswer();
    const note = h("span", { class: "tool-note" });
    const label = h("span", { class: "tool-label", dir: "auto" }, description || name || "Working…");
    const mark = h("span", { class: "tool-mark" }, h("span", { class: "spinner" }));
    const line = h("div", { class: "tool-line", dataset: { testid: "tool-call", state: "running", tool: name ?? "" } }, mark, label, note);
    const holder = this.place(h("div", { class: "tool" }, line));
    this.tools.set(callId ?? `${name}#${this.tools.size}`, { line, mark, label, note, holder, name, busy: true });
    this.announce(label.textContent);
  }

  toolOutput(event) {
    const tool = this.tools.get(event.call_id) ?? [...this.tools.values()].find((one) => one.busy);
    const ok = event.ok !== false;
    if (tool) this.settleTool(tool, ok, ok ? "" : "did not work", event.duration_ms);
    const card = outputCard(event);
    if (card) (tool?.holder ?? this.parts).append(card);
  }

  /** The call waits for the user: it neither worked nor failed. */
  pauseTool(tool) {
    tool.busy = false;
    tool.line.dataset.state = "waiting";
    tool.mark.replaceChildren(icon("pause"));
    tool.note.textContent = "needs your approval";
  }

  settleTool(tool, ok, words, durationMs) {
    tool.busy = false;
    tool.line.dataset.state = ok ? "done" : "failed";
    tool.mark.replaceChildren(icon(ok ? "check" : "alert"), h("span", { class: "sr-only" }, ok ? "Done: " : "Failed: "));
    tool.label.textContent = tool.label.textContent.replace(/\s*(?:…|\.\.\.)$/, "");
    tool.note.textContent = [words, duration(durationMs)].filter(Boolean).join(" · ");
  }

  job({ call_id: callId, status, message }) {
    const tool = this.tools.get(callId);
    if (!tool?.busy) return;
    const words = { queued: "waiting its turn", running: "running", failed: "did not work" };
    tool.note.textContent = message || (words[status] ?? "");
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
    this.place(h("p", { class: "agent-line" }, icon("arrow"), words.charAt(0).toUpperCase() + words.slice(1)));
  }

  // ---- approvals

  approval(event) {
    if (this.approvals.has(event.approval_id)) return;
    this.sealAnswer();
    const card = new ApprovalCard(event, (approve, given) => this.actions.decide(event.approval_id, approve, given));
    this.approvals.set(event.approval_id, card);
    this.place(card.element);
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
    for (const { stream } of this.answers) stream.render();
    for (const tool of this.tools.values()) {
      if (!tool.busy) continue;
      if (status === "waiting_for_approval") this.pauseTool(tool);
      else this.settleTool(tool, false, status === "stopped" ? "stopped" : "no result");
    }
    const decided = status === "waiting_for_approval" && [...this.approvals.values()].every((card) => card.closed);
    const line = decided || (this.failed && status === "failed") ? null : STATUS_LINES[status];
    this.foot.replaceChildren(...(line ? [h("p", { class: "turn-status" }, line)] : []));
    if (line) this.announce(line);
    this.offerAgain();
  }

  suggest({ prompts }) {
    const usable = (prompts ?? []).map((entry) => entry?.prompt ?? entry).filter((text) => typeof text === "string" && text);
    if (!usable.length) return;
    this.clearSuggestions();
    this.foot.append(h("div", { class: "suggestions", role: "group", "aria-label": "Suggestions" },
      usable.slice(0, 4).map((text) => suggestionChip(text, this.actions.ask))));
    this.actions.rendered();
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

function duration(ms) {
  if (typeof ms !== "number") return "";
  return ms < 1000 ? `${Math.max(0.1, ms / 1000).toFixed(1)} s` : `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}
