// Places as they lie to one another, drawn here: no map server learns who looked for what.

import { h, svg } from "./dom.js";
import { number, rowsOf } from "./figures.js";

const WIDTH = 320;
const HEIGHT = 150;
const MARGIN = 26;
const KM_A_DEGREE = 111.32;
const MOST = 12;
const SCALES_KM = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

/** Numbered dots over a grid with its scale, north up, and the list they belong to. */
export function map(places) {
  const found = rowsOf(places)
    .filter((place) => within(place.latitude, 90) && within(place.longitude, 180)).slice(0, MOST);
  if (!found.length) return null;
  const spots = projected(found);
  const items = found.map((place, at) => h("li", { dir: "auto", dataset: { at: String(at) } },
    h("strong", {}, text(place.name) || `Place ${at + 1}`), " ",
    h("small", {}, text(place.address) || `${number(place.latitude).toFixed(4)}, ${number(place.longitude).toFixed(4)}`)));
  const box = h("div", { class: "map" }, spots.length > 1 && drawing(spots, items), h("ol", {}, items));
  return box;
}

const text = (value) => (typeof value === "string" ? value : "");

function within(value, most) {
  const found = number(value);
  return found !== null && Math.abs(found) <= most;
}

/** Kilometres east and south of the first place: near enough for what fits on one sketch. */
function projected(found) {
  const [north, east] = [number(found[0].latitude), number(found[0].longitude)];
  const narrow = Math.max(0.05, Math.cos((north * Math.PI) / 180));
  return found.map((place) => {
    let degrees = number(place.longitude) - east;
    if (degrees > 180) degrees -= 360; // across the date line
    if (degrees < -180) degrees += 360;
    return { x: degrees * narrow * KM_A_DEGREE, y: (north - number(place.latitude)) * KM_A_DEGREE };
  });
}

function drawing(spots, items) {
  const middle = (axis) => (Math.min(...spots.map((spot) => spot[axis])) + Math.max(...spots.map((spot) => spot[axis]))) / 2;
  const [east, south] = [middle("x"), middle("y")];
  const reach = (axis, about, room) => Math.max(...spots.map((spot) => Math.abs(spot[axis] - about))) / room;
  const km = Math.max(reach("x", east, WIDTH / 2 - MARGIN), reach("y", south, HEIGHT / 2 - MARGIN), 1e-4); // a unit of the drawing
  const scale = SCALES_KM.find((size) => size / km >= 36) ?? SCALES_KM.at(-1);
  const step = scale / km;
  const grid = [];
  for (let x = (WIDTH / 2) % step; x < WIDTH; x += step) grid.push(`M${x.toFixed(1)} 0V${HEIGHT}`);
  for (let y = (HEIGHT / 2) % step; y < HEIGHT; y += step) grid.push(`M0 ${y.toFixed(1)}H${WIDTH}`);
  const dots = apart(spots.map((spot) => ({ x: WIDTH / 2 + (spot.x - east) / km, y: HEIGHT / 2 + (spot.y - south) / km })));
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${spots.length} places, north is up` },
    svg("path", { class: "grid", d: grid.join("") }),
    svg("path", { class: "scale", d: `M10 ${HEIGHT - 12}v4h${Math.min(step, WIDTH - 20).toFixed(1)}v-4` }),
    svg("text", { class: "legend", x: 12, y: HEIGHT - 14 }, scale < 1 ? `${scale * 1000} m` : `${scale} km`),
    svg("text", { class: "legend", x: WIDTH - 16, y: 16, "text-anchor": "middle" }, "N ↑"),
    dots.map((dot, at) => {
      const mark = svg("g", { class: "spot", transform: `translate(${dot.x.toFixed(1)} ${dot.y.toFixed(1)})` },
        svg("circle", { r: 9 }), svg("text", { "text-anchor": "middle", y: 3.2 }, String(at + 1)));
      const light = (on) => () => { items[at].classList.toggle("lit", on); mark.classList.toggle("lit", on); };
      for (const one of [mark, items[at]]) {
        one.addEventListener("pointerenter", light(true));
        one.addEventListener("pointerleave", light(false));
      }
      return mark;
    }));
}

/** Dots that would cover one another are moved beside each other. */
function apart(dots) {
  const placed = [];
  for (const { x, y } of dots) {
    const spot = { x, y };
    while (placed.some((other) => Math.hypot(other.x - spot.x, other.y - spot.y) < 16)) spot.x += 17;
    placed.push(spot.x > WIDTH - 10 ? { x: Math.max(10, WIDTH - 10), y: spot.y } : spot);
  }
  return placed;
}
