"""Known markers through every path of the product: none is ever found in clear.

What is looked through: every file below the data folder (the store, its write-ahead log, the
queue, keys), and everything the server printed or logged, at its most talkative.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.fakes.openai_responses import Answer, Calls, FakeOpenAI, HttpError, Text
from tests.fakes.suite import Suite
from tests.run.clients import Client, Event

CANARIES = {
    name: f"canary-{name}-7391"
    for name in (
        "prompt", "title", "edited", "answer", "argument", "page", "note", "changed",
        "letter", "recipient", "reason", "slow", "held", "failing", "vendor", "renamed", "unsaid",
    )
}  # fmt: skip
C = CANARIES
KEY = "canary-model-key-7391"
POSITION = 51.73912  # the device's latitude


def model(body: dict[str, Any]) -> Answer:
    """Do what the user's text names first."""
    items = body["input"]
    last = items[-1]
    if last.get("role") != "user":
        names = {i["call_id"]: i["name"] for i in items if i.get("type") == "function_call"}
        asked = [str(i["content"]) for i in items if i.get("role") == "user"][-1]
        handed = names.get(last.get("call_id")) == "transfer_to_acts"
        if handed and "letter" in asked:
            letter = {"recipient": C["recipient"], "text": C["letter"]}
            return Calls([("send_letter", letter)])
        if handed:
            return Calls([("save_note", {"text": C["note"]})])
        return Text(f"Here it is: {C['answer']}")
    asked = str(last["content"])
    if "note" in asked or "letter" in asked:
        return Calls([("transfer_to_acts", {})])
    for word, call in (
        ("late", ("search_slowly", {"topic": C["held"] + " held"})),
        ("fail", ("search_slowly", {"topic": C["failing"] + " wrong"})),
        ("torn", ("look_up", '{"topic": "' + C["unsaid"])),
        ("look", ("look_up", {"topic": C["argument"]})),
        ("search", ("search_slowly", {"topic": C["slow"]})),
        ("page", ("read_page", {"url": f"https://{C['page']}.example/"})),
    ):
        if word in asked:
            return Calls([call])
    if "break" in asked:
        return HttpError(400, code=C["vendor"], message=C["vendor"])
    return Text(f"You said {C['prompt']}. {C['answer']}")


class Person:
    """Uses everything there is."""

    def __init__(self, suite: Suite, http: aiohttp.ClientSession, token: str) -> None:
        self.client = Client(suite, http, "chat", token)
        self.secrets: set[str] = {token}

    async def ask(self, text: str) -> list[Event]:
        """Send a prompt; return the events of its turn."""
        return await self.send(type="prompt", text=text)

    async def send(self, **frame: Any) -> list[Event]:
        """Send a frame that opens a turn; return the events of that turn."""
        client = self.client
        before, ends = len(client.events), len(client.of("end_of_stream"))
        await client.send(**frame)
        await client.until(lambda: len(client.of("end_of_stream")) > ends)
        return client.events[before:]


async def live(suite: Suite) -> Person:
    """Go every way there is, on two servers one after the other."""
    async with aiohttp.ClientSession() as http:
        token = await suite.sign_in(http, "Ada")
        person = Person(suite, http, token)
        client = person.client
        client.open()
        await client.until(lambda: client.connected)
        await client.send(type="location", latitude=POSITION, longitude=0.1)
        first = await person.ask(f"{C['title']}: hello {C['prompt']}")
        await person.ask("look it up")
        await person.ask("search for whales")
        await person.ask("fail at a search")
        await person.ask("look up torn arguments")
        await person.ask("break it")
        late = await person.ask("a late search")
        assert any(e["type"] == "tool_output" for e in late)
        ends = len(client.of("end_of_stream"))
        suite.effects.release()
        await client.until(lambda: len(client.of("end_of_stream")) > ends)
        note = await person.ask("save a note")
        await person.send(**decision(note, "approve", arguments={"text": C["changed"]}))
        letter = await person.ask("send a letter")
        await person.send(**decision(letter, "deny", reason=C["reason"]))
        await person.ask("read a page")
        await person.send(type="edit", message_id=first[0]["turn_id"], text=C["edited"])
        headers = {"Authorization": f"Bearer {token}"}
        async with http.patch(
            f"{suite.url}/chats/chat", json={"title": C["renamed"]}, headers=headers
        ) as answer:
            assert answer.status == 200
        async with http.post(f"{suite.url}/tickets", headers=headers) as answer:
            person.secrets.add((await answer.json())["ticket"])
        async with http.post(f"{suite.url}/connector_worker", headers=headers) as answer:
            assert answer.status == 401
        await client.close()
        await asyncio.to_thread(suite.kill)
        await asyncio.to_thread(suite.start)
        await suite.sign_in(http, "Ada")  # it has opened its files and looked at what was left
        return person


def decision(events: list[Event], kind: str, **more: Any) -> dict[str, Any]:
    """Return the frame that decides what waits."""
    (card,) = (event for event in events if event["type"] == "approval_required")
    return {"type": kind, "approval_id": card["approval_id"], **more}


@pytest.mark.timeout(300)
def test_no_file_and_no_log_holds_anything_in_clear(tmp_path: Path) -> None:
    """Whoever copies the data folder or reads the logs learns nothing that anybody wrote."""
    with FakeOpenAI(default=model) as fake:
        with Suite(
            tmp_path,
            OPENAI_BASE_URL=fake.base_url,
            OPENAI_API_KEY=KEY,
            ODAI_TEST_PATIENCE="0.3",
            ODAI_LOG_LEVEL="DEBUG",
        ) as suite:
            person = asyncio.run(live(suite))
        said = str(person.client.events) + str([r.body for r in fake.requests])
    missing = {name for name, text in C.items() if text not in said} - {"vendor"}
    assert missing <= {"renamed", "unsaid"}  # every marker did pass through
    places = [path for path in tmp_path.rglob("*") if path.is_file() and path != suite.effects.path]
    assert {"store.sqlite", "tasks.sqlite", "log"} <= {path.name for path in places}
    secrets = {**C, "key": KEY, "position": str(POSITION)}
    secrets |= {f"secret {n}": secret for n, secret in enumerate(person.secrets)}
    found = {
        f"{name} in {path.name}"
        for path in places
        for name, secret in secrets.items()
        if secret.encode() in path.read_bytes()
    }
    assert found == set()
