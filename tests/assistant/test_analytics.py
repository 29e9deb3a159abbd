"""Analytics: what a turn tells, that nothing waits for it, and that no text is in it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.bootstrap import Services
from common.documents import now
from common.errors import VendorUnavailable
from common.events import Event
from common.events.embedded import EmbeddedEvents
from common.events.facts import (
    NAMES,
    TOPIC,
    AccountLinked,
    Analytics,
    CallEnded,
    CallStarted,
    ChatCreated,
    PromptSubmitted,
    columns,
)
from tests.assistant.conversation import Conversation, of
from tests.fakes.openai_responses import Calls, FakeOpenAI, Text
from tests.fakes.vendors import Vendors

Make = Callable[..., Services]
RATE = ("get_exchange_rate_for_currency_pair", {"from_currency": "EUR", "to_currency": "USD"})
SCHEMA = Path(__file__).parents[2] / "terraform" / "schemas" / "analytics.json"


class Port:
    """An event port that keeps what it is given, slowly, or not at all."""

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.down = False
        self.open = asyncio.Event()
        self.open.set()

    async def publish(self, event: Event) -> None:
        """Keep it once the port is open."""
        await self.open.wait()
        if self.down:
            raise VendorUnavailable("away")
        self.told.append(event)

    async def close(self) -> None:
        """Do nothing."""


def listen(made: Services) -> list[dict[str, Any]]:
    """Hear what is published to analytics."""
    heard: list[dict[str, Any]] = []

    async def keep(event: Event) -> None:
        assert event.id == event.data["id"]
        heard.append(dict(event.data))

    assert isinstance(made.events, EmbeddedEvents)
    made.events.subscribe(TOPIC, keep)
    return heard


def drained(made: Services) -> None:
    """Wait until everything emitted was heard."""

    async def drain() -> None:
        assert isinstance(made.events, EmbeddedEvents)
        await made.analytics.flush(20.0)
        await made.events.drain()

    made.loop.run(drain())


def test_a_turn_tells_what_happened_and_not_what_was_said(services: Make) -> None:
    """Chat, prompt, tool and response, each once, with hashed names and no word of anybody."""
    with Vendors() as vendors, FakeOpenAI(Calls([RATE]), Text("Zebulon says 1.08.")) as fake:
        made = services(
            OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k", ODAI_EGRESS_MAP=vendors.egress_map
        )
        heard = listen(made)
        talk = Conversation(made)
        talk.turn("convert a euro to Zebulon dollars")
        turn_id = of(talk.events, "end_of_stream")[0]["turn_id"]
        drained(made)
    assert sorted(each["event"] for each in heard) == [
        "chat_created", "prompt_submitted", "response_sent", "tool_called"
    ]  # fmt: skip
    by = {each["event"]: each for each in heard}
    assert by["prompt_submitted"]["characters"] == len("convert a euro to Zebulon dollars")
    assert by["prompt_submitted"]["channel"] == "screen"
    tool = by["tool_called"]
    assert (tool["tool"], tool["connector"], tool["ok"]) == (RATE[0], "Frankfurter", True)
    assert by["response_sent"]["status"] == "done"
    assert by["response_sent"]["input_tokens"] > 0
    assert {each["turn"] for each in heard if "turn" in each} == {turn_id}
    assert len({each["user"] for each in heard}) == 1
    assert len({each["id"] for each in heard}) == 4
    text = json.dumps(heard)
    assert not [word for word in ("Zebulon", "euro", '"u1"', '"c1"') if word in text]


def test_every_fact_fits_the_table(services: Make) -> None:
    """What is published has no field that the BigQuery table lacks, and every one it demands."""
    table = {column["name"]: column for column in columns()}
    made = services()
    heard = listen(made)
    talk = Conversation(made)
    talk.turn("hello")
    for fact in (AccountLinked("google"), CallStarted("phone"), CallEnded("phone", "done", 1200)):
        made.analytics.emit(fact, uid="u1")
    drained(made)
    kinds: dict[str, Any] = {"STRING": str, "TIMESTAMP": str, "INTEGER": int, "BOOLEAN": bool}
    for fact in heard:
        assert fact["event"] in NAMES
        assert {n for n, column in table.items() if column["mode"] == "REQUIRED"} <= set(fact)
        assert all(type(value) is kinds[table[name]["type"]] for name, value in fact.items())
    assert json.loads(SCHEMA.read_text()) == columns()  # `python -m run.local docs` writes it


def test_the_same_fact_told_twice_has_one_id(run: Callable[..., Any]) -> None:
    """A prompt that is stored at the second attempt counts once wherever ids are compared."""

    async def check() -> None:
        port = Port()
        analytics = Analytics(port, asyncio.get_running_loop(), clock=now)
        for key in ("t1", "t1", "t2"):
            analytics.emit(PromptSubmitted(3), uid="u1", key=key)
        analytics.emit(ChatCreated(), uid="u1", key="t1")
        await analytics.flush(5.0)
        first, again, other, another = [event.id for event in port.told]
        assert first == again
        assert len({first, other, another}) == 3

    run(check())


def test_a_port_that_hangs_costs_facts_and_no_time(
    run: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The queue is bounded; what does not fit is counted, said in the log, and nothing raises."""

    async def check() -> None:
        port = Port()
        port.open.clear()
        analytics = Analytics(port, asyncio.get_running_loop(), clock=now, capacity=10, senders=2)
        for _ in range(50):
            analytics.emit(ChatCreated(), uid="u1")
        assert analytics.dropped == 40  # nothing was sent yet: `emit` does not wait
        port.open.set()
        await analytics.flush(5.0)
        assert len(port.told) == 10
        await analytics.close()

    with caplog.at_level(logging.ERROR):
        run(check())
    lines = [r for r in caplog.records if r.message == "analytics dropped"]
    assert lines[-1].__dict__["dropped_in_all"] == 40
    assert sum(line.__dict__["dropped"] for line in lines) == 40


def test_a_port_that_fails_is_counted_and_the_next_fact_is_sent(run: Callable[..., Any]) -> None:
    """Pub/Sub away for a moment loses what it was given meanwhile, and only that."""

    async def check() -> None:
        port = Port()
        analytics = Analytics(port, asyncio.get_running_loop(), clock=now)
        port.down = True
        analytics.emit(ChatCreated(), uid="u1")
        await analytics.flush(5.0)
        port.down = False
        analytics.emit(ChatCreated(), uid="u1")
        await analytics.flush(5.0)
        assert (analytics.dropped, len(port.told)) == (1, 1)

    run(check())


def test_facts_come_from_any_thread(services: Make) -> None:
    """A Flask handler's fact is published as well, although it runs beside the event loop."""
    made = services()
    heard = listen(made)
    made.analytics.emit(AccountLinked("google"), uid="u1")
    made.loop.run(made.analytics.flush(5.0))
    drained(made)
    assert [(each["event"], each["provider"]) for each in heard] == [("account_linked", "google")]


def test_closing_publishes_what_waits_and_counts_what_cannot_be(run: Callable[..., Any]) -> None:
    """At the end nothing hangs: what cannot be published any more is counted."""

    async def check() -> None:
        port = Port()
        analytics = Analytics(port, asyncio.get_running_loop(), clock=now)
        analytics.emit(ChatCreated(), uid="u1")
        await analytics.close()
        assert (len(port.told), analytics.dropped) == (1, 0)
        port.open.clear()
        for _ in range(7):
            analytics.emit(ChatCreated(), uid="u1")
        async with asyncio.timeout(50):
            await analytics.close()
        assert analytics.dropped == 7

    run(check())


def test_a_turn_does_not_fail_with_its_analytics(services: Make) -> None:
    """With the event port down for good, chats go on."""
    made = services()
    port = Port()
    port.down = True
    made.__dict__["events"] = port
    talk = Conversation(made)
    for _ in range(3):
        assert of(talk.turn("hello"), "end_of_stream")[0]["status"] == "done"
    made.loop.run(made.analytics.flush(5.0))
    assert made.analytics.dropped > 0
