// The two ends of a call's sound, on the browser's audio thread: what the microphone hears becomes
// 16-bit frames of 20 ms, and what the assistant says is played in order, to the sample.
//
// The device's rate is whatever it is; the line's is fixed. Browsers differ in which rates a context
// may have, so both directions are resampled here, by one windowed sinc.

const CROSSINGS = 8; // of the sinc, on each side
const PHASES = 256;
const FRAME_MS = 20;
const LEAD_MS = 30; // what is kept in hand when a silence ends: pieces come with gaps between them
const FADE_MS = 5; // an answer that is cut off must not click
const LEVEL_MS = 40;

/** Changes the rate of a stream of samples, in whatever pieces it comes. */
export class Resampler {
  constructor(from, to) {
    this.step = from / to;
    this.reach = Math.ceil(CROSSINGS * Math.max(1, this.step));
    this.kernels = this.step === 1 ? [] : kernels(Math.min(1, to / from), this.reach);
    this.kept = new Float32Array(2 * this.reach);
    this.at = this.reach;
  }

  feed(samples) {
    if (this.step === 1) return samples;
    const all = new Float32Array(this.kept.length + samples.length);
    all.set(this.kept);
    all.set(samples, this.kept.length);
    const made = new Float32Array(Math.max(0, Math.ceil((all.length - this.reach - this.at) / this.step)));
    let { at } = this;
    for (let i = 0; i < made.length; i += 1, at += this.step) {
      const whole = Math.floor(at);
      const kernel = this.kernels[Math.floor((at - whole) * PHASES)];
      let sum = 0;
      for (let k = 0, from = whole - this.reach + 1; k < kernel.length; k += 1) sum += kernel[k] * all[from + k];
      made[i] = sum;
    }
    const done = Math.floor(at) - this.reach;
    this.kept = all.slice(done);
    this.at = at - done;
    return made;
  }
}

function kernels(cut, reach) {
  return Array.from({ length: PHASES }, (_, phase) => {
    const taps = Float32Array.from({ length: 2 * reach }, (_, k) => {
      const x = k - reach + 1 - phase / PHASES;
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * x * cut) / (Math.PI * x * cut);
      return Math.abs(x) >= reach ? 0 : cut * sinc * (0.5 + 0.5 * Math.cos(Math.PI * x / reach));
    });
    const sum = taps.reduce((total, tap) => total + tap, 0);
    return taps.map((tap) => tap / sum); // no phase louder than another
  });
}

function loudness(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return samples.length ? Math.sqrt(sum / samples.length) : 0;
}

// A page may import this file for its Resampler; processors are known on the audio thread alone.
const Processor = globalThis.AudioWorkletProcessor ?? class {};

/** Posts `{sound, level}`: 20 ms of samples as an ArrayBuffer, and how loud they are from 0 to 1. */
class Microphone extends Processor {
  constructor({ processorOptions: { rate } }) {
    super();
    this.resampler = new Resampler(sampleRate, rate);
    this.size = rate * FRAME_MS / 1000;
    this.rest = new Float32Array(0);
  }

  process([[heard]]) {
    if (!heard) return true;
    const fresh = this.resampler.feed(heard);
    const all = new Float32Array(this.rest.length + fresh.length);
    all.set(this.rest);
    all.set(fresh, this.rest.length);
    let from = 0;
    for (; from + this.size <= all.length; from += this.size) this.tell(all.subarray(from, from + this.size));
    this.rest = all.slice(from);
    return true;
  }

  tell(frame) {
    const sound = new DataView(new ArrayBuffer(frame.length * 2));
    frame.forEach((sample, i) => sound.setInt16(2 * i, Math.max(-1, Math.min(1, sample)) * 0x7fff, true));
    this.port.postMessage({ sound: sound.buffer, level: loudness(frame) }, [sound.buffer]);
  }
}

/**
 * Takes `{sound}` (an ArrayBuffer of samples), `{mark}` and `{clear: true}`. Posts `{mark}` when all
 * before it was played, `{sounding, played}` when sound begins and ends (`played`: seconds so far), and
 * `{level}` while it lasts. What is cleared is not played, and its marks say nothing.
 */
class Speaker extends Processor {
  constructor({ processorOptions: { rate } }) {
    super();
    this.resampler = new Resampler(rate, sampleRate);
    this.queue = []; // Float32Arrays, and names of marks
    this.from = 0; // in the first of them
    this.sounding = false;
    this.played = 0;
    this.sum = 0;
    this.counted = 0;
    this.port.onmessage = ({ data }) => this.take(data);
  }

  take({ sound, mark, clear }) {
    if (clear) this.clear();
    else if (mark !== undefined) this.queue.push(mark);
    else {
      if (!this.queue.length) this.queue.push(new Float32Array(Math.round(sampleRate * LEAD_MS / 1000)));
      const view = new DataView(sound);
      const samples = Float32Array.from({ length: sound.byteLength >> 1 }, (_, i) => view.getInt16(2 * i, true) / 0x8000);
      this.queue.push(this.resampler.feed(samples));
    }
  }

  clear() {
    const rest = this.queue.find((one) => one instanceof Float32Array);
    const from = rest === this.queue[0] ? this.from : 0;
    const fade = rest?.slice(from, from + Math.round(sampleRate * FADE_MS / 1000));
    this.queue = fade?.length ? [fade.map((sample, i) => sample * (1 - i / fade.length))] : [];
    this.from = 0;
  }

  process(_, [[out]]) {
    let filled = 0;
    while (this.queue.length && (filled < out.length || typeof this.queue[0] === "string")) {
      const first = this.queue[0];
      if (typeof first === "string") {
        this.port.postMessage({ mark: first });
        this.queue.shift();
        continue;
      }
      const piece = first.subarray(this.from, this.from + out.length - filled);
      out.set(piece, filled);
      filled += piece.length;
      this.from += piece.length;
      if (this.from < first.length) continue;
      this.queue.shift();
      this.from = 0;
    }
    this.measure(out, filled);
    return true;
  }

  measure(out, filled) {
    this.played += filled / sampleRate;
    if (this.sounding !== filled > 0) {
      this.sounding = filled > 0;
      this.port.postMessage({ sounding: this.sounding, played: this.played });
    }
    this.sum += loudness(out) ** 2 * out.length;
    this.counted += out.length;
    if (this.counted < sampleRate * LEVEL_MS / 1000) return;
    if (this.sounding || this.sum) this.port.postMessage({ level: Math.sqrt(this.sum / this.counted) });
    this.sum = this.counted = 0;
  }
}

if (globalThis.registerProcessor) {
  registerProcessor("odai-microphone", Microphone);
  registerProcessor("odai-speaker", Speaker);
}
