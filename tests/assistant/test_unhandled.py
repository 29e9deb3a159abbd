"""What could not be done: noticed behind the answer, sealed, and summed up for whoever decides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from common.assistant.unhandled import reason_of
from common.bootstrap import Services
from common.store import Query
from run.local.__main__ import main
from tests.assistant.conversation import Conversation, of
from tests.fakes.openai_responses import FakeOpenAI, Gate, Reply, Text

Make = Callable[..., Services]


def missing(capability: str, reason: str = "no_tool") -> Text:
    """Return what a model fills in that found something missing."""
    filled = {"suggestions": [], "missing": capability, "reason": reason}
    return Text(json.dumps(filled))


class Asking:
    """A conversation with a model that cannot help."""

    def __init__(self, make: Make, fake: FakeOpenAI) -> None:
        self.made = make(OPENAI_BASE_URL=fake.base_url, OPENAI_API_KEY="k", ODAI_SMALL_MODEL="same")
        self.talk = Conversation(self.made)

    def kept(self) -> list[dict[str, Any]]:
        """Wait until the turn was looked at; return what was recorded."""

        async def over() -> list[dict[str, Any]]:
            await self.made.closing.finish(timeout=50.0)
            found = await self.made.store.query(Query("unhandled_requests"))
            return [snapshot.data for snapshot in found]

        return self.made.loop.run(over())


@pytest.fixture
def answers() -> list[Any]:
    """What the model answers aside, in order."""
    return []


@pytest.fixture
def asking(services: Make, answers: list[Any]) -> Iterator[Asking]:
    """Open a chat."""

    def aside(body: dict[str, Any]) -> Any:
        name = (body.get("text") or {}).get("format", {}).get("name")
        return answers.pop(0) if name == "_Thoughts" else None

    with FakeOpenAI(default=Text("I can't do that."), aside=aside) as fake:
        opened = Asking(services, fake)
        yield opened
        opened.kept()


def test_what_could_not_be_done_is_recorded_sealed(asking: Asking, answers: list[Any]) -> None:
    """The capability is kept under the user's key, the prompt is not kept at all."""
    answers.append(missing("book a restaurant table"))
    asking.talk.turn("book me a table at Chez Zebulon")
    (kept,) = asking.kept()
    assert (kept["uid"], kept["chat_id"], kept["reason"]) == ("u1", "c1", "no_tool")
    assert b"restaurant" not in kept["capability"]
    assert b"Zebulon" not in str(kept).encode()
    (demand,) = asking.made.loop.run(asking.made.unhandled.demands())
    assert (demand.capability, demand.count, demand.users) == ("book a restaurant table", 1, 1)


@pytest.mark.parametrize("capability", ["", "  ", "…", "\x07"])
def test_what_was_done_is_not_recorded(asking: Asking, answers: list[Any], capability: str) -> None:
    """A request that was served, or a capability that says nothing, leaves no record."""
    answers.append(missing(capability))
    asking.talk.turn("hello")
    assert asking.kept() == []


def test_asking_again_at_once_does_not_hide_what_was_missing(
    asking: Asking, answers: list[Any]
) -> None:
    """Whoever could not be helped often types again right away: the request counts all the same."""
    gate = Gate()
    answers += [Reply((missing("book a flight"),), gate=gate), missing("book a flight")]
    asking.talk.turn("book me a flight")
    assert gate.reached.wait(50)
    asking.talk.turn("a flight, please!")
    gate.open()
    assert len(asking.kept()) == 2
    assert not of(asking.talk.events, "suggested_prompts")


def test_the_summary_puts_first_what_most_people_missed(services: Make) -> None:
    """Demands are grouped whatever their case; those of deleted users cannot be read any more."""
    made = services()
    record, run = made.unhandled.record, made.loop.run
    for turn, (uid, capability) in enumerate([
        ("u1", "send a fax"), ("u1", "Send a fax"), ("u1", "send a fax."),
        ("u2", "book a table"), ("u3", "Book a table"), ("gone", "rob a bank"),
    ]):  # fmt: skip
        run(record(uid, chat_id="c", turn_id=f"t{turn}", capability=capability, reason="no_tool"))
    run(made.vault.shred("gone"))
    demands = run(made.unhandled.demands())
    assert [(d.capability, d.count, d.users) for d in demands] == [
        ("book a table", 2, 2), ("send a fax", 3, 1)
    ]  # fmt: skip
    user = run(made.store.get("users/gone"))
    assert user is None or "data_key" not in user.data  # and summing up makes no new key


def test_the_command_prints_the_summary(
    services: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m run.local unhandled` says what was missed, or that nothing was."""
    made = services()
    monkeypatch.setenv("ODAI_DATA", str(made.settings.data_dir))
    assert main(["unhandled"]) == 0
    assert "Nothing that was asked for went unhandled" in capsys.readouterr().out
    made.loop.run(made.unhandled.record(
        "u1", chat_id="c", turn_id="t", capability="send a fax", reason="not_set_up"
    ))  # fmt: skip
    assert main(["unhandled"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[:4] == ["1", "x", "1", "user"]
    assert line.endswith("not_set_up     send a fax")


def test_a_reason_we_do_not_know_is_none_of_ours() -> None:
    """A model's own words for a reason are not stored."""
    assert [reason_of(text) for text in ("failed", "because")] == ["failed", "no_tool"]
