"""Can everybody use the web client: axe-core over its states, and a walk with the keyboard alone.

axe is evaluated through the browser's debugging port, so that the page's strict
Content-Security-Policy stays as it is in production.
"""

from __future__ import annotations

import functools
import importlib.resources
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser import DESKTOP, PHONE
from tests.fakes.openai_responses import Calls, FakeOpenAI, Text
from tests.fakes.twilio import ACCOUNT
from tests.run.serving import Server
from tests.web.test_looks import recordings

ALL_LOOKS = [
    pytest.param({**size, "color_scheme": scheme}, id=f"{name}-{scheme}")
    for name, size in (("desktop", DESKTOP), ("phone", PHONE))
    for scheme in ("light", "dark")
]
# Both sizes and both palettes once; ODAI_TEST_BROWSER=all for every pair.
LOOKS = ALL_LOOKS if os.environ.get("ODAI_TEST_BROWSER") == "all" else [ALL_LOOKS[0], ALL_LOOKS[-1]]
AXE = "async () => (await axe.run(document, { resultTypes: ['violations'] })).violations"
GRAVE = ("serious", "critical")
ANSWER = """\
## Boston, tomorrow

**Rain**, 4 to 9 °C: see [the forecast](https://example.org/forecast) or `boston.txt`.

| When | Chance of rain |
| --- | ---: |
| Morning | 30 % |

- [x] coat
- [ ] umbrella

> Forecasts change.

```python
print("rain")
```
"""
REMINDER = (
    "create_reminder",
    {"title": "Call Dana", "time": "09:00", "repeat": "never", "by_text_message": False},
)
YOU = ("Connections", "Memory", "Plans", "Usage", "Activity", "Account")
HEARD = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
LATE = {
    "phone_number": "+14155550123",
    "message": "Hello Dana,\n\nthe train is late.\n",
}


@functools.cache
def script() -> str:
    """Return axe-core, as one script."""
    return (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")


def grave(page: Any, state: str) -> list[str]:
    """Return what axe finds serious or critical in what `page` shows now, one line each."""
    page.evaluate("Promise.allSettled(document.getAnimations().map((each) => each.finished))")
    if not page.evaluate("'axe' in window"):
        page.evaluate(script())
    return [
        f"{state}: {found['id']} at {' '.join(map(str, node['target']))}: {_why(node)}"
        for found in page.evaluate(AXE)
        for node in found["nodes"]
        if found["impact"] in GRAVE
    ]


def _why(node: dict[str, Any]) -> str:
    checks = [*node["any"], *node["all"], *node["none"]]
    return str(checks[0]["message"]) if checks else ""


@pytest.fixture(scope="module")
def sandboxed(tmp_path_factory: pytest.TempPathFactory, model: FakeOpenAI) -> Iterator[Server]:
    """Run the server with every simulated service and a scripted model."""
    running = Server(
        tmp_path_factory.mktemp("data"),
        ODAI_SANDBOX="1",
        OPENAI_BASE_URL=model.base_url,
        OPENAI_API_KEY="key-of-a-test",
        **ACCOUNT.environ,
    )
    yield running
    assert running.stop() == 0


@pytest.mark.timeout(400)
@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_grave_in_any_state(
    look: dict[str, Any], sandboxed: Server, model: FakeOpenAI, open_page: Callable[..., Any]
) -> None:
    """Names, roles and contrast hold from signing in to leaving, on every screen and palette."""
    from playwright.sync_api import expect

    found: list[str] = []
    phone = look["viewport"] == PHONE["viewport"]
    page = open_page(*HEARD, reduced_motion="reduce", **look)
    part = page.get_by_test_id

    def ask(text: str) -> None:
        turns = page.locator(".turn").count()
        part("composer").fill(text)
        part("send").click()
        expect(page.locator(".turn").nth(turns)).to_be_visible()

    def check(state: str) -> None:
        found.extend(grave(page, state))

    def side() -> None:
        if phone:
            page.locator("#menu").click()

    page.goto(sandboxed.base)
    expect(part("sign-in")).to_be_visible()
    check("sign-in")
    page.goto("about:blank")
    page.goto(f"{sandboxed.base}/#token={sandboxed.token('Ada')}")
    expect(page.locator("#welcome h2")).to_be_visible()
    check("welcome")

    model.then(
        Calls(
            [
                (
                    "get_forecast_weather_by_location",
                    {"location": "Boston", "days": 3, "date": None},
                ),
                ("search_google_mail", {"query": "invoice"}),
            ],
            offered=False,
        ),
        Text(ANSWER),
    )
    ask("What's the weather in Boston tomorrow?")
    expect(part("regenerate")).to_be_attached()
    check("answer")
    for data in page.locator(".card-data > summary").all():
        data.click()
    check("answer with its data")
    part("edit").click()
    check("edit")
    page.keyboard.press("Escape")

    model.then(Calls([("transfer_to_twilio", {})]), Calls([("send_sms", LATE)]))
    ask("Text +14155550123 that I'm ten minutes late.")
    expect(part("approval")).to_be_visible()
    check("approval")
    part("change").click()
    check("approval to change")
    model.then(Text("All right."))
    part("deny").click()
    expect(page.locator("#turns").get_by_text("All right.")).to_be_visible()
    check("declined")

    model.then(Calls([("transfer_to_reminders", {})]), Calls([REMINDER]), Text("I will."))
    ask("Remind me to call Dana tomorrow at nine.")
    expect(part("regenerate")).to_have_count(3)

    side()
    expect(part("chat-item").first).to_be_visible()
    check("chats")
    part("search").fill("boston")
    expect(part("found").first).to_be_visible()
    check("search")
    part("search").fill("")
    part("chat-options").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check("chat options")
    page.keyboard.press("Escape")

    part("open-you").click()
    tabs = part("you").get_by_role("tab")
    for name in YOU:
        tabs.get_by_text(name, exact=True).click()
        expect(page.locator(".you-page:not([aria-busy])")).to_be_visible()
        if name == "Memory":
            part("you").get_by_role("textbox").first.fill("I am vegetarian")
            part("you").get_by_role("button", name="Remember").click()
            expect(part("you").get_by_role("button", name="Forget")).to_be_visible()
        check(f"you: {name}")
    tabs.first.click()
    part("you").get_by_role("button", name="Connect Google").click()
    expect(part("connect")).to_be_visible()
    check("connect")
    page.keyboard.press("Escape")
    expect(part("connect")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(part("you")).to_have_count(0)

    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    expect(part("help")).to_be_visible()
    check("help")
    page.keyboard.press("Escape")
    # A server that says nothing: the call stays as it begins.
    page.route_web_socket("**/app/voice/**", lambda _: None)
    part("open-voice").click()
    expect(part("voice-hang-up")).to_be_visible()
    check("voice")
    part("voice-hang-up").click()
    assert not found, "\n".join(found)
    assert page.complaints == []


@pytest.mark.timeout(400)
@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_grave_in_any_result(
    look: dict[str, Any], sandboxed: Server, open_page: Callable[..., Any]
) -> None:
    """Every result a vendor's recording becomes is named, labelled and readable."""
    from playwright.sync_api import expect

    results = recordings()
    history = {
        "chat": {"id": "recorded", "title": "Everything"},
        "turns": [
            {
                "turn_id": "1",
                "prompt": "Show me everything.",
                "status": "done",
                "events": [
                    {**event, "type": "tool_output", "ok": True, "call_id": str(at)}
                    for at, (_, event) in enumerate(results)
                ],
            }
        ],
        "cursor": None,
        "more": False,
    }
    page = open_page(*HEARD, reduced_motion="reduce", **look)
    page.route("**/chats/recorded/turns*", lambda route: route.fulfill(json=history))
    page.route("https://**", lambda route: route.abort())  # vendors' pictures
    page.goto(f"{sandboxed.base}/#token={sandboxed.token('Ada')}")
    page.evaluate("location.hash = '#/chats/recorded'")
    expect(page.locator(".card")).to_have_count(len(results))
    assert not (found := grave(page, "results")), "\n".join(found)


REACH = """() => [...document.querySelectorAll(
    'a[href], :is(button, input, textarea, select):enabled, summary, [tabindex]')]
  .filter((e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: false }))
  .filter((e) => e.tabIndex >= 0 && !e.closest('[inert]'))
  .filter((e) => !document.querySelector('dialog[open]') || e.closest('dialog[open]'))
  .filter((e) => !e.dataset.walked)
  .map((e) => `${e.tagName} ${e.getAttribute('aria-label') ?? e.innerText}`)"""
STEP = """() => {
  const e = document.activeElement;
  if (e === document.body) return null;
  e.dataset.walked = 'yes';
  const own = getComputedStyle(e), around = e.closest('.composer');
  const ring = own.outlineStyle !== 'none' && parseFloat(own.outlineWidth) > 0;
  const seen = ring || (around && getComputedStyle(around).borderColor !== window.unfocused);
  return [`${e.tagName} ${e.getAttribute('aria-label') ?? e.innerText}`, Boolean(seen)];
}"""


def walk(page: Any) -> None:
    """Press Tab until everything was visited once; each stop shows that it is one."""
    page.evaluate(
        """() => { document.activeElement.blur();
          const box = document.querySelector('.composer');
          window.unfocused = box && getComputedStyle(box).borderColor; }"""
    )
    for _ in range(200):
        page.keyboard.press("Tab")
        if stop := page.evaluate(STEP):
            assert stop[1], f"focus is not to be seen on {stop[0]}"
        if not page.evaluate(REACH):
            return
    raise AssertionError(f"not reached with Tab: {page.evaluate(REACH)}")


def test_everything_is_done_with_the_keyboard_alone(
    sandboxed: Server, model: FakeOpenAI, open_page: Callable[..., Any]
) -> None:
    """All is reached by Tab, seen when it is, left by Escape, and focus goes back where it was."""
    from playwright.sync_api import expect

    page = open_page(*HEARD, reduced_motion="reduce", **DESKTOP)
    part = page.get_by_test_id
    page.goto(sandboxed.base)
    expect(part("sign-in")).to_be_visible()
    walk(page)
    page.locator("#sign-in-name").focus()
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    expect(page.locator("#welcome h2")).to_be_visible()
    expect(part("composer")).to_be_focused()
    walk(page)

    page.keyboard.press("Control+Shift+O")
    expect(part("composer")).to_be_focused()
    model.then(Calls([("transfer_to_twilio", {})]), Calls([("send_sms", LATE)]))
    page.keyboard.type("Text +14155550123 that I am late.")
    page.keyboard.press("Enter")
    expect(part("approval")).to_be_visible()
    walk(page)
    model.then(Text(ANSWER))
    part("deny").focus()
    page.keyboard.press("Enter")
    expect(part("regenerate")).to_have_count(1)
    expect(page.locator("#turns table")).to_be_visible()
    walk(page)

    part("edit").focus()
    page.keyboard.press("Enter")
    expect(part("edit-text")).to_be_focused()
    page.keyboard.press("Escape")
    expect(part("edit")).to_be_focused()
    for opener, opened_part in (
        ("chat-options", "dialog"),
        ("open-you", "you"),
        ("open-help", "help"),
    ):
        part(opener).first.focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog") if opened_part == "dialog" else part(opened_part)
        expect(dialog).to_be_visible()
        walk(page)
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(part(opener).first).to_be_focused()
    page.keyboard.press("/")
    expect(part("composer")).to_be_focused()
    page.keyboard.press("Control+k")
    expect(part("search")).to_be_focused()

    page.set_viewport_size(PHONE["viewport"])
    page.locator("#menu").focus()
    page.keyboard.press("Enter")
    expect(part("new-chat")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#menu")).to_be_focused()
    expect(part("new-chat")).to_be_hidden()
    assert page.complaints == []
