"""`python -m run.local call-sim`: one phone call from end to end, to be heard and looked at.

Without `--to` it starts a suite of its own between the simulators of the tests (a voice model, the
telephone network with its texts), verifies a number, and plays a little scene: a greeting, a
question, a tool, an answer that the caller talks over, a goodbye. With `--to` it calls a suite that
runs already, with this environment's Twilio keys, and says what `--say` tells it to.

It writes call.wav (left: the caller, right: the assistant; buzzes, not words) and call.svg (who
spoke when, tools, interruptions), and prints what was said.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
import wave
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import aiohttp

from common.errors import Misconfigured
from common.settings import Settings
from run.local.ports import free_port

if TYPE_CHECKING:
    from tests.fakes.openai_realtime import Answer, Asked, Session
    from tests.fakes.twilio import Caller, FakeTwilio, Moment

_ROOT = Path(__file__).resolve().parents[2]
_PUBLIC = "https://odai.example.com"  # what the network believes to call
_NUMBER = "+14155550123"
_PATIENCE = 60.0
_QUESTION = "What is the weather in Oslo?"
_ENOUGH = "Thanks, that is all I wanted to know. Goodbye."


def call_sim(settings: Settings, arguments: argparse.Namespace) -> int:
    """Hold the call and write what it was like; 1 where it failed."""
    try:
        import tests.fakes.twilio  # noqa: F401  # a checkout has it, an image does not
    except ImportError as err:
        raise Misconfigured(
            "call-sim needs the simulators in this repository's tests folder. Run it there."
        ) from err
    story = asyncio.run(_elsewhere(settings, arguments) if arguments.to else _scene(arguments.say))
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "call.svg").write_text(picture(story))
    write_wav(folder / "call.wav", story.caller)
    print(summary(story))
    print(f"\nWrote {folder / 'call.wav'} and {folder / 'call.svg'}.")
    return 1 if story.caller.problems or story.caller.status != "completed" else 0


@dataclass(frozen=True)
class Story:
    """A call that is over. `session` is the voice model's side, where it was simulated."""

    caller: Caller
    session: Session | None = None


# --- the calls ------------------------------------------------------------------------------------


async def _elsewhere(settings: Settings, arguments: argparse.Namespace) -> Story:
    """Call a suite that runs already."""
    from tests.fakes.twilio import Account, Caller

    token, sid = settings.secret("TWILIO_AUTH_TOKEN"), settings.secret("TWILIO_ACCOUNT_SID")
    if not token or not sid:
        raise Misconfigured("call-sim --to needs TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN.")
    account = Account(sid, token, number=settings.secret("TWILIO_PHONE_NUMBER") or "+15005550006")
    caller = Caller(
        arguments.to,
        public=settings.public_url or arguments.to,
        account=account,
        number=arguments.number,
        tolerant=True,
    )
    async with caller:
        await caller.dial()
        with contextlib.suppress(AssertionError):  # they hung up first
            await caller.until(lambda: caller.streaming or caller.said, timeout=_PATIENCE)
            told = 0
            for words in arguments.say or (_QUESTION, _ENOUGH):
                await _quiet(caller, told=told)
                told = len(caller.said)
                _speak(caller, words)
            await caller.until(lambda: caller.over, timeout=10.0)
        await caller.hang_up()
    return Story(caller)


async def _quiet(caller: Caller, *, seconds: float = 1.5, told: int = 0) -> None:
    """Return once the assistant has spoken and been silent for a while.

    Where the telephone network speaks for it: once it has said more than `told` things.
    """
    if not caller.streaming:
        await caller.until(lambda: len(caller.said) > told, timeout=_PATIENCE)
        await asyncio.sleep(_length_ms(caller.said[-1]) / 1000)
        return
    heard = caller.heard_ms
    await caller.until(lambda: caller.heard_ms > heard or not caller.streaming, timeout=_PATIENCE)
    since = [time.monotonic()]

    def silent() -> bool:
        if caller.hearing:
            since[0] = time.monotonic()
        return time.monotonic() - since[0] > seconds or not caller.streaming

    await caller.until(silent, timeout=_PATIENCE)


def _speak(caller: Caller, words: str) -> None:
    if caller.streaming:
        caller.note("words", words)
        caller.say(_length_ms(words))
    else:
        caller.answer(words)


async def _scene(words: Sequence[str]) -> Story:
    """Call a suite of our own, between simulators."""
    from tests.fakes.openai_realtime import FakeRealtime
    from tests.fakes.twilio import ACCOUNT, Caller, FakeTwilio

    question, enough = (*words, _ENOUGH)[:2] if words else (_QUESTION, _ENOUGH)
    play = _Play(question)
    with FakeTwilio() as network, FakeRealtime(default=play, hears=[question, enough]) as model:
        environ = {**network.environ, "ODAI_REALTIME_URL": model.url}
        with suite(environ) as (url, log):
            await _verify(url, network)
            caller = Caller(
                url, public=_PUBLIC, account=ACCOUNT, number=_NUMBER, rest=network,
                status_url="/twilio/status", tolerant=True,
            )  # fmt: skip
            play.caller = caller
            async with caller:
                await caller.dial()
                try:
                    await _act(caller, question, enough)
                except AssertionError as err:
                    caller.problems.append(f"{err}\n{log.read_text()[-2000:]}")
                await caller.hang_up()
    return Story(caller, model.sessions[0] if model.sessions else None)


async def _act(caller: Caller, question: str, enough: str) -> None:
    """Be the caller of the scene."""
    await caller.until(lambda: caller.streaming, timeout=_PATIENCE)
    await _quiet(caller, seconds=0.6)
    _speak(caller, question)
    heard = caller.heard_ms
    await caller.until(lambda: caller.heard_ms - heard > 2500, timeout=_PATIENCE)
    _speak(caller, enough)
    await caller.until(lambda: caller.over, timeout=_PATIENCE)


class _Play:
    """The voice model of the scene: answers by what has happened so far."""

    def __init__(self, question: str) -> None:
        self.caller: Caller | None = None
        self._question = question
        self._stage = 0

    def __call__(self, asked: Asked) -> Answer:
        from tests.fakes.openai_realtime import Calls, Speak

        self._stage += 1
        if self._stage == 1:
            return Speak("Hello, this is ODAI. What can I do for you?", speed=4.0)
        last = asked.items[-1] if asked.items else {}
        if last.get("type") == "function_call_output":
            self._note("tool ends", _named(asked, last))
            if any(item.get("name") == "hangup_call" for item in asked.items):
                return Speak("Goodbye.", speed=4.0)
            return Speak(
                "In Oslo it is seven degrees with light rain, and it stays like that until the "
                "evening. Tomorrow looks much the same, with a little more wind from the west.",
                speed=4.0,
            )
        offered = [str(tool["name"]) for tool in asked.session.config["tools"]]
        if self._stage == 2:
            name, given = _tool(offered, self._question)
        elif "hangup_call" in offered:
            name, given = "hangup_call", {}
        else:
            return Speak("Goodbye.", speed=4.0)
        self._note("tool", name)
        if name == "hangup_call":
            return [Speak("You are welcome. Goodbye!", speed=4.0), Calls([(name, given)])]
        return Calls([(name, given)])

    def _note(self, what: str, detail: str) -> None:
        if self.caller:
            self.caller.note(what, detail)


def _tool(offered: Sequence[str], question: str) -> tuple[str, dict[str, Any]]:
    """Return a tool call that needs no key, from what is offered."""
    if "find_connector" in offered:
        return "find_connector", {"query": question}
    return offered[0], {}


def _named(asked: Asked, output: Mapping[str, Any]) -> str:
    calls = {i["call_id"]: i["name"] for i in asked.items if i["type"] == "function_call"}
    return str(calls.get(output["call_id"], ""))


@contextlib.contextmanager
def suite(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Run a suite on a port of its own; yields its address and its log."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="odai-call-") as folder:
        log = Path(folder, "log")
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "run.local", "serve"],
                cwd=_ROOT, stdout=output, stderr=subprocess.STDOUT,
                env={
                    **os.environ, "ODAI_DATA": f"{folder}/data", "PORT": str(port),
                    "ODAI_PUBLIC_URL": _PUBLIC,
                    # Nobody listens there: only the voice model is asked anything.
                    "OPENAI_API_KEY": "simulated", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
                    "ODAI_BACKEND": "embedded", "ODAI_ENV": "development", **environ,
                },
            )  # fmt: skip
        try:
            _await(port, process, log)
            yield f"http://127.0.0.1:{port}", log
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with (
            contextlib.suppress(OSError),
            # The port is open before the application is loaded: a whole answer shows that it is.
            urlopen(f"http://127.0.0.1:{port}/healthz", timeout=_PATIENCE),
        ):
            return
        time.sleep(0.1)
    raise Misconfigured(f"The suite did not start: {log.read_text()[-1000:]}")


async def _verify(url: str, network: FakeTwilio) -> None:
    """Sign somebody in, and prove that the number is theirs, as a person would."""
    async with aiohttp.ClientSession(base_url=url) as http:

        async def post(path: str, token: str = "", **body: Any) -> Any:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with http.post(path, json=body, headers=headers) as answer:
                if answer.status >= 400:
                    raise Misconfigured(f"{path} answered {answer.status}: {await answer.text()}")
                return await answer.json() if answer.content_length else {}

        token = (await post("/client/sign_in", name="Caller"))["token"]
        async with http.get("/account", headers={"Authorization": f"Bearer {token}"}) as state:
            version = (await state.json())["terms"]["version"]
        await post("/account/terms", token, version=version)
        await post("/account/phone", token, number=_NUMBER)
        code = re.search(r"\d{6}", network.texts(_NUMBER)[-1])
        await post("/account/phone/verify", token, code=code[0] if code else "")


# --- what it was like -----------------------------------------------------------------------------


def write_wav(path: Path, caller: Caller) -> None:
    """Write both sides beside one another, 8 kHz: left the caller, right the assistant."""
    from tests.fakes import sound

    if caller.spoken:
        left, right = sound.linear(bytes(caller.spoken)), sound.linear(bytes(caller.heard))
    else:  # the telephone network spoke for both
        left = _buzzes(caller.timeline, "answers", sound.CALLER_PITCH)
        right = _buzzes(caller.timeline, "says", sound.MODEL_PITCH)
    both = array("h", bytes(2 * (len(left) + len(right))))
    both[0::2], both[1::2] = left, right
    with wave.open(str(path), "wb") as output:
        output.setnchannels(2)
        output.setsampwidth(2)
        output.setframerate(sound.RATE)
        output.writeframes(sound.pcm(both))


def _buzzes(timeline: Sequence[Moment], what: str, pitch: float) -> array[int]:
    from tests.fakes import sound

    track = array("h", bytes(2 * 8 * timeline[-1].ms))
    for span in _read_out(timeline, what):
        samples = sound.voice(span.end - span.start, pitch)
        track[8 * span.start : 8 * span.start + len(samples)] = samples
    return track


def _length_ms(text: str) -> int:
    """Return how long a text takes to say."""
    from tests.fakes.sound import spoken_ms

    return spoken_ms(text)


@dataclass(frozen=True)
class Span:
    """From when until when something went on, in milliseconds of the call."""

    start: int
    end: int
    text: str = ""


def spans(timeline: Sequence[Moment], begins: str, ends: str) -> list[Span]:
    """Pair the moments at which something began and ended; what never ended ends with the call."""
    found, start, text = [], None, ""
    for moment in timeline:
        if moment.what == begins and start is None:
            start, text = moment.ms, moment.detail
        elif moment.what in (ends, "stream ends", "ends") and start is not None:
            found.append(Span(start, moment.ms, text))
            start = None
    return found


def summary(story: Story) -> str:
    """Return the call in words."""
    caller, timeline = story.caller, story.caller.timeline
    talks = spans(timeline, "speaks", "is silent")
    hears = spans(timeline, "hears", "hears nothing")
    lines = [
        f"Call {caller.status}, ended by the {caller.closed_by or 'application'}, "
        f"{timeline[-1].ms / 1000:.1f} s.",
        f"The caller spoke {_seconds(talks)} s, heard {_seconds(hears)} s.",
    ]
    if story.session:
        lines += _told(story.session)
    lines += [f"  {m.ms / 1000:6.2f} s  {m.what}  {m.detail}".rstrip() for m in timeline]
    return "\n".join([*lines, *(f"Problem: {problem}" for problem in caller.problems)])


def _told(session: Session) -> list[str]:
    """Return what the voice model's side saw: answers, tools, what was cut off."""
    answers = [e["response"]["status"] for e in session.told("response.done")]
    calls = [
        part["name"]
        for event in session.told("response.done")
        for part in event["response"]["output"]
        if part["type"] == "function_call"
    ]
    return [
        f"The model gave {len(answers)} answers ({', '.join(answers)}), called: "
        f"{', '.join(calls) or 'nothing'}.",
        *(
            f"Interrupted: {cut.audio_end_ms} ms heard of {cut.generated_ms} ms said."
            for cut in session.truncations
        ),
    ]


def _seconds(parts: Sequence[Span]) -> str:
    return f"{sum(part.end - part.start for part in parts) / 1000:.1f}"


_LANES = (("caller", 60, "#2e7d5b"), ("assistant", 120, "#2f5fa8"), ("tools", 180, "#c07a1a"))
_SCALE = 0.09  # pixels in a millisecond
_LEFT = 110
_BELOW = ("presses", "ends")  # what is noted under the lanes


def picture(story: Story) -> str:
    """Return the call as an SVG: lanes of who spoke and what ran, lines where somebody cut in."""
    timeline = story.caller.timeline
    length = timeline[-1].ms if timeline else 0
    width = int(_LEFT + length * _SCALE + 120)
    lanes = {
        "caller": [
            *_worded(spans(timeline, "speaks", "is silent"), _details(timeline, "words")),
            *_read_out(timeline, "answers"),
        ],
        "assistant": [
            *_worded(spans(timeline, "hears", "hears nothing"), _answers(story.session)),
            *_read_out(timeline, "says"),
        ],
        "tools": spans(timeline, "tool", "tool ends"),
    }
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="260" '
        f'viewBox="0 0 {width} 260" font-family="sans-serif" font-size="12">',
        f"<title>A call of {length / 1000:.1f} seconds</title>",
        f'<rect width="{width}" height="260" fill="#ffffff"/>',
    ]
    for second in range(0, length // 1000 + 1):
        x = _x(second * 1000)
        drawn.append(f'<line x1="{x}" y1="40" x2="{x}" y2="215" stroke="#e4e4e4"/>')
        drawn.append(f'<text x="{x}" y="32" text-anchor="middle" fill="#555555">{second} s</text>')
    for name, y, color in _LANES:
        drawn.append(f'<text x="12" y="{y + 20}" fill="#222222">{name}</text>')
        drawn += [_bar(span, y, color) for span in lanes[name]]
    for moment in timeline:
        x = _x(moment.ms)
        if moment.what == "clear" and moment.detail != "0 ms dropped":
            drawn.append(
                f'<line x1="{x}" y1="45" x2="{x}" y2="160" stroke="#b3261e" stroke-width="2" '
                f'stroke-dasharray="5 3"/><text x="{x + 4}" y="172" fill="#b3261e">cut in: '
                f"{escape(moment.detail)}</text>"
            )
        elif moment.what in _BELOW:
            text = escape(f"{moment.what} {moment.detail}".strip())
            drawn.append(
                f'<circle cx="{x}" cy="228" r="3" fill="#222222"/>'
                f'<text x="{x + 5}" y="245" fill="#222222">{text}</text>'
            )
    return "\n".join([*drawn, "</svg>", ""])


def _details(timeline: Sequence[Moment], what: str) -> list[str]:
    return [moment.detail for moment in timeline if moment.what == what]


def _answers(session: Session | None) -> list[str]:
    """Return what the voice model said, answer by answer."""
    told = session.told("response.output_audio_transcript.done") if session else []
    return [str(event["transcript"]) for event in told]


def _read_out(timeline: Sequence[Moment], what: str) -> list[Span]:
    """Return when the telephone network read texts out, or heard them."""
    found = []
    for number, moment in enumerate(timeline):
        if moment.what == what:
            later = [m.ms for m in timeline[number + 1 :] if m.what in ("answers", "says", "ends")]
            end = moment.ms + _length_ms(moment.detail)
            found.append(Span(moment.ms, min([end, *later[:1]]), moment.detail))
    return found


def _worded(talks: Sequence[Span], words: Sequence[str]) -> list[Span]:
    """Return stretches of speech with their words, where these belong to them one to one."""
    if len(talks) != len(words):
        return list(talks)
    return [Span(talk.start, talk.end, said) for talk, said in zip(talks, words, strict=True)]


def _bar(span: Span, y: int, color: str) -> str:
    x, width = _x(span.start), max(2.0, round((span.end - span.start) * _SCALE, 1))
    label = escape(span.text)
    room = int(width / 6.5)
    shown = escape(span.text if len(span.text) <= room else f"{span.text[: max(0, room - 1)]}…")
    return (
        f'<g><title>{label}</title><rect x="{x}" y="{y}" width="{width}" height="30" rx="4" '
        f'fill="{color}"/>'
        + (f'<text x="{x + 4}" y="{y + 19}" fill="#ffffff">{shown}</text>' if room > 3 else "")
        + "</g>"
    )


def _x(ms: int) -> float:
    return round(_LEFT + ms * _SCALE, 1)
