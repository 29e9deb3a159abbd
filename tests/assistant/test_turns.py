"""Turns from prompt to end, with a scripted model and real tools on stand-in vendors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from common.assistant.chats import ChatBusy
from common.assistant.conduct import MAX_STEPS
from common.assistant.protocol import DeviceLocation, Edit, Prompt, Regenerate
from common.assistant.turns import MAX_QUEUED
from common.errors import InvalidInput, NotFound, RateLimited
from tests.assistant.conversation import Conversation, Event, check_turn, of, text_of
from tests.fakes.openai_responses import (
    Calls,
    Cut,
    Failed,
    Gate,
    HttpError,
    Incomplete,
    Reasoning,
    Refusal,
    Reply,
    StreamError,
    Text,
)
from tests.fakes.vendors import Vendors

Talk = Callable[..., Conversation]
RATE = ("get_exchange_rate_for_currency_pair", {"from_currency": "EUR", "to_currency": "USD"})
WEATHER = ("get_current_weather_by_location", {"location": "Boston"})
BOTH = "What's the weather in Boston, and convert 250 euros to dollars"


@pytest.fixture
def vendors() -> Iterator[Vendors]:
    """Serve the keyless vendors."""
    with Vendors() as served:
        yield served


def end_of(events: list[Event]) -> Event:
    """Check the turn and return how it ended."""
    check_turn(events)
    return of(events, "end_of_stream")[0]


# --- answers -------------------------------------------------------------------------------------


def test_an_answer_streams_and_ends_with_its_title(talk: Talk) -> None:
    """Words appear as they come, then the whole text, the end with its cost, and a title."""
    events = talk(Text("Hello there friend.")).turn("hi, who are you?", "p1")
    assert end_of(events)["status"] == "done"
    assert text_of(events) == "Hello there friend."
    assert (events[0]["prompt"], events[0]["prompt_id"]) == ("hi, who are you?", "p1")
    assert of(events, "end_of_stream")[0]["usage"]["requests"] == 1
    assert events[-1]["type"] == "title"


def test_a_conversation_goes_on_as_long_as_it_likes(talk: Talk) -> None:
    """The third question is answered as the first was, knowing what was said before."""
    conversation = talk(Text("One."), Text("Two."), Text("Three."))
    for text in ("first", "second", "third"):
        assert end_of(conversation.turn(text))["status"] == "done"
    said = [item["content"] for item in conversation.model.requests[-1].body["input"]]
    assert [said[0], said[2], said[4]] == ["first", "second", "third"]


def test_thinking_and_refusals_are_answers_too(talk: Talk) -> None:
    """A model that thinks first, or declines, ends its turn as any other."""
    conversation = talk(Reply((Reasoning(), Text("Sure."))), Refusal("I can't help with that."))
    assert text_of(conversation.turn("think")) == "Sure."
    events = conversation.turn("do something bad")
    assert end_of(events)["status"] == "done"
    assert text_of(events) == "I can't help with that."


def test_independent_questions_are_looked_up_side_by_side(talk: Talk, vendors: Vendors) -> None:
    """Two services are asked in one step; each call is shown with its own result and sources."""
    conversation = talk(
        Calls([(*WEATHER, "call_w"), (*RATE, "call_r")]),
        Text("8 degrees; 1.08 dollars."),
        ODAI_EGRESS_MAP=vendors.egress_map,
    )
    events = conversation.turn(BOTH)
    assert end_of(events)["status"] == "done"
    outputs = {event["call_id"]: event for event in of(events, "tool_output")}
    assert outputs["call_w"]["ok"]
    assert "Boston" in outputs["call_w"]["summary"]
    assert outputs["call_r"]["ok"]
    assert "1.0821" in str(outputs["call_r"]["output"]["response"])
    for output in outputs.values():
        assert set(output["output"]) == {
            "response_type",
            "agent_name",
            "friendly_name",
            "response",
            "display_response",
        }
        assert output["sources"]
    assert {e["description"][-1] for e in of(events, "tool_call")} == {"…"}
    assert len(of(events, "suggested_prompts")) == 1


def test_the_specialist_takes_over_and_hands_back(talk: Talk, vendors: Vendors) -> None:
    """A handoff is told, the specialist's words carry its name, and it can hand back."""
    conversation = talk(
        Calls([("transfer_to_frankfurter", {})]),
        Calls([RATE]),
        Text("1.0821"),
        ODAI_EGRESS_MAP=vendors.egress_map,
    )
    events = conversation.turn("Convert 250 euros to dollars")
    assert end_of(events)["status"] == "done"
    (handoff,), (updated,) = of(events, "handoff"), of(events, "agent_updated")
    assert (handoff["current_agent"], handoff["name"]) == ("ODAI", "Frankfurter")
    assert updated["new_agent"] == updated["current_agent"] == "Frankfurter"
    assert {e["current_agent"] for e in of(events, "raw_response_event")} == {"Frankfurter"}
    assert of(events, "tool_call")[0]["current_agent"] == "Frankfurter"


@pytest.mark.parametrize("arguments", ['{"query": "exchange rates"}', "rates {", "[]", '"rates"'])
def test_a_service_that_was_not_expected_can_be_found(
    talk: Talk, vendors: Vendors, arguments: str
) -> None:
    """The model opens a service the router did not choose, however clumsily it asks for it."""
    conversation = talk(
        Calls([("find_connector", arguments)]), Text("ok"), ODAI_EGRESS_MAP=vendors.egress_map
    )
    assert end_of(conversation.turn("tell me a story"))["status"] == "done"


# --- mistakes of the model and of services -------------------------------------------------------


def test_a_tool_that_does_not_exist_is_no_end(talk: Talk) -> None:
    """A model that calls an invented tool is told so and answers; nothing is shown of it."""
    conversation = talk(Calls([("make_coffee", {})], offered=False), Text("I cannot."))
    events = conversation.turn("coffee please")
    assert end_of(events)["status"] == "done"
    assert not of(events, "tool_call")


@pytest.mark.parametrize("arguments", ["{not json", "[]", '{"from_currency": 5}', "{}"])
def test_arguments_that_do_not_fit_fail_the_call_alone(talk: Talk, arguments: str) -> None:
    """A malformed call shows as failed, the model reads why, and the answer comes."""
    conversation = talk(Calls([(RATE[0], arguments)]), Text("Sorry."))
    events = conversation.turn("Convert 250 euros to dollars")
    assert end_of(events)["status"] == "done"
    (output,) = of(events, "tool_output")
    assert output["ok"] is False
    assert output["output"]["response_type"] == "error"


def test_a_service_that_is_down_fails_its_call_alone(talk: Talk) -> None:
    """When a vendor cannot be reached, its call fails in words and the answer still comes."""
    nowhere = "http://127.0.0.1:9"
    hosts = ("api.frankfurter.dev",)
    conversation = talk(
        Calls([RATE]),
        Text("Sorry."),
        ODAI_EGRESS_MAP=",".join(f"{host}={nowhere}" for host in hosts),
    )
    events = conversation.turn("Convert 250 euros to dollars")
    assert end_of(events)["status"] == "done"
    assert of(events, "tool_output")[0]["ok"] is False


FAILURES = {
    "busy": (HttpError(429), "rate_limited", True),
    "no quota": (HttpError(429, "insufficient_quota"), "budget_exceeded", False),
    "too long": (HttpError(400, "context_length_exceeded"), "invalid_input", False),
    "wrong key": (HttpError(401), "misconfigured", False),
    "down": (HttpError(503), "vendor_unavailable", True),
    "typed error": (StreamError("typed", after=2), "vendor_unavailable", True),
    "nested error": (StreamError("nested", after=2), "vendor_unavailable", True),
    "failed": (Failed(of=Text("Hello there")), "vendor_unavailable", True),
    "quota in stream": (Failed("insufficient_quota"), "budget_exceeded", False),
    "filtered": (Incomplete("content_filter"), "vendor_rejected", False),
    "cut": (Cut(after=2), "vendor_unavailable", True),
    "cut at once": (Cut(after=None), "vendor_unavailable", True),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_model_that_fails_ends_the_turn_in_words(talk: Talk, case: str) -> None:
    """Whatever breaks at the model, the turn ends once, with an error that says what to do."""
    step, code, retryable = FAILURES[case]
    attempts = 3 if case in ("busy", "down", "cut at once") else 1
    conversation = talk(*[step] * attempts, Text("Back again."))
    events = conversation.turn("hi")
    assert end_of(events)["status"] == "failed"
    (error,) = of(events, "error")
    assert (error["code"], error["retryable"]) == (code, retryable)
    assert error["message"].endswith(".")
    assert text_of(conversation.turn("and now?")) == "Back again."


def test_an_answer_cut_by_its_length_is_kept(talk: Talk) -> None:
    """An answer that the model had no room to finish is an answer."""
    events = talk(Incomplete(of=Text("As far as"))).turn("hi")
    assert end_of(events)["status"] == "done"
    assert text_of(events) == "As far as"


def test_a_model_that_never_ends_is_stopped(talk: Talk, vendors: Vendors) -> None:
    """Too many steps end the turn with advice, and what was found stays."""
    conversation = talk(*[Calls([RATE])] * MAX_STEPS, ODAI_EGRESS_MAP=vendors.egress_map)
    events = conversation.turn("Convert 250 euros to dollars")
    assert end_of(events)["status"] == "failed"
    assert "too many steps" in of(events, "error")[0]["message"]
    assert len(of(events, "tool_output")) == MAX_STEPS


# --- stopping ------------------------------------------------------------------------------------


def test_stop_keeps_what_was_said(talk: Talk) -> None:
    """Stopping ends the answer where it stands; the next question knows what was said."""
    gate = Gate()
    conversation = talk(Reply(Text("one two three four"), gate=gate, gate_after=2), Text("five"))
    conversation.prompt("count")
    conversation.until(lambda events: text_of(events) == "one two")
    conversation.do(lambda: conversation.services.turns.stop(conversation.room))
    events = conversation.settled()
    gate.open()
    told = [event for event in events if event["turn_id"]]
    assert end_of(told)["status"] == "stopped"
    assert of(told, "llm_response")[0]["response"] == "one two"
    conversation.turn("go on")
    history = conversation.model.requests[-1].body["input"]
    assert {"role": "assistant", "content": "one two"} in history


def test_stop_keeps_what_tools_found_and_closes_the_others(talk: Talk) -> None:
    """Of two lookups the finished one is kept; the other shows as stopped, not as running."""
    gate = Gate()
    with Vendors(forecast=gate) as vendors:
        conversation = talk(
            Calls([(*RATE, "call_r"), (*WEATHER, "call_w")]),
            Text("as I found"),
            ODAI_EGRESS_MAP=vendors.egress_map,
        )
        conversation.prompt(BOTH)
        conversation.until_type("tool_output")
        assert gate.reached.wait(50)
        conversation.do(lambda: conversation.services.turns.stop(conversation.room))
        told = [event for event in conversation.settled() if event["turn_id"]]
        assert end_of(told)["status"] == "stopped"
        assert {e["call_id"]: e["ok"] for e in of(told, "tool_output")} == {
            "call_r": True,
            "call_w": False,
        }
        check_turn(conversation.turn("well?"))
        history = conversation.model.requests[-1].body["input"]
        outputs = {
            item["call_id"]: item["output"]
            for item in history
            if item.get("type") == "function_call_output"
        }
        assert "1.0821" in outputs["call_r"]
        assert "stopped" in outputs["call_w"]


@pytest.mark.parametrize("overtaken", ["the worker", "the store"])
def test_stop_right_after_asking_stops(talk: Talk, overtaken: str) -> None:
    """A stop that comes with its prompt, or overtakes the model, ends the turn unanswered."""
    conversation = talk()
    turns, room = conversation.services.turns, conversation.room

    async def both() -> None:
        turns.prompt(room, Prompt("hi"))
        if overtaken == "the store":
            await asyncio.sleep(0)  # the worker has begun, and waits for the store
        turns.stop(room)

    conversation.do(both)
    told = [event for event in conversation.settled() if event["turn_id"]]
    assert end_of(told)["status"] == "stopped"


def test_stop_of_another_turn_changes_nothing(talk: Talk) -> None:
    """A late stop, meant for the answer before, does not stop this one."""
    gate = Gate()
    conversation = talk(Text("first"), Reply(Text("a b"), gate=gate, gate_after=1))
    first = conversation.turn("one")[0]["turn_id"]
    conversation.prompt("two")
    assert gate.reached.wait(50)
    conversation.do(lambda: conversation.services.turns.stop(conversation.room, first))
    gate.open()
    assert of(conversation.settled(), "end_of_stream")[-1]["status"] == "done"


# --- the line of prompts -------------------------------------------------------------------------


def test_prompts_wait_in_line_and_say_so(talk: Talk) -> None:
    """What is sent during an answer is answered after it, in order, each once."""
    gate = Gate()
    conversation = talk(Reply(Text("a"), gate=gate), *(Text(word) for word in ("b", "c")))
    conversation.prompt("one", "p1")
    conversation.until_type("turn_started")
    conversation.prompt("two", "p2")
    conversation.prompt("three", "p3")
    conversation.prompt("two again", "p2")
    conversation.prompt("one again", "p1")
    queued = of(conversation.events, "prompt_queued")
    assert [(e["prompt_id"], e["position"]) for e in queued] == [("p2", 1), ("p3", 2)]
    gate.open()
    events = conversation.settled()
    assert [e["prompt"] for e in of(events, "turn_started")] == ["one", "two", "three"]
    for started in of(events, "turn_started"):
        check_turn([e for e in events if e["turn_id"] == started["turn_id"]])


def test_the_line_has_an_end(talk: Talk) -> None:
    """Somebody who keeps typing is asked to wait instead of filling the memory."""
    gate = Gate()
    conversation = talk(Reply(Text("a"), gate=gate), *[Text("b")] * MAX_QUEUED)
    conversation.prompt("one")
    conversation.until_type("turn_started")
    for _ in range(MAX_QUEUED):
        conversation.prompt("more")
    with pytest.raises(RateLimited):
        conversation.prompt("too much")
    gate.open()
    conversation.settled()


def test_a_failed_turn_does_not_hold_up_the_line(talk: Talk) -> None:
    """After a failure the waiting prompts are answered."""
    gate = Gate()
    conversation = talk(Reply((), gate=gate), Failed(), Text("fine"))
    conversation.prompt("one")
    conversation.until_type("turn_started")
    conversation.prompt("two")
    conversation.prompt("three")
    gate.open()
    ends = of(conversation.settled(), "end_of_stream")
    assert [end["status"] for end in ends][1:] == ["failed", "done"]


def test_a_chat_that_stays_busy_elsewhere_says_so(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt that never gets its turn is refused by name, and not silently dropped."""
    conversation = talk()

    async def busy(*_: Any, **__: Any) -> None:
        raise ChatBusy("This chat is answering on another device.")

    monkeypatch.setattr(conversation.services.chats, "begin", busy)
    conversation.prompt("hi", "p1")
    conversation.idle()
    (refused,) = of(conversation.events, "error")
    assert refused["message"] == "This chat is answering on another device."
    assert refused["prompt_id"] == "p1"


def test_what_waits_in_line_at_a_restart_is_refused_by_name(talk: Talk) -> None:
    """Before a restart the running turn is ended, and who waits behind it is told to ask again."""
    gate = Gate()
    conversation = talk(Reply(Text("a b"), gate=gate, gate_after=1))
    conversation.prompt("one", "p1")
    assert gate.reached.wait(50)
    conversation.prompt("two", "p2")
    conversation.prompt("three", "p3")
    conversation.do(lambda: conversation.services.turns.drain(0.01))
    events = conversation.settled()
    assert [event["prompt_id"] for event in of(events, "turn_started")] == ["p1"]
    refused = [event for event in of(events, "error") if not event["turn_id"]]
    assert [event["prompt_id"] for event in refused] == ["p2", "p3"]
    assert all("restarting" in event["message"] for event in refused)
    assert [event["status"] for event in of(events, "end_of_stream")] == ["failed"]
    gate.open()


# --- answering again -----------------------------------------------------------------------------


@pytest.mark.parametrize("edited", [False, True])
def test_answering_again_forgets_what_followed(talk: Talk, edited: bool) -> None:
    """Regenerating or editing a message continues from there, as if the rest was never said."""
    conversation = talk(Text("A1"), Text("A2"), Text("A3"), Text("B2"))
    ids = [conversation.turn(text)[0]["message_id"] for text in ("one", "two", "three")]
    request: Any = Edit(ids[1], "deux") if edited else Regenerate(ids[1])
    turns = conversation.services.turns
    before = len(conversation.events)
    conversation.do(lambda: turns.ask_again(conversation.room, request))
    events = conversation.settled()[before:]
    assert end_of(events)["status"] == "done"
    assert events[0]["prompt"] == ("deux" if edited else "two")
    said = [item["content"] for item in conversation.model.requests[-1].body["input"]]
    assert [said[0], said[-1]] == ["one", "deux" if edited else "two"]
    assert len(said) == 3
    state = conversation.services.loop.run(conversation.services.chats.load("c1", "u1"))
    page = conversation.do(lambda: conversation.services.chats.page(state, before=None, limit=10))
    assert [turn.prompt for turn in page] == ["one", "deux" if edited else "two"]
    assert [pair[0] for pair in state.history] == [turn.id for turn in page]
    with pytest.raises(NotFound):
        conversation.do(lambda: turns.ask_again(conversation.room, Regenerate(ids[2])))


# --- the device's place --------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["America", "Mars/Base", "../../etc/passwd", "x" * 5000, "a\0b"])
def test_a_time_zone_that_is_none_is_refused(talk: Talk, zone: str) -> None:
    """A device that names no real zone gets an error, and the chat works on."""
    conversation = talk(Text("hi"))
    turns, room = conversation.services.turns, conversation.room
    with pytest.raises(InvalidInput):
        conversation.do(lambda: turns.locate(room, DeviceLocation(1.0, 2.0, zone)))
    check_turn(conversation.turn("hi"))


def test_the_device_s_place_and_zone_reach_the_model(talk: Talk) -> None:
    """After the user shared a location, the assistant knows where and what time it is."""
    conversation = talk(Text("hi"))
    turns, room = conversation.services.turns, conversation.room
    where = DeviceLocation(48.8566, 2.3522, "Europe/Paris")
    conversation.do(lambda: turns.locate(room, where))
    conversation.turn("hi")
    told = conversation.model.requests[0].body["instructions"]
    assert "Europe/Paris" in told
    assert "48.857, 2.352" in told
