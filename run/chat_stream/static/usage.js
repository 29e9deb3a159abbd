// What the user spent: a bar for each of the last thirty days, today against the budget, and what
// was asked of which service. Dollars as the server counts them; nothing is added up here but bars.

import { h, svg } from "./dom.js";
import { dayName, title } from "./words.js";

const DAYS = 30;
const [WIDTH, HEIGHT, BASE, TOP] = [640, 190, 160, 22];

/** What the page of usage holds. */
export async function usagePage(page) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const usage = await page.session.call("GET", `/usage?days=${DAYS}&timezone=${encodeURIComponent(zone)}`);
  const days = filled(usage);
  const answers = days.reduce((sum, day) => sum + day.turns, 0);
  return [
    h("div", { class: "figures" },
      figure("Last 30 days", dollars(usage.cost_usd)),
      figure("Today", dollars(days.at(-1).cost_usd)),
      figure("Answers", new Intl.NumberFormat().format(answers))),
    budget(usage.limits, Number(days.at(-1).cost_usd)),
    answers > 0 ? chart(days) : h("p", { class: "muted" }, "Nothing was asked in the last 30 days."),
    answers > 0 && services(days, usage.connector_names),
    answers > 0 && table(days),
  ];
}

/** Every day of the span, those without anything as well. */
function filled({ days, today }) {
  const known = new Map(days.map((day) => [day.date, day]));
  return Array.from({ length: DAYS }, (_, at) => {
    const date = new Date(`${today}T12:00:00Z`);
    date.setUTCDate(date.getUTCDate() - (DAYS - 1 - at));
    const name = date.toISOString().slice(0, 10);
    return known.get(name) ?? { date: name, cost_usd: "0", turns: 0, tool_calls: {} };
  });
}

function figure(label, value) {
  return h("div", { class: "figure" }, h("span", { class: "muted" }, label), h("strong", {}, value));
}

function budget({ soft_usd: soft, hard_usd: hard }, spent) {
  if (!soft && !hard) return h("p", { class: "muted" }, "This server sets no daily budget.");
  const most = Number(hard ?? soft);
  const share = Math.min(spent / most, 1);
  return h("div", { class: "budget" },
    h("div", { class: "budget-words" }, h("span", {}, `Today's budget: ${dollars(spent)} of ${dollars(most)}`), h("span", { class: "muted" }, `${Math.round(share * 100)} %`)),
    h("meter", { min: 0, max: most, high: soft && hard ? Number(soft) : null, value: Math.min(spent, most), "aria-label": "Today's budget" }),
    soft && hard && h("p", { class: "muted" }, `From ${dollars(soft)} on what runs by itself waits for tomorrow; at ${dollars(hard)} answers stop until then.`));
}

function chart(days) {
  const costs = days.some((day) => Number(day.cost_usd) > 0);
  const value = (day) => (costs ? Number(day.cost_usd) : day.turns);
  const shown = (day) => (costs ? `${dollars(day.cost_usd)}, ${answersOf(day)}` : answersOf(day));
  const most = nice(Math.max(...days.map(value)));
  const step = WIDTH / DAYS;
  const bars = days.map((day, at) => {
    const height = value(day) && Math.max((value(day) / most) * (BASE - TOP), 2);
    return [
      svg("rect", { class: at === DAYS - 1 ? "bar today" : "bar", x: at * step + step * 0.16, y: BASE - height, width: step * 0.68, height, rx: 2.5 },
        svg("title", {}, `${dayName(day.date)}: ${shown(day)}`)),
      (DAYS - 1 - at) % 7 === 0 && svg("text", { class: "tick", x: at * step + step / 2, y: BASE + 20, "text-anchor": at > DAYS - 3 ? "end" : "middle" }, dayName(day.date)),
    ];
  });
  const label = costs ? "Dollars spent on each of the last 30 days" : "Answers on each of the last 30 days";
  const best = days.reduce((a, b) => (value(b) > value(a) ? b : a));
  return h("figure", { class: "chart" },
    h("figcaption", { class: "muted" }, costs ? "Dollars a day" : "Answers a day: they cost nothing so far"),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${label}. Most on ${dayName(best.date)}: ${shown(best)}.` },
      [0, 0.5, 1].map((part) => {
        const y = BASE - part * (BASE - TOP);
        return [svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: y, y2: y }),
          part > 0 && (costs || Number.isInteger(most * part)) && svg("text", { class: "tick", x: 0, y: y - 5 }, costs ? dollars(most * part) : String(most * part))];
      }), bars));
}

function services(days, names) {
  const calls = new Map();
  for (const day of days) {
    for (const [name, count] of Object.entries(day.tool_calls)) calls.set(name, (calls.get(name) ?? 0) + count);
  }
  if (!calls.size) return null;
  const sorted = [...calls].sort((a, b) => b[1] - a[1]).slice(0, 8);
  return h("section", {}, h("h3", {}, "Asked for you"),
    h("ul", { class: "tally" }, sorted.map(([name, count]) => h("li", {}, h("span", {}, names[name] ?? title(name)), h("strong", {}, String(count))))));
}

function table(days) {
  const busy = days.filter((day) => day.turns || Number(day.cost_usd)).reverse();
  return h("details", {}, h("summary", {}, "Day by day"),
    h("div", { class: "table-scroll", tabindex: "0", role: "group", "aria-label": "Day by day" },
      h("table", {}, h("thead", {}, h("tr", {}, ["Day", "Answers", "Words in and out", "Dollars"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, busy.map((day) => h("tr", {}, h("td", {}, dayName(day.date)), h("td", {}, day.turns),
          h("td", {}, tokens(day.tokens)), h("td", {}, dollars(day.cost_usd))))))));
}

function tokens(counted) {
  if (!counted?.requests) return "none";
  const short = new Intl.NumberFormat(undefined, { notation: "compact" });
  return `${short.format(counted.input + counted.audio_input)} / ${short.format(counted.output + counted.audio_output)} tokens`;
}

const answersOf = (day) => `${day.turns} answer${day.turns === 1 ? "" : "s"}`;

function dollars(value) {
  const number = Number(value);
  const digits = number > 0 && number < 0.1 ? 4 : 2;
  return new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: digits }).format(number);
}

/** The next round number, for the top of the axis. */
function nice(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((one) => one * power >= most);
  return step * power;
}
