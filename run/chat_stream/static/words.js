// Times, spans and names as people say them.

import { now } from "./clock.js";

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const words = (text) => String(text ?? "").replaceAll("_", " ");
export const title = (text) => words(text).replace(/^./, (letter) => letter.toUpperCase());

/** A moment by the clock: "22 Nov 2026, 08:31". */
export function when(moment) {
  if (!moment) return "";
  return new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(new Date(moment));
}

/** A day of the calendar, of a text that begins with one: "22 Nov"; another text as it is. */
export function dayName(text, form = { day: "numeric", month: "short" }) {
  const told = typeof text === "string" ? text : "";
  const time = new Date(`${told.slice(0, 10)}T00:00`);
  return Number.isNaN(time.getTime()) ? told : new Intl.DateTimeFormat(undefined, form).format(time);
}

/** The hour as the place itself counts it: a flight leaves by the airport's clock, not the reader's. */
export function hourThere(text) {
  return /T(\d\d:\d\d)/.exec(String(text ?? ""))?.[1] ?? "";
}

/** How long ago an account was used, which the server knows to the hour. */
export function lastUsed(moment) {
  if (!moment) return "not used yet";
  const seconds = (now() - new Date(moment).getTime()) / 1000;
  if (seconds < 1.5 * HOUR) return "used in the last hour";
  const said = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  return `used ${seconds < DAY ? said.format(-Math.round(seconds / HOUR), "hour") : said.format(-Math.round(seconds / DAY), "day")}`;
}

/** A span of time, rounded up: whoever waits so long has waited long enough. */
export function span(seconds) {
  const [count, unit] = seconds < 90 ? [Math.ceil(seconds), "second"]
    : seconds < 90 * MINUTE ? [Math.ceil(seconds / MINUTE), "minute"] : [Math.ceil(seconds / HOUR), "hour"];
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** What went wrong, and when to try again where the server said so. */
export function explained(error) {
  return error.retryAfter ? `${error.message} Try again in ${span(error.retryAfter)}.` : error.message;
}

/** "a", "a and b", "a, b and c". */
export function listed(parts) {
  return new Intl.ListFormat("en-GB").format(parts);
}

/** The name of a setting, with what the documentation says of it. */
export function settingAddress(name) {
  return `/docs/settings#${encodeURIComponent(name)}`;
}
