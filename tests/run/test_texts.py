"""Texts through the whole suite: in by a signed webhook, out by Twilio's API, each once."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from common.assistant import texts as stored
from common.bootstrap import Services
from common.store import Query
from common.tasks.embedded import Response
from tests.assistant.acting import TO_ACTS, effects
from tests.fakes.openai_responses import Calls, Step, Text
from tests.fakes.twilio import _MESSAGES, ACCOUNT, FakeTwilio, new_sid
from tests.run.phones import NUMBER, STRANGER, Clock, Phone

Make = Callable[..., Services]
LETTER = Calls([("send_letter", {"recipient": "Ada", "text": "hi"})])
PAY = Calls([("pay", {"payee": "Ada", "amount": 5})])


@pytest.fixture
def start(phone_suite: Callable[..., Phone]) -> Callable[..., Phone]:
    """Start the suite with a model that is asked for where it is scripted."""

    def begin(*script: Step, **environ: str) -> Phone:
        key = {"OPENAI_API_KEY": "key-of-a-test"} if script else {}
        return phone_suite(*script, **key, **environ)

    return begin


@pytest.fixture
def phone(start: Callable[..., Phone]) -> Phone:
    """Return ada's telephone at a suite with the offline planner."""
    return start()


def states(phone: Phone) -> list[str]:
    """Return where every stored text stands."""
    found = phone.services.loop.run(phone.services.store.query(Query("texts")))
    return [row.data["state"] for row in found]


def settled(phone: Phone, count: int, state: str = "sent") -> None:
    """Wait until so many texts have come to this end."""
    phone.until("texts", lambda: states(phone).count(state) >= count)


# --- in and out ---------------------------------------------------------------------------------


def test_a_text_is_answered_by_text(phone: Phone) -> None:
    """The webhook says nothing at once; the answer comes through the API, from our number."""
    assert phone.told("hello") == []
    (answer,) = phone.answers()
    assert answer and phone.twilio
    assert phone.twilio.messages[0]["from"] == ACCOUNT.number
    chats = phone.services.loop.run(phone.services.chats.listed("ada"))
    assert [chat.id.startswith("text-") for chat in chats] == [True]


def test_texts_are_one_conversation(start: Callable[..., Phone]) -> None:
    """What was said before is known: all texts of a user are one chat."""
    phone = start(Text("Hello Ada."), Text("You said hello."))
    phone.told("hello")
    phone.answers(1)
    phone.told("what did I say?")
    assert phone.answers(2) == ["Hello Ada.", "You said hello."]
    assert len(phone.services.loop.run(phone.services.chats.listed("ada"))) == 1


def test_the_same_text_twice_is_answered_once(phone: Phone) -> None:
    """Twilio repeats what it is not sure of; its id makes it one text."""
    sid = new_sid("SM")
    phone.told("hello", sid=sid)
    phone.answers()
    phone.told("hello", sid=sid)
    phone.told("hello again")
    assert len(phone.answers(2)) == 2
    assert len(states(phone)) == 2


def test_a_long_answer_is_a_few_texts_and_a_link(start: Callable[..., Phone]) -> None:
    """Plain letters, cut between sentences, at most three; the rest is in the app."""
    sentence = "**Whales** are “large” — see [more](https://example.org/w). "
    phone = start(Text(sentence * 60))
    phone.told("tell me about whales")
    answers = phone.answers(3)
    settled(phone, 1)
    assert len(answers) == 3
    assert all(len(each) <= 459 and each.isascii() for each in answers)
    assert answers[0].startswith('Whales are "large" - see more (https://example.org/w).')
    assert re.search(r"More: http://127\.0\.0\.1:8080/#/chats/text-\w+$", answers[2])


def test_whatsapp_is_answered_on_whatsapp(start: Callable[..., Phone], twilio: FakeTwilio) -> None:
    """The same number by another channel is the same user, answered on that channel."""
    phone = start()
    phone.told("hello", number=f"whatsapp:{NUMBER}", To=f"whatsapp:{ACCOUNT.number}")
    assert phone.answers(number=f"whatsapp:{NUMBER}")
    assert twilio.messages[0]["from"] == f"whatsapp:{ACCOUNT.number}"


# --- who is answered ----------------------------------------------------------------------------


def test_a_stranger_is_invited_once(phone: Phone) -> None:
    """An unknown number gets one short invitation a day, and no turn is run for it."""
    (invitation,) = phone.told("hello", number=STRANGER)
    assert "sign up at http://127.0.0.1:8080" in invitation
    assert phone.told("hello?", number=STRANGER) == []
    assert states(phone) == []


@pytest.mark.parametrize("sender", ["25543", "BANK", "whatsapp:US.133742", "rcs:agent", ""])
def test_machines_are_not_talked_to(phone: Phone, sender: str) -> None:
    """Short codes, names and addresses without a number get nothing: no two machines chat."""
    assert phone.told("Your code is 1234", number=sender) == []
    assert states(phone) == []


def test_a_guest_gets_public_facts_where_that_is_on(start: Callable[..., Phone]) -> None:
    """With guests allowed a stranger is answered, may do nothing, and owns no account."""
    phone = start(TO_ACTS, LETTER, Text("Only members may do that."), ODAI_PHONE_GUESTS="true")
    phone.told("send a letter to Ada", number=STRANGER)
    assert phone.answers(number=STRANGER) == ["Only members may do that."]
    found = phone.services.loop.run(phone.services.store.query(Query("approvals")))
    assert found == []


def test_a_deleted_user_is_not_answered(phone: Phone) -> None:
    """Whoever left is told so, once, and nothing else happens."""
    phone.services.loop.run(phone.services.members.leave("ada", "deleting"))
    (told,) = phone.told("hello")
    assert "deleted" in told and phone.told("hello") == [] and states(phone) == []


def test_too_many_texts_are_not_answered(phone: Phone) -> None:
    """Sixty an hour; then one word about it."""
    limits = phone.services.limits
    for _ in range(60):
        phone.services.loop.run(limits.spend("text", "ada", most=60, seconds=3600.0))
    (told,) = phone.told("hello")
    assert "too often" in told and phone.told("hello") == [] and states(phone) == []


# --- words that are not for the assistant -------------------------------------------------------


@pytest.mark.parametrize("word", ["STOP", " unsubscribe ", "End", "QUIT", "revoke", "OptOut"])
def test_stop_means_stop(phone: Phone, word: str) -> None:
    """After STOP, or a word for it, nothing is answered until START, and nothing is sent."""
    assert phone.told(word) == []
    assert phone.told("hello?") == []
    assert phone.told("yes") == []  # for one who has stopped, that means START
    phone.told("hello")
    assert len(phone.answers()) == 1


def test_what_a_messaging_service_decides_counts(phone: Phone) -> None:
    """Its own opt-out word, in any language, is known by `OptOutType`."""
    assert phone.told("ARRET", OptOutType="STOP") == []
    assert phone.told("hello?") == []
    assert phone.told("hello", OptOutType="START") == []
    assert phone.told("INFO") == [] and states(phone) == []


def test_whatsapp_hears_of_its_own_opt_out(phone: Phone) -> None:
    """There nobody answers these words but us."""
    for word, told in (("STOP", "no more"), ("START", "again"), ("HELP", "STOP")):
        (answer,) = phone.told(word, number=f"whatsapp:{NUMBER}")
        assert told in answer


def test_yes_is_an_ordinary_answer(phone: Phone) -> None:
    """Who has not stopped may say yes to a question."""
    phone.told("yes")
    assert len(phone.answers()) == 1


def test_twilio_knows_of_an_opt_out_first(phone: Phone, twilio: FakeTwilio) -> None:
    """A number that Twilio refuses as opted out is not tried again."""
    twilio.opted_out.add(NUMBER)
    phone.told("hello")
    settled(phone, 1, "refused")
    assert phone.told("hello?") == [] and len(states(phone)) == 1


def test_pictures_are_declined_politely(phone: Phone) -> None:
    """A picture alone gets a word at once; with text, the text is answered as well."""
    (only,) = phone.told("", NumMedia="1", MediaUrl0="https://api.twilio.com/x")
    assert "pictures" in only and states(phone) == []
    (beside,) = phone.told("hello", NumMedia="2")
    assert "words alone" in beside
    assert len(phone.answers()) == 1
    assert phone.told("   ") == []


# --- actions that need a yes --------------------------------------------------------------------


def asked(phone: Phone, count: int = 1) -> tuple[str, str]:
    """Wait for a question; return it and its code."""
    question = phone.answers(count)[-1]
    found = re.search(r"Reply OK (\w{4}) to allow, NO \1 to refuse\.$", question)
    assert found, question
    return question, found[1]


def test_a_code_word_allows_one_action_once(start: Callable[..., Phone], tmp_path: Path) -> None:
    """The question shows what exactly; OK and its code do it, once, however often it is sent."""
    phone = start(TO_ACTS, LETTER, Text("The letter is sent."))
    phone.told("send a letter to Ada")
    question, code = asked(phone)
    assert "Send a letter" in question and "recipient: Ada" in question
    sid = new_sid("SM")
    phone.told(f"ok {code.lower()}!", sid=sid)
    phone.told(f"ok {code.lower()}!", sid=sid)
    phone.told(f"OK {code}")
    assert phone.answers(2)[1] == "The letter is sent."
    settled(phone, 4)
    assert effects(tmp_path).of("send_letter") == ["Ada: hi"] and len(phone.answers(2)) == 2


def test_a_code_word_refuses(start: Callable[..., Phone], tmp_path: Path) -> None:
    """NO and the code: nothing is done, and the assistant knows."""
    phone = start(TO_ACTS, LETTER, Text("Then I leave it."))
    phone.told("send a letter to Ada")
    _, code = asked(phone)
    phone.told(f"NO {code}")
    assert phone.answers(2)[1] == "Then I leave it."
    assert effects(tmp_path).all == []


def test_a_wrong_code_does_nothing(start: Callable[..., Phone], tmp_path: Path) -> None:
    """Neither a guess nor YES nor another user's text decides; a code belongs to its user."""
    phone = start(TO_ACTS, LETTER, Text("What do you mean?"))
    phone.own("bob", "+14155550111")
    phone.told("send a letter to Ada")
    _, code = asked(phone)
    phone.told("OK 2222" if code != "2222" else "OK 3333")
    assert "no open question" in phone.answers(2)[1]
    phone.told(f"OK {code}", number="+14155550111")
    assert "no open question" in phone.answers(1, "+14155550111")[0]
    phone.told("YES")
    assert phone.answers(3)[2] == "What do you mean?"
    assert effects(tmp_path).all == []


def test_money_is_not_moved_by_text(start: Callable[..., Phone], tmp_path: Path) -> None:
    """Payments are decided in the app: the text links there and shows no code."""
    phone = start(TO_ACTS, PAY)
    phone.told("pay Ada 5 euros")
    (told,) = phone.answers()
    assert "OK in the app: http://127.0.0.1:8080/#/chats/" in told and "Reply" not in told


def test_a_decision_in_the_app_is_told_by_text(start: Callable[..., Phone], tmp_path: Path) -> None:
    """Asked by text, allowed on the web: the outcome comes by text all the same."""
    phone = start(TO_ACTS, LETTER, Text("The letter is sent."))
    phone.told("send a letter to Ada")
    asked(phone)
    run, services = phone.services.loop.run, phone.services
    (waiting,) = run(services.store.query(Query("approvals")))
    run(services.answering.decide(
        "ada", waiting.data["chat_id"], waiting.id, approve=True, patience=20.0
    ))  # fmt: skip
    assert phone.answers(2)[1] == "The letter is sent."


def test_a_slow_result_is_told_by_text(
    start: Callable[..., Phone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes long is announced, and its result follows by itself."""
    monkeypatch.setattr("common.assistant.turn.PATIENCE", 0.2)
    slow = Calls([("search_slowly", {"topic": "held whales"})])
    phone = start(slow, Text("I am looking."), Text("Found the whales."))
    phone.told("search slowly for whales")
    assert phone.answers(1) == ["I am looking."]
    effects(tmp_path).release()
    assert phone.answers(2)[1] == "Found the whales."


# --- sending once -------------------------------------------------------------------------------


def test_an_answer_lost_on_its_way_back_is_not_sent_twice(phone: Phone, twilio: FakeTwilio) -> None:
    """Twilio took it and the connection broke: its list says so, and nothing is repeated."""
    twilio.fail("Messages", lose=True)
    clock = phone.services.clock
    assert isinstance(clock, Clock)
    phone.told("hello")
    twilio.wait(lambda: twilio.messages)
    clock.ahead += stored.CLAIM
    settled(phone, 1)
    assert len(twilio.messages) == 1
    assert [r.method for r in twilio.requests if "Messages" in r.path] == ["POST", "GET"]


def test_an_answer_that_never_arrived_is_sent_again(
    phone: Phone, twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twilio was away: once its list shows that nothing came, the text is sent."""
    monkeypatch.setitem(_MESSAGES, 20500, (500, "Internal"))
    twilio.fail("Messages", 20500)
    clock = phone.services.clock
    assert isinstance(clock, Clock)
    phone.told("hello")
    twilio.wait(lambda: twilio.requests)
    clock.ahead += stored.CLAIM
    settled(phone, 1)
    assert len(twilio.messages) == 1


def test_a_full_queue_at_twilio_is_waited_for(phone: Phone, twilio: FakeTwilio) -> None:
    """A 429 means that nothing was sent: the same text goes out later, without asking."""
    twilio.fail("Messages", 20429)
    phone.told("hello")
    settled(phone, 1)
    assert [r.method for r in twilio.requests if "Messages" in r.path] == ["POST", "POST"]
    assert len(twilio.messages) == 1


def test_a_number_that_takes_no_texts_is_given_up(phone: Phone, twilio: FakeTwilio) -> None:
    """A refusal for good ends it: one attempt, no more."""
    twilio.unreachable[NUMBER] = 21614
    phone.told("hello")
    settled(phone, 1, "refused")
    assert len(twilio.requests) == 1


# --- who may ask, and what is kept --------------------------------------------------------------


def test_forged_texts_are_refused(phone: Phone) -> None:
    """Without Twilio's signature nothing is taken in, and the audit trail shows the attempt."""
    form = {"MessageSid": new_sid("SM"), "From": NUMBER, "Body": "hello"}
    assert phone.post("/twilio/sms/incoming", form, X_Twilio_Signature="x").status_code == 403
    signed = phone.post("/twilio/sms/incoming", form, X_Forwarded_Host="evil.example")
    assert signed.status_code == 200
    rows = phone.services.loop.run(phone.services.store.query(Query("audit")))
    assert [r.data["status"] for r in rows if r.data["what"].startswith("/twilio")] == [
        "twilio_signature"
    ]


def test_only_our_queue_runs_texts(phone: Phone) -> None:
    """The container's route is not open to the outside."""
    assert phone.client.post("/twilio/texts", json={"id": "x"}).status_code == 401


@pytest.mark.parametrize("sid", ["", "SM1", "XX" + "0" * 32, "SM" + "g" * 32])
def test_what_is_no_text_is_refused(phone: Phone, sid: str) -> None:
    """A signed form without a message's id is not understood."""
    form = {"MessageSid": sid, "From": NUMBER, "Body": "hello"}
    assert phone.post("/twilio/sms/incoming", form).status_code == 400


def test_numbers_and_words_are_nowhere_in_clear(
    start: Callable[..., Phone], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the store nor the queue nor a log holds a number, a text or a code."""
    caplog.set_level("DEBUG")
    phone = start(TO_ACTS, LETTER, Text("The letter is sent."))
    phone.told("send a letter to Ada about zebras")
    _, code = asked(phone)
    phone.told(f"OK {code}")
    phone.answers(2)
    settled(phone, 3)
    phone.told("hello", number=STRANGER)
    phone.told("STOP")
    data = tmp_path / "data"
    for name in ("store.sqlite", "tasks.sqlite"):
        with sqlite3.connect(data / name) as file:
            dump = "\n".join(file.iterdump())
        blobs = b"".join(path.read_bytes() for path in data.glob(f"{name}*"))
        for secret in (NUMBER[1:], STRANGER[1:], "zebras", "letter is sent", code):
            assert secret not in dump and secret.encode() not in blobs
    logged = "\n".join(f"{r.getMessage()} {vars(r)}" for r in caplog.records
                       if r.name.startswith(("common", "run")))  # fmt: skip
    for secret in (NUMBER[1:], STRANGER[1:], "zebras", code):
        assert secret not in logged


def test_a_status_of_twilio_ends_what_it_should(phone: Phone, twilio: FakeTwilio) -> None:
    """A text that fails as opted out stops the line; any other status is taken in."""
    form = {"MessageSid": new_sid("SM"), "To": NUMBER, "From": ACCOUNT.number}
    for fields in (
        {"MessageStatus": "delivered"},
        {"MessageStatus": "failed", "ErrorCode": "30003"},
    ):
        assert phone.post("/twilio/sms/status", form | fields).status_code == 204
    phone.told("hello")
    phone.answers()
    stopped = form | {"MessageStatus": "failed", "ErrorCode": "21610"}
    assert phone.post("/twilio/sms/status", stopped).status_code == 204
    assert phone.told("hello?") == [] and len(states(phone)) == 1


def test_a_text_of_a_user_who_left_is_given_up(phone: Phone, twilio: FakeTwilio) -> None:
    """Nobody is written to after their deletion, and the queue does not try for ever."""
    run, services = phone.services.loop.run, phone.services

    async def later(_: object) -> Response:
        return Response(503, 60.0)

    services.deliver = later
    phone.told("hello")
    run(services.vault.shred("ada"))
    (errand,) = run(services.store.query(Query("texts")))
    headers = {"Authorization": services.sign_call()}
    answer = phone.client.post("/twilio/texts", json={"id": errand.id}, headers=headers)
    assert answer.status_code == 200 and twilio.texts(NUMBER) == []
