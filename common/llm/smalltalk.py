"""What needs no tool: greetings, thanks, "what can you do?"; and what no tool can do, by rule.

Composing, translating, calculating and chatting take a language model: without one it is better to
say so than to search a service for "a poem about autumn".
"""

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


_MADE = (
    r"poems?|haikus?|sonnets?|limericks?|ballads?|verses?|rhymes?|story|stories|tales?|novels?|"
    r"essays?|speech|toasts?|jokes?|puns?|riddles?|slogans?|taglines?|captions?|lyrics|raps?|"
    r"dialogues?|scripts?|screenplays?|monologues?|blog posts?|articles?|press releases?|"
    r"cover letters?|resumes?|functions?|programs?|code|regex(?:es)?|class(?:es)?|quer(?:y|ies)|"
    r"pictures?|images?|drawings?|paintings?|logos?|names?|ideas|plots?|compliments?|fairy tales?"
)
_CAN = r"\W*(?:please |can you |could you |would you |will you |i (?:want|need) you to |help me )*"
_NUMBER = r"(?:[-+(]*\d[\d,.]*[)%]*)"
_BEYOND = tuple(
    re.compile(_CAN + pattern, re.IGNORECASE)
    for pattern in (
        # to compose
        rf"(?:write|compose|draft|make up|invent|generate|create|come up with|think of|give|tell)"
        rf"(?: me| us)?(?: (?:an?|some|the|another|two|three|\d+))?(?: [\w-]+)?"
        rf"(?: [\w-]+)? (?:{_MADE})\b(?! (?:page|named|called|titled|in notion|in evernote))",
        r"(?:draw|paint|sketch|illustrate|sing|rap|rhyme|code|brainstorm|improvise|roleplay|imagine)\b",
        # to work on words
        r"(?:translate|rewrite|rephrase|paraphrase|proofread|spell ?check|edit|reword)\b",
        r"(?:summari[sz]e|shorten|correct|improve|fix)\b.*\b(?:this|the following) ?"
        r"(?:text|paragraph|sentence|passage|essay|grammar)?\s*:(?!\s*\S*\.\w)",
        r"(?:how (?:do|would|can) (?:you|i|we|one) (?:say|spell|pronounce)|what(?:'s| is) the "
        r"(?:\w+ )?(?:word|translation)\b|what does .+ mean in \w+\W*\Z)",
        # to calculate
        rf"(?:(?:what|how much)(?:'s| is| are|s)?|calculate|compute|solve|evaluate|add up)?\W*"
        rf"{_NUMBER}\s*(?:(?:[-+*/x×÷^=]|plus|minus|times|over|multiplied by|divided by|mod|"
        rf"to the power of|percent of|% of|of)\s*{_NUMBER}\s*)+[=?.!\s]*\Z",
        r"(?:solve|integrate|differentiate|factori[sz]e|simplify)\b",
        r".*\b(?:square|cube) root of \d|.*\b\d+ ?(?:%|percent) of \d",
        # to chat
        r"(?:who|what) am i\W*\Z|(?:what|who)(?:'s| is) my name\b",
        r"(?:how are you|how're you|how(?:'s| is) it going|what's up|sup|how do you feel)\b",
        r"(?:what|who) (?:do|would) you (?:think|like|prefer|want|recommend|suggest|feel|"
        r"love|hate)\b",
        r"(?:do|are|would|have|did) you (?:like|love|feel|think|believe|dream|happy|sad|alive|"
        r"conscious|sentient|ever|sleep|married|hungry|tired)\b",
        r"i(?:'m| am) (?:bored|sad|happy|lonely|tired|sick|angry|hungry|in love|stressed)\W*\Z",
        r"i (?:love|like|hate|miss) you\b|entertain me\b|chat with me\b|talk to me\b",
        r"should i (?:marry|quit|leave|break|forgive)\b|(?:give me )?(?:some )?advice\b",
        # what no service here does
        r"(?:book|reserve|get)(?: me| us)? (?:an? )?(?:table|taxi|cab|ride|uber|lyft)\b",
        r"call(?: me| us)? (?:an? )?(?:taxi|cab|uber|lyft|ride)\b",
        r"(?:set|start|stop)(?: me)? (?:an? |the |my )?(?:[\w-]+ ){0,2}(?:timer|alarm|stopwatch)\b",
        r"(?:turn|switch|dim)\b.*\b(?:lights?|lamps?|heating|thermostat|tv|oven|fan)\b",
        r"(?:pay|transfer|wire|donate|rent|hire|subscribe|unsubscribe)\b|"
        r"(?:cancel|delete|close) my [\w ]*(?:account|membership|subscription)\b",
        r"(?:flip|toss) a coin\b|roll (?:a|the|two|some) (?:die|dice)\b|"
        r"pick a (?:random )?number\b",
        r"(?:what(?:'s| is)|tell me) (?:the )?(?:time|date|day)(?: is it| now)?\W*\Z|"
        r"what (?:time|day|date)"
        r" is it(?: now| today| right now)?\W*\Z",
    )
)


def beyond(text: str) -> bool:
    """True where `text` asks for what takes a language model, or what no service does."""
    return any(pattern.match(text) for pattern in _BEYOND)


def small_talk(text: str) -> str:
    """Return the kind of small talk that the whole of `text` is, "" where it is none."""
    for kind, pattern in _KINDS.items():
        if pattern.fullmatch(text):
            return kind
    return "identity" if IDENTITY.fullmatch(text) and len(text.split()) < 12 else ""


_KINDS = {"greeting": GREETING, "thanks": THANKS, "bye": BYE, "help": HELP}
