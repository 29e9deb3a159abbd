// The line of a call in the app: its WebSocket, `/app/voice/stream/{chat}` (docs/protocol.md).

export const RATE = 24_000; // what the voice model hears and speaks: the server converts nothing
const FRAME_BYTES = RATE / 50 * 2;
const MOST_WAITING_BYTES = 2 * RATE * 2; // two seconds that the network has not taken
const CLOSED = {
  1000: "The call has ended.",
  1001: "The server is restarting. Call again in a moment.",
  1006: "The connection broke off. Check your network, then call again. What was said is in the chat.",
  1009: "The call was cut off: too much sound came at once. Call again.",
  1011: "Something went wrong on the server. Call again; what was said is in the chat.",
};

/**
 * Events: "sound" (detail: {bytes, spoken}; not spoken: a noise of the server's), "mark" (detail: a name to be
 * answered by `played`), "clear" (stop what sounds), "event" (detail: an event of the chat), "closed" (detail:
 * a sentence; "" where this side hung up).
 */
export class VoiceLine extends EventTarget {
  constructor(session, chatId) {
    super();
    Object.assign(this, { session, chatId, leaving: false });
  }

  /** Connect; throws `ApiError` where there is no ticket to be had. */
  async open() {
    // A ticket lasts a minute: it is fetched when all else is ready.
    const { ticket } = await this.session.call("POST", "/tickets?for=voice");
    if (this.leaving) return;
    const host = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;
    const socket = new WebSocket(
      `${host}/app/voice/stream/${this.chatId}?rate=${RATE}&marks=1`, ["odai.v1", `ticket.${ticket}`]);
    this.socket = socket;
    socket.addEventListener("message", ({ data }) => this.received(data));
    socket.addEventListener("close", ({ code, reason }) => this.lost(code, reason));
  }

  /** Send a frame of samples; false where the network is too slow for it. */
  sound(frame) {
    if (this.socket?.readyState !== WebSocket.OPEN) return true;
    if (this.socket.bufferedAmount > MOST_WAITING_BYTES) return false;
    this.socket.send(frame);
    return true;
  }

  /**
   * Send `ms` of silence at once: the end of an utterance is heard in the sound, not on the clock, and what
   * follows a microphone that was switched off would otherwise be awaited.
   */
  silence(ms) {
    const frame = new ArrayBuffer(FRAME_BYTES);
    for (let sent = 0; sent < ms; sent += 20) this.sound(frame);
  }

  played(name) {
    this.write({ type: "mark", name });
  }

  interrupt() {
    this.write({ type: "interrupt" });
  }

  hangUp() {
    this.leaving = true;
    this.write({ type: "stop" });
    this.socket?.close();
  }

  write(frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  received(data) {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    if (frame.type === "audio") this.tell("sound", { bytes: bytesOf(frame.audio), spoken: Boolean(frame.item_id) });
    else if (frame.type === "mark") this.tell("mark", frame.name);
    else if (frame.type === "audio_interrupted") this.tell("clear");
    else {
      if (frame.type === "error" && !frame.turn_id) this.farewell = frame.message;
      this.tell("event", frame);
    }
  }

  lost(code, reason) {
    let told = reason || CLOSED[1006];
    if (code === 1000 && reason === "goodbye") told = this.farewell ?? CLOSED[1000];
    else if (code !== 1000 && code in CLOSED) told = CLOSED[code];
    this.tell("closed", this.leaving ? "" : told);
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}
