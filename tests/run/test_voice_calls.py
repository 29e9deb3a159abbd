"""Phone calls, from the caller's side and the chat's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from common.assistant.protocol import Approve, Prompt
from common.bootstrap import Services
from common.telephony.audio import PHONE, typing_sound
from tests.assistant.conversation import Watcher
from tests.fakes.acts import Effects
from tests.fakes.openai_realtime import Calls, Drop, FakeRealtime, Speak
from tests.fakes.twilio import Caller, FakeTwilio
from tests.run.calling import Container, containers, of

GREETING = Speak("Hello, this is ODAI.", ms=400)
LONG = Speak("One two three four five six seven eight nine ten eleven twelve thirteen.", ms=6000)
Make: TypeAlias = Callable[..., Container]


@pytest.fixture
def container(services: Callable[..., Services], tmp_path: Path) -> Iterator[Make]:
    """Open a container whose voice model is the one given, with the connector `acts` alone."""
    yield from containers(services, tmp_path)


def talk(
    box: Container, what: Callable[[Caller], Coroutine[Any, Any, None]], **ticket: Any
) -> None:
    """Let `what` happen on a call that was greeted; nothing may be left of it."""

    async def call() -> None:
        async with box.caller() as caller:
            await box.dial(caller, **ticket)
            await caller.until(lambda: caller.heard_ms >= 400)
            await box.until(lambda: box.calls() and not box.calls()[0]._exchange)
            await what(caller)

    asyncio.run(call())
    box.nothing_left()


async def quiet(box: Container, turns: int) -> None:
    """Wait until the call's chat has so many turns and nobody speaks."""
    await box.until(lambda: (c := box.calls()) and not c[0]._exchange and len(c[0]._turns) >= turns)


def effects(tmp_path: Path) -> Effects:
    """Return what the tools did."""
    return Effects(tmp_path / "effects")


def test_a_question_is_answered_and_the_call_is_a_chat(container: Make) -> None:
    """A caller is greeted, asks, hears the answer; the chat holds both sides as turns."""
    with FakeRealtime(
        GREETING, Speak("It is sunny in Oslo today.", ms=600), hears=["How is Oslo?"]
    ) as model:
        box = container(model)

        async def ask(caller: Caller) -> None:
            caller.say(700)
            await caller.until(lambda: caller.heard_ms >= 1000)
            await quiet(box, 2)

        talk(box, ask)
        greeting, answer = box.turns()
        assert greeting["status"] == answer["status"] == "done"
        assert [e["response"] for e in of(greeting, "llm_response")] == ["Hello, this is ODAI."]
        assert answer["prompt"] == "How is Oslo?"
        assert [e["response"] for e in of(answer, "llm_response")] == ["It is sunny in Oslo today."]
        assert [i["content"] for i in box.items()][1:] == [
            "Hello, this is ODAI.", "How is Oslo?", "It is sunny in Oslo today.",
        ]  # fmt: skip
        model.wait(lambda: model.session.closed)


def test_an_interrupted_answer_ends_where_the_caller_stopped_hearing_it(container: Make) -> None:
    """Whoever talks over an answer stops it at once, and the chat keeps what they heard of it."""
    with FakeRealtime(GREETING, LONG, Speak("Sorry.", ms=300), hears=["Count.", "Stop."]) as model:
        box = container(model)

        async def interrupt(caller: Caller) -> None:
            caller.say(500)
            await caller.until(lambda: caller.heard_ms >= 400 + 2000)
            caller.say(500)
            await caller.until(lambda: caller.clears)
            heard.append(caller.heard_ms - 400)
            await quiet(box, 3)

        heard: list[int] = []  # of the long answer, until it was stopped
        talk(box, interrupt)
        _, counted, _ = box.turns()
        (told,) = [event["response"] for event in of(counted, "llm_response")]
        streamed = "".join(event["delta"] for event in of(counted, "raw_response_event"))
        assert streamed.strip() == told
        assert {"role": "assistant", "content": told} in box.items()
        (cut,) = model.session.truncations
        assert 1900 <= cut.audio_end_ms <= heard[0] + 300
        assert LONG.text.startswith(told)
        assert 15 < len(told) <= len(LONG.text) * cut.audio_end_ms / LONG.length_ms


def test_a_tool_runs_in_the_chat_and_is_spoken_of(container: Make, tmp_path: Path) -> None:
    """What a caller asks for is looked up as in text: the chat shows the call and its output."""
    with FakeRealtime(
        GREETING,
        Calls([("look_up", {"topic": "whales", "url": ""})]),
        Speak("Whales are large.", ms=400),
        hears=["What about whales?"],
    ) as model:
        box = container(model)

        async def ask(caller: Caller) -> None:
            caller.say(500)
            await caller.until(lambda: caller.heard_ms >= 800)
            await quiet(box, 2)

        talk(box, ask)
        turn = box.turns()[1]
        (called,), (output,) = of(turn, "tool_call"), of(turn, "tool_output")
        assert called["name"] == "look_up" and output["ok"] and output["summary"] == "About whales."
        assert effects(tmp_path).of("look_up") == ["whales"]
        kinds = [item.get("type", item.get("role")) for item in box.items()[2:]]
        assert kinds == ["user", "function_call", "function_call_output", "assistant"]


def test_somebody_types_while_a_slow_tool_works(container: Make, tmp_path: Path) -> None:
    """A caller hears soft typing instead of silence while something is looked up."""
    with FakeRealtime(
        GREETING,
        Calls([("look_up", {"topic": "held whales", "url": ""})]),
        Speak("Here they are.", ms=400),
        hears=["Whales?"],
    ) as model:
        box = container(model)

        async def ask(caller: Caller) -> None:
            caller.say(500)
            await caller.until(lambda: caller.bytes_received > 3200 + 4000)
            effects(tmp_path).release()
            await quiet(box, 2)
            assert typing_sound(PHONE)[:480] in bytes(caller.heard)

        talk(box, ask)
        assert [e["response"] for e in of(box.turns()[1], "llm_response")] == ["Here they are."]


def test_hanging_up_in_the_middle_of_a_tool_leaves_nothing(container: Make, tmp_path: Path) -> None:
    """A caller who hangs up while a tool runs leaves a chat whose history is whole."""
    with FakeRealtime(
        GREETING, Calls([("look_up", {"topic": "held", "url": ""})]), hears=["Look it up."]
    ) as model:
        box = container(model)

        async def leave(caller: Caller) -> None:
            caller.say(500)
            await box.until(lambda: effects(tmp_path).of("look_up"))

        talk(box, leave)
        turn = box.turns()[1]
        assert turn["status"] == "stopped" and turn["prompt"] == "Look it up."
        calls = [i["call_id"] for i in box.items() if i.get("type") == "function_call"]
        outputs = [i["call_id"] for i in box.items() if i.get("type") == "function_call_output"]
        assert calls == outputs and len(calls) == 1


def test_the_telephone_vanishing_while_the_model_speaks_leaves_nothing(container: Make) -> None:
    """A line that is cut keeps what was heard, and ends the model's session."""
    with FakeRealtime(GREETING, LONG, hears=["Count."]) as model:
        box = container(model)

        async def vanish(caller: Caller) -> None:
            caller.say(500)
            await caller.until(lambda: caller.heard_ms >= 1500)
            caller.drop()
            await caller.until(lambda: not caller.streaming)

        talk(box, vanish)
        (told,) = [e["response"] for e in of(box.turns()[1], "llm_response")]
        assert LONG.text.startswith(told) and told != LONG.text
        model.wait(lambda: model.session.closed)


def test_the_assistant_hangs_up_its_own_call_only(container: Make) -> None:
    """Asked to hang up, the assistant says goodbye and the call ends, whatever id it names."""
    with FakeRealtime(
        GREETING,
        [Speak("Goodbye!", ms=400), Calls([("hangup_call", '{"call_id":"CA%s"}' % ("0" * 32))])],
        hears=["Bye."],
    ) as model:
        box = container(model)

        async def bye(caller: Caller) -> None:
            caller.say(500)
            await caller.ended()
            assert caller.heard_ms >= 800 and caller.closed_by == "application"

        talk(box, bye)
        assert [e["response"] for e in of(box.turns()[1], "llm_response")] == ["Goodbye!"]


def test_a_risky_action_waits_for_a_key(container: Make, tmp_path: Path) -> None:
    """Nothing is done until the caller presses 1; then it is done, once, and told."""
    with FakeRealtime(
        GREETING,
        Calls([("save_note", {"text": "milk", "colour": "white"})]),
        Speak("Press one to save it.", ms=500),
        Speak("It is saved.", ms=400),
        hears=["Note milk."],
    ) as model:
        box = container(model)

        async def allow(caller: Caller) -> None:
            caller.say(500)
            await caller.until(lambda: caller.heard_ms >= 700)
            assert effects(tmp_path).all == []
            caller.press("1")
            await quiet(box, 3)

        talk(box, allow)
        asked, done = box.turns()[1:]
        assert asked["status"] == "waiting_for_approval" and done["status"] == "done"
        assert [e["decision"] for e in of(done, "approval_decided")] == ["approved"]
        assert effects(tmp_path).of("save_note") == ["milk"]
        assert [e["response"] for e in of(done, "llm_response")] == ["It is saved."]


def test_a_risky_action_is_refused_by_a_key(container: Make, tmp_path: Path) -> None:
    """A caller who presses 2 is told that nothing happened, and nothing does."""
    with FakeRealtime(
        GREETING,
        Calls([("send_letter", {"recipient": "Ada", "text": "Hi"})]),
        Speak("Press one to send it.", ms=300),
        Speak("It is not sent.", ms=300),
        hears=["Write to Ada."],
    ) as model:
        box = container(model)

        async def refuse(caller: Caller) -> None:
            caller.say(500)
            await caller.until(lambda: caller.heard_ms >= 600)
            caller.press("2")
            await quiet(box, 3)

        talk(box, refuse)
        assert [e["decision"] for e in of(box.turns()[2], "approval_decided")] == ["denied"]
        assert effects(tmp_path).all == []


def test_what_a_stranger_may_have_led_to_is_no_matter_of_a_key(
    container: Make, tmp_path: Path
) -> None:
    """In a chat that holds strangers' text, pressing 1 allows nothing: the app shows it first."""
    with FakeRealtime(
        GREETING,
        Calls([("save_note", {"text": "milk", "colour": "white"})]),
        Speak("Please look at your app.", ms=400),
        hears=["Note what the page says."],
    ) as model:
        box = container(model)

        async def press(caller: Caller) -> None:
            box.calls()[0].room.state.tainted = True  # as after a page was read
            caller.say(500)
            await caller.until(lambda: caller.heard_ms >= 600)
            caller.press("1")
            await quiet(box, 2)

        talk(box, press)
        (asked,) = of(box.turns()[1], "approval_required")
        assert asked["tainted"] is True
        assert effects(tmp_path).all == []


def test_an_action_raised_on_the_phone_is_decided_in_the_chat(
    container: Make, tmp_path: Path
) -> None:
    """The user may tap "allow" on the web instead: the caller hears what came of it."""
    with FakeRealtime(
        GREETING,
        Calls([("save_note", {"text": "eggs", "colour": "white"})]),
        Speak("Shall I?", ms=300),
        Speak("Saved.", ms=300),
        hears=["Note eggs."],
    ) as model:
        box = container(model)
        watcher = Watcher()

        async def watch() -> Any:
            room = await box.services.turns.enter("call-1", "dev-ann")
            await box.services.turns.attach(room, watcher, None)
            return room

        async def decide(caller: Caller) -> None:
            room = await asyncio.to_thread(box.services.loop.run, watch())
            caller.say(500)

            def required() -> Any:
                return [e for e in watcher.events if e["type"] == "approval_required"]

            (event,) = await box.until(required)
            frame = Approve(event["approval_id"])
            await asyncio.to_thread(box.do, lambda: box.services.turns.decide(room, frame))
            await quiet(box, 3)
            await asyncio.to_thread(box.do, lambda: box.services.turns.leave(room, watcher))

        talk(box, decide)
        assert effects(tmp_path).of("save_note") == ["eggs"]
        assert [e["response"] for e in of(box.turns()[2], "llm_response")] == ["Saved."]


def test_what_is_typed_into_the_chat_is_answered_aloud(container: Make) -> None:
    """During a call the chat is one conversation: a prompt typed on the web is spoken to."""
    with FakeRealtime(GREETING, Speak("You typed it.", ms=300)) as model:
        box = container(model)

        async def type_it(caller: Caller) -> None:
            def prompt() -> None:
                call = box.calls()[0]
                box.services.turns.prompt(call._room, Prompt("Hi there", "p1"))

            await asyncio.to_thread(box.do, prompt)
            await quiet(box, 2)

        talk(box, type_it)
        turn = box.turns()[1]
        assert turn["prompt"] == "Hi there"
        assert [e["response"] for e in of(turn, "llm_response")] == ["You typed it."]
        said = [e["item"] for e in model.session.received("conversation.item.create")]
        assert {"type": "input_text", "text": "Hi there"} in said[-1]["content"]


def test_the_chat_can_stop_what_is_said_on_the_phone(container: Make) -> None:
    """ "Stop" in another window silences the answer; the call goes on."""
    with FakeRealtime(GREETING, LONG, Speak("Yes?", ms=200), hears=["Count.", "Hello?"]) as model:
        box = container(model)

        async def stop(caller: Caller) -> None:
            caller.say(500)
            await caller.until(lambda: caller.heard_ms >= 1500)
            room = box.calls()[0]._room
            await asyncio.to_thread(box.do, lambda: box.services.turns.stop(room))
            await caller.until(lambda: caller.clears)
            await quiet(box, 2)
            caller.say(500)
            await quiet(box, 3)

        talk(box, stop)
        assert [t["status"] for t in box.turns()] == ["done", "stopped", "done"]


def test_a_chat_goes_on_in_a_call(container: Make) -> None:
    """A call made from a chat begins with what was said there."""
    with FakeRealtime(GREETING, Speak("As you said.", ms=300), hears=["And now?"]) as model:
        box = container(model)

        async def first(caller: Caller) -> None:
            caller.say(500)
            await quiet(box, 2)

        talk(box, first)
    with FakeRealtime(GREETING) as again:
        box.services.settings = box.services.settings.changed(ODAI_REALTIME_URL=again.url)

        async def nothing(caller: Caller) -> None:
            pass

        talk(box, nothing)
        items = [e["item"] for e in again.session.received("conversation.item.create")]
        texts = [item["content"][0]["text"] for item in items]
        assert "And now?" in texts and "As you said." in texts


def test_a_lost_model_is_found_again_in_the_middle_of_an_answer(container: Make) -> None:
    """When the model's connection drops, the call goes on within moments, knowing what was said."""
    with FakeRealtime(
        GREETING,
        Drop(after=5, of=LONG),
        Speak("six seven eight.", ms=400),
        hears=["Count."],
    ) as model:
        box = container(model)

        async def go_on(caller: Caller) -> None:
            caller.say(500)
            await box.until(lambda: len(model.sessions) == 2)
            await quiet(box, 2)

        talk(box, go_on)
        texts = [
            part.get("text", "")
            for event in model.session.received("conversation.item.create")
            for part in event["item"].get("content", ())
        ]
        assert "Count." in texts and "Hello, this is ODAI." in texts
        assert [e["response"] for e in of(box.turns()[1], "llm_response")][-1] == "six seven eight."


def test_a_caller_who_speaks_while_the_model_is_lost_is_heard(container: Make) -> None:
    """What is said while the model is away reaches it when it is back."""
    with FakeRealtime(GREETING, Speak("I heard you.", ms=300), hears=["Are you there?"]) as model:
        box = container(model)

        async def speak(caller: Caller) -> None:
            caller.say(1500)
            await box.until(lambda: model.session.told("input_audio_buffer.speech_started"))
            model.session.drop()
            await box.until(lambda: len(model.sessions) == 2)
            await quiet(box, 2)

        talk(box, speak)
        assert box.turns()[1]["prompt"] == "Are you there?"


def test_a_model_that_stays_away_is_apologised_for(container: Make) -> None:
    """Where the model does not come back within two seconds, the caller is told, and not left."""
    with FakeTwilio() as twilio, FakeRealtime(GREETING) as model:
        box = container(model, **twilio.environ)

        async def lose() -> None:
            async with box.caller(rest=twilio) as caller:
                await box.dial(caller)
                await caller.until(lambda: caller.heard_ms >= 400)
                model.refusals.extend([503] * 200)
                model.session.drop()
                await caller.ended()
                assert any("sorry" in text for text in caller.said)

        asyncio.run(lose())
        box.nothing_left()


def test_a_model_that_refuses_from_the_start_is_apologised_for(container: Make) -> None:
    """A call whose model refuses our key ends with two notes instead of silence."""
    with FakeRealtime(refusals=[401]) as model:
        box = container(model, TWILIO_ACCOUNT_SID="")

        async def call() -> None:
            async with box.caller() as caller:
                await box.dial(caller)
                await caller.ended()
                assert caller.bytes_received > 4000

        asyncio.run(call())
        box.nothing_left()


def test_ten_minutes_of_silence_end_a_call(container: Make) -> None:
    """A silent caller is asked once whether they are there; then the call says goodbye."""
    with FakeRealtime(
        GREETING, Speak("Are you still there?", ms=200), Speak("Goodbye.", ms=200)
    ) as model:
        box = container(model)

        async def wait(caller: Caller) -> None:
            call = box.calls()[0]
            late = [0.0]
            real = call._now
            call._now = lambda: real() + late[0]
            late[0] = 300.0
            await quiet(box, 2)
            late[0] = 600.0
            await caller.ended()

        talk(box, wait)
        assert [e["response"] for t in box.turns() for e in of(t, "llm_response")] == [
            "Hello, this is ODAI.", "Are you still there?", "Goodbye.",
        ]  # fmt: skip


def test_a_call_has_a_longest_time(container: Make) -> None:
    """A call that has lasted 55 minutes says so and ends."""
    with FakeRealtime(GREETING, Speak("Time is up. Goodbye.", ms=200)) as model:
        box = container(model)

        async def wait(caller: Caller) -> None:
            call = box.calls()[0]
            real = call._now
            call._patience.caller_spoke(real() + 3400.0)
            call._now = lambda: real() + 3400.0
            await caller.ended()

        talk(box, wait)


def test_the_models_hour_ends_between_two_questions(container: Make) -> None:
    """Before the model's session ends, the call moves to a new one, and nobody notices."""
    with FakeRealtime(
        GREETING, Speak("Still here.", ms=300), hears=["Hello?"], longest_s=20.0
    ) as model:
        box = container(model)

        async def renew(caller: Caller) -> None:
            await box.until(lambda: len(model.sessions) >= 2)
            model.longest_s = 3600.0
            await box.until(lambda: box.calls()[0]._socket.connected)
            caller.say(500)
            await quiet(box, 2)

        talk(box, renew)
        assert [e["response"] for e in of(box.turns()[1], "llm_response")] == ["Still here."]


def test_own_accounts_open_with_the_pin_keyed(container: Make, tmp_path: Path) -> None:
    """A caller known by their number alone keys in their PIN before anything of theirs is done."""
    with FakeRealtime(
        GREETING,
        Calls([("save_note", {"text": "milk", "colour": "white"})]),
        Speak("Your PIN, please.", ms=300),
        Calls([("save_note", {"text": "milk", "colour": "white"})]),
        Speak("Press one.", ms=300),
        hears=["Note milk."],
    ) as model:
        box = container(model)
        box.services.loop.run(box.services.pins.set("dev-ann", "2580"))

        async def prove(caller: Caller) -> None:
            caller.say(500)
            await quiet(box, 2)
            caller.press("2580#")
            await quiet(box, 3)
            assert box.calls()[0].verified

        talk(box, prove, proven=False)
        refused, allowed = box.turns()[1:]
        assert not refused["events"][-1].get("pending") and refused["status"] == "done"
        assert allowed["status"] == "waiting_for_approval"
        assert effects(tmp_path).all == []


def test_a_spoken_pin_is_written_nowhere(container: Make) -> None:
    """A PIN said aloud opens the accounts, and is neither in the chat nor in what is shown."""
    with FakeRealtime(
        GREETING,
        Calls([("save_note", {"text": "milk", "colour": "white"})]),
        Speak("Your PIN, please.", ms=300),
        Calls([("enter_pin", {"pin": "2580"})]),
        Speak("Thank you.", ms=300),
        hears=["Note milk.", "It is 2 5 8 0."],
    ) as model:
        box = container(model)
        box.services.loop.run(box.services.pins.set("dev-ann", "2580"))

        async def prove(caller: Caller) -> None:
            caller.say(500)
            await quiet(box, 2)
            caller.say(500)
            await quiet(box, 3)
            assert box.calls()[0].verified

        talk(box, prove, proven=False)
        everything = json.dumps([box.turns(), box.items()])
        assert "2580" not in everything and "2 5 8 0" not in everything


def test_a_wrong_pin_opens_nothing(container: Make) -> None:
    """A wrong PIN is said to be wrong, and the accounts stay closed."""
    with FakeRealtime(
        GREETING,
        Calls([("save_note", {"text": "milk", "colour": "white"})]),
        Speak("Your PIN, please.", ms=300),
        Speak("That was wrong.", ms=300),
        hears=["Note milk."],
    ) as model:
        box = container(model)
        box.services.loop.run(box.services.pins.set("dev-ann", "2580"))

        async def guess(caller: Caller) -> None:
            caller.say(500)
            await quiet(box, 2)
            caller.press("1111#")
            await quiet(box, 3)
            assert not box.calls()[0].verified

        talk(box, guess, proven=False)
