// Firebase Authentication by its REST API, without its SDK: sign up, sign in, renew, forgotten passwords.
// https://cloud.google.com/identity-platform/docs/reference/rest/v1/accounts (November 2026)

import { ApiError } from "./session.js";

const SAYS = {
  EMAIL_EXISTS: "There is an account with this address already. Sign in instead.",
  EMAIL_NOT_FOUND: "The address or the password is wrong.",
  INVALID_PASSWORD: "The address or the password is wrong.",
  INVALID_LOGIN_CREDENTIALS: "The address or the password is wrong.",
  INVALID_EMAIL: "That is no e-mail address.",
  MISSING_PASSWORD: "Write a password.",
  WEAK_PASSWORD: "That password is too easy: take six characters or more.",
  PASSWORD_DOES_NOT_MEET_REQUIREMENTS: "That password is not what this server asks for. Take a longer one, with digits and signs.",
  USER_DISABLED: "This account was closed by whoever runs this server.",
  OPERATION_NOT_ALLOWED: "Signing in by password is switched off here.",
  ADMIN_ONLY_OPERATION: "New accounts are made by whoever runs this server.",
  TOO_MANY_ATTEMPTS_TRY_LATER: "Too many tries. Wait a few minutes, or set a new password.",
};
const ENDED = new Set(["TOKEN_EXPIRED", "USER_DISABLED", "USER_NOT_FOUND", "INVALID_REFRESH_TOKEN", "INVALID_GRANT_TYPE", "MISSING_REFRESH_TOKEN"]);

/** `config`: api_key, and the addresses `identity` and `tokens`. */
export class Firebase {
  constructor(config) {
    this.config = config;
  }

  async signIn(email, password) {
    return grant(await this.account("signInWithPassword", { email, password, returnSecureToken: true }));
  }

  async signUp(email, password) {
    return grant(await this.account("signUp", { email, password, returnSecureToken: true }));
  }

  /** Have a link sent with which a new password is set. */
  async forgotten(email) {
    await this.account("sendOobCode", { requestType: "PASSWORD_RESET", email });
  }

  /** New tokens for a refresh token; an ApiError of status 401 where it is good no longer. */
  async renew(refreshToken) {
    const body = new URLSearchParams({ grant_type: "refresh_token", refresh_token: refreshToken });
    const answer = await this.post(`${this.config.tokens}/v1/token`, body);
    return { token: answer.id_token, refreshToken: answer.refresh_token, seconds: Number(answer.expires_in) };
  }

  account(method, body) {
    return this.post(`${this.config.identity}/v1/accounts:${method}`, JSON.stringify(body), { "Content-Type": "application/json" });
  }

  async post(address, body, headers = {}) {
    let response;
    try {
      response = await fetch(`${address}?key=${encodeURIComponent(this.config.api_key)}`, { method: "POST", headers, body, credentials: "omit", cache: "no-store" });
    } catch {
      throw new ApiError(0, "Google's sign-in cannot be reached. Check the connection and try again.");
    }
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    // "WEAK_PASSWORD : Password should be at least 6 characters": the code comes first.
    const code = String(answer.error?.message ?? "").split(/[\s:]/)[0];
    throw new ApiError(ENDED.has(code) ? 401 : response.status, SAYS[code] ?? "Signing in failed. Try again in a moment.");
  }
}

function grant({ idToken, refreshToken, expiresIn }) {
  return { token: idToken, refreshToken, seconds: Number(expiresIn) };
}
