"""TwiML: what we answer Twilio with, as text.

https://www.twilio.com/docs/voice/twiml, https://www.twilio.com/docs/messaging/twiml (2026-11).
Each function returns one element; `document` wraps them. Everything is escaped, and characters
that XML cannot hold are dropped: a model's words are spoken, never obeyed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Final, Literal

CONTENT_TYPE: Final = "text/xml; charset=utf-8"
EMPTY: Final = '<?xml version="1.0" encoding="UTF-8"?><Response/>'
MAX_SPOKEN: Final = 3000  # characters: Twilio cuts Say at 4,096 with its markup
# What XML cannot hold, named one by one: compiling the complement costs a cold start 10 ms.
_UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def document(*elements: str) -> str:
    """Return a whole answer."""
    if not elements:
        return EMPTY
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{"".join(elements)}</Response>'


def say(text: str) -> str:
    """Speak `text`."""
    return f"<Say>{_text(text[:MAX_SPOKEN])}</Say>"


def pause(seconds: int) -> str:
    """Be silent."""
    return f'<Pause length="{seconds}"/>'


def hang_up() -> str:
    """End the call."""
    return "<Hangup/>"


def reject(reason: Literal["busy", "rejected"]) -> str:
    """Refuse a call before it is answered: nothing is charged."""
    return f'<Reject reason="{reason}"/>'


def redirect(url: str) -> str:
    """Ask `url` what to do next."""
    return f'<Redirect method="POST">{_text(url)}</Redirect>'


def connect(url: str, parameters: Mapping[str, str]) -> str:
    """Connect the call's audio, both ways, to the socket at `url` (wss; no query: it is lost)."""
    inner = "".join(
        f"<Parameter name={_attribute(name)} value={_attribute(value)}/>"
        for name, value in parameters.items()
    )
    return f"<Connect><Stream url={_attribute(url)}>{inner}</Stream></Connect>"


def gather(url: str, *prompts: str, seconds: int = 6) -> str:
    """Play `prompts` and send what the caller says or keys meanwhile or after to `url`.

    After `seconds` of silence the next element runs. Keys end with #.
    """
    return (
        f'<Gather input="dtmf speech" action={_attribute(url)} method="POST" timeout="{seconds}" '
        f'speechTimeout="auto" finishOnKey="#" actionOnEmptyResult="false">'
        f"{''.join(prompts)}</Gather>"
    )


def message(text: str) -> str:
    """Answer a text with `text`."""
    return f"<Message>{_text(text)}</Message>"


def _text(text: str) -> str:
    return escape(_UNSPEAKABLE.sub("", text), quote=False)


def _attribute(text: str) -> str:
    return f'"{escape(_UNSPEAKABLE.sub("", text))}"'
