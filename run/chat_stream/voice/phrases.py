"""What the model is told about the call itself, and what is said where it cannot speak."""

from __future__ import annotations

from typing import Final

GREETING: Final = "The call begins. Greet the caller as ODAI in one short sentence."
RETURNING: Final = (
    "The call begins, and goes on from the conversation above. Greet the caller in one short "
    "sentence, naming what it was about."
)
SILENT: Final = (
    "The caller has said nothing for a while. Ask in a few words if they are still there."
)
FAREWELLS: Final = {
    "silent": "The caller still says nothing. Say a short goodbye; the call ends now.",
    "limit": "The call has reached its longest time. Say so, and goodbye, in one short sentence.",
    "restart": "The service restarts. Say in one short sentence that they may call again at once.",
    "budget": "The caller's budget is used up. Say so, and goodbye, in one short sentence.",
}
BROKE_OFF: Final = (
    "The connection broke off. Go on where the answer above stopped, without apologies."
)
LOST: Final = "I am sorry, I have lost my connection. Please call again in a moment. Goodbye."
