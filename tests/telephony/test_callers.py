"""Who calls, as far as an address tells; the TwiML that they hear; PINs that they say."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInput
from common.identity.users import valid_uid
from common.telephony import twiml
from common.telephony.callers import browser_identity, parse_address, spoken_pin, uid_of_browser


@pytest.mark.parametrize(
    ("raw", "kind", "number"),
    [
        ("+14155550100", "phone", "+14155550100"), (" +14155550100 ", "phone", "+14155550100"),
        ("whatsapp:+14155550100", "whatsapp", "+14155550100"), ("whatsapp:US.13", "whatsapp", ""),
        ("WhatsApp:+14155550100", "whatsapp", "+14155550100"), ("rcs:+14155550100", "other", ""),
        ("client:u_ada", "browser", ""), ("client:ada", "other", ""), ("client:", "other", ""),
        ("sip:+14155550100@a.example", "other", ""), ("14155550100", "other", ""),
        ("+0123456789", "other", ""), ("+1415", "other", ""), ("12345", "other", ""),
        ("", "withheld", ""), ("Anonymous", "withheld", ""), ("+266696687", "withheld", ""),
        ("+7378742833", "withheld", ""), ("::::", "other", ""), ("+1٤155550100", "other", ""),
    ],
)  # fmt: skip
def test_addresses_are_what_they_are(raw: str, kind: str, number: str) -> None:
    """Only a number in full is a number; everything else is taken as it comes and never fails."""
    address = parse_address(raw)
    assert (address.kind, address.number) == (kind, number)
    assert "4155550100" not in repr(address)


@given(st.text())
def test_any_address_is_survived(raw: str) -> None:
    """Twilio adds channels; none of them breaks a webhook."""
    assert parse_address(raw).kind in ("phone", "whatsapp", "browser", "other", "withheld")
    assert parse_address(f"client:{raw}").kind in ("browser", "other")


@given(st.text(min_size=1, max_size=100).filter(valid_uid))
def test_a_browser_is_known_by_its_name_again(uid: str) -> None:
    """Whatever a user's id looks like, its name has letters, digits and _ alone, and leads back."""
    try:
        name = browser_identity(uid)
    except InvalidInput:
        assert len(uid.encode()) > 70
        return
    assert name.replace("_", "").isalnum() and name.isascii() and len(name) <= 121
    assert uid_of_browser(name) == uid


def test_no_two_users_share_a_name() -> None:
    """What looks like another's coded id is another's."""
    assert browser_identity("dev-ada") != browser_identity("ada")
    assert uid_of_browser("x_!!!") == uid_of_browser("y_ada") == uid_of_browser("u_a-b") == ""


@pytest.mark.parametrize(
    ("speech", "digits", "pin"),
    [
        ("", "4711", "4711"), ("", "4711#", "4711"), ("", "471", ""), ("", "123456789", ""),
        ("4711", "", "4711"), ("4 7 1 1.", "", "4711"), ("My PIN is 4711", "", "4711"),
        ("my pin number is four seven one one", "", "4711"), ("Four, seven, one, oh.", "", "4710"),
        ("what is 4711", "", ""), ("call 4711", "", ""), ("47", "", ""), ("", "", ""),
        ("seven wonders of the world", "", ""), ("pin", "", ""), ("4711 please", "", ""),
    ],
)  # fmt: skip
def test_a_pin_is_digits_and_nothing_else(speech: str, digits: str, pin: str) -> None:
    """Keyed, or said in figures or words; a sentence with a number in it is a question."""
    assert spoken_pin(speech, digits) == pin


@given(st.text())
def test_any_words_are_spoken_and_none_obeyed(text: str) -> None:
    """Markup, controls and letters that XML cannot hold never leave the element they are in."""
    answer = twiml.document(
        twiml.gather(f"https://a.example/?x={text}", twiml.say(text)),
        twiml.message(text), twiml.connect("wss://a.example", {text: text}), twiml.redirect(text),
        twiml.pause(1), twiml.reject("busy"), twiml.hang_up(),
    )  # fmt: skip
    tags = [element.tag for element in ElementTree.fromstring(answer).iter()]
    assert tags == [
        "Response", "Gather", "Say", "Message", "Connect", "Stream", "Parameter", "Redirect",
        "Pause", "Reject", "Hangup",
    ]  # fmt: skip


def test_nothing_to_say_is_a_whole_answer() -> None:
    """An empty answer sends nothing and is no error."""
    assert ElementTree.fromstring(twiml.document()).tag == "Response"
