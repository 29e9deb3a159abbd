"""What texts say and mean: plain letters, whole segments, and words that are not for a model."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.telephony.messages import (
    MAX_MESSAGES,
    MAX_SEGMENTS,
    Decision,
    asking,
    code_of,
    decision,
    economical,
    is_gsm,
    keyword,
    plain,
    segments,
    split,
)

MORE = "More: https://odai.example/#/chats/text-1"


def told_segments(text: str) -> int:
    """Count segments one letter at a time, from the standard's own table sizes."""
    wide = not is_gsm(text)
    widths = [
        (2 if ord(c) > 0xFFFF else 1) if wide else (2 if c in "\f^{}\\[~]|€" else 1) for c in text
    ]
    single, part = (70, 67) if wide else (160, 153)
    if sum(widths) <= single:
        return 1
    count, room = 1, part
    for width in widths:
        if width > room:
            count, room = count + 1, part
        room -= width
    return count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1), ("x" * 160, 1), ("x" * 161, 2), ("x" * 306, 2), ("x" * 307, 3),
        ("€" * 80, 1), ("€" * 81, 2), ("ж" * 70, 1), ("ж" * 71, 2), ("ж" * 134, 2),
        ("ж" * 135, 3), ("😀" * 35, 1), ("😀" * 36, 2), ("x" * 159 + "ж", 3),
        ("x" * 152 + "€" + "x" * 20, 2), ("😀" * 33 + "x" * 5, 2),
    ],
)  # fmt: skip
def test_segments_are_counted_as_they_are_charged(text: str, count: int) -> None:
    """160 or 153 letters, 70 or 67 with one that is not in the alphabet; pairs stay whole."""
    assert segments(text) == told_segments(text) == count


LETTERS = st.text(
    alphabet=st.one_of(st.sampled_from("abc .,!?\n€[]é"), st.characters(codec="utf-8")),
    max_size=1500,
)


@settings(max_examples=150, deadline=None)
@given(LETTERS)
def test_any_text_is_a_few_messages_of_whole_segments(text: str) -> None:
    """Nothing is lost but what the link stands for, and no message costs more than it may."""
    parts = split(text, MORE)
    assert len(parts) <= MAX_MESSAGES
    assert all(part and told_segments(part) <= MAX_SEGMENTS for part in parts)
    if not text.strip():
        assert parts == []
    elif not parts[-1].endswith(MORE):
        assert re.sub(r"\s", "", "".join(parts)) == re.sub(r"\s", "", text)


@settings(max_examples=150, deadline=None)
@given(LETTERS)
def test_making_text_cheap_never_makes_it_dearer(text: str) -> None:
    """What is written plainly costs at most as much, but for words that stand for a sign."""
    made = economical(text)
    assert economical(made) == made
    assert "\u2019" not in made and "\u00a0" not in made
    if is_gsm(text.strip()):
        assert is_gsm(made)


def test_long_answers_are_cut_between_sentences() -> None:
    """A person reads whole sentences; only the last text of too many breaks off."""
    sentence = "Whales are large and live in the sea. "
    first, second, last = split(sentence * 100, MORE)
    assert first.endswith("sea.") and second.startswith("Whales") and second.endswith("sea.")
    assert last.endswith(f"... {MORE}")


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("**Bold** and *soft* and `code`", "Bold and soft and code"),
        ("# Title\n\nText", "Title\n\nText"),
        ("* one\n* two\n  + three", "- one\n- two\n  - three"),
        ("1. one\n2. two", "1. one\n2. two"),
        ("[Yelp](https://yelp.example/x)", "Yelp (https://yelp.example/x)"),
        ("[https://a.example](https://a.example)", "https://a.example"),
        ("[Ada](mailto:ada@a.example)", "Ada (ada@a.example)"),
        ("![map](https://a.example/m.png)", "map"),
        ("| A | B |\n|---|---|\n| 1 | 2 |", "A / B\n1 / 2"),
        ("```py\nx = a_b * 2\n```", "x = a_b * 2"),
        ("> quoted", "quoted"),
        ("a\n\n---\n\nb", "a\n\nb"),
        ("2 * 3 * 4 and snake_case_name", "2 * 3 * 4 and snake_case_name"),
        (r"\*not bold\*", "*not bold*"),
        ("<https://a.example>", "https://a.example"),
        ("- 5 degrees", "- 5 degrees"),
    ],
)
def test_markdown_becomes_plain_text(markdown: str, text: str) -> None:
    """Telephones show stars and brackets as they are: what they meant stays, they go."""
    assert plain(markdown) == text


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("It’s “fine” – really…", "It's \"fine\" - really..."),
        ("21\u202f°C", "21 C"), ("a 30° turn", "a 30 deg turn"), ("☀️ Sunny 😀!", "Sunny !"),
        ("Привет 😀 “мир”", "Привет 😀 \"мир\""), ("€5 ≤ 6", "€5 <= 6"), ("a\tb\u200bc", "a bc"),
    ],
)  # fmt: skip
def test_typography_becomes_cheap_letters(text: str, made: str) -> None:
    """One curly quote would triple the price; letters of another script are kept as they are."""
    assert economical(text) == made


@pytest.mark.parametrize("word", ["STOP", "stopall", " Stop ", "END", "cancel", "QUIT", "OPTOUT"])
def test_words_that_end_messages(word: str) -> None:
    """Alone in a text, in any case, they are no questions."""
    assert keyword(word) == "stop"
    assert keyword(f"{word} the music") is None


def test_words_that_begin_them_again() -> None:
    """YES is one only from somebody who has stopped."""
    assert keyword("Start") == keyword("unstop") == "start"
    assert keyword("yes") is None and keyword("YES", opted_out=True) == "start"
    assert keyword("help") == keyword("INFO") == "help"
    assert keyword("no thanks", "STOP") == "stop" and keyword("", "") is None


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("OK 7F3K", Decision(True, "7F3K")), ("ok 7f3k", Decision(True, "7F3K")),
        (" Ok: 7F3K. ", Decision(True, "7F3K")), ("NO-7F3K", Decision(False, "7F3K")),
        ("\"OK 7F3K\"", Decision(True, "7F3K")), ("YES 7F3K", None), ("OK", None), ("7F3K", None),
        ("OK 7F3", None), ("OK 7F3KX", None), ("OK 7F3K and then some", None), ("OK IOU1", None),
        ("no way", None), ("not ok 7F3K", None),
    ],
)  # fmt: skip
def test_only_the_code_word_decides(body: str, found: Decision | None) -> None:
    """OK or NO with exactly the code; neither YES nor END, which carriers take for themselves."""
    assert decision(body) == found


@given(st.binary(min_size=20, max_size=20))
def test_every_code_can_be_answered(digest: bytes) -> None:
    """What is shown is what is read back, without letters that look alike."""
    code = code_of(digest.hex())
    assert decision(f"no {code.lower()}") == Decision(False, code)
    assert not set(code) & set("01IOUL")


def test_the_question_shows_what_exactly_is_asked() -> None:
    """Names and values, shortened, and how to answer."""
    told = asking("Send a letter", {"recipient": "Ada", "full_text": "x" * 200, "cc": None}, "7F3K")
    assert told.startswith("May I do this? Send a letter (recipient: Ada; full text: xxx")
    assert told.endswith("...). Reply OK 7F3K to allow, NO 7F3K to refuse.")
    assert "cc" not in told


@pytest.mark.parametrize("letter", ["x", "ж", "😀"])
@pytest.mark.parametrize("count", [1, 6, 40])
def test_the_code_is_never_cut_off(letter: str, count: int) -> None:
    """However much is written, in whatever letters: one message with the code, or none."""
    names = ["body", "message", "text", "content", "notes", "description"]
    told = asking("Do it", dict.fromkeys(names[:count], letter * 500), "7F3K")
    assert told or count > 1
    assert told_segments(told) <= MAX_SEGMENTS
    assert not told or told.endswith("Reply OK 7F3K to allow, NO 7F3K to refuse.")


def test_whom_it_reaches_is_never_cut_off() -> None:
    """A recipient at the end of a long list is shown, or the action is not to be had by text."""
    people = [f"friend{n}@example.com" for n in range(3)]
    told = asking("Send a mail", {"recipients": [*people, "eve@evil.example"], "body": "x"}, "7F3K")
    assert "friend0@example.com, " in told and "eve@evil.example" in told
    crowd = [f"friend{n}@example.com" for n in range(40)]
    assert asking("Send a mail", {"recipients": [*crowd, "eve@evil.example"]}, "7F3K") == ""
    assert asking("x" * 600, {}, "7F3K") == ""
