// Signing in with an address and a password, and the terms that are accepted once.

import { h } from "./dom.js";
import { Firebase } from "./firebase.js";
import { explained } from "./words.js";

/** Draw the form into `place`; `entered()` once somebody is in. */
export function offerSignIn(place, session, entered) {
  const firebase = new Firebase(session.firebase);
  const email = h("input", { type: "email", autocomplete: "username", required: true });
  const password = h("input", { type: "password", autocomplete: "current-password", required: true, minlength: "6" });
  const keep = h("input", { type: "checkbox" });
  const said = h("p", { class: "trouble", role: "alert" });
  const button = h("button", { type: "submit", class: "button", dataset: { testid: "firebase-sign-in" } });
  const other = h("button", { type: "button", class: "quiet", onclick: () => become(!fresh) });
  const forgotten = h("button", { type: "button", class: "quiet", onclick: () => attempt(remind) }, "Forgot the password?");
  let fresh = false;

  function become(wanted) {
    fresh = wanted;
    button.textContent = fresh ? "Make an account" : "Sign in";
    other.textContent = fresh ? "I have an account" : "Make an account";
    password.autocomplete = fresh ? "new-password" : "current-password";
    forgotten.hidden = fresh;
    said.textContent = "";
  }

  async function attempt(work) {
    button.disabled = true;
    said.textContent = "";
    try {
      await work();
    } catch (error) {
      said.textContent = explained(error);
    } finally {
      button.disabled = false;
    }
  }

  async function enter() {
    const given = await (fresh ? firebase.signUp(email.value.trim(), password.value) : firebase.signIn(email.value.trim(), password.value));
    password.value = "";
    session.signIn(given.token, { keep: keep.checked, renewal: given });
    await acceptTerms(place, session);
    entered();
  }

  async function remind() {
    if (!email.reportValidity()) return;
    await firebase.forgotten(email.value.trim());
    said.textContent = "If there is such an account, a mail with a link to a new password is on its way.";
  }

  become(false);
  place.replaceChildren(h("form", { onsubmit: (event) => { event.preventDefault(); attempt(enter); } },
    h("label", {}, "E-mail address", email), h("label", {}, "Password", password),
    h("label", { class: "check" }, keep, "Keep me signed in on this device"),
    button, h("div", { class: "sign-in-ways" }, other, forgotten), said));
}

/** Resolve once the user has accepted the present terms, now or before; asks in `place`. */
export async function acceptTerms(place, session) {
  const terms = await session.call("GET", "/account/terms");
  if (!terms.accepted) await agreed(place, session, terms);
  session.admitted();
  place.replaceChildren();
}

async function agreed(place, session, terms) {
  await new Promise((resolve) => {
    const said = h("p", { class: "trouble", role: "alert" });
    const accept = async (event) => {
      event.preventDefault();
      try {
        await session.call("POST", "/account/terms", { version: terms.version });
        resolve();
      } catch (error) {
        said.textContent = explained(error);
      }
    };
    place.replaceChildren(h("form", { dataset: { testid: "terms" }, onsubmit: accept },
      h("h2", {}, "Before you begin"),
      h("ul", { class: "terms" }, [
        "Answers can be wrong. Check what matters before you act on it.",
        "What you say goes to a language model, and to the services that it asks for you.",
        "Nothing is sent, booked or bought before you said yes to it; you answer for what you approve.",
        "You can see, export and delete all that is kept of you, under “You”.",
      ].map((line) => h("li", {}, line))),
      h("button", { type: "submit", class: "button" }, "I agree"),
      h("p", { class: "muted" }, `Terms of ${terms.version}`), said));
    place.querySelector("button").focus();
  });
}
