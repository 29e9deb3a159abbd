"""What a caller has heard, by marks and by time; and when silence is long enough."""

from __future__ import annotations

import random

import pytest

from common.telephony.clock import Cut, Patience, Playback


def test_what_was_heard_is_bounded_by_the_marks_that_came_back() -> None:
    """Between two marks time passes; past a mark that has not come back it does not."""
    playback = Playback(marked=True)
    playback.sent("a", 200, 10.0)
    first = playback.mark()
    playback.sent("a", 200, 10.0)
    second = playback.mark()
    assert playback.heard_ms("a", 10.1) == pytest.approx(100)
    assert playback.heard_ms("a", 10.9) == 200  # the network is slow: nobody knows of more
    assert playback.returned(first, 10.95)
    assert playback.heard_ms("a", 11.0) == pytest.approx(250)
    assert not playback.done(12.0)
    assert playback.returned(second, 12.0)
    assert playback.heard_ms("a", 12.0) == 400 and playback.done(12.0)


def test_an_interruption_cuts_at_the_heard_millisecond() -> None:
    """Of two answers in line, the first is cut where it was, the second was not heard at all."""
    playback = Playback(marked=True)
    for item in ("a", "b"):
        playback.sent(item, 1000, 0.0)
        playback.mark()
    assert playback.clear(0.25) == [Cut("a", 250, 1000), Cut("b", 0, 1000)]
    assert playback.done(0.25) and playback.heard_ms("a", 9.0) == 0


def test_marks_that_come_back_because_of_a_clear_say_nothing() -> None:
    """After `clear` all marks return at once; none of them means that anything was heard."""
    playback = Playback(marked=True)
    playback.sent("a", 5000, 0.0)
    stale = playback.mark()
    playback.clear(1.0)
    playback.sent("b", 400, 1.1)
    fresh = playback.mark()
    assert not playback.returned(stale, 1.15)
    assert playback.heard_ms("b", 1.15) == pytest.approx(50)
    assert not playback.returned("made up", 1.2)
    assert playback.returned(fresh, 1.6) and playback.done(1.6)


def test_a_heard_answer_is_not_cut() -> None:
    """What was heard to its end is left alone by an interruption of what comes after."""
    playback = Playback(marked=True)
    playback.sent("a", 100, 0.0)
    playback.returned(playback.mark(), 0.1)
    playback.sent("b", 1000, 5.0)
    playback.mark()
    assert playback.clear(5.5) == [Cut("b", 500, 1000)]


def test_a_pause_between_two_answers_is_not_heard() -> None:
    """Sound sent after a silence starts when it is sent, not when the last one ended."""
    playback = Playback(marked=False)
    playback.sent("a", 100, 0.0)
    assert playback.done(0.2)
    playback.sent("b", 1000, 10.0)
    assert playback.heard_ms("b", 10.3) == pytest.approx(300)
    assert playback.unheard_ms(10.3) == pytest.approx(700)


def test_our_own_sounds_take_time_and_belong_to_no_answer() -> None:
    """Typing delays the answer behind it, and is never cut out of one."""
    playback = Playback(marked=False)
    playback.sent("", 200, 0.0)
    playback.sent("a", 200, 0.0)
    assert playback.heard_ms("a", 0.3) == pytest.approx(100)
    assert playback.clear(0.3) == [Cut("a", 100, 200)]


def test_heard_time_never_runs_backwards_nor_ahead_of_what_was_sent() -> None:
    """Whatever order things happen in, no answer is heard twice or beyond its end."""
    for seed in range(40):
        chance, playback, now = random.Random(seed), Playback(marked=True), 0.0
        marks: list[str] = []
        sent = heard = 0.0
        for _ in range(60):
            now += chance.random() * 0.1
            if chance.random() < 0.5:
                size = chance.randrange(20, 200, 20)
                playback.sent("a", size, now)
                sent += size
                marks.append(playback.mark())
            elif marks:
                playback.returned(marks.pop(0), now)
            found = playback.heard_ms("a", now)
            assert heard - 1e-6 <= found <= sent + 1e-6
            heard = found


def test_a_silent_caller_is_asked_once_and_then_left() -> None:
    """Ten minutes of silence are one question and one goodbye."""
    patience = Patience(0.0, ask_after=15, leave_after=15, longest=3300)
    due = [found for second in range(600) if (found := patience.due(float(second)))]
    assert due[:2] == ["ask", "leave"] and set(due[1:]) == {"leave"}
    assert patience.due(14.0) is None


def test_a_caller_who_answers_is_waited_for_again() -> None:
    """Speaking after the question starts the patience anew; so does our own speaking."""
    patience = Patience(0.0, ask_after=15, leave_after=15, longest=3300)
    assert patience.due(15.0) == "ask"
    patience.caller_spoke(20.0)
    assert patience.due(34.0) is None
    patience.busy(34.0)
    assert patience.due(48.0) is None
    assert patience.due(49.0) == "ask"


def test_the_longest_time_is_told_once() -> None:
    """A call reaches its limit once, however busy it is."""
    patience = Patience(0.0, ask_after=15, leave_after=15, longest=100)
    patience.caller_spoke(99.0)
    assert [patience.due(t) for t in (99.0, 100.0, 101.0)] == [None, "limit", None]
