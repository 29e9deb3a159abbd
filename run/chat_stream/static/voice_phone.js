// The same panel's other line: a telephone call by the browser, through Twilio. It is there where the server
// has Twilio's keys, serves also without a voice model, and loads Twilio's SDK with the first such call.

const SDK = "/static/vendor/twilio-voice-2.18.5/twilio.min.js";
const NOT_LOADED = "The telephone could not be loaded. Check the connection, then try again.";
const ENDED = "The call has ended.";
const UNREACHABLE = "The telephone network cannot be reached. Check your network, then try again.";
const PROBLEMS = {
  31000: UNREACHABLE,
  31005: UNREACHABLE,
  31009: UNREACHABLE,
  53000: UNREACHABLE,
  31401: "The microphone is blocked for this page. Allow it in the browser's settings for this site (beside the address), then try again.",
  31402: "The microphone could not be opened. Check that it is connected and that no other program uses it, then try again.",
};

/** A call by telephone with the events and methods of `VoiceCall`; nobody can push to talk on it. */
export class PhoneCall extends EventTarget {
  constructor({ session, chat }) {
    super();
    Object.assign(this, { session, chat, pushing: false, muted: false, talking: false, begun: false, over: false });
  }

  get state() {
    if (this.over) return "over";
    if (!this.begun) return "connecting";
    return this.muted ? "muted" : "listening";
  }

  get open() {
    return this.begun && !this.muted;
  }

  async start() {
    try {
      const [Device, token] = await Promise.all([sdk(), this.token()]);
      if (this.over) return;
      this.device = new Device(token, { codecPreferences: ["opus", "pcmu"], closeProtection: true });
      this.device.on("error", (error) => this.failed(error));
      this.device.on("tokenWillExpire", () => this.token().then((fresh) => this.device?.updateToken(fresh), () => {}));
      this.chat.connection.ensure(); // what is said is shown by the chat's socket
      this.call = await this.device.connect({ params: { chat_id: this.chat.chatId } });
      this.wire(this.call);
      if (this.over) this.end("");
    } catch (error) {
      this.failed(error);
    }
  }

  wire(call) {
    call.on("accept", () => { this.begun = true; this.tell("began"); this.tell("state"); });
    call.on("volume", (mine, theirs) => this.tell("levels", { mine, theirs }));
    call.on("error", (error) => this.failed(error));
    for (const name of ["disconnect", "cancel", "reject"]) call.on(name, () => this.end(ENDED));
  }

  async token() {
    return (await this.session.call("POST", "/voice/token")).token;
  }

  mute(on) {
    this.muted = on;
    this.call?.mute(on);
    this.tell("state");
  }

  push() {}

  press() {}

  release() {}

  interrupt() {}

  hangUp() {
    this.end("");
  }

  /** An error with a code is Twilio's, and its words are for developers. */
  failed({ code, message }) {
    this.end(PROBLEMS[code] ?? (code ? `The call could not be made (Twilio's error ${code}). Try again.` : message));
  }

  end(why) {
    const { device } = this;
    this.device = null;
    device?.destroy(); // hangs up
    if (this.over) return;
    this.over = true;
    this.tell("over", why);
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** Load Twilio's SDK, once; return its `Device`. */
function sdk() {
  if (globalThis.Twilio?.Device) return globalThis.Twilio.Device;
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = SDK;
    script.onload = () => (globalThis.Twilio?.Device ? resolve(globalThis.Twilio.Device) : script.onerror());
    script.onerror = () => { script.remove(); reject(new Error(NOT_LOADED)); };
    document.head.append(script);
  });
}
