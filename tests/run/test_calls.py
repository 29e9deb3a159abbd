"""Calls through the whole suite: who is connected to what, one at a time, and the spoken turns."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jwt
import pytest

from common.bootstrap import Services
from common.errors import NotAuthenticated
from common.store import Query
from tests.assistant.acting import TO_ACTS, effects
from tests.fakes.openai_responses import Calls, Gate, Reply, Text
from tests.fakes.twilio import ACCOUNT, new_sid
from tests.run.phones import NUMBER, STRANGER, Clock, Phone, call_form, onward, said, verbs

Make = Callable[..., Services]
LETTER = Calls([("send_letter", {"recipient": "Ada", "text": "hi"})])
REALTIME = {"ODAI_REALTIME_URL": "ws://127.0.0.1:9/realtime"}
BROWSER = {
    "TWILIO_API_KEY": "SK" + "b" * 32, "TWILIO_API_SECRET": "secret of a key, long enough to sign",
    "TWILIO_APP_SID": "AP" + "c" * 32,
}  # fmt: skip


@pytest.fixture
def start(phone_suite: Callable[..., Phone]) -> Callable[..., Phone]:
    """Start the suite where no browser may call."""
    return partial(phone_suite, TWILIO_API_KEY="", TWILIO_API_SECRET="")


@pytest.fixture
def phone(start: Callable[..., Phone]) -> Phone:
    """Return ada's telephone at a suite with a voice model."""
    return start(**REALTIME)


def stream(answer: Any) -> tuple[str, str]:
    """Return the address and the ticket that a call is connected with."""
    assert verbs(answer) == ["Connect", "Hangup"]
    element = ElementTree.fromstring(answer.text).find("Connect/Stream")
    assert element is not None
    (parameter,) = element
    assert parameter.get("name") == "ticket"
    return element.get("url") or "", parameter.get("value") or ""


def redeem(phone: Phone, ticket: str) -> Any:
    """Use a ticket as the container does."""
    return phone.services.loop.run(phone.services.tickets.redeem(ticket, purpose="voice"))


def status(phone: Phone, sid: str, number: int, word: str) -> int:
    """Send a status callback; return the HTTP status."""
    form = call_form(sid, CallStatus=word, SequenceNumber=str(number))
    code: int = phone.post("/twilio/status", form).status_code
    return code


def signed_in(phone: Phone, uid: str = "ada") -> dict[str, str]:
    """Return the headers of a signed-in user."""
    assert phone.services.development
    return {"Authorization": f"Bearer {phone.services.development.mint(uid)}"}


# --- who is connected ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_known_caller_is_connected(phone: Phone, method: str) -> None:
    """The stream gets a ticket that works once, for this call, as the user whose number it is."""
    sid = new_sid("CA")
    form = call_form(sid)
    path = "/twilio/incoming"
    if method == "GET":
        path += "?" + "&".join(f"{k}={v.replace('+', '%2B')}" for k, v in form.items())
    url, ticket = stream(phone.post(path, form, method=method))
    assert url == "ws://127.0.0.1:8080/twilio/connect"
    redeemed = redeem(phone, ticket)
    assert redeemed.identity.uid == "ada" and redeemed.identity.provider == "phone"
    assert redeemed.claims["call_sid"] == sid and redeemed.claims["channel"] == "phone"
    assert redeemed.claims["proven"] is False and len(redeemed.claims["chat_id"]) == 26
    with pytest.raises(NotAuthenticated):
        redeem(phone, ticket)


def test_a_public_address_makes_a_secure_stream(start: Callable[..., Phone]) -> None:
    """Behind its public name the stream is encrypted, and signatures are over that name."""
    phone = start(ODAI_PUBLIC_URL="https://odai.example.com", **REALTIME)
    url, _ = stream(phone.call())
    assert url == "wss://odai.example.com/twilio/connect"


def test_a_proxy_is_believed_only_where_it_is_trusted(start: Callable[..., Phone]) -> None:
    """What it says of host and scheme counts if the operator says so, else it is nothing."""
    form = call_form(new_sid("CA"))
    outside = "https://tunnel.example"
    signed = ACCOUNT.headers(f"{outside}/twilio/incoming", form)
    told = {
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Host": "evil.example, tunnel.example",
        **{name.replace("-", "_"): value for name, value in signed.items()},
    }
    assert start(**REALTIME).post("/twilio/incoming", form, **told).status_code == 403
    trusting = start(ODAI_TRUST_PROXY="true", **REALTIME)
    assert stream(trusting.post("/twilio/incoming", form, **told))


def test_a_stranger_is_invited_and_then_refused(phone: Phone) -> None:
    """An unknown number hears one sentence, three times a day at most, and no call is kept."""
    for _ in range(3):
        answer = phone.call(number=STRANGER)
        assert verbs(answer) == ["Say", "Hangup"] and "Sign up" in said(answer)
    assert verbs(phone.call(number=STRANGER)) == ["Reject"]
    assert phone.services.loop.run(phone.services.store.query(Query("calls"))) == []


@pytest.mark.parametrize("number", ["anonymous", "+266696687", "", "sip:x@y.example", "12345"])
def test_a_hidden_number_is_asked_to_show_itself(phone: Phone, number: str) -> None:
    """Whose call it is cannot be known: the caller is told why."""
    answer = phone.call(number=number)
    assert verbs(answer) == ["Say", "Hangup"] and "cannot see your number" in said(answer)


def test_guests_are_connected_where_that_is_on(start: Callable[..., Phone]) -> None:
    """A stranger's ticket says so: the bridge offers them public facts alone."""
    _, ticket = stream(start(ODAI_PHONE_GUESTS="true", **REALTIME).call(number=STRANGER))
    guests = redeem(start(ODAI_PHONE_GUESTS="true", **REALTIME), ticket)
    assert guests.identity.anonymous and guests.claims["guest"] is True
    assert guests.identity.uid.startswith("guest-") and STRANGER[1:] not in guests.identity.uid


def test_a_deleted_user_is_told(phone: Phone) -> None:
    """Nobody calls as a user who has left."""
    phone.services.loop.run(phone.services.members.leave("ada", "deleting"))
    assert "deleted" in said(phone.call())


def test_only_twilio_may_call(phone: Phone) -> None:
    """A forged webhook starts nothing and leaves a row in the audit trail."""
    answer = phone.call()
    forged = phone.post("/twilio/incoming", call_form(new_sid("CA")), X_Twilio_Signature="x")
    none = phone.client.post("/twilio/incoming", data=call_form(new_sid("CA")))
    assert (answer.status_code, forged.status_code, none.status_code) == (200, 403, 403)
    assert phone.client.post("/twilio/heard?n=1", data=call_form(new_sid("CA"))).status_code == 403
    large = {"CallSid": new_sid("CA"), "X": "x" * 70_000}
    assert phone.post("/twilio/incoming", large).status_code == 400
    assert len(phone.services.loop.run(phone.services.store.query(Query("calls")))) == 1


def test_without_a_token_nobody_is_trusted(start: Callable[..., Phone]) -> None:
    """A server that has no Twilio key takes no calls, whoever signs them."""
    assert start(TWILIO_AUTH_TOKEN="").call().status_code == 500


# --- one call at a time -------------------------------------------------------------------------


def test_two_calls_of_one_user(phone: Phone) -> None:
    """The second is busy while the first goes on; once it has ended, the next one comes through."""
    first, second = new_sid("CA"), new_sid("CA")
    stream(phone.call(sid=first))
    assert phone.twilio
    phone.twilio.calls.append({"sid": first, "status": "in-progress"})
    assert verbs(phone.call(sid=second)) == ["Reject"]
    status(phone, first, 3, "completed")
    stream(phone.call(sid=second))


def test_a_lost_status_does_not_lock_the_user_out(phone: Phone) -> None:
    """Where no callback told of the end, Twilio is asked."""
    first = new_sid("CA")
    stream(phone.call(sid=first))
    assert phone.twilio
    phone.twilio.calls.append({"sid": first, "status": "completed"})
    stream(phone.call())


def test_a_webhook_sent_again_is_the_same_call(phone: Phone) -> None:
    """Twilio repeats at once: same chat. Later, or after the call's end, it opens nothing."""
    sid, clock = new_sid("CA"), phone.services.clock
    assert isinstance(clock, Clock)
    chats = {redeem(phone, stream(phone.call(sid=sid))[1]).claims["chat_id"] for _ in range(2)}
    assert len(chats) == 1
    clock.ahead += dt.timedelta(minutes=5)
    assert verbs(phone.call(sid=sid)) == ["Hangup"]
    ended = new_sid("CA")
    status(phone, sid, 1, "completed")
    stream(phone.call(sid=ended))
    status(phone, ended, 1, "completed")
    assert verbs(phone.call(sid=ended)) == ["Hangup"]


def test_too_many_calls_are_busy(phone: Phone) -> None:
    """Thirty an hour."""
    for _ in range(30):
        phone.services.loop.run(phone.services.limits.spend("call", "ada", most=30, seconds=3600.0))
    assert verbs(phone.call()) == ["Reject"]


def test_status_callbacks_count_once_in_any_order(phone: Phone) -> None:
    """Late, twice, out of order: the highest number tells, and what has ended stays ended."""
    sid = new_sid("CA")
    phone.call(sid=sid)

    def stands() -> tuple[str, int]:
        found = phone.services.loop.run(phone.services.store.get(f"calls/{sid}"))
        assert found
        return found.data["status"], len(found.data["heard"])

    assert status(phone, sid, 2, "in-progress") == 204 and stands() == ("in-progress", 1)
    assert status(phone, sid, 1, "ringing") == 204 and stands() == ("in-progress", 2)
    assert status(phone, sid, 2, "in-progress") == 204 and stands() == ("in-progress", 2)
    assert status(phone, sid, 3, "completed") == 204 and stands() == ("completed", 3)
    assert status(phone, sid, 4, "in-progress") == 204 and stands() == ("completed", 4)
    assert status(phone, new_sid("CA"), 0, "completed") == 204  # of no call of ours
    assert phone.services.loop.run(phone.services.store.query(Query("active_calls"))) == []


@pytest.mark.parametrize("fields", [{"CallSid": "CA1"}, {"SequenceNumber": "x"}])
def test_what_is_no_status_is_refused(phone: Phone, fields: dict[str, str]) -> None:
    """A signed form that makes no sense is not understood."""
    form = call_form(new_sid("CA"), SequenceNumber="1") | fields
    assert phone.post("/twilio/status", form).status_code == 400


# --- the browser's calls, and calls to the user -------------------------------------------------


def test_a_browser_calls_as_its_user(start: Callable[..., Phone]) -> None:
    """The access token names the user; the call that comes with it needs no number and no PIN."""
    phone = start(**REALTIME, **BROWSER)
    made = phone.client.post("/voice/token", headers=signed_in(phone, "dev-ada"))
    assert made.json and made.json["expires_in"] == 600
    token = jwt.decode(made.json["token"], BROWSER["TWILIO_API_SECRET"], algorithms=["HS256"])
    assert token["grants"]["identity"] == made.json["identity"]
    assert token["grants"]["voice"]["outgoing"]["application_sid"] == BROWSER["TWILIO_APP_SID"]
    assert jwt.get_unverified_header(made.json["token"])["cty"] == "twilio-fpa;v=1"
    assert token["iss"] == BROWSER["TWILIO_API_KEY"] and token["sub"] == ACCOUNT.sid
    answer = phone.call(number=f"client:{made.json['identity']}", chat_id="my-chat")
    ticket = redeem(phone, stream(answer)[1])
    assert ticket.identity.uid == "dev-ada" and ticket.claims["chat_id"] == "my-chat"
    assert ticket.claims["proven"] is True


@pytest.mark.parametrize("number", ["client:ada", "client:x_???", "client:", "client:u_"])
def test_a_browser_that_we_gave_no_token_is_a_stranger(phone: Phone, number: str) -> None:
    """Only names that we give out are ours."""
    assert verbs(phone.call(number=number)) == ["Say", "Hangup"]


def test_tokens_are_for_members(start: Callable[..., Phone]) -> None:
    """Nobody without a sign-in gets one; without the keys the settings are named."""
    phone = start(**REALTIME, **BROWSER)
    assert phone.client.post("/voice/token").status_code == 401
    bare = start(**REALTIME)
    refused = bare.client.post("/voice/token", headers=signed_in(bare))
    assert refused.status_code == 403 and "TWILIO_APP_SID" in refused.text


def test_call_me_about_this(phone: Phone) -> None:
    """The user's own number rings, and the call goes on with the chat it was asked from."""
    answer = phone.client.post("/voice/call", json={"chat_id": "c1"}, headers=signed_in(phone))
    assert answer.status_code == 200 and answer.json and phone.twilio
    (placed,) = phone.twilio.calls
    assert placed["to"] == NUMBER and placed["sid"] == answer.json["call_sid"]
    (form,) = [r.form for r in phone.twilio.requests if r.path.endswith("/Calls.json")]
    path = str(form["Url"]).removeprefix(phone.services.settings.base_url)
    picked_up = phone.call(sid=placed["sid"], path=path, number=ACCOUNT.number, To=NUMBER,
                           Direction="outbound-api")  # fmt: skip
    ticket = redeem(phone, stream(picked_up)[1])
    assert ticket.identity.uid == "ada" and ticket.claims["chat_id"] == "c1"
    assert NUMBER not in answer.text


def test_who_has_no_number_cannot_be_called(phone: Phone) -> None:
    """They are told to verify one; nothing is dialled."""
    answer = phone.client.post("/voice/call", headers=signed_in(phone, "bob"))
    assert answer.status_code == 403 and "verified" in answer.text
    assert phone.client.post("/voice/call").status_code == 401
    assert phone.client.post("/voice/call", json={"chat_id": "/"}, headers=signed_in(phone)
                             ).status_code == 400  # fmt: skip
    assert phone.twilio and phone.twilio.calls == []


# --- spoken turns, without a voice model --------------------------------------------------------


class Spoken:
    """A call that is held by `<Gather>` and `<Say>`."""

    def __init__(self, phone: Phone, **call: str) -> None:
        self.phone = phone
        self.sid = new_sid("CA")
        self.last = phone.call(sid=self.sid, **call)

    def hear(self, **given: str) -> str:
        """Say or key something; return what is said in the end, waits included."""
        self.step(**given)
        told = [said(self.last)]
        while verbs(self.last)[-1] == "Redirect" and "Gather" not in verbs(self.last):
            self.last = self.phone.post(onward(self.last, "Redirect"), call_form(self.sid))
            told.append(said(self.last))
        return " ".join(told)

    def say(self, words: str) -> str:
        """Say something."""
        return self.hear(SpeechResult=words, Confidence="0.9")

    def key(self, digits: str) -> str:
        """Press keys."""
        return self.hear(Digits=digits)

    def step(self, **given: str) -> Any:
        """Send what was said; return the answer as it is."""
        self.last = self.phone.post(onward(self.last, "Gather"), call_form(self.sid, **given))
        return self.last

    def be_silent(self) -> str:
        """Say nothing until the next verb."""
        self.last = self.phone.post(onward(self.last, "Redirect"), call_form(self.sid))
        return said(self.last)

    @property
    def over(self) -> bool:
        """Whether the call is hung up."""
        return verbs(self.last)[-1] == "Hangup"


def test_a_call_works_without_any_key(start: Callable[..., Phone]) -> None:
    """With the offline planner and Twilio's own speech: hello, an answer, goodbye."""
    call = Spoken(start())
    assert verbs(call.last) == ["Gather", "Redirect"] and "What can I do" in said(call.last)
    assert call.say("hello")
    assert not call.over
    call.say("Thank you, goodbye!")
    assert call.over
    active = call.phone.services.loop.run(call.phone.services.store.query(Query("active_calls")))
    assert active == []


def test_a_call_is_a_chat(start: Callable[..., Phone]) -> None:
    """Both sides are items of one chat, in order; the model is told that it is heard."""
    seen: list[Any] = []

    def look(body: Any) -> Text:
        seen.append(body)
        return Text("Paris is the capital.")

    phone = start(look, Text("About two million."))
    call = Spoken(phone)
    assert "Paris" in call.say("what is the capital of France")
    assert "two million" in call.say("how many people live there")
    (chat,) = phone.services.loop.run(phone.services.chats.listed("ada"))
    assert len(chat.id) == 26
    assert "on the phone" in str(seen[0])


def test_a_long_turn_is_waited_for(
    start: Callable[..., Phone], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller hears that it takes a moment; Twilio is asked to come back, never kept waiting."""
    monkeypatch.setattr("run.chat_stream.phone._SPOKEN_S", 0.2)
    gate = Gate()
    phone = start(Reply(Text("It is done."), gate=gate))
    call = Spoken(phone)
    call.step(SpeechResult="do something long")
    assert verbs(call.last) == ["Say", "Pause", "Redirect"] and "moment" in said(call.last)
    call.last = phone.post(onward(call.last, "Redirect"), call_form(call.sid))
    assert verbs(call.last) == ["Pause", "Redirect"]
    gate.open()
    while "Gather" not in verbs(call.last):
        call.last = phone.post(onward(call.last, "Redirect"), call_form(call.sid))
    assert "It is done." in said(call.last)


def test_a_spoken_question_sent_twice_is_one_turn(start: Callable[..., Phone]) -> None:
    """A webhook that is replayed or repeated asks the model nothing and answers the same."""
    phone = start(Text("Paris."))
    call = Spoken(phone)
    path, form = onward(call.last, "Gather"), call_form(call.sid, SpeechResult="capital of France")
    answers = [said(phone.post(path, form)) for _ in range(3)]
    assert answers == ["Paris."] * 3


def test_silence_ends_a_call(start: Callable[..., Phone]) -> None:
    """Asked twice, then goodbye."""
    call = Spoken(start())
    assert "did not hear" in call.be_silent()
    assert "did not hear" in call.be_silent()
    assert "Goodbye" in call.be_silent() and call.over


def test_nobody_speaks_for_a_call_that_is_over(start: Callable[..., Phone]) -> None:
    """After its end, or without a beginning, there is nothing to say."""
    phone = start()
    call = Spoken(phone)
    status(phone, call.sid, 1, "completed")
    assert verbs(call.step(SpeechResult="hello")) == ["Hangup"]
    assert verbs(phone.post("/twilio/heard?n=1", call_form(new_sid("CA")))) == ["Hangup"]


@pytest.mark.parametrize("query", ["?n=x", "?n=-1", "?n=99999", "?n=1&w=y"])
def test_an_address_that_we_did_not_give_is_refused(
    start: Callable[..., Phone], query: str
) -> None:
    """Even signed, a page that never was is none."""
    call = Spoken(start())
    form = call_form(call.sid, SpeechResult="hello")
    assert call.phone.post(f"/twilio/heard{query}", form).status_code == 400


@pytest.mark.parametrize("how", ["keys", "digits", "words"])
def test_own_accounts_need_the_pin(start: Callable[..., Phone], tmp_path: Path, how: str) -> None:
    """Before it nothing of the user's is touched, whatever the model tries; after it, it may."""
    phone = start(TO_ACTS, LETTER, Text("I need your PIN."), TO_ACTS, LETTER)
    phone.services.loop.run(phone.services.pins.set("ada", "4711"))
    call = Spoken(phone)
    assert "key in your PIN" in said(call.last)
    assert "PIN" in call.say("send a letter to Ada")
    assert phone.services.loop.run(phone.services.store.query(Query("approvals"))) == []
    assert "not your PIN" in call.key("4712")
    given = {"keys": {"Digits": "4711"}, "digits": {"SpeechResult": "4 7 1 1."},
             "words": {"SpeechResult": "My PIN is four seven one one"}}[how]  # fmt: skip
    assert "are open now" in call.hear(**given)
    assert "May I do this? Send a letter" in call.say("send a letter to Ada")
    (chat,) = phone.services.loop.run(phone.services.chats.listed("ada"))
    state = phone.services.loop.run(phone.services.chats.load(chat.id, "ada"))
    assert not re.search("4711|seven", str(state.input_items()))
    assert effects(tmp_path).all == []


def test_guessing_a_pin_is_locked(start: Callable[..., Phone]) -> None:
    """Five wrong ones, then it is said that it takes a while, right or wrong."""
    phone = start()
    phone.services.loop.run(phone.services.pins.set("ada", "4711"))
    call = Spoken(phone)
    for pin in ("1113", "1115", "1117", "1119", "1131"):
        assert "not your PIN" in call.key(pin)
    assert "Too many wrong PINs" in call.key("4711")


@pytest.mark.parametrize(("key", "outcome", "done"), [
    ("1", "The letter is sent.", ["Ada: hi"]), ("2", "Then I leave it.", []),
])  # fmt: skip
def test_an_action_is_decided_by_keypad(
    start: Callable[..., Phone], tmp_path: Path, key: str, outcome: str, done: list[str]
) -> None:
    """One key allows, the other refuses, once."""
    phone = start(TO_ACTS, LETTER, Text(outcome))
    phone.services.loop.run(phone.services.pins.set("ada", "4711"))
    call = Spoken(phone)
    call.key("4711")
    assert "Press 1 to allow it, 2 to refuse" in call.say("send a letter to Ada")
    assert outcome in call.key(key)
    assert "decided already" in call.key(key)
    assert effects(tmp_path).of("send_letter") == done


def test_an_action_asked_for_on_the_phone_is_decided_by_text(
    start: Callable[..., Phone], tmp_path: Path
) -> None:
    """Key 3 sends the question with its code; the call may end, and the code word decides."""
    phone = start(TO_ACTS, LETTER, Text("The letter is sent."))
    phone.services.loop.run(phone.services.pins.set("ada", "4711"))
    call = Spoken(phone)
    call.key("4711")
    call.say("send a letter to Ada")
    assert "texted it to you" in call.key("3")
    call.say("goodbye")
    found = re.search(r"recipient: Ada.* Reply OK (\w{4}) to allow", phone.answers()[0])
    assert found
    phone.told(f"OK {found[1]}")
    assert phone.answers(2)[1] == "The letter is sent."
    assert effects(tmp_path).of("send_letter") == ["Ada: hi"]


@pytest.mark.parametrize("phrase", ["Text me that.", "please text that to me", "send it by text"])
def test_text_me_that(start: Callable[..., Phone], phrase: str) -> None:
    """The last answer comes by text to the caller's own number, once, in plain letters."""
    phone = start(Text("**Paris** is the capital."))
    call = Spoken(phone)
    assert "nothing to text" in call.say(phrase)
    call.say("what is the capital of France")
    path, form = onward(call.last, "Gather"), call_form(call.sid, SpeechResult=phrase)
    for _ in range(2):
        assert "texted it to you" in said(phone.post(path, form))
    assert phone.answers() == ["Paris is the capital."]


def test_a_guest_has_no_accounts_and_no_texts(start: Callable[..., Phone], tmp_path: Path) -> None:
    """Strangers hear public facts: no PIN, no actions, nothing sent."""
    phone = start(TO_ACTS, LETTER, Text("Only members."), ODAI_PHONE_GUESTS="true")
    call = Spoken(phone, number=STRANGER)
    assert "PIN" not in said(call.last)
    assert "Only members." in call.say("send a letter to Ada")
    assert "for members" in call.say("text me that")
    assert phone.services.loop.run(phone.services.store.query(Query("approvals"))) == []


def test_hanging_up_is_the_assistants_to_do(start: Callable[..., Phone]) -> None:
    """Asked to hang up in any words, it says goodbye and the call ends."""
    phone = start()
    call = Spoken(phone)
    call.say("please hang up the phone now")
    assert call.over


def test_numbers_of_callers_are_nowhere_in_clear(
    start: Callable[..., Phone], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the store nor a log holds the number or what was said."""
    caplog.set_level("DEBUG")
    phone = start(Text("Paris."))
    Spoken(phone).say("capital of zebras")
    phone.call(number=STRANGER)
    data = tmp_path / "data"
    blobs = b"".join(path.read_bytes() for path in data.glob("*.sqlite*"))
    logged = "\n".join(f"{r.getMessage()} {vars(r)}" for r in caplog.records
                       if r.name.startswith(("common", "run")))  # fmt: skip
    for secret in (NUMBER[1:], STRANGER[1:], "zebras"):
        assert secret.encode() not in blobs and secret not in logged
