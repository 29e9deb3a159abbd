// The weather as strips: now, the hours, the days, in the units of the reader's own country.

import { h, svg } from "./dom.js";
import { rowsOf } from "./figures.js";
import { dayName, hourThere } from "./words.js";

// The one place where the reader's own units matter: those of their locale.
const FAHRENHEIT = ["US", "LR", "BS", "BZ", "KY", "PW"].includes(new Intl.Locale(navigator.language || "en").region);
const HIGH = ["high", "high_c", "max", "max_c"];
const LOW = ["low", "low_c", "min", "min_c"];
const SKY = ["condition", "conditions", "description"];
const CLOUD = "M7 18h10a4 4 0 0 0 .6-7.95A6 6 0 0 0 6.1 11.3 3.4 3.4 0 0 0 7 18z";
const HIGH_CLOUD = "M7 14.5h10a3.6 3.6 0 0 0 .5-7.1A5.6 5.6 0 0 0 6.6 8.6 3 3 0 0 0 7 14.5z";
// The first that fits a condition's words gives its picture: [words, path of the sky, path of what falls].
const PICTURES = [
  [/thunder|storm/, HIGH_CLOUD, "M12.5 14.5l-2.2 3.6h3l-2 3.4"],
  [/snow|flurr|sleet|ice|blizzard/, HIGH_CLOUD, "M8 18h.01M12 18h.01M16 18h.01M10 21h.01M14 21h.01"],
  [/rain|drizzle|shower/, HIGH_CLOUD, "M8.5 17l-1 3.5M12.5 17l-1 3.5M16.5 17l-1 3.5"],
  [/fog|mist|haze|smoke|dust/, "", "M4 9h16M6 13h12M4 17h16"],
  [/partly|mostly (?:clear|sunny)|mainly clear|some cloud|few cloud|intermittent/,
    "M9.5 18.5h8a3.2 3.2 0 0 0 .4-6.37 4.8 4.8 0 0 0-9.2 1A2.7 2.7 0 0 0 9.5 18.5z",
    "M8 5.2V3.6M4.3 6.7L3.2 5.6M2.8 10.4H1.2M11.7 6.7l1.1-1.1M5.3 12.5a3.6 3.6 0 1 1 6-3.9"],
  [/cloud|overcast|gloomy|grey|gray/, CLOUD, ""],
  [/wind|breez/, "", "M3 9h11a2.5 2.5 0 1 0-2.4-3.2M3 13h15a2.5 2.5 0 1 1-2.4 3.2M3 17h7"],
  [/clear|sun|fair|hot/, "", "M12 16.2a4.2 4.2 0 1 0 0-8.4 4.2 4.2 0 0 0 0 8.4M12 4.6V2.8M12 21.2v-1.8M4.6 12H2.8M21.2 12h-1.8M6.8 6.8L5.5 5.5M18.5 18.5l-1.3-1.3M17.2 6.8l1.3-1.3M5.5 18.5l1.3-1.3"],
];

/** What is known of now, the hours and the days; null for a shape that tells no temperature. */
export function weather(data) {
  const now = data.current ?? data.now;
  const days = rowsOf(data.daily ?? data.days ?? data.forecast).filter((day) => degreesOf(day, HIGH) !== null || degreesOf(day, LOW) !== null);
  const hours = rowsOf(data.hours ?? data.hourly).filter((hour) => degreesOf(hour, ["temperature", "temperature_c", "temp"]) !== null);
  const degrees = degreesOf(now, ["temperature", "temperature_c", "temp_c", "temp"]);
  if (degrees === null && !days.length && !hours.length) return null;
  const place = nameOf(first(data, "place", "location", "name"));
  if (degrees === null && days.length === 1 && !hours.length) return oneDay(days[0], place);
  return h("div", { class: "weather" },
    degrees !== null ? headline(degrees, [sky(now), place], factsOf(now)) : place && h("strong", { class: "weather-place", dir: "auto" }, place),
    hours.length > 0 && hourStrip(hours.slice(0, 24)),
    days.length > 0 && dayStrip(days.slice(0, 10)));
}

/** `{celsius, fahrenheit}` or `{kmh, mph}` in words; null for another value. */
export function quantityView(value) {
  if (typeof value.celsius === "number") return FAHRENHEIT ? `${value.fahrenheit} °F` : `${value.celsius} °C`;
  if (typeof value.kmh === "number") return FAHRENHEIT ? `${value.mph} mph` : `${value.kmh} km/h`;
  return null;
}

function first(object, ...names) {
  for (const name of names) {
    const value = object?.[name];
    if (value !== undefined && value !== null && value !== "") return value;
  }
  return null;
}

function sky(of) {
  const words = first(of, ...SKY);
  return typeof words === "string" ? words : "";
}

function factsOf(now) {
  return [
    [degreesOf(now, ["feels_like", "feels_like_c", "apparent_temperature"]), "feels like", rounded],
    [measured(first(now, "wind", "wind_kmh", "wind_speed_kmh")), "wind", (value) => `${Math.round(value)} ${FAHRENHEIT ? "mph" : "km/h"}`],
    [first(now, "humidity_percent", "humidity"), "humidity", (value) => `${Math.round(value)} %`],
  ].filter(([value]) => typeof value === "number").map(([value, label, show]) => `${label} ${show(value)}`);
}

function oneDay(day, place) {
  const low = degreesOf(day, LOW);
  return h("div", { class: "weather" }, headline(degreesOf(day, HIGH) ?? low, [sky(day), place],
    [dateOf(day, { weekday: "long", day: "numeric", month: "long" }), low !== null && `low ${rounded(low)}`, rainOf(day) && `rain ${rainOf(day)}`]));
}

function headline(degrees, words, facts) {
  const told = words.filter((word) => typeof word === "string" && word).join(" · ");
  return h("div", { class: "weather-now" }, picture(words[0], "large"),
    h("span", { class: "weather-degrees" }, rounded(degrees).slice(0, -1), h("small", {}, FAHRENHEIT ? "°F" : "°C")),
    h("span", { class: "weather-words" },
      h("strong", { dir: "auto" }, told.charAt(0).toUpperCase() + told.slice(1)),
      h("span", {}, facts.filter(Boolean).join(" · "))));
}

/** Vendors' modules give both systems, `{celsius, fahrenheit}` or `{kmh, mph}`; a plain number is metric. */
function measured(value) {
  const found = typeof value === "object" && value ? value[FAHRENHEIT ? "fahrenheit" : "celsius"] ?? value[FAHRENHEIT ? "mph" : "kmh"] : value;
  return typeof found === "number" && Number.isFinite(found) ? found : null;
}

function degreesOf(of, names) {
  return measured(first(of, ...names));
}

function rounded(value) {
  return value === null ? "–" : `${Math.round(value) || 0}°`;
}

/** Each day with its picture, and its warmth as a bar between the coldest and the warmest of all. */
function dayStrip(days) {
  const all = days.flatMap((day) => [degreesOf(day, LOW), degreesOf(day, HIGH)]).filter((value) => value !== null);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  return h("ol", { class: "weather-days", tabindex: "0", "aria-label": "Daily forecast" }, days.map((day) => {
    const [cold, warm] = [degreesOf(day, LOW) ?? degreesOf(day, HIGH), degreesOf(day, HIGH) ?? degreesOf(day, LOW)];
    return h("li", { title: sky(day) },
      h("span", { class: "day-name" }, dateOf(day, { weekday: "short" })), picture(sky(day)),
      h("strong", {}, rounded(warm)), bar((high - warm) / (high - low || 1), (high - cold) / (high - low || 1)),
      h("span", {}, rounded(degreesOf(day, LOW))), h("span", { class: "day-rain" }, rainOf(day)));
  }));
}

function bar(top, bottom) {
  const [from, to] = [2 + top * 32, 4 + bottom * 32];
  return svg("svg", { viewBox: "0 0 8 40", class: "warmth", "aria-hidden": "true" },
    svg("path", { class: "level", d: "M4 3V37" }), svg("path", { class: "span", d: `M4 ${from.toFixed(1)}V${Math.max(to, from + 2).toFixed(1)}` }));
}

function hourStrip(hours) {
  return h("ol", { class: "weather-days", tabindex: "0", "aria-label": "Hourly forecast" }, hours.map((hour) =>
    h("li", { title: sky(hour) },
      h("span", { class: "day-name" }, hourThere(first(hour, "time"))), picture(sky(hour)),
      h("strong", {}, rounded(degreesOf(hour, ["temperature", "temperature_c", "temp"]))),
      h("span", { class: "day-rain" }, rainOf(hour)))));
}

function dateOf(day, form) {
  return dayName(first(day, "date", "day", "time"), form);
}

function rainOf(day) {
  const chance = first(day, "precipitation_chance_percent", "chance_of_rain");
  return typeof chance === "number" ? `${chance}%` : "";
}

function picture(words, size = "") {
  const found = PICTURES.find(([pattern]) => pattern.test(String(words ?? "").toLowerCase()));
  if (!found) return h("span", { class: `sky ${size}` });
  return svg("svg", { viewBox: "0 0 24 24", class: `sky ${size}`, "aria-hidden": "true" },
    svg("path", { class: "cloud", d: found[1] }), svg("path", { class: "fall", d: found[2] }));
}

function nameOf(place) {
  if (typeof place === "string") return place;
  return typeof place?.name === "string" ? place.name : null;
}
