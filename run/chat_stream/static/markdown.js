// A small Markdown renderer that builds DOM nodes and nothing else: no HTML string ever exists, so
// hostile input has nothing to inject into. Images become links: loading one on sight would let a
// poisoned web page carry the conversation away in an image address.
// Every scan is linear or bounded: a model can be talked into sending 60 KiB of "[[[[".

import { copyButton } from "./copying.js";
import { h } from "./dom.js";
import { link, safeUrl } from "./links.js";

const MAX_DEPTH = 8;
const LONG_PARAGRAPH = 6000;
const CODE_LINES = 40;
const STRETCH = 32_768; // characters of a long text that are read at a time
const AT_ONCE = 16_384; // a whole text up to this size is rendered without waiting for frames
const FRAME_MS = 7; // of a frame's 16, for rendering: the rest is the browser's, to lay out and paint
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*)$/;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:( +)(.*)|)$/;
const TABLE_RULE = /^ {0,3}\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;

// ---------------------------------------------------------------- blocks

/** Split lines into blocks `{type, from, to, …}`; `from`/`to` are line numbers. */
function splitBlocks(lines) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const block = readBlock(lines, at);
    block.from = at;
    at = block.to;
    blocks.push(block);
  }
  return blocks;
}

function readBlock(lines, at) {
  const line = lines[at];
  let match = line.match(FENCE);
  if (match) return readFence(lines, at, match);
  match = line.match(HEADING);
  if (match) {
    const text = match[2].trimEnd().replace(/(?:^|\s)#+$/, "");
    return { type: "heading", to: at + 1, level: match[1].length, text };
  }
  if (RULE.test(line)) return { type: "rule", to: at + 1 };
  if (QUOTE.test(line)) return readQuote(lines, at);
  if (ITEM.test(line)) return readList(lines, at);
  if (startsTable(lines, at)) return readTable(lines, at);
  return readParagraph(lines, at);
}

function readFence(lines, at, [, mark, info]) {
  let to = at + 1;
  const indent = lines[at].search(/\S/);
  const body = [];
  while (to < lines.length) {
    const line = lines[to];
    to += 1;
    const closer = line.trim();
    if (closer.length >= mark.length && closer === mark[0].repeat(closer.length)) break;
    body.push(line.slice(Math.min(indent, Math.max(0, line.search(/\S|$/)))));
  }
  return { type: "code", to, language: info.trim().split(/\s/)[0].slice(0, 24), text: body.join("\n") };
}

function readQuote(lines, at) {
  let to = at;
  const body = [];
  while (to < lines.length && lines[to].trim()) {
    if (!QUOTE.test(lines[to]) && interruptsParagraph(lines, to)) break;
    body.push(lines[to].replace(QUOTE, ""));
    to += 1;
  }
  return { type: "quote", to, lines: body };
}

function readList(lines, at) {
  const ordered = /\d/.test(lines[at].match(ITEM)[2][0]);
  const items = [];
  let to = at;
  let indent = 0;
  let loose = false;
  while (to < lines.length) {
    const line = lines[to];
    const match = line.match(ITEM);
    const depth = line.search(/\S/);
    if (!line.trim()) {
      const next = lines[to + 1];
      const continues = next !== undefined && next.trim() &&
        (next.search(/\S/) >= indent || sameList(next, ordered));
      if (!continues) break;
      loose = loose || sameList(next, ordered);
      items.at(-1).push("");
    } else if (items.length && depth >= indent) {
      items.at(-1).push(line.slice(indent));
    } else if (match && !RULE.test(line)) {
      if (!sameList(line, ordered)) break;
      const gap = match[3] ? Math.min(match[3].length, 4) : 1;
      indent = Math.min(match[1].length + match[2].length + gap, match[1].length + 5);
      // Models indent nested lists by two even under "1. ".
      if (ordered) indent = Math.min(indent, match[1].length + 3);
      items.push([match[4] ?? ""]);
    } else if (depth >= 2 && items.length && ITEM.test(line.trimStart())) {
      items.at(-1).push(line.slice(depth));
    } else {
      if (interruptsParagraph(lines, to) || !items.at(-1).at(-1)) break;
      items.at(-1).push(line.trimStart());
    }
    to += 1;
  }
  const start = ordered ? Number.parseInt(lines[at].trim(), 10) : null;
  return { type: "list", to: Math.max(to, at + 1), ordered, start, items, loose };
}

function sameList(line, ordered) {
  const match = line.match(ITEM);
  return Boolean(match) && /\d/.test(match[2][0]) === ordered;
}

function startsTable(lines, at) {
  const rule = lines[at + 1];
  if (rule === undefined || rule.length > 2000 || !rule.includes("-")) return false;
  return lines[at].includes("|") &&
    TABLE_RULE.test(rule) && cells(lines[at]).length === cells(rule).length;
}

function readTable(lines, at) {
  const aligns = cells(lines[at + 1]).map((cell) =>
    /^:-*:$/.test(cell) ? "center" : /:$/.test(cell) ? "end" : null);
  let to = at + 2;
  const rows = [];
  while (to < lines.length && lines[to].trim() && lines[to].includes("|")) {
    rows.push(cells(lines[to]));
    to += 1;
  }
  return { type: "table", to, head: cells(lines[at]), rows, aligns };
}

function cells(line) {
  const found = [""];
  for (let at = 0; at < line.length; at += 1) {
    if (line[at] === "\\" && line[at + 1] === "|") {
      found[found.length - 1] += "|";
      at += 1;
    } else if (line[at] === "|") found.push("");
    else found[found.length - 1] += line[at];
  }
  if (!found[0].trim()) found.shift();
  if (found.length && !found.at(-1).trim()) found.pop();
  return found.map((cell) => cell.trim());
}

function interruptsParagraph(lines, at) {
  const line = lines[at];
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  const item = line.match(ITEM);
  // "2027. Then…" inside prose is no list: only 1 may interrupt, as everywhere else.
  if (item) return Boolean(item[4]) && (!/\d/.test(item[2][0]) || /^1[.)]$/.test(item[2]));
  return startsTable(lines, at);
}

function readParagraph(lines, at) {
  let to = at + 1;
  while (to < lines.length && lines[to].trim() && !interruptsParagraph(lines, to)) to += 1;
  return { type: "paragraph", to, text: lines.slice(at, to).map((line) => line.trimStart()).join("\n") };
}

// ---------------------------------------------------------------- blocks to nodes

function renderBlock(block, depth) {
  const many = partsOf(block, depth);
  if (many) {
    const { node, body } = many.frame();
    body.append(...many.parts.map(many.draw));
    return node;
  }
  switch (block.type) {
    case "heading":
      // The page owns h1 and h2; an answer's headings start below them.
      return h(`h${Math.min(6, block.level + 2)}`, { dir: "auto" }, inline(block.text));
    case "rule":
      return h("hr");
    default:
      return h("p", { dir: "auto" }, inline(block.text));
  }
}

/**
 * What a block is made of, where it is made of many: the sources of its parts, what draws one, and
 * a `frame` to put them in. A stream then draws only the parts that changed, however long the block
 * grows. `sign` tells blocks apart that can keep nothing of each other. Null for a block that is one.
 */
function partsOf(block, depth) {
  switch (block.type) {
    case "list": {
      const { ordered, loose } = block;
      const start = ordered && block.start !== 1 ? block.start : null;
      return {
        sign: `list ${ordered} ${start} ${loose}`,
        parts: block.items.map((lines) => lines.join("\n")),
        draw: (part) => listItem(part.split("\n"), loose, depth),
        frame: () => bare(h(ordered ? "ol" : "ul", { start })),
      };
    }
    case "table":
      return {
        sign: `table ${JSON.stringify([block.head, block.aligns])}`,
        parts: block.rows.map((row) => row.join("\n")),
        draw: (part) => tableRow("td", part.split("\n"), block),
        frame: () => tableFrame(block),
      };
    case "code":
      return {
        sign: `code ${block.language}`, parts: codeParts(block.text),
        draw: (part) => h("span", {}, part), frame: () => codeFrame(block.language),
      };
    case "quote": {
      const inner = depth >= MAX_DEPTH ? [] : splitBlocks(block.lines);
      const sources = inner.map(({ from, to }) => block.lines.slice(from, to).join("\n"));
      return {
        sign: "quote", parts: inner.length ? sources : [block.lines.join("\n")],
        draw: (part, at) => (inner.length ? renderBlock(inner[at], depth + 1) : h("p", { dir: "auto" }, part)),
        frame: () => bare(h("blockquote", { dir: "auto" })),
      };
    }
    case "paragraph":
      if (block.text.length <= LONG_PARAGRAPH) return null;
      return {
        sign: "long", parts: pieces(block.text),
        draw: (part) => h("p", { dir: "auto" }, inline(part)), frame: () => bare(h("div", { class: "long" })),
      };
    default:
      return null;
  }
}

const bare = (node) => ({ node, body: node });

/** A paragraph without end in pieces that are quick to read: at a line's end, at a space, or anywhere. */
function pieces(text) {
  const found = [];
  for (let at = 0; at < text.length;) {
    const window = text.slice(at, at + LONG_PARAGRAPH);
    const half = window.length < LONG_PARAGRAPH ? -1 : LONG_PARAGRAPH / 2;
    const cut = half < 0 ? -1 : [window.indexOf("\n", half), window.indexOf(" ", half)].find((place) => place >= 0) ?? -1;
    const length = cut < 0 ? window.length : cut + 1;
    found.push(window.slice(0, length).trimEnd());
    at += length;
  }
  return found;
}

function renderLines(lines, depth) {
  if (depth > MAX_DEPTH) return [h("p", { dir: "auto" }, lines.join("\n"))];
  return splitBlocks(lines).map((block) => renderBlock(block, depth));
}

function listItem(lines, loose, depth) {
  const task = lines[0].match(/^\[([ xX])\]\s+(.*)$/);
  const content = renderLines(task ? [task[2], ...lines.slice(1)] : lines, depth + 1);
  const tight = !loose && content[0]?.tagName === "P";
  const children = tight ? [...content[0].childNodes, ...content.slice(1)] : content;
  const box = task && h("input", { type: "checkbox", disabled: true, checked: task[1] !== " ", "aria-label": task[1] === " " ? "To do" : "Done" });
  return h("li", { dir: "auto", class: task ? "task" : null }, box, children);
}

function tableRow(tag, values, { head, aligns }) {
  return h("tr", {}, head.map((_, column) =>
    h(tag, { class: aligns[column] && `align-${aligns[column]}`, dir: "auto" }, inline(values[column] ?? ""))));
}

function tableFrame(block) {
  const body = h("tbody");
  return { body, node: h("div", { class: "table-scroll", tabindex: "0", role: "group", "aria-label": "Table" },
    h("table", {}, h("thead", {}, tableRow("th", block.head, block)), body)) };
}

/** Code in pieces of some lines, each laid out by itself: one text of thousands would be laid out anew. */
function codeParts(text) {
  const lines = text.split("\n");
  const found = [];
  for (let at = 0; at < lines.length; at += CODE_LINES) {
    const last = at + CODE_LINES >= lines.length;
    found.push(lines.slice(at, at + CODE_LINES).join("\n") + (last ? "" : "\n"));
  }
  return found;
}

function codeFrame(language) {
  const body = h("code");
  return { body, node: h("figure", { class: "code" },
    h("figcaption", {}, h("span", {}, language || "text"), copyButton(() => body.textContent, { class: "quiet copy" })),
    h("pre", { tabindex: "0" }, body)) };
}

// ---------------------------------------------------------------- inline

const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", "#39": "'" };
const SPECIAL = /[\\`*_~[\]!<&\n]|https?:\/\//g;
const BARE_URL = /https?:\/\/[^\s<>"'`*[\]\u0000-\u001f]{1,2000}/y;
const ANGLE_URL = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
const BREAK = /<br\s{0,3}\/?>/iy;
const ENTITY = /&(amp|lt|gt|quot|apos|nbsp|#39);/y;
const DESTINATION = /\(\s{0,9}(?:<([^<>\n]{0,2000})>|((?:[^\s()<>]|\([^\s()<>]{0,500}\)){0,2000}))(?:\s{1,9}(?:"[^"\n]{0,300}"|'[^'\n]{0,300}'))?\s{0,9}\)/y;

/** Inline Markdown as a list of nodes. */
export function inline(text) {
  const nodes = [];
  const brackets = [];
  const tickless = new Set();
  let at = 0;
  const push = (value) => {
    if (typeof value === "string" && typeof nodes.at(-1) === "string") nodes[nodes.length - 1] += value;
    else nodes.push(value);
  };
  while (at < text.length) {
    SPECIAL.lastIndex = at;
    const next = SPECIAL.exec(text);
    if (!next) break;
    if (next.index > at) push(text.slice(at, next.index));
    at = next.index;
    at += readSpecial(next[0]);
  }
  push(text.slice(at));
  return finish(nodes);

  function readSpecial(mark) {
    const sticky = (pattern) => {
      pattern.lastIndex = at;
      return pattern.exec(text);
    };
    let match;
    switch (mark) {
      case "\\":
        if (text[at + 1] === "\n") nodes.push(h("br"));
        else if (/[!-/:-@[-`{-~]/.test(text[at + 1] ?? "")) push(text[at + 1]);
        else {
          push("\\");
          return 1;
        }
        return 2;
      case "\n":
        // A chat answer's line breaks are meant.
        nodes.push(h("br"));
        return 1;
      case "`":
        return readCode();
      case "*": case "_": case "~":
        return readDelimiter(mark);
      case "!":
        if (text[at + 1] !== "[") {
          push("!");
          return 1;
        }
        nodes.push("");
        brackets.push({ index: nodes.length - 1, mark: "![" });
        nodes.push("");
        return 2;
      case "[":
        nodes.push("");
        brackets.push({ index: nodes.length - 1, mark: "[" });
        nodes.push("");
        return 1;
      case "]":
        return readLink(sticky);
      case "<":
        match = sticky(ANGLE_URL);
        if (match && safeUrl(match[1])) {
          nodes.push(link(safeUrl(match[1]), match[1]));
          return match[0].length;
        }
        match = sticky(BREAK);
        if (match) nodes.push(h("br"));
        else push("<");
        return match ? match[0].length : 1;
      case "&":
        match = sticky(ENTITY);
        push(match ? ENTITIES[match[1]] : "&");
        return match ? match[0].length : 1;
      default:
        return readBareUrl(sticky, mark);
    }
  }

  function readCode() {
    let end = at;
    while (text[end] === "`") end += 1;
    const run = text.slice(at, end);
    const close = tickless.has(run.length) ? -1 : closingTicks(text, at + run.length, run.length);
    if (close < 0) {
      // No closer from here means none further on: remembered, so that the search stays linear.
      tickless.add(run.length);
      push(run);
      return run.length;
    }
    let code = text.slice(at + run.length, close).replaceAll("\n", " ");
    if (/^ .*[^ ].* $/.test(code)) code = code.slice(1, -1);
    nodes.push(h("code", {}, code));
    return close + run.length - at;
  }

  function readDelimiter(mark) {
    let end = at;
    while (text[end] === mark) end += 1;
    const before = at ? text[at - 1] : " ";
    const after = text[end] ?? " ";
    const count = end - at;
    const left = !/\s/.test(after) && (!isPunctuation(after) || /\s/.test(before) || isPunctuation(before));
    const right = !/\s/.test(before) && (!isPunctuation(before) || /\s/.test(after) || isPunctuation(after));
    const opens = mark === "_" ? left && (!right || isPunctuation(before)) : left;
    const closes = mark === "_" ? right && (!left || isPunctuation(after)) : right;
    if ((mark === "~" && count !== 2) || (!opens && !closes)) push(text.slice(at, end));
    else nodes.push({ mark, count, opens, closes });
    return count;
  }

  function readLink(sticky) {
    const opener = brackets.pop();
    if (!opener) {
      push("]");
      return 1;
    }
    at += 1;
    const match = text[at] === "(" ? sticky(DESTINATION) : null;
    at -= 1;
    const url = match && safeUrl(match[1] ?? match[2] ?? "");
    if (!url) {
      nodes[opener.index] = opener.mark;
      push("]");
      return 1;
    }
    const inner = finish(nodes.splice(opener.index).slice(1));
    const label = inner.some((node) => node.textContent?.trim()) ? inner : [url.href];
    // No link inside a link: the outer bracket is only text now.
    for (const outer of brackets.splice(0)) nodes[outer.index] = outer.mark;
    nodes.push(link(url, flatten(label)));
    nodes.push("");
    return 1 + match[0].length;
  }

  function readBareUrl(sticky, mark) {
    const match = /[\p{L}\p{N}]/u.test(text[at - 1] ?? "") ? null : sticky(BARE_URL);
    if (!match) {
      push(mark);
      return mark.length;
    }
    const address = trimUrl(match[0]);
    const url = safeUrl(address);
    if (!url) {
      push(mark);
      return mark.length;
    }
    nodes.push(link(url, address));
    return address.length;
  }

  function finish(list) {
    for (const { index, mark } of brackets) {
      if (list === nodes) nodes[index] = mark;
    }
    return emphasise(list);
  }
}

function flatten(nodes) {
  // A bare address inside a label has become a link already: keep its text only.
  return nodes.map((node) =>
    node.nodeType === Node.ELEMENT_NODE && (node.tagName === "A" || node.querySelector("a"))
      ? document.createTextNode(node.textContent) : node);
}

function closingTicks(text, from, length) {
  const runs = /`+/g;
  runs.lastIndex = from;
  for (let match = runs.exec(text); match; match = runs.exec(text)) {
    if (match[0].length === length) return match.index;
  }
  return -1;
}

function trimUrl(address) {
  let trimmed = address.replace(/[.,:;!?|]+$/, "");
  while (trimmed.endsWith(")") && trimmed.split(")").length > trimmed.split("(").length) {
    trimmed = trimmed.slice(0, -1).replace(/[.,:;!?]+$/, "");
  }
  return trimmed;
}

function isPunctuation(character) {
  return /[\p{P}\p{S}]/u.test(character);
}

/** Pair emphasis delimiters (a stack, as CommonMark does) and turn strings into text nodes. */
function emphasise(list) {
  const root = [];
  const open = [];
  let target = root;
  const perMark = { "*": 0, _: 0, "~": 0 };
  for (const node of list) {
    if (node instanceof Node || typeof node === "string") {
      target.push(node);
      continue;
    }
    let left = node.count;
    while (left && node.closes && perMark[node.mark] > 0) {
      const depth = open.findLastIndex((entry) => entry.mark === node.mark);
      if (depth < 0) break;
      while (open.length > depth + 1) abandon(open.pop());
      const entry = open.pop();
      const width = Math.min(entry.left, left, 2);
      const tag = node.mark === "~" ? "del" : width === 2 ? "strong" : "em";
      const wrapped = h(tag, {}, texts(entry.children));
      entry.left -= width;
      left -= width;
      entry.children = [wrapped];
      perMark[node.mark] -= 1;
      if (entry.left) {
        open.push(entry);
        perMark[node.mark] += 1;
        target = entry.children;
      } else {
        target = open.length ? open.at(-1).children : root;
        target.push(wrapped);
      }
    }
    if (!left) continue;
    // Nesting deeper than any writing needs would only serve to exhaust the browser.
    if (node.opens && open.length < 16) {
      open.push({ mark: node.mark, left, children: [] });
      perMark[node.mark] += 1;
      target = open.at(-1).children;
    } else target.push(node.mark.repeat(left));
  }
  while (open.length) abandon(open.pop());
  return texts(root);

  function abandon(entry) {
    perMark[entry.mark] -= 1;
    target = open.length ? open.at(-1).children : root;
    target.push(entry.mark.repeat(entry.left), ...entry.children);
  }
}

function texts(list) {
  const nodes = [];
  let pending = "";
  const flush = () => {
    if (pending) nodes.push(document.createTextNode(pending));
    pending = "";
  };
  for (const item of list) {
    if (typeof item === "string") pending += item;
    else {
      flush();
      nodes.push(item);
    }
  }
  flush();
  return nodes;
}

// ---------------------------------------------------------------- entry points

/** Render a whole text into a fragment. */
export function renderMarkdown(text) {
  const fragment = document.createDocumentFragment();
  fragment.append(...renderLines(clean(text).split("\n"), 0));
  return fragment;
}

function clean(text) {
  return String(text).replace(/\r\n?/g, "\n").replaceAll("\t", "    ").replaceAll("\0", "\ufffd");
}

/**
 * A growing text in `container`. `append` only buffers; at most one render per animation frame,
 * and a render replaces only what changed of the last blocks: what was read or selected stays. A
 * frame that has used its time leaves the rest to the next.
 */
export class MarkdownStream {
  constructor(container, { afterRender = () => {} } = {}) {
    this.container = container;
    this.afterRender = afterRender;
    this.text = "";
    this.settled = 0; // characters before this are final nodes
    this.stretch = STRETCH;
    this.tail = []; // [{source, sign, node, body, sources}] after it
    this.frame = 0;
    this.restUntil = 0;
  }

  append(delta) {
    this.text += clean(delta);
    this.schedule();
  }

  /** Set the final text; a no-op on screen when it is what streamed. */
  replace(text) {
    const whole = clean(text);
    if (!whole.startsWith(this.text.slice(0, this.settled))) {
      this.container.replaceChildren();
      this.settled = 0;
      this.tail = [];
    }
    this.text = whole;
    this.finish();
  }

  /** Nothing follows for now: show all of it, over several frames where it is long. */
  finish() {
    if (this.text.length - this.settled <= AT_ONCE) this.render();
    else this.schedule();
  }

  schedule() {
    this.frame ||= requestAnimationFrame((now) => this.inFrame(now));
  }

  inFrame(now) {
    this.frame = 0;
    // A slow device draws less often rather than falling behind.
    if (now < this.restUntil) {
      this.schedule();
      return;
    }
    const begun = performance.now();
    this.render(begun + FRAME_MS);
    const took = performance.now() - begun;
    this.restUntil = took > 2 * FRAME_MS ? now + 3 * took : 0;
  }

  /** Bring the nodes up to the text. What `deadline` (performance.now) does not allow is left to frames. */
  render(deadline = Infinity) {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    let whole;
    do whole = this.renderStretch(deadline); while (!whole && performance.now() < deadline);
    if (!whole) this.schedule();
    this.afterRender();
  }

  /** Render the next stretch of what is not final; returns whether nothing is left. */
  renderStretch(deadline) {
    const all = this.text.length - this.settled <= this.stretch;
    const lines = this.text.slice(this.settled, this.settled + this.stretch).split("\n");
    if (!all) lines.pop(); // may be half a line
    const blocks = splitBlocks(lines);
    let done = 0;
    while (done < blocks.length && this.place(blocks[done], done, lines, deadline)) {
      done += 1;
      if (performance.now() >= deadline) break;
    }
    const complete = done === blocks.length;
    if (complete) for (const stale of this.tail.splice(blocks.length)) stale.node.remove();
    const final = this.settle(blocks, done, lines);
    // A block longer than the stretch: its end must be in sight.
    if (final) this.stretch = STRETCH;
    else if (complete && !all) this.stretch *= 2;
    return complete && all;
  }

  /** Two whole lines of the next block decide what it is (a table needs both); then this one is final. */
  settle(blocks, done, lines) {
    let final = 0;
    while (final < done && final + 1 < blocks.length && blocks[final + 1].from + 2 < lines.length) final += 1;
    if (!final) return 0;
    for (const line of lines.slice(0, blocks[final].from)) this.settled += line.length + 1;
    this.tail.splice(0, final);
    return final;
  }

  /** Draw a block, or what is new of it; returns whether time sufficed for all of it. */
  place(block, index, lines, deadline) {
    const source = lines.slice(block.from, block.to).join("\n");
    const old = this.tail[index];
    if (old?.source === source) return true;
    const many = partsOf(block, 0);
    if (!many) {
      this.put(index, { source, node: renderBlock(block, 0) });
      return true;
    }
    const kept = old?.sign === many.sign ? old : { sign: many.sign, sources: [], ...many.frame() };
    if (kept !== old) this.put(index, kept);
    const whole = drawParts(kept, many, deadline);
    kept.source = whole ? source : null;
    return whole;
  }

  put(index, rendered) {
    const old = this.tail[index];
    if (old) old.node.replaceWith(rendered.node);
    else this.container.append(rendered.node);
    this.tail[index] = rendered;
  }
}

function drawParts(kept, { parts, draw }, deadline) {
  const { body, sources } = kept;
  const added = [];
  let at = 0;
  for (; at < parts.length; at += 1) {
    if (sources[at] === parts[at]) continue;
    if (at && performance.now() >= deadline) break;
    const node = draw(parts[at], at);
    if (at < sources.length) body.children[at].replaceWith(node);
    else added.push(node);
    sources[at] = parts[at];
  }
  body.append(...added);
  if (at < parts.length) return false;
  while (body.children.length > parts.length) body.lastElementChild.remove();
  sources.length = parts.length;
  return true;
}
