// A call's sound on this device: the microphone in frames of 16-bit samples, and the loudspeaker, which
// tells what was really played.

const CONSTRAINTS = {
  audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
};
const REFUSALS = {
  NotAllowedError: "The microphone is blocked for this page. Allow it in the browser's settings for this site (beside the address), then try again.",
  NotFoundError: "No microphone was found. Connect one, then try again.",
  NotReadableError: "The microphone cannot be opened: another program may be using it. Close that program, then try again.",
};
const INSECURE = "Browsers give the microphone to secure pages only. Open ODAI by https, or as localhost on this machine.";
const TOO_OLD = "This browser cannot hold calls. Update it, or type your message.";
const UNKNOWN = "The microphone could not be opened. Check it in the system's sound settings, then try again.";

/** What keeps a call from being held; the message says what to do. */
export class SoundProblem extends Error {}

/**
 * Events: "frame" (detail: ArrayBuffer of 20 ms), "heard" and "said" (detail: loudness from 0 to 1 of the
 * microphone and the loudspeaker), "sounding" (detail: {sounding, played}), "played" (detail: a mark's
 * name), "lost" (the microphone is gone).
 *
 * Make it in the handler of a tap: browsers let a page sound only then.
 */
export class Sound extends EventTarget {
  constructor(rate) {
    super();
    this.rate = rate;
    if (!globalThis.isSecureContext || !navigator.mediaDevices?.getUserMedia) throw new SoundProblem(INSECURE);
    if (!globalThis.AudioWorkletNode) throw new SoundProblem(TOO_OLD);
    this.context = new AudioContext({ latencyHint: "interactive" });
    // A browser may hold sound back until the next tap, or take it away for a telephone call.
    this.wake = () => { if (this.context.state !== "running") this.context.resume(); };
    document.addEventListener("pointerdown", this.wake);
  }

  /** Open microphone and loudspeaker; throws `SoundProblem`. */
  async open() {
    const ready = this.context.audioWorklet.addModule("/static/voice_worklet.js");
    ready.catch(() => {}); // told below; the user may take long to allow the microphone
    const stream = await navigator.mediaDevices.getUserMedia(CONSTRAINTS).catch((error) => {
      throw new SoundProblem(REFUSALS[error.name] ?? UNKNOWN);
    });
    this.stream = stream;
    if (this.closed) {
      this.close();
      return;
    }
    await ready.catch(() => { throw new SoundProblem(TOO_OLD); });
    if (this.closed) return;
    const options = { processorOptions: { rate: this.rate } };
    this.microphone = new AudioWorkletNode(this.context, "odai-microphone", { ...options, numberOfOutputs: 0 });
    this.speaker = new AudioWorkletNode(this.context, "odai-speaker", { ...options, numberOfInputs: 0, outputChannelCount: [1] });
    this.microphone.port.onmessage = ({ data }) => this.heard(data);
    this.speaker.port.onmessage = ({ data }) => this.said(data);
    this.context.createMediaStreamSource(stream).connect(this.microphone);
    this.speaker.connect(this.context.destination);
    stream.getAudioTracks()[0].addEventListener("ended", () => this.tell("lost"));
    this.wake();
  }

  /** Let the microphone hear, or not: switched off, its samples are silence before they come here. */
  listen(on) {
    for (const track of this.stream?.getAudioTracks() ?? []) track.enabled = on;
  }

  play(bytes) {
    this.speaker.port.postMessage({ sound: bytes.buffer }, [bytes.buffer]);
  }

  /** Have "played" told when all before it was played. */
  mark(name) {
    this.speaker.port.postMessage({ mark: name });
  }

  /** Stop at once, and forget what was not played. */
  clear() {
    this.speaker?.port.postMessage({ clear: true });
  }

  close() {
    this.closed = true;
    document.removeEventListener("pointerdown", this.wake);
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    if (this.context.state !== "closed") this.context.close();
  }

  heard({ sound, level }) {
    if (this.closed) return;
    this.tell("heard", level);
    this.tell("frame", sound);
  }

  said({ mark, level, ...change }) {
    if (this.closed) return;
    if (level !== undefined) this.tell("said", level);
    // What the audio thread has made is heard a little later; with some headphones, much later.
    else if (mark !== undefined) setTimeout(() => this.tell("played", mark), (this.context.outputLatency || 0) * 1000);
    else this.tell("sounding", change);
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
