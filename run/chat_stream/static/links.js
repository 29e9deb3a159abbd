// Which addresses may become links. Everything the assistant or a vendor says is untrusted text.

import { h } from "./dom.js";

const ALLOWED = new Set(["http:", "https:", "mailto:"]);
// What cannot be seen can make one address read like another: overrides of direction, zero widths.
const UNSEEN = /[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

/**
 * The normalised address, or null if it must stay text. Absolute only: a relative one would
 * point into this very application. Credentials in an address only serve to disguise its host.
 */
export function safeUrl(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  if (!ALLOWED.has(url.protocol) || url.username || url.password) return null;
  return url;
}

/** A link that leaks nothing to its target; `label` is a string or a list of nodes. */
export function link(url, label) {
  const anchor = h("a", {
    href: url.href,
    target: "_blank",
    rel: "noopener noreferrer nofollow",
    title: url.href,
  });
  if (typeof label === "string") anchor.append(label.replace(UNSEEN, ""));
  else anchor.append(...label);
  if (!posesAsAnotherHost(anchor.textContent, url)) return anchor;
  return h("span", {}, anchor, h("span", { class: "real-host" }, ` (${url.host})`));
}

function posesAsAnotherHost(label, url) {
  // Wide letters and other full stops (。) stand for plain ones in a host's name, and pose as them.
  const plain = label.slice(0, 300).replace(UNSEEN, "").normalize("NFKC").replace(/[\u3002\uff0e\uff61]/g, ".");
  const named = plain.match(/(?:https?:\/\/)?((?:[\p{L}\p{N}-]+\.)+\p{L}{2,})/iu);
  if (!named || url.protocol === "mailto:") return false;
  const bare = (host) => host.toLowerCase().replace(/^www\./, "");
  return !`.${bare(url.hostname)}`.endsWith(`.${bare(named[1])}`);
}
