// Who is signed in, and the HTTP calls made in their name.

import { heardDate, now } from "./clock.js";

const KEY = "odai.token";
const RENEWAL = "odai.renewal"; // JSON: refreshToken, until (ms), pending: the terms are not accepted yet
const EARLY_MS = 5 * 60_000;

const memory = new Map();

/** Storage that may be forbidden (private mode, blocked cookies) or full: then this page remembers. */
export const storage = {
  get(area, key) {
    try {
      return window[area].getItem(key) ?? memory.get(area + key) ?? null;
    } catch {
      return memory.get(area + key) ?? null;
    }
  },
  set(area, key, value) {
    memory.delete(area + key);
    try {
      if (value) window[area].setItem(key, value);
      else window[area].removeItem(key);
    } catch {
      if (value) memory.set(area + key, value);
    }
  },
};

export class ApiError extends Error {
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export class Session extends EventTarget {
  constructor() {
    super();
    const fromFragment = tokenFromFragment();
    this.token = fromFragment ?? storage.get("sessionStorage", KEY) ?? storage.get("localStorage", KEY);
    if (this.token) storage.set("sessionStorage", KEY, this.token);
    this.firebase = null; // the server's configuration of it, where there is one
    this.renewal = fromFragment ? null : parsed(storage.get("sessionStorage", RENEWAL) ?? storage.get("localStorage", RENEWAL));
    this.renewing = null;
  }

  /** `renewal`: what renews a token that ends by itself: `refreshToken`, and its life in `seconds`. */
  signIn(token, { keep = false, renewal = null } = {}) {
    this.token = token;
    storage.set("sessionStorage", KEY, token);
    storage.set("localStorage", KEY, keep ? token : null);
    this.keepRenewal(renewal && { refreshToken: renewal.refreshToken, until: now() + renewal.seconds * 1000, pending: true }, keep);
  }

  /** The terms are accepted: next time nobody need be asked. */
  admitted() {
    if (this.renewal) this.keepRenewal({ ...this.renewal, pending: false }, Boolean(storage.get("localStorage", KEY)));
  }

  keepRenewal(renewal, keep) {
    this.renewal = renewal;
    const kept = renewal && JSON.stringify(renewal);
    storage.set("sessionStorage", RENEWAL, kept);
    storage.set("localStorage", RENEWAL, keep ? kept : null);
  }

  /** Renew a token that is about to end; everybody who waits for it shares one request. */
  async fresh() {
    if (!this.renewal || !this.firebase || now() < this.renewal.until - EARLY_MS) return;
    this.renewing ??= this.renew().finally(() => { this.renewing = null; });
    await this.renewing;
  }

  async renew() {
    const { Firebase } = await import("./firebase.js").catch(() => ({}));
    if (!Firebase) throw new ApiError(0, "The server cannot be reached. Check the connection and try again.");
    const { pending, refreshToken } = this.renewal;
    let given;
    try {
      given = await new Firebase(this.firebase).renew(refreshToken);
    } catch (error) {
      if (error.status === 401) this.signOut("Your session has ended. Sign in again to go on.");
      throw error;
    }
    if (!this.token) return; // signed out meanwhile
    this.signIn(given.token, { keep: Boolean(storage.get("localStorage", KEY)), renewal: given });
    if (!pending) this.admitted();
  }

  signOut(reason = "") {
    if (!this.token) return;
    this.token = null;
    storage.set("sessionStorage", KEY, null);
    storage.set("localStorage", KEY, null);
    this.keepRenewal(null, false);
    this.dispatchEvent(new CustomEvent("signedout", { detail: reason }));
  }

  /** Call the server; JSON in and out. Throws `ApiError`; a 401 also signs out. */
  async call(method, path, body) {
    const response = await this.fetch(method, path, body);
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    throw this.refused(answer, response);
  }

  /** Return what the server sends as a file. */
  async file(path) {
    const response = await this.fetch("GET", path);
    if (response.ok) return response.blob();
    throw this.refused(await response.json().catch(() => ({})), response);
  }

  refused(answer, response) {
    if (response.status === 401 && this.token) this.signOut("Your session has ended. Sign in again to go on.");
    return new ApiError(response.status, errorText(answer, response), Number(response.headers.get("Retry-After")) || 0);
  }

  async fetch(method, path, body) {
    await this.fresh();
    const headers = { Accept: "application/json" };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
      const response = await fetch(path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        credentials: "same-origin",
      });
      heardDate(response.headers.get("Date"));
      return response;
    } catch {
      throw new ApiError(0, "The server cannot be reached. Check the connection and try again.");
    }
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function errorText(answer, response) {
  const message = answer?.error?.message ?? answer?.message ?? answer?.error;
  return typeof message === "string" ? message : `The server answered ${response.status}.`;
}

/** Take `#token=…` out of the address before anything can copy, log or share it. */
function tokenFromFragment() {
  const match = location.hash.match(/^#(?:.*&)?token=([^&]+)/);
  if (!match) return null;
  history.replaceState(null, "", location.pathname + location.search);
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return match[1];
  }
}
