"""What the page may cost, measured: its first load, drawing while an answer streams, a long chat.

Processor time is what counts, not the clock: a busy machine makes any page late, and only its own
work is the page's fault. Noise only ever adds, so the best of a few runs is what is judged. The
figures are printed (`pytest -s`).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import pytest

from common.assistant.chats import TurnRecord
from common.assistant.journal import TurnJournal
from common.assistant.protocol import EndOfStream, LlmResponse, TurnStarted
from common.bootstrap import Services
from common.documents import new_id
from common.loop import LoopThread
from common.settings import Settings
from tests.browser import DESKTOP, PHONE
from tests.fakes.openai_responses import FakeOpenAI, Reply, Text
from tests.run.serving import Server

FIRST_LOAD_BYTES = 150 * 1024
LONG_TASK_US = 50_000
TRACING_BEGINS_US = 500_000  # what the page's process does first is about the tracing itself
OPEN_MS = 1_000
SLOWER = 4  # times, as a phone is
RUNS = 3
MOST_RUNS = 3
TURNS = 1_000  # of two messages each
LONG = "long"
UNTIL_QUIET = 120_000
PART = """## Part {0}

Some **bold** prose about `thing {0}` with a [link](https://example.org/{0}) that goes on for a
while, as answers do.

- one item of {0}
- another with *emphasis*

| Name | Value |
| --- | ---: |
| part | {0} |

```python
print({0})
```

"""
ANSWER = "".join(PART.format(n) for n in range(8))
WATCH = """() => {
  let frame = 0;
  const drawn = new Map();
  const next = () => { frame += 1; requestAnimationFrame(next); };
  requestAnimationFrame(next);
  const element = (node) => (node.closest ? node : node.parentElement);
  const answer = (node) => element(node)?.closest(".message-assistant");
  new MutationObserver((changes) => {
    if (changes.some(({ target }) => answer(target))) drawn.set(frame, (drawn.get(frame) ?? 0) + 1);
  }).observe(document.getElementById("turns"),
    { childList: true, subtree: true, characterData: true });
  window.drawn = () => [...drawn.values()];
}"""
OPENED = """([chat, last]) => new Promise((resolve, reject) => {
  const begun = performance.now();
  const seen = () => {
    if (performance.now() - begun > 30_000) return reject(document.body.innerText);
    const shown = [...document.querySelectorAll(".message-assistant")].at(-1);
    if (shown?.textContent !== last) return requestAnimationFrame(seen);
    const box = shown.getBoundingClientRect();
    if (box.bottom <= innerHeight && box.height) resolve(performance.now() - begun);
    else requestAnimationFrame(seen);
  };
  location.hash = `#/chats/${chat}`;
  seen();
})"""

# Goes to the top; tells by how much what stood there moves when earlier messages arrive.
EARLIER = """() => new Promise((resolve) => {
  const list = document.getElementById("turns");
  document.getElementById("scroller").scrollTop = 0;
  if (!list.querySelector(".earlier")) return resolve(null);
  const reading = list.querySelector(".turn");
  let before = reading.getBoundingClientRect().top;
  const seen = () => {
    const now = reading.getBoundingClientRect().top;
    if (list.querySelector(".turn") !== reading) return resolve(now - before);
    before = now;
    requestAnimationFrame(seen);
  };
  seen();
})"""
AT_END = """() => new Promise((resolve) => {
  const box = document.getElementById("scroller");
  const left = () => box.scrollHeight - box.scrollTop - box.clientHeight;
  const seen = () => (left() < 5 ? resolve() : requestAnimationFrame(seen));
  seen();
})"""


@pytest.fixture(scope="module")
def model() -> Iterator[FakeOpenAI]:
    """Serve a model whose script a test writes."""
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, model: FakeOpenAI) -> Iterator[str]:
    """Run a server in which somebody has a long chat; yield where they are signed in."""
    folder = tmp_path_factory.mktemp("data")
    settings = {"ODAI_DATA": str(folder), "ODAI_SMALL_MODEL": "off"}
    made = Services(Settings.from_env(settings), LoopThread())
    made.loop.run(_fill(made, "dev-ada", LONG))
    made.close()
    server = Server(folder, OPENAI_BASE_URL=model.base_url, OPENAI_API_KEY="key-of-a-test")
    yield f"{server.base}/#token={server.token('ada')}"
    assert server.stop() == 0


def most(limit: float) -> float:
    """Return the limit: doubled with more at work than there are cores.

    Each instruction waits for memory longer then, and each answer for its turn.
    """
    return limit * (2 if os.getloadavg()[0] > (os.cpu_count() or 1) else 1)


def test_the_first_load_is_small(address: str, open_page: Callable[..., Any]) -> None:
    """Everything the page asks for until somebody can type fits into 150 KB, compressed."""
    phone = open_page(**PHONE)
    network = phone.context.new_cdp_session(phone)
    network.send("Network.enable")
    sizes: list[int] = []
    network.on("Network.loadingFinished", lambda e: sizes.append(round(e["encodedDataLength"])))
    phone.goto(address)
    phone.get_by_test_id("composer").wait_for()
    phone.wait_for_load_state("networkidle")
    print(f"first load: {sum(sizes)} bytes in {len(sizes)} answers")
    assert len(sizes) > 10
    assert sum(sizes) <= FIRST_LOAD_BYTES


def test_a_fast_answer_is_drawn_once_a_frame(
    address: str, model: FakeOpenAI, open_page: Callable[..., Any]
) -> None:
    """While 100 deltas a second arrive at a slow phone, no task of the page takes 50 ms."""
    found: list[tuple[list[int], list[int]]] = []
    while len(found) < MOST_RUNS and (not found or found[-1][1][-1] > LONG_TASK_US):
        page = open_page(**PHONE)
        page.goto(address)
        page.get_by_test_id("composer").wait_for()
        model.then(Reply(Text(ANSWER), interval_s=0.01))
        found.append(_streamed(page))
    for drawn, tasks in found:
        worst = [task // 1000 for task in tasks[-5:]]
        print(f"frames drawn: {len(drawn)}, of them twice: {sum(n > 1 for n in drawn)}")
        print(f"tasks in ms: median {median(tasks) / 1000:.1f}, the longest {worst}")
    deltas = len(Text(ANSWER).pieces())
    for drawn, _ in found:
        assert len(drawn) > 10, "it streams"
        assert len(drawn) < deltas / 2, "deltas share frames"
        # The whole text that ends an answer may fall into the frame of its last piece.
        assert sum(n > 1 for n in drawn) <= 1
    assert min(tasks[-1] for _, tasks in found) <= most(LONG_TASK_US)


def _streamed(page: Any) -> tuple[list[int], list[int]]:
    """Ask; return how often each frame drew, and the tasks' processor time in µs, sorted."""
    browser, throttle = page.context.browser, page.context.new_cdp_session(page)
    page.evaluate(WATCH)
    page.get_by_test_id("composer").fill("Go on.")
    page.get_by_test_id("composer").press("Enter")
    page.get_by_test_id("message-assistant").wait_for()
    throttle.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    browser.start_tracing(page=page, categories=["toplevel"])
    page.get_by_role("heading", name="Part 7").wait_for(timeout=UNTIL_QUIET)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    throttle.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    page.get_by_test_id("copy").wait_for(state="attached", timeout=UNTIL_QUIET)
    named = [e for e in events if e["name"] == "thread_name"]
    main = {(e["pid"], e["tid"]) for e in named if e["args"]["name"] == "CrRendererMain"}
    ours = [e for e in events if (e["pid"], e["tid"]) in main and e.get("tdur", 0) > 500]
    begun = min(e["ts"] for e in ours) + TRACING_BEGINS_US
    tasks = sorted(e["tdur"] for e in ours if e["ts"] > begun)
    assert tasks, "the trace holds the page's tasks"
    return page.evaluate("drawn()"), tasks


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_chat_of_2000_messages_opens_at_once_and_scrolls(
    address: str, open_page: Callable[..., Any], size: dict[str, Any]
) -> None:
    """Its end is there within a second; scrolling up brings the rest, and nothing jumps."""
    page = open_page(**size)
    page.goto(address)
    page.get_by_test_id("composer").wait_for()
    page.get_by_test_id("chat-item").first.wait_for(state="attached")
    took = []
    for _ in range(RUNS):
        took.append(page.evaluate(OPENED, [LONG, f"Answer {TURNS}."]))
        page.evaluate("location.hash = ''")
        page.locator(".message-assistant").first.wait_for(state="detached")
    print(f"opened in ms: {[round(ms) for ms in took]}")
    page.evaluate(OPENED, [LONG, f"Answer {TURNS}."])
    _scroll_to_the_first(page)
    page.locator("#latest").click()
    page.get_by_text(f"Answer {TURNS}.", exact=True).first.wait_for()
    page.evaluate(AT_END)
    assert page.complaints == []
    assert min(took) <= most(OPEN_MS)


def _scroll_to_the_first(page: Any) -> None:
    """Scroll up until the first message is there; what one reads stays where it is meanwhile."""
    for _ in range(TURNS):
        moved = page.evaluate(EARLIER)
        if moved is None:
            break
        assert abs(moved) < 2, "what is read stays in sight when more comes before it"
    assert page.locator(".turn").count() == TURNS
    assert page.locator(".message-user").first.inner_text() == "Question 1?"


async def _fill(made: Services, uid: str, chat_id: str) -> None:
    """Store a chat of TURNS turns, as turns store themselves."""
    chats = made.chats
    state = await chats.load(chat_id, uid)
    now = dt.datetime.now(dt.UTC)
    for n in range(1, TURNS + 1):
        turn_id, item = new_id(), {"role": "user", "content": f"Question {n}?"}
        journal = TurnJournal(
            chat_id=chat_id,
            turn_id=turn_id,
            store_chunk=lambda _: asyncio.sleep(0),
            on_visible=lambda _: None,
        )
        journal.event(TurnStarted(f"Question {n}?", turn_id, ""), soon=False)
        begun = journal.take_unstored()
        journal.event(LlmResponse(f"Answer {n}.", "ODAI"), soon=False)
        journal.event(EndOfStream("done", {}), soon=False)
        ended = journal.take_unstored()
        assert begun and ended
        turn = TurnRecord(turn_id, f"Question {n}?", "", now, "running", chats.instance, now)
        await chats.begin(state, turn, item, begun)
        said = {"role": "assistant", "content": f"Answer {n}."}
        await chats.end(state, turn_id, items=[item, said], chunk=ended, status="done", usage={})
