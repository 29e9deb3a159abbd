// Results that people look at rather than read: prices, charts, offers, days, places, headlines,
// parcels, money. A look returns null for data it cannot show, and the plain view of any value is
// used instead. Everything is drawn from the tool's own data: nothing is fetched.

import { bars, quote, ticker } from "./charts.js";
import { inHours, now } from "./clock.js";
import { h, svg } from "./dom.js";
import { number, price, rowsOf, said } from "./figures.js";
import { link, safeUrl } from "./links.js";
import { map } from "./places.js";
import { dayName, hourThere } from "./words.js";

const ROWS_SHOWN = 8;

/** Which function draws which `response_type`. */
export const LOOKS = {
  stock_price: (data) => quote(data),
  crypto_price: (data) => quote(data.coin),
  crypto_list: ticker,
  stock_bars: bars,
  crypto_history: bars,
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
  package_list: (data) => parcels(data.packages),
  places_on_map: (data) => map(data.places),
  place_on_map: (data) => map([data.place]),
  ticketmaster_venues: (data) => map(data.venues),
};

const WHOLE_DAY = { weekday: "long", day: "numeric", month: "long" };

// ---------------------------------------------------------------- travel

function flights(data) {
  const offers = rowsOf(data.offers).map((offer) => ({ ...offer, legs: rowsOf(offer.legs), back: rowsOf(offer.return_legs) }))
    .filter((offer) => offer.legs.length);
  if (!offers.length) return null;
  const hours = (minutes) => (minutes === null ? "" : inHours(Math.round(minutes)));
  const airlines = (offer) => [...new Set(offer.legs.map((leg) => said(leg.airline)).filter(Boolean))];
  const cheap = typical(offers.map((offer) => number(offer.price)));
  return table(offers, {
    label: `Flights from ${said(data.origin)} to ${said(data.destination)}`,
    filters: [["Direct only", (offer) => offer.stops === 0], ["One stop at most", (offer) => offer.stops <= 1],
      ["Below the middle price", (offer) => number(offer.price) !== null && number(offer.price) < cheap]],
    choice: ["Airline", airlines],
    columns: [
      ["Price", (offer) => number(offer.price), (offer) => h("strong", {}, price(offer.price, offer.currency))],
      ["Leaves", (offer) => said(offer.legs[0].departs), (offer) => [hourThere(offer.legs[0].departs), h("small", {}, ` ${said(offer.legs[0].origin)}`)]],
      ["Arrives", (offer) => said(offer.legs.at(-1).arrives), (offer) => [hourThere(offer.legs.at(-1).arrives),
        later(offer.legs[0].departs, offer.legs.at(-1).arrives), h("small", {}, ` ${said(offer.legs.at(-1).destination)}`)]],
      ["Takes", (offer) => number(offer.duration_minutes), (offer) => hours(number(offer.duration_minutes))],
      ["Stops", (offer) => number(offer.stops), (offer) => (offer.stops ? `${said(offer.stops)} · ${offer.legs.slice(0, -1).map((leg) => said(leg.destination)).join(", ")}` : "direct")],
      ["Flights", null, (offer) => [legs(offer.legs), offer.back.length > 0 && h("small", {}, h("br"), `back ${legs(offer.back)}`)]],
    ],
  });
}

const legs = (list) => list.map((leg) => [said(leg.flight), said(leg.airline)].filter(Boolean).join(" ")).join(", ");

/** "+1" for an arrival on the next day. */
function later(departs, arrives) {
  const [from, to] = [departs, arrives].map((time) => Date.parse(`${said(time).slice(0, 10)}T00:00Z`));
  const days = Math.round((to - from) / 86_400_000);
  return days > 0 && days < 10 ? h("sup", {}, `+${days}`) : null;
}

function hotels(data) {
  const found = rowsOf(data.hotels);
  if (!found.length) return null;
  const cheap = typical(found.map((hotel) => number(hotel.price_per_night)));
  return table(found, {
    label: `Hotels in ${said(data.location)}`,
    filters: [["With a price", (hotel) => number(hotel.price_total ?? hotel.price_per_night) !== null],
      ["Below the middle price", (hotel) => number(hotel.price_per_night) !== null && number(hotel.price_per_night) < cheap],
      ["Rated 4 and up", (hotel) => number(hotel.rating) >= 4]],
    columns: [
      ["Hotel", (hotel) => said(hotel.name), (hotel) => [linked(hotel.url, hotel.name),
        Array.isArray(hotel.amenities) && hotel.amenities.length > 0 && h("small", {}, h("br"), hotel.amenities.slice(0, 4).map(said).filter(Boolean).join(" · "))]],
      ["A night", (hotel) => number(hotel.price_per_night), (hotel) => h("strong", {}, price(hotel.price_per_night, hotel.currency))],
      ["In all", (hotel) => number(hotel.price_total), (hotel) => price(hotel.price_total, hotel.currency)],
      ["Rating", (hotel) => number(hotel.rating ?? hotel.stars), (hotel) => [
        number(hotel.rating) !== null ? `★ ${said(hotel.rating)}` : number(hotel.stars) !== null && `${said(hotel.stars)}-star`,
        number(hotel.review_count) !== null && h("small", {}, ` (${said(hotel.review_count)})`)]],
    ],
  });
}

/** The middle one of some prices; null for fewer than three. */
function typical(prices) {
  const known = prices.filter((one) => one !== null).sort((a, b) => a - b);
  return known.length < 3 ? null : known[Math.floor(known.length / 2)];
}

/** A table that its reader sorts by the heads of its columns, and filters by switches and a choice. */
function table(rows, { label, columns, filters, choice = null }) {
  let [by, up, all] = [columns.findIndex(([, value]) => value), true, false];
  const body = h("tbody");
  const useful = filters.filter(([, keep]) => rows.some(keep) && !rows.every(keep));
  const boxes = useful.map(([name]) => h("input", { type: "checkbox", "aria-label": name, onchange: () => draw() }));
  const options = choice ? [...new Set(rows.flatMap(choice[1]))].sort() : [];
  const select = options.length > 1 && h("select", { "aria-label": choice[0], onchange: () => draw() },
    h("option", { value: "" }, `Every ${choice[0].toLowerCase()}`), options.map((option) => h("option", { value: option }, option)));
  const heads = columns.map(([name, value], at) => h("th", { scope: "col" },
    value ? h("button", { type: "button", class: "quiet sort", onclick: () => sortBy(at) }, name) : name));
  const more = h("button", { type: "button", class: "quiet show-all", onclick: () => { all = true; draw(); } });
  const count = h("p", { class: "sr-only", role: "status" });
  const sortBy = (at) => {
    up = by === at ? !up : true;
    by = at;
    draw();
  };
  const kept = (row) => useful.every(([, keep], at) => !boxes[at].checked || keep(row))
    && (!select || !select.value || choice[1](row).includes(select.value));
  const draw = () => {
    const value = columns[by][1];
    const found = rows.filter(kept).sort((a, b) => order(value(a), value(b), up));
    const shown = all ? found : found.slice(0, ROWS_SHOWN);
    body.replaceChildren(...shown.map((row) => h("tr", {}, columns.map(([, , cell]) => h("td", { dir: "auto" }, cell(row))))));
    for (const [at, head] of heads.entries()) {
      if (at === by) head.setAttribute("aria-sort", up ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
    more.hidden = shown.length === found.length;
    more.textContent = `Show all ${found.length}`;
    count.textContent = `${found.length} of ${rows.length}`;
  };
  draw();
  return h("div", { class: "sortable" },
    (boxes.length > 0 || select) && h("div", { class: "switches" },
      useful.map(([name], at) => h("label", {}, boxes[at], ` ${name}`)), select),
    h("div", { class: "table-scroll", tabindex: "0", role: "group", "aria-label": label },
      h("table", {}, h("thead", {}, h("tr", {}, heads)), body)),
    more, count);
}

/** Unknown values come last, whichever way the rest is sorted. */
function order(a, b, up) {
  const [left, right] = [a, b].map((value) => (value === null || value === undefined || value === "" ? null : value));
  if (left === null || right === null) return (left === null) - (right === null);
  const way = typeof left === "number" && typeof right === "number" ? left - right : String(left).localeCompare(String(right));
  return up ? way : -way;
}

// ---------------------------------------------------------------- days, headlines, things

function agenda(data) {
  const events = rowsOf(data.events);
  if (!events.length) return null;
  const days = grouped(events, (event) => said(event.start).slice(0, 10));
  return h("div", { class: "agenda" }, [...days].map(([day, its]) => h("section", {},
    h("h4", {}, dayName(day, WHOLE_DAY)), dayBar(its),
    h("ul", {}, its.map((event) => h("li", {},
      h("span", { class: "agenda-time" }, event.all_day || !hourThere(event.start) ? "all day" : [hourThere(event.start), hourThere(event.end)].filter(Boolean).join("–")),
      h("span", { dir: "auto" }, linked(event.url, event.title),
        event.location && h("small", {}, ` ${said(event.location)}`),
        safeUrl(event.video_url ?? "") && h("small", {}, " ", link(safeUrl(event.video_url), "video call")))))))));
}

/** A day from end to end, with its meetings where they lie; those that meet are drawn below each other. */
function dayBar(events) {
  const timed = events.map((event) => [hourOf(event.start), hourOf(event.end)])
    .filter(([from, to]) => from !== null && to !== null && to > from).sort((a, b) => a[0] - b[0]);
  if (!timed.length) return null;
  const first = Math.min(8, ...timed.map(([from]) => Math.floor(from)));
  const last = Math.max(18, ...timed.map(([, to]) => Math.ceil(to)));
  const x = (hour) => 6 + ((hour - first) / (last - first)) * 308;
  const lanes = [];
  const blocks = timed.map(([from, to]) => {
    let lane = lanes.findIndex((until) => until <= from);
    if (lane < 0) lane = Math.min(lanes.length, 2);
    lanes[lane] = to;
    return svg("rect", { x: (x(from) + .5).toFixed(1), y: 4 + lane * 9, width: Math.max(3, x(to) - x(from) - 1).toFixed(1), height: 7, rx: 2.5 });
  });
  const height = 8 + Math.min(3, lanes.length) * 9;
  const step = last - first > 14 ? 4 : 2;
  const hours = Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, at) => first + at * step);
  return svg("svg", { viewBox: `0 0 320 ${height + 12}`, class: "day-bar", "aria-hidden": "true" },
    hours.map((hour) => [svg("path", { d: `M${x(hour).toFixed(1)} 2V${height}` }),
      svg("text", { x: x(hour).toFixed(1), y: height + 9, "text-anchor": "middle" }, String(hour))]), blocks);
}

function hourOf(text) {
  const [, hours, minutes] = /T(\d\d):(\d\d)/.exec(said(text)) ?? [];
  return hours === undefined ? null : Number(hours) + Number(minutes) / 60;
}

function grouped(values, key) {
  const groups = new Map();
  for (const value of values) groups.set(key(value), [...(groups.get(key(value)) ?? []), value]);
  return groups;
}

function headlines(news) {
  const found = rowsOf(news);
  if (!found.length) return null;
  const view = (item) => h("li", {},
    h("span", { class: "headline", dir: "auto" }, linked(item.url, item.title ?? item.headline)),
    h("small", { dir: "auto" }, [said(item.publisher ?? item.site), since(item.published_at ?? item.published)].filter(Boolean).join(" · ")),
    said(item.snippet || item.excerpt || item.description) && h("p", { dir: "auto" }, said(item.snippet || item.excerpt || item.description)));
  return h("div", {}, shortened(found, view, h("ol", { class: "headlines" })));
}

function products(found) {
  const items = rowsOf(found);
  if (!items.length) return null;
  const view = (item) => h("li", {},
    h("strong", { class: "product-price" }, said(item.price_shown) || price(item.price, item.currency) || "–",
      item.was && h("s", {}, said(item.was))),
    h("span", { dir: "auto" }, linked(item.url, item.title)),
    h("small", { dir: "auto" }, stars(item.rating), [
      number(item.review_count ?? item.reviews) !== null && `${said(item.review_count ?? item.reviews)} reviews`,
      said(item.shop ?? item.seller), said(item.delivery), said(item.condition), item.prime === true && "Prime",
    ].filter(Boolean).join(" · ")));
  return h("div", {}, shortened(items, view, h("ul", { class: "products" })));
}

function stars(rating) {
  const found = number(rating);
  return found !== null && found > 0 && h("span", { class: "stars" }, `★ ${said(rating)} `);
}

/** The first of many in `list`, and a button for the rest. */
function shortened(items, view, list) {
  list.append(...items.slice(0, ROWS_SHOWN).map(view));
  if (items.length <= ROWS_SHOWN) return list;
  const more = h("button", { type: "button", class: "quiet show-all", onclick: () => {
    list.append(...items.slice(ROWS_SHOWN).map(view));
    more.remove();
  } }, `Show all ${items.length}`);
  return [list, more];
}

function parcels(found) {
  const all = rowsOf(found).map((one) => [one, parcel(one)]).filter(([, view]) => view);
  if (!all.length) return null;
  return h("div", { class: "parcels" }, all.slice(0, ROWS_SHOWN).map(([one, view]) => h("section", {},
    h("h4", { dir: "auto" }, linked(one.url, [said(one.carrier), said(one.tracking_code)].filter(Boolean).join(" "))), view)));
}

function parcel(data) {
  const steps = ["pre_transit", "in_transit", "out_for_delivery", "delivered"];
  const at = steps.indexOf(data.status);
  if (at < 0) return null;
  const words = ["Announced", "On its way", "Out for delivery", "Delivered"];
  return h("div", { class: "parcel" },
    h("p", {}, h("strong", {}, words[at]), data.expected_delivery && at < 3 && ` · expected ${dayName(data.expected_delivery, WHOLE_DAY)}`),
    h("ol", { class: "steps" }, words.map((word, step) =>
      h("li", { class: step <= at ? "done" : null, "aria-current": step === at ? "step" : null }, word))),
    h("ul", { class: "scans" }, rowsOf(data.scans).slice(0, 8).map((scan) =>
      h("li", {}, h("span", { class: "agenda-time" }, said(scan.date)), h("span", { dir: "auto" }, said(scan.message), scan.place && h("small", {}, ` ${said(scan.place)}`))))));
}

/** What was spent by category, and the transactions behind it: a category shows its own alone. */
function spending(data) {
  const sums = (Array.isArray(data.by_category) ? rowsOf(data.by_category) : [])
    .map((row) => ({ category: said(row.category), currency: said(row.currency), amount: number(row.spent) }))
    .filter((sum) => sum.amount !== null && sum.amount > 0)
    .sort((a, b) => b.amount - a.amount).slice(0, ROWS_SHOWN);
  const rows = rowsOf(data.transactions).filter((row) => number(row.amount) !== null);
  if (!sums.length && !rows.length) return null;
  const list = h("ul", { class: "transactions" });
  const more = h("button", { type: "button", class: "quiet show-all", onclick: () => show(chosen, true) });
  let chosen = null;
  const show = (category, all = false) => {
    chosen = category;
    const found = category === null ? rows : rows.filter((row) => (said(row.category) || "other") === category);
    const shown = all ? found : found.slice(0, ROWS_SHOWN);
    list.replaceChildren(...shown.map(transaction));
    more.hidden = shown.length === found.length;
    more.textContent = `Show all ${found.length}`;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.category === category));
  };
  const largest = sums[0]?.amount ?? 1;
  const buttons = sums.map(({ category, currency, amount }) => h("button", {
    type: "button", class: "spent", dataset: { category }, onclick: () => show(chosen === category ? null : category),
  }, h("span", {}, category.replaceAll("_", " ").toLowerCase()),
    h("meter", { min: 0, max: largest, value: amount, "aria-hidden": "true" }),
    h("strong", {}, price(amount, currency))));
  show(null);
  return h("div", { class: "spending" },
    totals([["Spent", data.spent], ["Received", data.received]]),
    buttons.length > 0 && h("div", { role: "group", "aria-label": "Spent by category" }, buttons),
    rows.length > 0 && list, more);
}

function totals(lines) {
  const told = lines.map(([name, sums]) => [name, Object.entries(sums && typeof sums === "object" ? sums : {})
    .filter(([, amount]) => number(amount) !== null).map(([currency, amount]) => price(amount, currency)).join(" + ")])
    .filter(([, amount]) => amount);
  return told.length > 0 && h("dl", { class: "facts" }, told.map(([name, amount]) => h("div", {}, h("dt", {}, name), h("dd", {}, h("strong", {}, amount)))));
}

/** The amount of money out is positive: it is shown as a person would write it. */
function transaction(row) {
  const amount = number(row.amount);
  return h("li", {},
    h("span", { class: "agenda-time" }, dayName(row.date)),
    h("span", { dir: "auto" }, said(row.merchant) || said(row.category) || "–",
      h("small", {}, [" ", said(row.account), row.pending === true && " · pending"])),
    h("span", { class: amount < 0 ? "amount up" : "amount" }, `${amount < 0 ? "+" : "−"}${price(Math.abs(amount), said(row.currency))}`));
}

// ---------------------------------------------------------------- small parts

function linked(url, words) {
  const safe = url ? safeUrl(String(url)) : null;
  return safe ? link(safe, said(words) || safe.hostname) : said(words);
}

function since(text) {
  const time = Date.parse(said(text));
  if (Number.isNaN(time)) return "";
  const hours = Math.round((now() - time) / 3_600_000);
  const format = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
  return Math.abs(hours) < 48 ? format.format(-hours, "hour") : format.format(-Math.round(hours / 24), "day");
}
