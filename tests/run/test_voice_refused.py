"""What a phone line is not let in with, or ends for; nothing is left of any of it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from common.bootstrap import Services
from tests.fakes.openai_realtime import FakeRealtime, Speak
from tests.fakes.twilio import Account, Caller, new_sid
from tests.run.calling import Container, containers, of

GREETING = Speak("Hello, this is ODAI.", ms=400)
POLICY = 1008
Make: TypeAlias = Callable[..., Container]


@pytest.fixture
def container(services: Callable[..., Services], tmp_path: Path) -> Iterator[Make]:
    """Open a container whose voice model is the one given."""
    yield from containers(services, tmp_path)


def refused(box: Container, ticket: str, *, sid: str = "", **options: Any) -> Caller:
    """Return a caller whose stream was closed again, with the model left alone."""
    caller = Caller(
        box.url, public=box.services.settings.base_url, tolerant=True,
        sid=sid or new_sid("CA"), **options,
    )  # fmt: skip

    async def call() -> None:
        async with caller:
            await caller.dial(twiml=box.twiml(ticket))
            await caller.ended()

    asyncio.run(call())
    box.nothing_left()
    assert caller.bytes_received == 0
    return caller


@pytest.mark.parametrize("ticket", ["", "x" * 43, "not a ticket", "é" * 43])
def test_a_forged_ticket_opens_nothing(container: Make, ticket: str) -> None:
    """A stream without a ticket of ours is closed before any chat or model is touched."""
    with FakeRealtime() as model:
        caller = refused(container(model), ticket)
        assert caller.close_code == POLICY and not model.sessions


def test_a_ticket_works_once(container: Make) -> None:
    """A replayed ticket, even for the same call, is refused."""
    with FakeRealtime(GREETING) as model:
        box = container(model)
        sid = new_sid("CA")
        ticket = box.ticket(sid)

        async def first() -> None:
            async with Caller(box.url, public=box.services.settings.base_url, sid=sid) as caller:
                await caller.dial(twiml=box.twiml(ticket))
                await caller.until(lambda: caller.heard_ms >= 400)
                await box.until(lambda: box.calls() and not box.calls()[0]._exchange)

        asyncio.run(first())
        assert refused(box, ticket, sid=sid).close_code == POLICY
        assert len(model.sessions) == 1


@pytest.mark.parametrize(
    "claims", [{"call_sid": "CA" + "9" * 32}, {"channel": "app"}, {"call_sid": None}]
)
def test_a_ticket_is_for_its_call(container: Make, claims: dict[str, Any]) -> None:
    """A ticket stolen from another call, or from the app, opens no phone line."""
    with FakeRealtime() as model:
        box = container(model)
        sid = new_sid("CA")
        assert refused(box, box.ticket(sid, **claims), sid=sid).close_code == POLICY


def test_a_forged_signature_is_refused(container: Make) -> None:
    """A socket that Twilio did not open is closed before it has said anything."""
    with FakeRealtime() as model:
        box = container(model)
        sid = new_sid("CA")
        forger = Account(token="guessed")
        ticket = box.ticket(sid)
        assert refused(box, ticket, sid=sid, account=forger).close_code == POLICY
        # The ticket was not used up by it.
        assert box.services.loop.run(box.services.tickets.redeem(ticket, purpose="voice"))


def _media(stream: str, payload: str) -> str:
    return json.dumps({
        "event": "media", "sequenceNumber": "9", "streamSid": stream,
        "media": {"track": "inbound", "chunk": "1", "payload": payload},
    })  # fmt: skip


SOUND = base64.b64encode(b"\xff" * 160).decode()


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (lambda c: _media("MZ" + "9" * 32, SOUND), POLICY),
        (lambda c: _media("", SOUND), POLICY),
        (lambda c: _media(c.stream_sid, "A" * 20_000), POLICY),
        (lambda c: _media(c.stream_sid, "A" * 200_000), 1009),
        (lambda c: "no json", POLICY),
        (lambda c: json.dumps({
            "event": "start", "streamSid": c.stream_sid,
            "start": {"callSid": c.sid, "customParameters": {"ticket": "t"}},
        }), POLICY),
    ],
    ids=["foreign stream", "no stream", "long payload", "oversize", "no json", "second start"],
)  # fmt: skip
def test_a_stream_that_breaks_the_rules_ends(
    container: Make, bad: Callable[[Caller], str], code: int
) -> None:
    """A call whose stream goes wrong is ended; what was said until then is in its chat."""
    with FakeRealtime(GREETING) as model:
        box = container(model)
        caller = box.caller(tolerant=True)

        async def call() -> None:
            async with caller:
                await box.dial(caller)
                await caller.until(lambda: caller.heard_ms >= 400)
                await box.until(lambda: box.calls() and not box.calls()[0]._exchange)
                caller.send_raw(bad(caller))
                await caller.ended()

        asyncio.run(call())
        box.nothing_left()
        assert caller.close_code == code
        assert [e["response"] for e in of(box.turns()[0], "llm_response")]
        model.wait(lambda: model.session.closed)


def test_media_before_the_start_ends_the_stream(container: Make) -> None:
    """Sound before the stream has said whose call it is, is refused."""
    with FakeRealtime() as model:
        box = container(model)
        caller = box.caller(tolerant=True)
        before = caller.send
        caller.send = lambda message: before(  # type: ignore[method-assign]
            {"event": "media", "media": {"track": "inbound", "payload": SOUND}}
            if message["event"] == "start" else message
        )  # fmt: skip

        async def call() -> None:
            async with caller:
                await caller.dial(twiml=box.twiml("t"))
                await caller.ended()

        asyncio.run(call())
        box.nothing_left()
        assert caller.close_code == POLICY and not model.sessions


def test_a_damaged_frame_is_a_click_and_no_more(container: Make) -> None:
    """One frame that is no base64 is passed over: the call goes on."""
    with FakeRealtime(GREETING, Speak("Yes.", ms=300), hears=["Hello?"]) as model:
        box = container(model)

        async def call() -> None:
            async with box.caller() as caller:
                await box.dial(caller)
                await caller.until(lambda: caller.heard_ms >= 400)
                caller.send_raw(_media(caller.stream_sid, "§§§§"))
                caller.say(500)
                await caller.until(lambda: caller.heard_ms >= 700)
                await box.until(lambda: not box.calls()[0]._exchange)

        asyncio.run(call())
        box.nothing_left()
        assert box.turns()[1]["prompt"] == "Hello?"


def test_one_chat_is_on_one_call(container: Make) -> None:
    """A second call about the same chat is ended; the first goes on undisturbed."""
    with FakeRealtime(GREETING, Speak("Still here.", ms=300), hears=["Hello?"]) as model:
        box = container(model, TWILIO_ACCOUNT_SID="")

        async def call() -> None:
            async with box.caller() as first, box.caller() as second:
                await box.dial(first)
                await first.until(lambda: first.heard_ms >= 400)
                await box.until(lambda: not box.calls()[0]._exchange)
                await box.dial(second)
                await second.ended()
                first.say(500)
                await first.until(lambda: first.heard_ms >= 700)
                await box.until(lambda: not box.calls()[0]._exchange)

        asyncio.run(call())
        box.nothing_left()
        assert len(model.sessions) == 1
        assert [e["response"] for e in of(box.turns()[1], "llm_response")] == ["Still here."]


def test_two_calls_of_one_user_are_two_chats(container: Make) -> None:
    """Calls about different things do not hear each other."""
    with FakeRealtime(GREETING, GREETING) as model:
        box = container(model)

        async def call() -> None:
            async with box.caller() as first, box.caller() as second:
                await box.dial(first, chat_id="one")
                await box.dial(second, chat_id="two")
                await first.until(lambda: first.heard_ms >= 400)
                await second.until(lambda: second.heard_ms >= 400)
                await box.until(lambda: not any(c._exchange for c in box.calls()))

        asyncio.run(call())
        box.nothing_left()
        assert len(box.turns("one")) == len(box.turns("two")) == 1
        assert len(model.sessions) == 2


def test_a_restart_says_goodbye(container: Make) -> None:
    """A server that goes away says so on every line before it hangs up."""
    with FakeRealtime(GREETING, Speak("Please call again.", ms=300)) as model:
        box = container(model)

        async def call() -> None:
            async with box.caller() as caller:
                await box.dial(caller)
                await caller.until(lambda: caller.heard_ms >= 400)
                await box.until(lambda: not box.calls()[0]._exchange)
                voice = box.app.extensions["odai_voice"]
                await asyncio.to_thread(box.do, lambda: voice.drain(5.0))
                await caller.ended()
                assert caller.heard_ms >= 700

        asyncio.run(call())
        box.nothing_left()
        assert model.session.closed
