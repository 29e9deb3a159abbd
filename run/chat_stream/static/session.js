// Who is signed in, and the HTTP calls made in their name.

const KEY = "odai.token";

/** Storage that may be forbidden (private mode, blocked cookies): then it forgets, and nothing breaks. */
export const storage = {
  get(area, key) {
    try {
      return window[area].getItem(key);
    } catch {
      return null;
    }
  },
  set(area, key, value) {
    try {
      if (value) window[area].setItem(key, value);
      else window[area].removeItem(key);
    } catch {
      // Kept in memory only.
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
    this.token = tokenFromFragment() ?? storage.get("sessionStorage", KEY) ?? storage.get("localStorage", KEY);
    if (this.token) storage.set("sessionStorage", KEY, this.token);
  }

  signIn(token, { keep = false } = {}) {
    this.token = token;
    storage.set("sessionStorage", KEY, token);
    storage.set("localStorage", KEY, keep ? token : null);
  }

  signOut(reason = "") {
    if (!this.token) return;
    this.token = null;
    storage.set("sessionStorage", KEY, null);
    storage.set("localStorage", KEY, null);
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
    const headers = { Accept: "application/json" };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
      return await fetch(path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        credentials: "same-origin",
      });
    } catch {
      throw new ApiError(0, "The server cannot be reached. Check the connection and try again.");
    }
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
