// The user's own telephone: a number proven by a code, and the PIN that callers say.

import { everySecond } from "./clock.js";
import { confirmed } from "./confirm.js";
import { h } from "./dom.js";
import { explained, settingAddress, span } from "./words.js";

const AGAIN_S = 30; // before the code is sent again: most arrive by then

/** The section about the phone on the page of connections. */
export async function phoneSection(page) {
  const { session } = page;
  const state = await session.call("GET", "/account");
  return h("section", { class: "service", dataset: { provider: "phone" } },
    h("div", { class: "service-head" },
      h("span", { class: "service-mark", "aria-hidden": "true" }, "#"),
      h("div", { class: "service-name" }, h("h3", {}, "Your phone"),
        h("p", { class: "muted" }, "Call and text ODAI from your own number, and be texted by it."))),
    state.phone.verified ? verified(page, state.phone) : number(page, state.phone),
    pin(page, state.pin_set));
}

function verified(page, { ending }) {
  const remove = () => confirmed({
    question: "Remove your number?",
    effect: "Calls and texts from it are a stranger's from then on.",
    yes: "Remove",
    work: () => page.session.call("DELETE", "/account/phone"),
  }).then((done) => done && page.reload());
  return h("ul", { class: "accounts" }, h("li", { class: "account" },
    h("div", { class: "account-what" }, h("strong", {}, `Number ending in ${ending}`), h("p", { class: "muted" }, "Verified")),
    h("div", { class: "account-buttons" }, h("button", { type: "button", class: "button secondary", onclick: remove }, "Remove"))));
}

function number(page, { missing }) {
  if (missing.length) {
    return h("p", { class: "muted" }, "Texts are not set up on this server: ", missing.map((name, at) => [
      at ? ", " : "", h("a", { href: settingAddress(name), target: "_blank", rel: "noopener" }, h("code", {}, name))]));
  }
  const given = h("input", { type: "tel", autocomplete: "tel", placeholder: "+14155550100", required: true });
  const send = h("button", { type: "submit", class: "button" }, "Send a code");
  const trouble = h("p", { class: "trouble", role: "alert" });
  const place = h("div", {}, h("form", { class: "field", onsubmit: (event) => ask(event) },
    h("label", {}, h("span", {}, "Mobile number, with + and the country"), given), send), trouble);

  async function ask(event) {
    event.preventDefault();
    send.disabled = true;
    trouble.textContent = "";
    try {
      await page.session.call("POST", "/account/phone", { number: given.value });
      place.replaceChildren(code(page, given.value, place));
      place.querySelector("input").focus();
    } catch (error) {
      trouble.textContent = explained(error);
    }
    send.disabled = false;
  }

  return place;
}

function code(page, number, place) {
  const before = [...place.childNodes];
  const given = h("input", { type: "text", inputmode: "numeric", autocomplete: "one-time-code", maxlength: "11", required: true });
  const again = h("button", { type: "button", class: "quiet" });
  const said = h("p", { class: "muted", role: "status" });
  const trouble = h("p", { class: "trouble", role: "alert" });
  function sent() {
    said.textContent = `A text with a code went to ${number}. It works for 10 minutes.`;
    const until = performance.now() + AGAIN_S * 1000;
    const draw = () => {
      const left = Math.ceil((until - performance.now()) / 1000);
      again.textContent = left > 0 ? `Send it again in ${span(left)}` : "Send it again";
      again.disabled = left > 0;
      return left > 0;
    };
    draw();
    everySecond(again, draw);
  }

  async function work(path, body, then) {
    trouble.textContent = "";
    try {
      await page.session.call("POST", path, body);
      then();
    } catch (error) {
      trouble.textContent = explained(error);
    }
  }

  again.addEventListener("click", () => work("/account/phone", { number }, sent));
  sent();
  return h("form", { class: "field", onsubmit: (event) => {
    event.preventDefault();
    work("/account/phone/verify", { code: given.value }, page.reload);
  } }, said, h("label", {}, h("span", {}, "The code"), given), h("button", { type: "submit", class: "button" }, "Verify"),
  h("div", { class: "field-foot" }, again,
    h("button", { type: "button", class: "quiet", onclick: () => place.replaceChildren(...before) }, "Another number")),
  trouble);
}

function pin(page, isSet) {
  const given = h("input", { type: "password", inputmode: "numeric", autocomplete: "off", maxlength: "8", required: true });
  const trouble = h("p", { class: "trouble", role: "alert" });
  const told = h("p", { class: "muted", role: "status" }, isSet
    ? "A PIN is set. A new one takes its place."
    : "Caller ids can be forged: on the phone your own accounts are used only after you said this PIN.");
  return h("form", { class: "field", onsubmit: async (event) => {
    event.preventDefault();
    trouble.textContent = "";
    try {
      await page.session.call("POST", "/account/pin", { pin: given.value });
      given.value = "";
      told.textContent = "The PIN is set.";
    } catch (error) {
      trouble.textContent = explained(error);
    }
  } }, told, h("label", {}, h("span", {}, "PIN for calls, 4 to 8 digits"), given),
  h("button", { type: "submit", class: "button secondary" }, isSet ? "Change" : "Set"), trouble);
}
