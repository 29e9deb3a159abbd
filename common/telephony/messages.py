"""Texts: what is said by SMS, and what the words of one mean. Plain functions over values.

https://www.twilio.com/docs/glossary/what-sms-character-limit,
https://help.twilio.com/articles/223134027 (opt-out words, 2026-11).

A text of GSM 03.38 letters holds 160, or 153 in each segment of a longer one; one letter outside
that alphabet makes it 70, or 67: a curly quote or an emoji triples what a text costs. So Markdown
becomes plain text, typography becomes ASCII, and decoration goes where the rest fits GSM.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

Keyword: TypeAlias = Literal["stop", "start", "help"]

MAX_MESSAGES: Final = 3
MAX_SEGMENTS: Final = 3  # in one message
# Twilio acts on these by itself, on the whole text in any case. START's other word, YES, is also
# an answer: it counts as START only from somebody who has opted out.
_STOP: Final = frozenset((
    "stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout", "opt-out",
))  # fmt: skip
_START: Final = frozenset(("start", "unstop"))
_HELP: Final = frozenset(("help", "info"))

_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED: Final = frozenset("\f^{}\\[~]|€")
_TYPOGRAPHY: Final = str.maketrans({
    "‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
    "′": "'", "″": '"', "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "−": "-",
    "…": "...", "•": "-", "·": "-", "‣": "-", "●": "-", "×": "x", "→": "->", "⇒": "=>", "←": "<-",
    "≤": "<=", "≥": ">=", "≈": "~", "™": "(TM)", "©": "(c)", "®": "(R)", "±": "+/-", "½": "1/2",
    "¼": "1/4", "¾": "3/4", "²": "2", "³": "3", "`": "'", "´": "'", "\t": " ",
    "\u00a0": " ", "\u2007": " ", "\u2009": " ", "\u200a": " ", "\u202f": " ", "\u3000": " ", 
    "\u200b": "", "\u2060": "", "\ufeff": "", "\u2028": "\n", "\u2029": "\n",
})  # fmt: skip
_CODE_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # nothing that reads as something else
CODE_LENGTH: Final = 4
# Arguments that hold what is written, which may be told in part; all others say to whom it goes,
# how much it is about or what it changes.
PROSE: Final = frozenset(
    {"body", "message", "text", "full_text", "content", "notes", "description", "instructions"}
)
_DECISION = re.compile(rf"\W*(ok|no)[\s:,.-]+([{_CODE_ALPHABET}]{{{CODE_LENGTH}}})\W*\Z", re.I)
# Where a text is cut, best first, if that leaves at least this share of what would fit.
_CUTS: Final = (
    (re.compile(r"(?s)(.*\n)\n"), 0.6),
    (re.compile(r"(?s)(.*[.!?])\s"), 0.6),
    (re.compile(r"(?s)(.*\S)\s"), 0.3),
)
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|>~])")
_ASIDE: Final = 0xF0000  # where escaped letters wait while markup goes: nobody writes these
_FENCE = re.compile(r"^\s*(```|~~~)")


# --- what a text of the user's means ------------------------------------------------------------


def keyword(body: str, opt_out_type: str = "", *, opted_out: bool = False) -> Keyword | None:
    """Return what an opt-out word asks for; None for everything else.

    `opt_out_type` is Twilio's own verdict, where a Messaging Service gives one.
    """
    told = opt_out_type.strip().lower()
    if told in ("stop", "start", "help"):
        return told  # type: ignore[return-value]  # one of the three, as just checked
    word = body.strip().lower()
    if word in _STOP:
        return "stop"
    if word in _START or (opted_out and word == "yes"):
        return "start"
    return "help" if word in _HELP else None


@dataclass(frozen=True, slots=True)
class Decision:
    """The user's word on an action that waits: `code` is in capitals."""

    approve: bool
    code: str


def decision(body: str) -> Decision | None:
    """Read "OK 7F3K" or "NO 7F3K"; None for anything else."""
    match = _DECISION.match(body)
    return Decision(match[1].lower() == "ok", match[2].upper()) if match else None


def code_of(digest: str) -> str:
    """Return the code word that hexadecimal `digest` gives, for `decision` to read."""
    value, code = int(digest, 16), ""
    for _ in range(CODE_LENGTH):
        value, place = divmod(value, len(_CODE_ALPHABET))
        code += _CODE_ALPHABET[place]
    return code


def asking(title: str, arguments: Any, code: str) -> str:
    """Return the text that asks for a yes or no to one exact action: one message, code included.

    What is written is shortened where it must be; whom it reaches and how much it is about never.
    Where even that does not fit, "": it cannot be asked by text.
    """
    end = f"Reply OK {code} to allow, NO {code} to refuse."
    for longest in (80, 40, 20):
        told = economical(f"May I do this? {title}{_details(arguments, longest)}. {end}")
        if segments(told) <= MAX_SEGMENTS:
            return told
    return ""


def _details(arguments: Any, longest: int) -> str:
    if not isinstance(arguments, Mapping):
        return ""
    shown = [
        f"{str(name).replace('_', ' ')}: {_short(value, longest if name in PROSE else None)}"
        for name, value in arguments.items()
        if value
    ]
    return f" ({'; '.join(shown)})" if shown else ""


def _short(value: Any, longest: int | None) -> str:
    whole = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = " ".join(whole.split())
    return text if longest is None or len(text) <= longest else f"{text[: longest - 3]}..."


# --- what is said -------------------------------------------------------------------------------


def plain(markdown: str) -> str:
    """Return Markdown as plain text: links as "name (address)", tables as lines, no markup."""
    lines, in_fence = [], False
    for line in markdown.replace("\r\n", "\n").split("\n"):
        if _FENCE.match(line):
            in_fence = not in_fence
            continue
        told = line if in_fence else _plain_line(line)
        if told is not None:
            lines.append(told.rstrip())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _plain_line(line: str) -> str | None:
    if re.fullmatch(r"\s*([-*_])(\s*\1){2,}\s*", line) or re.fullmatch(r"\s*\|?[\s:|-]*-[\s:|-]*",
                                                                       line):  # fmt: skip
        return None if line.strip() else ""
    if line.lstrip().startswith("|") and line.rstrip().endswith("|"):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        line = " / ".join(cell for cell in cells if cell)
    line = re.sub(r"^\s{0,3}#{1,6}\s+", "", line)
    line = re.sub(r"^(\s*)>\s?", r"\1", line)
    line = re.sub(r"^(\s*)[*+•]\s+", r"\1- ", line)
    return _inline(line)


def _inline(text: str) -> str:
    text = re.sub(_ESCAPED, lambda found: chr(_ASIDE + ord(found[1])), text)
    text = re.sub(r"!\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\[([^\]]+)\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", _link, text)
    text = re.sub(r"<(https?://[^>\s]+)>", r"\1", text)
    text = re.sub(r"(\*\*\*|\*\*|__|~~)(?=\S)(.+?)(?<=\S)\1", r"\2", text)
    text = re.sub(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])", r"\1", text)
    text = re.sub(r"(?<![\w_])_(?=\S)([^_\n]+?)(?<=\S)_(?![\w_])", r"\1", text)
    text = re.sub(r"(`+)(.+?)\1", r"\2", text)
    return "".join(chr(ord(c) - _ASIDE) if 0 <= ord(c) - _ASIDE < 128 else c for c in text)


def _link(match: re.Match[str]) -> str:
    name, address = match[1], match[2]
    bare = address.removeprefix("mailto:")
    return address if name in (address, bare) else f"{name} ({bare})"


def economical(text: str) -> str:
    """Return `text` in letters that cost little, where it loses no word by that."""
    text = unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY)
    text = "".join(c for c in text if c == "\n" or unicodedata.category(c) != "Cc")
    text = re.sub(r"\s?°\s?([CFK])\b", r" \1", text).replace("°", " deg")
    bare = "".join(c for c in text if c in _BASIC or c in _EXTENDED or not _decoration(c))
    if all(c in _BASIC or c in _EXTENDED for c in bare):
        text = bare
    return re.sub(r"[^\S\n]+", " ", text).strip()


def _decoration(character: str) -> bool:
    """Tell whether a character is an emoji, or a part of one."""
    return unicodedata.category(character) in ("So", "Sk", "Cf", "Mn", "Me", "Cs")


def units(text: str) -> int:
    """Return what `text` takes: septets where it fits GSM 03.38, UTF-16 units otherwise."""
    if is_gsm(text):
        return sum(2 if c in _EXTENDED else 1 for c in text)
    return sum(2 if c > "\uffff" else 1 for c in text)


def is_gsm(text: str) -> bool:
    """Tell whether all of `text` is in the GSM 03.38 alphabet."""
    return all(c in _BASIC or c in _EXTENDED for c in text)


def segments(text: str) -> int:
    """Return how many segments Twilio charges for `text`.

    A letter of two units is never split between segments: each may leave one unit unused.
    """
    single, part = (160, 153) if is_gsm(text) else (70, 67)
    if units(text) <= single:
        return 1
    used, count = 0, 1
    for c in text:
        width = units(c) if is_gsm(text) else (2 if c > "\uffff" else 1)
        if used + width > part:
            count, used = count + 1, 0
        used += width
    return count


def split(text: str, more: str, *, most: int = MAX_MESSAGES) -> list[str]:
    """Return `text` as at most `most` messages of whole segments, cut between words.

    Where it does not fit, the last one ends with `more`: where the rest can be read.
    """
    rest = text.strip()
    messages: list[str] = []
    while rest:
        last = len(messages) == most - 1
        if segments(rest) <= MAX_SEGMENTS:
            return [*messages, rest]
        reserved = f"... {more}" if last else ""
        head = _head(rest, reserved)
        messages.append(f"{head}{reserved}")
        if last:
            break
        rest = rest[len(head) :].lstrip()
    return messages


def _head(text: str, reserved: str) -> str:
    """Return the longest beginning of `text` that fits one message with `reserved` behind it."""
    low, high = 1, len(text)
    while low < high:  # how many segments a text takes never falls as it grows
        middle = (low + high + 1) // 2
        if segments(text[:middle] + reserved) <= MAX_SEGMENTS:
            low = middle
        else:
            high = middle - 1
    cut = low
    while 1 < cut < len(text) and unicodedata.combining(text[cut]):
        cut -= 1
    window = text[: cut + 1] if cut < len(text) else text
    for end, least in _CUTS:
        found = end.match(window)
        if found and len(found[1]) >= cut * least:
            return found[1].rstrip()
    return text[:cut]
