// The only way this client makes elements: attributes and text nodes, never HTML strings.
// With it a strict Content-Security-Policy (and Trusted Types) holds without exceptions.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element. Properties starting with "on" become listeners, `dataset` becomes data-*,
 * false/null/undefined are left out, true is an empty attribute. Children: nodes, strings, lists.
 */
export function h(tag, properties = {}, ...children) {
  // Children first: under dir="auto" every later insertion makes the browser look at all of them again.
  const element = append(document.createElement(tag), children);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

const ICONS = {
  plus: "M12 5v14M5 12h14",
  menu: "M4 7h16M4 12h16M4 17h10",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M8 8h8v8H8z",
  check: "M5 12.5l4.5 4.5L19 7.5",
  cross: "M6 6l12 12M18 6L6 18",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  down: "M6 9l6 6 6-6",
  pause: "M9 7v10M15 7v10",
  shield: "M12 3l7 3v5c0 4.5-3 8-7 10-4-2-7-5.5-7-10V6z",
  alert: "M12 8v5M12 16.5h.01M12 3.5l9.5 16.5h-19z",
  arrow: "M5 12h14M13 6l6 6-6 6",
  again: "M20 12a8 8 0 1 1-2.5-5.8M20 4v4.5h-4.5",
  edit: "M5 19l1-4L16.5 4.5a2.1 2.1 0 0 1 3 3L9 18zM14 7l3 3",
  exit: "M14 5H6v14h8M11 12h9M17 9l3 3-3 3",
  you: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M4 20c1-4 4-6 8-6s7 2 8 6",
  key: "M14.5 9.5a4 4 0 1 0-3.6 4L13 15.5h2v2h2V20h3v-3l-6-6",
};

/** A decorative line icon; the control around it carries the accessible name. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}
