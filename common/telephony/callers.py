"""Who is at the other end, as Twilio names them: numbers, WhatsApp, browsers, nobody.

https://www.twilio.com/docs/voice/twiml#request-parameters (2026-11). Plain functions over values.
`From` is an address and no more: it may be withheld, a short code, letters, a SIP address, or a
WhatsApp user without any number.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from common.errors import InvalidInput

Kind: TypeAlias = Literal["phone", "whatsapp", "browser", "other", "withheld"]

_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}\Z")
# What Twilio puts where the caller withheld their number: words, or those words as digits.
_WITHHELD: Final = frozenset((
    "", "anonymous", "unknown", "restricted", "private", "unavailable", "blocked",
    "+266696687", "+86282452253", "+7378742833", "+2562533", "+8656696",
))  # fmt: skip
_PLAIN_UID = re.compile(r"[A-Za-z0-9]{1,100}\Z")
_MOST_IDENTITY: Final = 121  # characters that Twilio takes


@dataclass(frozen=True, slots=True)
class Address:
    """The other end. `number` is E.164 where there is one, `uid` the user of our own browser page.

    `raw` is what Twilio called it, to answer there. None of them is shown by `repr`.
    """

    kind: Kind
    raw: str = field(repr=False)
    number: str = field(default="", repr=False)
    uid: str = field(default="", repr=False)


def parse_address(raw: str) -> Address:
    """Return what `From` or `To` names. Never fails: what is unknown is `other`."""
    text = raw.strip()
    channel, _, rest = text.rpartition(":")
    match channel.lower():
        case "" if text.lower() in _WITHHELD:
            return Address("withheld", text)
        case "" if _NUMBER.match(text):
            return Address("phone", text, number=text)
        case "whatsapp":
            return Address("whatsapp", text, number=rest if _NUMBER.match(rest) else "")
        case "client":
            uid = uid_of_browser(rest)
            return Address("browser", text, uid=uid) if uid else Address("other", text)
    return Address("other", text)


def browser_identity(uid: str) -> str:
    """Return the name under which a user's browser calls: letters, digits and one underscore.

    InvalidInput for an id too long for Twilio.
    """
    if _PLAIN_UID.match(uid):
        return f"u_{uid}"
    coded = base64.b32encode(uid.encode()).decode().rstrip("=")
    if len(coded) + 2 > _MOST_IDENTITY:
        raise InvalidInput("This account's id is too long to make calls in the browser.")
    return f"x_{coded}"


def uid_of_browser(identity: str) -> str:
    """Return whose `browser_identity` this is, "" where it is none of ours."""
    kind, coded = identity[:2], identity[2:]
    if kind == "u_" and _PLAIN_UID.match(coded):
        return coded
    if kind != "x_":
        return ""
    try:
        return base64.b32decode(coded + "=" * (-len(coded) % 8)).decode()
    except (binascii.Error, ValueError):
        return ""


def spoken_pin(speech: str, digits: str) -> str:
    """Return the 4 to 8 digits that a caller keyed, or spoke with nothing else; "" for none."""
    keyed = digits.strip().rstrip("#")
    if re.fullmatch(r"[0-9]{4,8}", keyed):
        return keyed
    words = re.sub(r"^\W*(?:my )?pin(?: code| number)?(?: is)?\b", "", speech.strip(), flags=re.I)
    found = [_DIGITS.get(word.lower(), word) for word in re.split(r"[\s,.\-]+", words) if word]
    joined = "".join(found)
    return joined if re.fullmatch(r"[0-9]{4,8}", joined) else ""


_DIGITS: Final = {
    "zero": "0", "oh": "0", "o": "0", "one": "1", "two": "2", "three": "3", "four": "4",
    "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
}  # fmt: skip
