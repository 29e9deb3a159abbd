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
  copy: "M9 9h10v10H9zM15 9V5H5v10h4",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12M12 14.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5",
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
  mic: "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3M5.5 11a6.5 6.5 0 0 0 13 0M12 17.5V21",
  mute: "M9 9v2a3 3 0 0 0 4.5 2.6M15 11.5V6a3 3 0 0 0-5.8-1M5.5 11a6.5 6.5 0 0 0 9.8 5.6M18.5 11a6 6 0 0 1-.7 2.8M12 17.5V21M4 4l16 16",
  hang_up: "M3 15c0-6 18-6 18 0l-.5 1.5-4-1-.5-2.6a13 13 0 0 0-8 0l-.5 2.6-4 1z",
  keyboard: "M3 7h18v10H3zM7 10.5h.01M11 10.5h.01M15 10.5h.01M8 14h8",
  key: "M14.5 9.5a4 4 0 1 0-3.6 4L13 15.5h2v2h2V20h3v-3l-6-6",
};

/** Make an element of a drawing, as `h` makes one of a page. */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return append(element, children);
}

/** A decorative line icon; the control around it carries the accessible name. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true" },
    svg("path", { d: ICONS[name] }));
}
