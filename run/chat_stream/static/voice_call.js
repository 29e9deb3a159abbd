// A call in the app: microphone and loudspeaker on one side, the line on the other, and between them who may
// be heard. What is said is shown by the chat, whose own socket tells it; here it moves the call's state.

import { RATE, VoiceLine } from "./voice_line.js";
import { Sound, SoundProblem } from "./voice_sound.js";

const TAIL_MS = 250; // a button is let go of before the last syllable ends
const END_MS = 800; // more silence than ends an utterance
const CHAT_PATIENCE_MS = 4_000;
const ANSWER_PATIENCE_MS = 10_000;
const LOUD = 0.012;
const NO_MODEL = "This server has no voice model. Whoever runs it can add one: set OPENAI_API_KEY. Until then, type your message.";
const LOST_MICROPHONE = "The microphone is gone. Connect it again, then call again. What was said is in the chat.";

/**
 * Events: "state", "levels" (detail: {mine, theirs}, from 0 to 1), "began" (the chat has its first turn),
 * "approval" (detail: title), "over" (detail: a sentence, "" where the user hung up).
 *
 * `state`: connecting; then ready (push to talk, not held), listening, muted, thinking, speaking; over.
 */
export class VoiceCall extends EventTarget {
  constructor({ session, config, chat, pushing }) {
    super();
    Object.assign(this, { session, config, chat, pushing });
    this.muted = this.talking = this.begun = this.sounding = this.spoken = this.awaited = this.over = false;
    this.cutting = false; // what still comes belongs to an answer that was stopped here
    this.loud = false; // since the button was pressed
    this.slow = false; // the network does not take what the microphone hears
    this.levels = { mine: 0, theirs: 0 };
  }

  get state() {
    if (this.over) return "over";
    if (!this.begun) return "connecting";
    if (this.sounding && this.spoken) return "speaking";
    if (this.talking) return "listening";
    if (this.awaited) return "thinking";
    if (this.pushing) return "ready";
    return this.muted ? "muted" : "listening";
  }

  /** Whether what the microphone hears is sent. */
  get open() {
    return this.begun && (this.pushing ? this.talking : !this.muted);
  }

  /** Open everything. Call it in the handler of a tap. */
  async start() {
    try {
      if (!this.config.voice) throw new SoundProblem(NO_MODEL);
      this.sound = new Sound(RATE);
      this.wireSound();
      // Words are shown by the chat's socket: it should be there before the first is said.
      await Promise.all([this.sound.open(), opened(this.chat.connection)]);
      if (this.over) return;
      this.listen();
      this.line = new VoiceLine(this.session, this.chat.chatId);
      this.wireLine();
      await this.line.open();
      this.lock = await navigator.wakeLock?.request("screen").catch(() => null);
      if (this.over) this.lock?.release();
    } catch (error) {
      this.end(error.message);
    }
  }

  // ---- what the user does

  push(on) {
    if (this.pushing === on) return;
    this.release();
    this.pushing = on;
    this.listen();
  }

  mute(on) {
    if (this.muted === on) return;
    if (on && this.open) this.line?.silence(END_MS);
    this.muted = on;
    this.listen();
  }

  press() {
    if (!this.pushing || !this.begun || this.over) return;
    clearTimeout(this.tail);
    this.tail = null;
    if (this.talking) return;
    if (this.state === "speaking") this.interrupt();
    this.talking = true;
    this.loud = false;
    this.listen();
  }

  release() {
    if (!this.talking || this.tail) return;
    this.tail = setTimeout(() => {
      this.tail = null;
      this.talking = false;
      this.line.silence(END_MS);
      if (this.loud) this.await();
      this.listen();
    }, TAIL_MS);
  }

  /** Stop the answer. */
  interrupt() {
    this.sound.clear();
    this.line.interrupt();
    this.cutting = true;
    this.awaited = false;
    this.changed();
  }

  hangUp() {
    this.end("");
  }

  listen() {
    this.sound?.listen(this.pushing ? this.talking : !this.muted);
    this.changed();
  }

  end(why) {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.tail);
    clearTimeout(this.patience);
    this.sound?.close();
    this.line?.hangUp();
    this.lock?.release();
    this.tell("over", why);
  }

  // ---- what the device and the line do

  wireSound() {
    const on = (name, act) => this.sound.addEventListener(name, ({ detail }) => act(detail));
    on("frame", (frame) => {
      if (!this.open || !this.line) return;
      const slow = !this.line.sound(frame);
      if (slow !== this.slow) { this.slow = slow; this.changed(); }
    });
    on("heard", (level) => {
      this.levels.mine = level;
      this.loud ||= level > LOUD;
      this.tell("levels", this.levels);
    });
    on("said", (level) => { this.levels.theirs = level; this.tell("levels", this.levels); });
    on("sounding", ({ sounding }) => { this.sounding = sounding; this.changed(); });
    on("played", (name) => this.line.played(name));
    on("lost", () => this.end(LOST_MICROPHONE));
  }

  wireLine() {
    const on = (name, act) => this.line.addEventListener(name, ({ detail }) => { if (!this.over) act(detail); });
    on("sound", ({ bytes, spoken }) => {
      if (this.cutting) return;
      this.spoken = spoken;
      if (spoken) this.awaited = false;
      this.sound.play(bytes);
      this.begin();
    });
    on("mark", (name) => this.sound.mark(name));
    on("clear", () => { this.cutting = false; this.sound.clear(); });
    on("event", (event) => this.follow(event));
    on("closed", (why) => this.end(why));
  }

  follow({ type, turn_id: turnId, title, prompt }) {
    if (turnId) this.begin();
    if (type === "turn_started" && prompt || type === "tool_call") this.await();
    else if (type === "end_of_stream") this.awaited = false;
    else if (type === "approval_required") this.tell("approval", title);
    this.changed();
  }

  begin() {
    if (this.begun) return;
    this.begun = true;
    this.tell("began");
    this.changed();
  }

  /** An answer is coming; what was only a noise gets none. */
  await() {
    if (this.sounding && this.spoken) return;
    this.awaited = true;
    clearTimeout(this.patience);
    this.patience = setTimeout(() => { this.awaited = false; this.changed(); }, ANSWER_PATIENCE_MS);
  }

  changed() {
    this.tell("state");
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** Wait until a chat's socket is open, though not for ever. */
function opened(connection) {
  connection.ensure();
  return new Promise((resolve) => {
    const check = () => { if (connection.state === "open") resolve(); };
    connection.addEventListener("state", check);
    setTimeout(resolve, CHAT_PATIENCE_MS);
    check();
  });
}
