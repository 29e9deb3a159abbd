"""How a prompt came: typed on a screen, by text, or spoken, and by whom as far as we can tell.

Two things follow from it. The model is told how to put its answer. And whoever has not proven who
they are (a caller without the PIN, a guest) reaches nothing but public reads: caller ids can be
forged, so that a number alone opens no account. Which tools those are is decided here, by rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from common.assistant.authority import KEPT
from common.tools import Connector, Tool

Channel: TypeAlias = Literal["screen", "text", "voice"]

_WITHHELD: Final = (
    "This belongs to the user's own accounts: the caller has to prove who they are first. On the "
    "phone, ask them to key in or say their PIN; without a PIN, point them to the app."
)
_GUEST: Final = "This is for members. Tell the caller to sign up in the app and add their number."
_HINTS: Final[dict[Channel, str]] = {
    "screen": "",
    "text": (
        "The user writes by text message: answer in plain text without Markdown, best within "
        "300 characters."
    ),
    "voice": (
        "The user is on the phone and hears your answer: one to three short sentences, no lists, "
        "no Markdown, no addresses of web pages; say numbers the way people speak them."
    ),
}


@dataclass(frozen=True, slots=True)
class Manner:
    """How a prompt came. `proven`: the person is known for sure; `guest`: has no account at all."""

    channel: Channel = "screen"
    proven: bool = True
    guest: bool = False

    @property
    def hint(self) -> str:
        """A line for the model's instructions, "" where there is nothing to say."""
        return _HINTS[self.channel]

    def withheld(self, connector: Connector, tool: Tool) -> str:
        """Return why this tool is not for whoever asks, "" where it is."""
        if self.proven or is_public(connector, tool):
            return ""
        return _GUEST if self.guest else _WITHHELD


ON_SCREEN: Final = Manner()


def is_public(connector: Connector, tool: Tool) -> bool:
    """Tell whether a tool shows nobody's own data and changes nothing."""
    own = connector.account or connector.auth not in ("none", "key") or connector.personal
    return tool.risk == "read" and not own and tool.connector not in KEPT
