// Prices over time, drawn from what the tool gave: the ranges its data covers, a value at every point.

import { h, svg } from "./dom.js";
import { number, percent, price, rowsOf } from "./figures.js";

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
// A phone gets a drawing of its own size, so that its words stay readable.
const WIDTH = matchMedia("(max-width: 30rem)").matches ? 340 : 640;
const HEIGHT = 200;
const PAD = { right: 8, top: 10, bottom: 22 };
const [LETTER, GAP] = [7.8, 10]; // how wide a letter of the axis is, and how far it stays from the line
const RANGES = [["1D", 1], ["1W", 7], ["1M", 31], ["3M", 92], ["1Y", 366], ["All", Infinity]];

/** A price and how it moved. */
export function quote(data) {
  if (data?.price === undefined || data.price === null) return null;
  const change = number(data.change_percent ?? data.change_24h_percent);
  const changeOf = (name) => (number(data[name]) === null ? null : moved(number(data[name])));
  const facts = [
    ["1 hour", changeOf("change_1h_percent")], ["7 days", changeOf("change_7d_percent")],
    ["30 days", changeOf("change_30d_percent")], ["90 days", changeOf("change_90d_percent")],
    ["Open", data.day_open], ["High", data.day_high], ["Low", data.day_low], ["Before", data.previous_close],
    ["Market cap", compact(data.market_cap, data.currency)], ["Traded in 24 h", compact(data.volume_24h, data.currency)],
  ].filter(([, value]) => value !== undefined && value !== null && value !== "" && (typeof value !== "object" || value instanceof Node));
  return h("div", { class: "quote" },
    head(data.name || data.symbol, data.name && data.symbol, data.price, data.currency, change),
    facts.length > 0 && h("dl", { class: "facts" }, facts.map(([name, value]) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, value instanceof Node ? value : String(value))))));
}

/** The course of a price. */
export function bars(data) {
  const points = rowsOf(data.bars)
    .map((bar) => ({ time: moment(bar.start), value: number(bar.close) }))
    .filter((point) => point.value !== null && !Number.isNaN(point.time))
    .sort((a, b) => a.time - b.time);
  if (points.length < 2) return null;
  const last = points.at(-1);
  return h("div", { class: "quote" },
    head(data.name || data.symbol, data.name && data.symbol, last.value, data.currency, rise(points)),
    history(points, data.currency));
}

/** Coins or shares side by side. */
export function ticker(data) {
  const rows = rowsOf(data.coins).filter((row) => number(row.price) !== null);
  if (!rows.length) return null;
  return h("ul", { class: "ticker" }, rows.slice(0, 20).map((row) => h("li", {},
    h("span", { dir: "auto" }, h("strong", {}, row.name || row.symbol), " ", row.name && h("small", {}, row.symbol)),
    sparkline(pointsOfChanges(row)),
    h("span", { class: "ticker-price" }, price(row.price, row.currency)),
    moved(number(row.change_24h_percent)))));
}

function head(name, symbol, value, currency, change) {
  return h("div", { class: "quote-head" },
    h("p", { class: "quote-name" }, h("strong", {}, name), symbol && ` ${symbol}`),
    h("p", { class: "quote-price" }, price(value, currency), moved(change)));
}

function moved(change) {
  if (change === null) return h("span");
  return h("span", { class: change < 0 ? "down" : "up" },
    h("span", { "aria-hidden": "true" }, change < 0 ? "▼ " : "▲ "),
    h("span", { class: "sr-only" }, change < 0 ? "down " : "up "), percent(Math.abs(change)));
}

/** When a bar began: vendors leave the zone out where it is UTC. */
function moment(text) {
  const told = String(text ?? "");
  return Date.parse(/T[\d:.]+$/.test(told) ? `${told}Z` : told);
}

/** What it cost before, by how much it changed since: the few points that a quote tells of. */
function pointsOfChanges(data) {
  const current = number(data.price);
  if (current === null) return [];
  const end = Date.parse(data.as_of ?? "");
  const known = [["change_7d_percent", 7 * DAY_MS], ["change_24h_percent", DAY_MS], ["change_1h_percent", HOUR_MS]]
    .map(([name, ago]) => [number(data[name]), ago])
    .filter(([change]) => change !== null && change > -100)
    .map(([change, ago]) => ({ time: end - ago, value: current / (1 + change / 100) }));
  return Number.isNaN(end) || !known.length ? [] : [...known, { time: end, value: current }];
}

/** A chart with a button for every range that the points cover, or null for fewer than two. */
function history(points, currency) {
  if (points.length < 2) return null;
  const drawing = h("div", { class: "chart" });
  const whole = points.at(-1).time - points[0].time;
  const offered = RANGES.filter(([, days]) => days * DAY_MS < whole && within(points, days).length > 1);
  // A month of thirty days is a month: what covers a range is called by it.
  const [all] = RANGES.find(([, days]) => days === Infinity || (days * DAY_MS * 0.9 < whole && whole <= days * DAY_MS));
  offered.push([all, Infinity]);
  const show = (days) => {
    drawing.replaceChildren(...line(evened(within(points, days)), currency));
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.days === String(days)));
  };
  const buttons = offered.map(([name, days]) =>
    h("button", { type: "button", class: "quiet", dataset: { days: String(days) }, onclick: () => show(days) }, name));
  show(Infinity);
  return h("div", { class: "history" }, drawing,
    buttons.length > 1 && h("div", { class: "ranges", role: "group", "aria-label": "Range" }, buttons));
}

function within(points, days) {
  const from = points.at(-1).time - days * DAY_MS - HOUR_MS;
  return points.filter((point) => point.time >= from);
}

/** The last hours of a year lie on one spot: what is closer together than can be seen is left out. */
function evened(points) {
  const least = (points.at(-1).time - points[0].time) / 200;
  const kept = [];
  for (const point of points.toReversed()) if (!kept.length || kept.at(-1).time - point.time >= least) kept.push(point);
  if (kept.at(-1) !== points[0]) kept.push(points[0]);
  return kept.reverse();
}

function rise(points) {
  return points[0].value ? ((points.at(-1).value - points[0].value) / points[0].value) * 100 : null;
}

function extremes(points) {
  const values = points.map((point) => point.value);
  return [Math.min(...values), Math.max(...values)];
}

function scaled(points, width, height, pad) {
  const [low, high] = extremes(points);
  const [from, to] = [points[0].time, points.at(-1).time];
  const x = (time) => pad.left + ((time - from) / (to - from || 1)) * (width - pad.left - pad.right);
  const y = (value) => height - pad.bottom - (high === low ? 0.5 : (value - low) / (high - low)) * (height - pad.top - pad.bottom);
  const path = points.map((point, at) => `${at ? "L" : "M"}${x(point.time).toFixed(1)} ${y(point.value).toFixed(1)}`).join("");
  return { x, y, path };
}

function line(points, currency) {
  const [least, most] = extremes(points);
  const levels = most === least ? [least] : [least, (least + most) / 2, most];
  const names = levels.map((value) => price(value, currency, least >= 1000 && most - least >= 10));
  // The names stand beside the drawing: on it they would cover the line.
  const pad = { ...PAD, left: GAP + Math.ceil(LETTER * Math.max(...names.map((name) => name.length))) };
  const { x, y, path } = scaled(points, WIDTH, HEIGHT, pad);
  const change = rise(points);
  const floor = HEIGHT - PAD.bottom;
  const words = `From ${price(points[0].value, currency)} on ${when(points[0], points)} to ${price(points.at(-1).value, currency)}, ` +
    `lowest ${price(least, currency)}, highest ${price(most, currency)}.`;
  const dot = svg("circle", { r: 4, class: "point" });
  const guide = svg("path", { class: "guide" });
  const drawn = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: change < 0 ? "down" : "up", "aria-hidden": "true" },
    levels.map((value) => svg("path", { class: "level", d: `M${pad.left} ${y(value).toFixed(1)}H${WIDTH - PAD.right}` })),
    svg("path", { d: `${path}L${x(points.at(-1).time).toFixed(1)} ${floor}L${pad.left} ${floor}Z`, class: "area" }),
    svg("path", { d: path, class: "line" }),
    levels.map((value, at) => svg("text", { x: pad.left - GAP, y: (y(value) + 4).toFixed(1), "text-anchor": "end" }, names[at])),
    svg("text", { x: pad.left, y: HEIGHT - 6 }, when(points[0], points)),
    svg("text", { x: WIDTH - PAD.right, y: HEIGHT - 6, "text-anchor": "end" }, when(points.at(-1), points)),
    guide, dot);
  const told = h("output", { class: "chart-words" });
  const point = (at) => {
    const { time, value } = points[at];
    dot.setAttribute("transform", `translate(${x(time).toFixed(1)} ${y(value).toFixed(1)})`);
    guide.setAttribute("d", `M${x(time).toFixed(1)} ${PAD.top}V${floor}`);
    told.textContent = `${when(points[at], points)}: ${price(value, currency)}`;
  };
  const slider = h("input", { type: "range", class: "chart-point", min: 0, max: points.length - 1, value: points.length - 1,
    "aria-label": words, oninput: () => { point(Number(slider.value)); tell(); } });
  const tell = () => slider.setAttribute("aria-valuetext", told.textContent);
  drawn.addEventListener("pointermove", (event) => {
    const box = drawn.getBoundingClientRect();
    const at = nearest(points.map(({ time }) => x(time)), ((event.clientX - box.left) / box.width) * WIDTH);
    slider.value = String(at);
    point(at);
  });
  point(points.length - 1);
  tell();
  return [drawn, slider, h("p", { class: "chart-foot" }, told, moved(change))];
}

function nearest(places, place) {
  let best = 0;
  for (const [at, one] of places.entries()) if (Math.abs(one - place) < Math.abs(places[best] - place)) best = at;
  return best;
}

function sparkline(points) {
  if (points.length < 2) return h("span");
  const { path } = scaled(points, 80, 24, { left: 2, right: 2, top: 3, bottom: 3 });
  return svg("svg", { viewBox: "0 0 80 24", class: `spark ${rise(points) < 0 ? "down" : "up"}`, "aria-hidden": "true" },
    svg("path", { d: path, class: "line" }));
}

function when(point, points) {
  const short = points.at(-1).time - points[0].time <= 2 * DAY_MS;
  const form = short ? { weekday: "short", hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short", year: "numeric" };
  return new Intl.DateTimeFormat(undefined, form).format(new Date(point.time));
}

function compact(value, currency) {
  const found = number(value);
  if (found === null) return null;
  const style = /^[A-Z]{3}$/.test(currency ?? "") ? { style: "currency", currency } : {};
  return new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 3, ...style }).format(found);
}
