"""What needs no tool: greetings, thanks, "who are you?", "what can you do?", by rule."""

from __future__ import annotations

import re

PLANNER = (
    "I am ODAI's offline planner: I follow fixed rules and have no language model. "
    "Set OPENAI_API_KEY and start again to get one."
)
# By kind; `{examples}` are prompts of the tools within reach.
REPLIES = {
    "greeting": "Hello! What can I do for you? Try: {examples}",
    "thanks": "You're welcome.",
    "bye": "Goodbye.",
    "identity": "{planner} Without one I can still do things such as: {examples}",
    "help": "I call services for you. Ask, for example: {examples} {planner}",
}

GREETING = re.compile(
    r"\W*(?:hi|hello|hey|hiya|howdy|greetings|yo|good (?:morning|afternoon|evening|day))"
    r"(?: there| again| odai| everyone)?\W*",
    re.IGNORECASE,
)
THANKS = re.compile(
    r"\W*(?:(?:ok(?:ay)?|great|perfect|cool|nice)\W+)?(?:thanks?|thank you|thx|cheers|"
    r"much appreciated)"
    r"(?: a lot| so much| very much| you| odai)?\W*",
    re.IGNORECASE,
)
BYE = re.compile(r"\W*(?:bye|goodbye|good night|see you(?: later)?|that's all)\W*", re.IGNORECASE)
HELP = re.compile(
    r"\W*(?:help(?: me)?|what (?:all )?can (?:you|i) (?:do|ask|help)\b.*|"
    r"what (?:do you do|are your "
    r"(?:skills|capabilities|features))|how (?:can|could) you help\b.*|how does this work)\W*",
    re.IGNORECASE,
)
IDENTITY = re.compile(
    r".*\b(?:who are you|what are you\b(?! doing)|are you (?:an? |really )?(?:ai|bot|robot|"
    r"human|person|"
    r"chat ?gpt|gpt|real|llm|language model|odai)|"
    r"(?:what|which) (?:language )?model (?:are|do) you|"
    r"(?:what's|what is) your name|introduce yourself|tell me about yourself)\b.*",
    re.IGNORECASE,
)


def small_talk(text: str) -> str:
    """Return the kind of small talk that the whole of `text` is, "" where it is none."""
    for kind, pattern in _KINDS.items():
        if pattern.fullmatch(text):
            return kind
    return "identity" if IDENTITY.fullmatch(text) and len(text.split()) < 12 else ""


_KINDS = {"greeting": GREETING, "thanks": THANKS, "bye": BYE, "help": HELP}
