// What time it is for the server. Ages and countdowns must hold on a device whose clock is an hour
// off: every answer of the server tells its own time, and the difference is remembered.

const COUNTS_MS = 3_000; // a Date header has whole seconds and was some time on its way
let ahead = 0; // how far the server's clock is ahead of this device's

/** Take in the Date header of an answer that was not cached. */
export function heardDate(header) {
  const told = Date.parse(header ?? "");
  if (Number.isNaN(told)) return;
  const difference = told + 500 - Date.now();
  ahead = Math.abs(difference) < COUNTS_MS ? 0 : difference;
}

/** The server's time in milliseconds since 1970. */
export function now() {
  return Date.now() + ahead;
}

const ticking = new Map(); // element → what draws it anew
let timer = 0;

/** Call `draw` every second until it returns false or `element` has left the page. */
export function everySecond(element, draw) {
  ticking.set(element, draw);
  timer ||= setInterval(tick, 1000);
}

function tick() {
  for (const [element, draw] of ticking) {
    if (!element.isConnected || draw() === false) ticking.delete(element);
  }
  if (ticking.size) return;
  clearInterval(timer);
  timer = 0;
}

/** Some seconds in the words of a clock: "45 s", "3 min 20 s", "2 h 5 min". */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return inHours(Math.floor(whole / 60));
}

/** Some minutes in hours: "40 min", "2 h", "2 h 5 min". */
export function inHours(minutes) {
  const [hours, rest] = [Math.floor(minutes / 60), minutes % 60];
  return [hours && `${hours} h`, (rest || !hours) && `${rest} min`].filter(Boolean).join(" ");
}
