// Results that people look at rather than read: prices, charts, offers, days, places, headlines,
// parcels, money. A look returns null for data it cannot show, and the plain view of any value is
// used instead. Everything is drawn from the tool's own data: nothing is fetched.

import { h } from "./dom.js";
import { link, safeUrl } from "./links.js";

const SVG = "http://www.w3.org/2000/svg";
const DAY_MS = 86_400_000;

/** Which function draws which `response_type`. */
export const LOOKS = {
  stock_price: (data) => quote(data),
  crypto_price: (data) => quote(data.coin),
  stock_bars: chart,
  flight_offers: flights,
  hotel_prices: hotels,
  calendar_events: agenda,
  google_news: (data) => headlines(data.news),
  company_news: (data) => headlines(data.news),
  web_results: (data) => headlines(data.results),
  article_list: (data) => headlines(data.articles),
  google_products: (data) => products(data.products),
  amazon_products: (data) => products(data.products),
  amazon_product: (data) => products([data]),
  bank_transactions: spending,
  package_tracking: parcel,
  places_on_map: (data) => map(data.places),
  place_on_map: (data) => map([data.place]),
  ticketmaster_venues: (data) => map(data.venues),
};

// ---------------------------------------------------------------- prices

function quote(data) {
  if (data?.price === undefined || data.price === null) return null;
  const change = number(data.change_percent ?? data.change_24h_percent);
  const facts = [
    ["Open", data.day_open], ["High", data.day_high], ["Low", data.day_low], ["Before", data.previous_close],
    ["Hour", percent(data.change_1h_percent)], ["Week", percent(data.change_7d_percent)],
  ].filter(([, value]) => value !== undefined && value !== null && value !== "");
  return h("div", { class: "quote" },
    h("p", { class: "quote-name" }, h("strong", {}, data.name || data.symbol), data.name && ` ${data.symbol}`),
    h("p", { class: "quote-price" }, price(data.price, data.currency),
      change !== null && h("span", { class: change < 0 ? "down" : "up" }, `${change < 0 ? "▼" : "▲"} ${percent(Math.abs(change))}`)),
    facts.length > 0 && h("dl", { class: "facts" }, facts.map(([name, value]) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, String(value))))));
}

const RANGES = [["1 W", 7], ["1 M", 31], ["3 M", 92], ["1 Y", 366], ["All", Infinity]];

function chart(data) {
  const bars = (data.bars ?? [])
    .map((bar) => ({ time: Date.parse(bar.start), close: number(bar.close), label: String(bar.start ?? "").replace("T", " ") }))
    .filter((bar) => bar.close !== null && !Number.isNaN(bar.time))
    .sort((a, b) => a.time - b.time);
  if (bars.length < 2) return null;
  const last = bars.at(-1);
  const drawing = h("div", { class: "chart" });
  const offered = RANGES.filter(([, days], at) => at === RANGES.length - 1 || within(bars, days).length > 1
    && within(bars, days).length < bars.length);
  const show = (days) => {
    drawing.replaceChildren(line(within(bars, days), data.currency));
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.days === String(days)));
  };
  const buttons = offered.map(([name, days]) =>
    h("button", { type: "button", class: "quiet", dataset: { days: String(days) }, onclick: () => show(days) }, name));
  show(Infinity);
  return h("div", { class: "quote" },
    h("p", { class: "quote-name" }, h("strong", {}, data.symbol)),
    h("p", { class: "quote-price" }, price(last.close, data.currency)),
    drawing,
    buttons.length > 1 && h("div", { class: "ranges", role: "group", "aria-label": "Range" }, buttons));
}

function within(bars, days) {
  const from = bars.at(-1).time - days * DAY_MS;
  return bars.filter((bar) => bar.time >= from);
}

function line(bars, currency) {
  const closes = bars.map((bar) => bar.close);
  const [low, high] = [Math.min(...closes), Math.max(...closes)];
  const x = (at) => 4 + (at / (bars.length - 1)) * 312;
  const y = (close) => 84 - ((close - low) / (high - low || 1)) * 76;
  const path = bars.map((bar, at) => `${at ? "L" : "M"}${x(at).toFixed(1)} ${y(bar.close).toFixed(1)}`).join("");
  const change = ((closes.at(-1) - closes[0]) / closes[0]) * 100;
  const words = `From ${price(closes[0], currency)} on ${bars[0].label.slice(0, 10)} to ${price(closes.at(-1), currency)}, ` +
    `lowest ${low}, highest ${high}.`;
  return h("div", {},
    svg("svg", { viewBox: "0 0 320 92", role: "img", "aria-label": words, class: change < 0 ? "down" : "up" },
      svg("path", { d: `${path}L${x(bars.length - 1)} 90L4 90Z`, class: "area" }),
      svg("path", { d: path, class: "line" })),
    h("p", { class: "chart-words" }, `${bars[0].label.slice(0, 10)} – ${bars.at(-1).label.slice(0, 10)} · `,
      h("span", { class: change < 0 ? "down" : "up" }, `${change < 0 ? "▼" : "▲"} ${percent(Math.abs(change))}`)));
}

// ---------------------------------------------------------------- travel

function flights(data) {
  const offers = (data.offers ?? []).filter((offer) => offer.legs?.length);
  if (!offers.length) return null;
  const hours = (minutes) => (number(minutes) === null ? "" : `${Math.floor(minutes / 60)} h ${minutes % 60} min`);
  return table(offers, {
    label: `Flights from ${data.origin} to ${data.destination}`,
    filters: [["Direct only", (offer) => offer.stops === 0]],
    columns: [
      ["Price", (offer) => offer.price, (offer) => price(offer.price, offer.currency)],
      ["Leaves", (offer) => offer.legs[0].departs, (offer) => clock(offer.legs[0].departs)],
      ["Arrives", (offer) => offer.legs.at(-1).arrives, (offer) => clock(offer.legs.at(-1).arrives)],
      ["Takes", (offer) => offer.duration_minutes, (offer) => hours(offer.duration_minutes)],
      ["Stops", (offer) => offer.stops, (offer) => (offer.stops ? String(offer.stops) : "direct")],
      ["Flights", null, (offer) => offer.legs.map((leg) => [leg.flight, leg.airline].filter(Boolean).join(" ")).join(", ")],
    ],
  });
}

function hotels(data) {
  const found = data.hotels ?? [];
  if (!found.length) return null;
  return table(found, {
    label: `Hotels in ${data.location}`,
    filters: [["With a price", (hotel) => number(hotel.price_total) !== null]],
    columns: [
      ["Hotel", (hotel) => hotel.name, (hotel) => linked(hotel.url, hotel.name)],
      ["A night", (hotel) => hotel.price_per_night, (hotel) => price(hotel.price_per_night, hotel.currency)],
      ["In all", (hotel) => hotel.price_total, (hotel) => price(hotel.price_total, hotel.currency)],
      ["Rating", (hotel) => hotel.rating ?? hotel.stars, (hotel) => String(hotel.rating ?? (hotel.stars ? `${hotel.stars}★` : ""))],
    ],
  });
}

/** A table that its reader sorts by the heads of its columns and filters by switches. */
function table(rows, { label, columns, filters }) {
  let [by, up] = [columns.findIndex(([, value]) => value), true];
  const body = h("tbody");
  const useful = filters.filter(([, keep]) => rows.some(keep) && !rows.every(keep));
  const boxes = useful.map(([name]) => h("input", { type: "checkbox", "aria-label": name, onchange: () => draw() }));
  const heads = columns.map(([name, value], at) => h("th", { scope: "col" },
    value ? h("button", { type: "button", class: "quiet sort", onclick: () => sortBy(at) }, name) : name));
  const sortBy = (at) => {
    up = by === at ? !up : true;
    by = at;
    draw();
  };
  const draw = () => {
    const value = columns[by][1];
    const shown = rows.filter((row) => useful.every(([, keep], at) => !boxes[at].checked || keep(row)));
    shown.sort((a, b) => order(value(a), value(b)) * (up ? 1 : -1));
    body.replaceChildren(...shown.map((row) => h("tr", {}, columns.map(([, , cell]) => h("td", { dir: "auto" }, cell(row))))));
    for (const [at, head] of heads.entries()) {
      if (at === by) head.setAttribute("aria-sort", up ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
  };
  draw();
  return h("div", { class: "sortable" },
    boxes.length > 0 && h("p", { class: "switches" }, useful.map(([name], at) => h("label", {}, boxes[at], ` ${name}`))),
    h("div", { class: "table-scroll", tabindex: "0", role: "group", "aria-label": label },
      h("table", {}, h("thead", {}, h("tr", {}, heads)), body)));
}

/** Unknown values come last whichever way the rest is sorted first. */
function order(a, b) {
  const [left, right] = [a, b].map((value) => (value === null || value === undefined || value === "" ? null : value));
  if (left === null || right === null) return (left === null) - (right === null);
  return typeof left === "number" && typeof right === "number" ? left - right : String(left).localeCompare(String(right));
}

// ---------------------------------------------------------------- days, headlines, things

function agenda(data) {
  const events = data.events ?? [];
  if (!events.length) return null;
  const days = Map.groupBy ? Map.groupBy(events, dayOf) : grouped(events, dayOf);
  return h("div", { class: "agenda" }, [...days].map(([day, its]) => h("section", {},
    h("h4", {}, dayName(day)),
    h("ul", {}, its.map((event) => h("li", {},
      h("span", { class: "agenda-time" }, event.all_day ? "all day" : `${clock(event.start)}–${clock(event.end)}`),
      h("span", { dir: "auto" }, linked(event.url, event.title),
        event.location && h("small", {}, ` ${event.location}`),
        safeUrl(event.video_url ?? "") && h("small", {}, " ", link(safeUrl(event.video_url), "video call")))))))));
}

const dayOf = (event) => String(event.start ?? "").slice(0, 10);

function grouped(values, key) {
  const groups = new Map();
  for (const value of values) groups.set(key(value), [...(groups.get(key(value)) ?? []), value]);
  return groups;
}

function headlines(news) {
  if (!Array.isArray(news) || !news.length) return null;
  return h("ol", { class: "headlines" }, news.map((item) => h("li", {},
    h("span", { dir: "auto" }, linked(item.url, item.title ?? item.headline)),
    h("small", { dir: "auto" }, [item.publisher ?? item.site, since(item.published_at ?? item.published)].filter(Boolean).join(" · ")),
    (item.snippet || item.excerpt || item.description) && h("p", { dir: "auto" }, item.snippet || item.excerpt || item.description))));
}

function products(found) {
  if (!Array.isArray(found) || !found.length) return null;
  return h("ul", { class: "products" }, found.map((item) => h("li", {},
    h("strong", { class: "product-price" }, item.price_shown || price(item.price, item.currency) || "–"),
    h("span", { dir: "auto" }, linked(item.url, item.title)),
    h("small", { dir: "auto" }, [
      item.shop ?? item.seller, number(item.rating) !== null && `★ ${item.rating}`,
      item.was && `was ${item.was}`, item.delivery, item.condition, item.prime && "Prime",
    ].filter(Boolean).join(" · ")))));
}

function parcel(data) {
  const steps = ["pre_transit", "in_transit", "out_for_delivery", "delivered"];
  const at = steps.indexOf(data.status);
  if (at < 0) return null;
  const words = ["Announced", "On its way", "Out for delivery", "Delivered"];
  return h("div", { class: "parcel" },
    h("p", {}, h("strong", {}, words[at]), data.expected_delivery && at < 3 && ` · expected ${dayName(data.expected_delivery)}`),
    h("ol", { class: "steps" }, words.map((word, step) =>
      h("li", { class: step <= at ? "done" : null, "aria-current": step === at ? "step" : null }, word))),
    h("ul", { class: "scans" }, (data.scans ?? []).slice(0, 8).map((scan) =>
      h("li", {}, h("span", { class: "agenda-time" }, scan.date), h("span", { dir: "auto" }, scan.message, scan.place && h("small", {}, ` ${scan.place}`))))));
}

function spending(data) {
  const sums = Object.entries(data.by_category ?? {}).flatMap(([category, by]) =>
    (typeof by === "object" && by ? Object.entries(by) : [["", by]]).map(([currency, amount]) => ({ category, currency, amount: number(amount) })))
    .filter((sum) => sum.amount !== null && sum.amount > 0)
    .sort((a, b) => b.amount - a.amount).slice(0, 8);
  if (!sums.length) return null;
  const largest = sums[0].amount;
  return h("div", { class: "spending" }, sums.map(({ category, currency, amount }) => h("div", {},
    h("span", {}, category.replaceAll("_", " ").toLowerCase()),
    h("meter", { min: 0, max: largest, value: amount, "aria-label": category }),
    h("strong", {}, price(amount, currency)))));
}

/** Places as dots where they lie to one another, drawn here: no map server learns of them. */
function map(places) {
  const found = (places ?? []).filter((place) => number(place?.latitude) !== null && number(place?.longitude) !== null).slice(0, 12);
  if (!found.length) return null;
  const middle = (found[0].latitude * Math.PI) / 180;
  const spots = found.map((place) => ({ name: place.name, address: place.address, x: place.longitude * Math.cos(middle), y: -place.latitude }));
  const middleOf = (axis) => (Math.min(...spots.map((spot) => spot[axis])) + Math.max(...spots.map((spot) => spot[axis]))) / 2;
  const [east, north] = [middleOf("x"), middleOf("y")];
  const reach = Math.max(...spots.map((spot) => Math.max(Math.abs(spot.x - east), Math.abs(spot.y - north) * 1.5)), 1e-4);
  const dots = spots.map((spot, at) => {
    const [x, y] = [100 + ((spot.x - east) / reach) * 84, 66 + ((spot.y - north) / reach) * 84];
    return svg("g", { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` },
      svg("circle", { r: 7, class: "dot" }), svg("text", { "text-anchor": "middle", y: 3 }, String(at + 1)));
  });
  return h("div", { class: "map" },
    spots.length > 1 && svg("svg", { viewBox: "0 0 200 132", role: "img", "aria-label": `${spots.length} places, north is up` }, dots),
    h("ol", {}, found.map((place) => h("li", { dir: "auto" }, h("strong", {}, place.name), " ",
      h("small", {}, place.address || `${place.latitude.toFixed(4)}, ${place.longitude.toFixed(4)}`)))));
}

// ---------------------------------------------------------------- small parts

function svg(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.flat());
  return element;
}

function linked(url, words) {
  const safe = url ? safeUrl(String(url)) : null;
  return safe ? link(safe, String(words || safe.hostname)) : String(words ?? "");
}

function number(value) {
  const found = typeof value === "string" && value.trim() ? Number(value) : value;
  return typeof found === "number" && Number.isFinite(found) ? found : null;
}

function percent(value) {
  const found = number(value);
  return found === null ? null : `${found.toFixed(2)} %`;
}

function price(value, currency) {
  const found = number(value);
  if (found === null) return "";
  const small = found !== 0 && Math.abs(found) < 1;
  try {
    const style = currency ? { style: "currency", currency } : {};
    return new Intl.NumberFormat(undefined, { ...style, maximumSignificantDigits: small ? 6 : undefined }).format(found);
  } catch {
    return `${found} ${currency}`; // a currency that browsers do not know, such as a coin
  }
}

/** The hour as the place itself counts it: a flight leaves by the airport's clock, not the reader's. */
function clock(text) {
  return /T(\d\d:\d\d)/.exec(String(text ?? ""))?.[1] ?? "";
}

function dayName(text) {
  const time = new Date(`${String(text).slice(0, 10)}T00:00`);
  return Number.isNaN(time.getTime()) ? String(text)
    : new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" }).format(time);
}

function since(text) {
  const time = Date.parse(text ?? "");
  if (Number.isNaN(time)) return "";
  const hours = Math.round((Date.now() - time) / 3_600_000);
  const format = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
  return Math.abs(hours) < 48 ? format.format(-hours, "hour") : format.format(-Math.round(hours / 24), "day");
}
