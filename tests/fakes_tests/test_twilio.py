"""The simulated Twilio, driven by Twilio's own client library and by a small application."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from multidict import MultiDict
from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from tests.fakes import sound
from tests.fakes.twilio import (
    ACCOUNT,
    Account,
    Caller,
    FakeTwilio,
    Texter,
    new_sid,
    segments,
    signature,
)

PUBLIC = "https://odai.example.com"
STREAM = (
    '<Response><Connect><Stream url="wss://odai.example.com/media">'
    '<Parameter name="ticket" value="t-1"/></Stream></Connect><Hangup/></Response>'
)


class Application:
    """An application that answers webhooks from `pages` and records what it got.

    `in_stream(socket, message)` is called for each media stream message.
    """

    def __init__(self, pages: dict[str, str], in_stream: Callable[..., Any] | None = None) -> None:
        self.pages = pages
        self.in_stream = in_stream
        self.posted: list[tuple[str, dict[str, Any], bool]] = []
        self.frames: list[dict[str, Any]] = []
        self.handshake: dict[str, str] = {}
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Application]:
        app = web.Application()
        app.router.add_get("/media", self._media)
        app.router.add_post("/{path:.*}", self._page)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _page(self, request: web.Request) -> web.Response:
        form = await request.post()
        fields = {name: form.getone(name) for name in form}
        signed = RequestValidator(ACCOUNT.token).validate(
            f"{PUBLIC}{request.path_qs}", form, request.headers.get("X-Twilio-Signature", "")
        )
        self.posted.append((request.path, fields, signed))
        return web.Response(text=self.pages.get(request.path, ""), content_type="text/xml")

    async def _media(self, request: web.Request) -> web.WebSocketResponse:
        self.handshake = dict(request.headers)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            frame = json.loads(message.data)
            self.frames.append(frame)
            if self.in_stream:
                await self.in_stream(socket, frame)
        return socket

    def got(self, event: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["event"] == event]


def media(stream_sid: str, audio: bytes) -> dict[str, Any]:
    payload = base64.b64encode(audio).decode()
    return {"event": "media", "streamSid": stream_sid, "media": {"payload": payload}}


def test_a_call_streams_both_ways_and_ends_with_the_twiml() -> None:
    """A caller hears what the application says, is heard, and the call ends after <Hangup/>."""

    async def talk(socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        if frame["event"] == "start":
            sid = frame["streamSid"]
            await socket.send_json(media(sid, sound.voice_mulaw(400)))
            await socket.send_json({"event": "mark", "streamSid": sid, "mark": {"name": "said"}})
        if frame["event"] == "mark":
            await socket.close()

    async def scenario() -> tuple[Application, Caller]:
        async with Application({"/twilio/incoming": STREAM}, talk).running() as app:
            async with Caller(app.url, public=PUBLIC, speed=5, status_url="/status") as caller:
                await caller.dial()
                await caller.until(lambda: caller.streaming)
                caller.say(300)
                await caller.ended()
            return app, caller

    app, caller = asyncio.run(scenario())
    path, fields, signed = app.posted[0]
    assert path == "/twilio/incoming" and signed
    assert fields["CallSid"] == caller.sid and fields["FromCity"] == ""
    assert RequestValidator(ACCOUNT.token).validate(
        "wss://odai.example.com/media", {}, app.handshake["x-twilio-signature"]
    )
    start = app.got("start")[0]
    assert start["sequenceNumber"] == "1"
    assert start["start"]["customParameters"] == {"ticket": "t-1"}
    frames = app.got("media")
    assert [int(f["media"]["chunk"]) for f in frames] == list(range(1, len(frames) + 1))
    assert {len(base64.b64decode(f["media"]["payload"])) for f in frames} == {160}
    numbers = [int(f["sequenceNumber"]) for f in app.frames[1:]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert app.got("mark")[0]["mark"] == {"name": "said"}
    assert caller.heard_ms == 400 and len(caller.heard) == len(caller.spoken)
    assert bytes(caller.heard).strip(b"\xff")[:100] in sound.voice_mulaw(400)
    spoken = b"".join(base64.b64decode(f["media"]["payload"]) for f in frames)
    assert sound.voice_mulaw(300)[: len(bytes(caller.spoken).strip(b"\xff"))][:800] in spoken
    assert caller.status == "completed" and caller.closed_by == "application"
    path, fields, signed = app.posted[-1]
    assert path == "/status" and signed and fields["CallStatus"] == "completed"


def test_clear_drops_what_is_queued_and_returns_its_marks_at_once() -> None:
    """After `clear` nothing more is heard, and every pending mark comes back."""

    async def talk(socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        sid = frame.get("streamSid", "")
        if frame["event"] == "start":
            for number in range(5):
                await socket.send_json(media(sid, sound.voice_mulaw(1000)))
                mark = {"event": "mark", "streamSid": sid, "mark": {"name": f"m{number}"}}
                await socket.send_json(mark)
        if frame["event"] == "mark" and frame["mark"]["name"] == "m0":
            await socket.send_json({"event": "clear", "streamSid": sid})

    async def scenario() -> Caller:
        async with Application({"/twilio/incoming": STREAM}, talk).running() as app:
            async with Caller(app.url, public=PUBLIC, speed=10) as caller:
                await caller.dial()
                await caller.until(lambda: caller.clears)
                await caller.until(lambda: not caller.hearing)
                await caller.hang_up()
            await asyncio.wait_for(_until(lambda: app.got("stop")), 50)
            return caller

    caller = asyncio.run(scenario())
    assert caller.marks_returned == [f"m{number}" for number in range(5)]
    assert 1000 <= caller.heard_ms < 2000
    assert caller.closed_by == "caller" and caller.status == "completed"


async def _until(ready: Callable[[], Any]) -> None:
    while not ready():
        await asyncio.sleep(0.005)


def test_keys_a_lost_network_and_several_callers() -> None:
    """Keys arrive as dtmf, a lost network ends without `stop`, and callers do not mix."""

    async def scenario() -> Application:
        async with Application({"/twilio/incoming": STREAM}).running() as app:
            async with (
                Caller(app.url, public=PUBLIC, speed=5) as one,
                Caller(app.url, public=PUBLIC, speed=5, number="+14155550111") as two,
            ):
                await one.dial()
                await two.dial()
                await one.until(lambda: one.streaming)
                await two.until(lambda: two.streaming)
                one.press("42")
                await asyncio.wait_for(_until(lambda: len(app.got("dtmf")) == 2), 50)
                two.drop()
                await two.ended()
                assert two.closed_by == "network" and one.streaming
            return app

    app = asyncio.run(scenario())
    assert [f["dtmf"]["digit"] for f in app.got("dtmf")] == ["4", "2"]
    assert len({f["streamSid"] for f in app.got("media")}) == 2
    assert len(app.got("stop")) <= 1


def test_a_conversation_by_gather() -> None:
    """Words and keys reach the action of a <Gather>, its answer is followed, <Say> is heard."""
    pages = {
        "/twilio/incoming": '<Response><Gather input="speech dtmf" action="/heard" timeout="3">'
        "<Say>What can I do?</Say></Gather><Redirect>/twilio/incoming</Redirect></Response>",
        "/heard": "<Response><Say>It rains &amp; pours.</Say><Hangup/></Response>",
    }

    async def scenario() -> tuple[Application, Caller]:
        async with Application(pages).running() as app:
            async with Caller(app.url, public=PUBLIC, speed=10) as caller:
                await caller.dial()
                await caller.until(lambda: caller.said)
                caller.answer("What is the weather?")
                await caller.ended()
            return app, caller

    app, caller = asyncio.run(scenario())
    path, fields, signed = app.posted[1]
    assert path == "/heard" and signed and fields["SpeechResult"] == "What is the weather?"
    assert caller.said == ["What can I do?", "It rains & pours."]
    assert caller.status == "completed"


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("<Response><Say>unclosed</Response>", "12100"),
        ("<Sprechen/>", "12102"),
        ("<Response><Dance/></Response>", "12200"),
        ('<Response><Connect><Stream url="wss://odai.example.com/media?t=1"/></Connect></Response>',
         "query string"),
        ('<Response><Connect><Stream url="https://odai.example.com/media"/></Connect></Response>',
         "wss"),
        ('<Response><Connect><Stream url="wss://elsewhere.example/media"/></Connect></Response>',
         "11200"),
    ],
)  # fmt: skip
def test_what_twilio_would_not_take_fails(page: str, problem: str) -> None:
    """Bad TwiML and impossible streams end the call and fail the test."""

    async def scenario() -> None:
        async with Application({"/twilio/incoming": page}).running() as app:
            caller = Caller(app.url, public=PUBLIC, speed=10)
            async with caller:
                await caller.dial()
                await caller.ended()

    with pytest.raises(AssertionError, match=problem):
        asyncio.run(scenario())


@pytest.mark.parametrize(
    "sent",
    [
        "not json",
        '{"event":"media","streamSid":"MZ0","media":{"payload":"/w=="}}',
        '{"event":"media","streamSid":"SID","media":{"payload":"!"}}',
        '{"event":"play","streamSid":"SID"}',
        '{"event":"media","media":{"payload":"/w=="}}',
    ],
)
def test_a_frame_that_is_no_message_ends_the_stream(sent: str) -> None:
    """What is not a Media Streams message closes the stream with an error."""

    async def talk(socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        if frame["event"] == "start":
            await socket.send_str(sent.replace("SID", frame["streamSid"]))

    async def scenario() -> Caller:
        async with Application({"/twilio/incoming": STREAM}, talk).running() as app:
            async with Caller(app.url, public=PUBLIC, speed=5, tolerant=True) as caller:
                await caller.dial()
                await caller.ended()
            return caller

    caller = asyncio.run(scenario())
    assert "31951" in caller.problems[0] and caller.closed_by == "twilio"


def test_signatures_agree_with_the_client_library() -> None:
    """Signatures are Twilio's, with blank, repeated and unsorted parameters and with a key."""
    params: dict[str, Any] = {"b": "", "a": ["2", "1", "1"], "C": "x"}
    url = "https://odai.example.com/path?x=1"
    form = MultiDict([("b", ""), ("a", "2"), ("a", "1"), ("a", "1"), ("C", "x")])
    theirs = RequestValidator(ACCOUNT.token).compute_signature(url, form)
    assert signature(url, params, ACCOUNT.token) == theirs
    headers = Account(shared_key=("WK1", "s3cret")).headers(url, params)
    assert headers["X-Twilio-Webhooks-Signature-Settings"] == "key=WK1,algorithm=HMAC_SHA256"
    assert headers["X-Twilio-Signature"] == signature(url, params, "s3cret", algorithm="sha256")


def test_a_text_and_its_answer() -> None:
    """A text arrives signed with all its fields, once or again, and TwiML answers are received."""
    pages = {"/twilio/sms/incoming": "<Response><Message>Hello &lt;you&gt;</Message></Response>"}

    async def scenario() -> tuple[Application, Texter]:
        async with Application(pages).running() as app:
            async with Texter(app.url, public=PUBLIC) as phone:
                await phone.send("Hi", sid="SM" + "0" * 32)
                await phone.send("Hi", sid="SM" + "0" * 32)
                await phone.send("", media=["image/jpeg"])
            return app, phone

    app, phone = asyncio.run(scenario())
    assert [signed for _, _, signed in app.posted] == [True, True, True]
    assert app.posted[0][1] == app.posted[1][1]
    assert app.posted[2][1]["NumMedia"] == "1" and app.posted[2][1]["MessageSid"][:2] == "MM"
    assert phone.received == ["Hello <you>"] * 3


# --- the API, through Twilio's own client -----------------------------------------------------


class Loopback:
    """Sends the client library's requests to the fake instead of to Twilio."""

    def __init__(self, origin: str) -> None:
        from twilio.http.http_client import TwilioHttpClient

        self._client = TwilioHttpClient()
        self._origin = origin

    def request(self, method: str, uri: str, **given: Any) -> Any:
        uri = uri.replace("https://api.twilio.com", self._origin)
        return self._client.request(method, uri, **given)


@pytest.fixture(name="twilio")
def _twilio() -> Any:
    with FakeTwilio() as twilio:
        yield twilio


def client(twilio: FakeTwilio, *, user: str = "", password: str = "") -> Client:
    account = twilio.account
    http: Any = Loopback(twilio.origin)
    return Client(user or account.sid, password or account.token, account.sid, http_client=http)


def test_the_client_library_sends_and_reads_messages(twilio: FakeTwilio) -> None:
    """Messages are made, fetched, listed, redacted and deleted, by token and by API key."""
    account = twilio.account
    by_key = client(twilio, user=account.key, password=account.secret)
    sent = by_key.messages.create(to="+14155550100", from_=account.number, body="Hi 🎉" + "x" * 70)
    assert sent.status == "queued" and sent.num_segments == "2"
    by_token = client(twilio)
    assert by_token.messages(sent.sid).fetch().body == sent.body
    assert [m.sid for m in by_token.messages.list(to="+14155550100")] == [sent.sid]
    assert by_token.messages(sent.sid).update(body="").body == ""
    assert by_token.messages(sent.sid).delete()
    assert twilio.messages == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": "555", "body": "x"}, 21211),
        ({"from_": "+19995550000", "body": "x"}, 21606),
        ({"body": ""}, 21602),
        ({"body": "x" * 1601}, 21617),
        ({"to": "+14155550199", "body": "x"}, 21610),
        ({"body": "x", "status_callback": "https://my_host.example/s"}, 21609),
    ],
)
def test_messages_that_twilio_refuses(
    twilio: FakeTwilio, fields: dict[str, str], code: int
) -> None:
    """A message Twilio would refuse is refused with Twilio's code."""
    twilio.opted_out.add("+14155550199")
    given = {"to": "+14155550100", "from_": twilio.account.number, **fields}
    with pytest.raises(TwilioRestException) as refused:
        client(twilio).messages.create(**given)
    assert (refused.value.code, refused.value.status) == (code, 400)
    assert twilio.messages == []


def test_wrong_credentials_and_too_many_requests(twilio: FakeTwilio) -> None:
    """A wrong key gets 401 and 20003; a planned 429 comes once, with its error body."""
    with pytest.raises(TwilioRestException) as refused:
        client(twilio, password="wrong").messages(new_sid("SM")).fetch()
    assert (refused.value.code, refused.value.status) == (20003, 401)
    twilio.fail("Messages")
    with pytest.raises(TwilioRestException) as limited:
        client(twilio).messages(new_sid("SM")).fetch()
    assert (limited.value.code, limited.value.status) == (20429, 429)
    assert client(twilio).messages.list() == []


def test_an_outbound_call_is_answered_and_hung_up_by_the_api(twilio: FakeTwilio) -> None:
    """An outbound call's TwiML is followed by the phone that answers; the API can end it, once."""

    async def scenario() -> Caller:
        async with Application({"/twilio/outbound": STREAM}).running() as app:
            rest = client(twilio)
            made = await asyncio.to_thread(
                rest.calls.create,
                to="+14155550100",
                from_=twilio.account.number,
                url=f"{PUBLIC}/twilio/outbound",
            )
            assert made.status == "queued" and made.direction == "outbound-api"
            async with twilio.answering(app.url, public=PUBLIC, speed=5) as caller:
                await twilio.pick_up(caller)
                await caller.until(lambda: caller.streaming)
                call = rest.calls(made.sid)
                await asyncio.to_thread(call.update, status="completed")
                await caller.ended()
                with pytest.raises(TwilioRestException) as again:
                    await asyncio.to_thread(call.update, status="completed")
                assert again.value.code == 21220
            assert app.posted[0][1]["Direction"] == "outbound-api"
            return caller

    caller = asyncio.run(scenario())
    assert caller.closed_by == "api" and caller.status == "completed"


def test_a_live_call_is_sent_elsewhere(twilio: FakeTwilio) -> None:
    """New TwiML for a live call ends its stream and is followed."""

    async def scenario() -> Caller:
        async with Application({"/twilio/incoming": STREAM}).running() as app:
            async with Caller(app.url, public=PUBLIC, speed=5, rest=twilio) as caller:
                await caller.dial()
                await caller.until(lambda: caller.streaming)
                call = client(twilio).calls(caller.sid)
                twiml = "<Response><Say>Goodbye.</Say></Response>"
                await asyncio.to_thread(call.update, twiml=twiml)
                await caller.ended()
            return caller

    assert asyncio.run(scenario()).said == ["Goodbye."]


def test_segments() -> None:
    """A plain text has 160 characters to a segment, one with an emoji 70."""
    assert [segments("x" * n) for n in (160, 161, 306, 307)] == [1, 2, 2, 3]
    assert [segments("ü€" * n) for n in (53, 54)] == [1, 2]
    assert [segments("🎉" * n) for n in (35, 36)] == [1, 2]
