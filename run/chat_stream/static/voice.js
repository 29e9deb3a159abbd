// The panel of a call, above the message box: what is going on, how loud, and the few things to be done.
// Loaded with the first call, so that a page that is only read and written stays small.

import { h, icon } from "./dom.js";
import { storage } from "./session.js";
import { VoiceCall } from "./voice_call.js";

const MANNER = "odai.voice.manner";
const TAP_MS = 300; // a shorter press holds by itself: not everybody can keep a button down
const WORDS = {
  connecting: "Connecting…", ready: "Ready", listening: "Listening", muted: "Muted", thinking: "Thinking…", speaking: "Speaking",
};
const STYLE = "/static/voice.css";
const NOT_LOADED = "The telephone could not be loaded. Check the connection, then try again.";
const KEYS = matchMedia("(pointer: fine)");

/**
 * Begin a call about `chat`, in a panel before `place`; call it in the handler of a tap. `actions`: `began()`
 * (the chat has a turn), `closed()`. Returns `{close()}`.
 */
export function openVoice({ session, config, chat, place, actions }) {
  return new Panel({ session, config, chat, actions }, place);
}

class Panel {
  constructor(about, place) {
    this.about = about;
    this.latched = false;
    this.phoning = Boolean(about.config.phone && !about.config.voice);
    this.pushing = storage.get("localStorage", MANNER) === "push";
    this.build();
    loadStyle();
    place.before(this.element);
    this.observe();
    // The chat reads answers out to a screen reader; on a call they are heard already.
    about.chat.announcer.setAttribute("aria-live", "off");
    this.call();
  }

  build() {
    const button = (name, label, onclick, ...children) => h("button", {
      type: "button", class: "voice-button", "aria-label": label, title: label, dataset: { testid: `voice-${name}` }, onclick,
    }, ...children);
    this.words = h("span", { class: "voice-words", role: "status", dataset: { testid: "voice-state" } });
    this.meters = ["You", "ODAI"].map((whose) => h("span", { class: "voice-meter", title: whose, "aria-hidden": "true", dataset: { whose } }, h("i")));
    this.talk = h("button", {
      type: "button", class: "button voice-talk", "aria-pressed": "false", dataset: { testid: "voice-talk" },
    });
    this.muteButton = button("mute", "Mute the microphone", () => this.voice.mute(!this.voice.muted), icon("mic"));
    this.stopButton = button("interrupt", "Stop the answer (Escape)", () => this.voice.interrupt(), icon("stop"));
    this.hangUpButton = button("hang-up", "Hang up", () => this.voice.hangUp(), icon("hang_up"));
    this.manner = h("input", {
      type: "checkbox", dataset: { testid: "voice-manner" }, onchange: () => this.choose(this.manner.checked),
    });
    this.manner.checked = this.pushing;
    this.lineButton = button("line", "", () => this.change());
    this.lineButton.className = "quiet voice-line";
    this.hint = h("p", { class: "voice-hint" });
    this.problem = h("div", { class: "voice-problem", role: "alert", dataset: { testid: "voice-problem" }, hidden: true });
    this.live = h("div", { class: "voice-live" },
      h("div", { class: "voice-row" },
        h("span", { class: "voice-dot", "aria-hidden": "true" }), this.words, ...this.meters,
        h("span", { class: "voice-buttons" }, this.talk, this.stopButton, this.muteButton, this.hangUpButton)),
      h("div", { class: "voice-row voice-foot" }, this.hint, this.lineButton,
        this.mannerLabel = h("label", { class: "voice-manner" }, this.manner, "Push to talk")));
    this.element = h("section", {
      class: "voice", tabindex: "-1", "aria-label": "Call", dataset: { testid: "voice" },
    }, this.live, this.problem);
    this.wireTalk();
    this.element.addEventListener("keydown", (event) => this.key(event, true));
    this.element.addEventListener("keyup", (event) => this.key(event, false));
  }

  /** Begin, or begin again. */
  call() {
    if (!this.phoning) {
      this.begin(VoiceCall); // at once: a browser lets a page sound in the handler of a tap
      return;
    }
    import("./voice_phone.js").then(({ PhoneCall }) => this.begin(PhoneCall), () => this.over(NOT_LOADED));
  }

  begin(Call) {
    this.latched = false;
    this.problem.hidden = true;
    this.live.hidden = false;
    const voice = this.voice = new Call({ ...this.about, pushing: this.pushing });
    const on = (name, act) => voice.addEventListener(name, ({ detail }) => { if (voice === this.voice) act(detail); });
    on("state", () => this.show());
    on("levels", (levels) => this.measure(levels));
    on("began", () => this.about.actions.began());
    on("approval", (title) => { this.asking = title; this.show(); });
    on("over", (why) => this.over(why));
    this.element.focus({ preventScroll: true });
    this.show();
    voice.start();
  }

  // ---- what is shown

  show() {
    const { state, pushing, muted, talking, slow } = this.voice;
    if (state === "over") return;
    if (this.shown !== state) {
      this.shown = state;
      this.element.dataset.state = state;
      this.words.textContent = WORDS[state];
    }
    this.talk.hidden = !pushing;
    this.mannerLabel.hidden = this.phoning;
    this.lineButton.hidden = !(this.about.config.phone && this.about.config.voice);
    this.lineButton.textContent = this.phoning ? "Use the app's line" : "Use the telephone";
    this.talk.disabled = state === "connecting";
    this.talk.setAttribute("aria-pressed", String(talking));
    this.talk.replaceChildren(icon("mic"), talking ? (this.latched ? "Tap to send" : "Release to send") : "Hold to talk");
    this.muteButton.hidden = pushing;
    this.muteButton.setAttribute("aria-pressed", String(muted));
    this.muteButton.replaceChildren(icon(muted ? "mute" : "mic"));
    this.stopButton.hidden = state !== "speaking";
    this.hint.textContent = this.advice({ muted, pushing, slow });
  }

  advice({ muted, pushing, slow }) {
    if (slow) return "The network is too slow for your voice. You can type below.";
    if (this.asking) return `Your approval is needed: ${this.asking}`;
    if (muted && !pushing) return "Nothing you say is sent.";
    if (pushing && KEYS.matches) return "Hold the button or Space while you speak; a tap keeps it down.";
    if (pushing) return "Hold the button while you speak; a tap keeps it down.";
    return "Speak when you like, also over the answer.";
  }

  /** Draw how loud it is, once a frame. A style's property is set by script, which the page's policy allows. */
  measure(levels) {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      if (!this.voice) return;
      const { mine, theirs } = this.voice.over ? { mine: 0, theirs: 0 } : levels;
      [this.voice.open ? mine : 0, theirs].forEach((level, i) => {
        // Loudness as it is felt: half the bar is about a tenth of the power.
        this.meters[i].firstChild.style.setProperty("--level", Math.min(1, Math.sqrt(level * 2.5)).toFixed(3));
      });
    });
  }

  over(why) {
    this.shown = null;
    this.asking = "";
    this.element.dataset.state = "over";
    if (!why) {
      this.close();
      return;
    }
    const again = h("button", { type: "button", class: "button secondary", dataset: { testid: "voice-again" }, onclick: () => this.call() }, "Call again");
    this.live.hidden = true;
    this.problem.replaceChildren(h("span", { dir: "auto" }, why), again,
      h("button", { type: "button", class: "quiet", dataset: { testid: "voice-close" }, onclick: () => this.close() }, "Close"));
    this.problem.hidden = false;
    if (document.activeElement === document.body || this.element.contains(document.activeElement)) again.focus();
  }

  close() {
    if (!this.element.isConnected) return;
    const focused = this.element.contains(document.activeElement) || document.activeElement === document.body;
    this.element.remove();
    this.voice?.hangUp();
    removeEventListener("pagehide", this.leave);
    this.about.chat.announcer.setAttribute("aria-live", "polite");
    this.about.actions.closed(focused);
  }

  observe() {
    this.leave = () => this.close();
    addEventListener("pagehide", this.leave);
  }

  // ---- talking

  /** Go on by the other line. */
  change() {
    const { voice } = this;
    this.voice = null;
    voice.hangUp();
    this.phoning = !this.phoning;
    this.call();
  }

  choose(pushing) {
    this.pushing = pushing;
    this.latched = false;
    storage.set("localStorage", MANNER, pushing ? "push" : "free");
    this.voice.push(pushing);
  }

  wireTalk() {
    const { talk } = this;
    talk.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      talk.setPointerCapture(event.pointerId);
      this.down();
    });
    for (const name of ["pointerup", "pointercancel"]) talk.addEventListener(name, () => this.up());
    talk.addEventListener("contextmenu", (event) => event.preventDefault());
    // A screen reader or a switch clicks without pointer or key: that holds, and lets go.
    talk.addEventListener("click", (event) => {
      if (event.detail || this.pressedAt) return;
      this.latched = !this.voice.talking;
      if (this.latched) this.voice.press();
      else this.voice.release();
    });
    talk.addEventListener("blur", () => { if (this.pressedAt) this.up(); });
  }

  down() {
    if (this.latched) {
      this.latched = false;
      this.voice.release();
      return;
    }
    this.pressedAt = performance.now();
    this.voice.press();
  }

  up() {
    if (!this.pressedAt) return;
    this.latched = this.voice.talking && performance.now() - this.pressedAt < TAP_MS;
    this.pressedAt = 0;
    if (!this.latched) this.voice.release();
    this.show();
  }

  /** Space on the panel or its talk button is the talk button; on another control it is that control's. */
  key(event, down) {
    const { key, target, repeat } = event;
    const ours = target === this.element || target === this.talk;
    if (down && key === "Escape" && this.voice.state === "speaking") this.voice.interrupt();
    else if (this.voice.pushing && ours && (key === " " || (key === "Enter" && target === this.talk))) {
      if (!repeat && down) this.down();
      else if (!down) this.up();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

function loadStyle() {
  if (document.querySelector(`link[href="${STYLE}"]`)) return;
  document.head.append(h("link", { rel: "stylesheet", href: STYLE }));
}
