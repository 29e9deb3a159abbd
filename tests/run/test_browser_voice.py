"""Calls in a real browser: a microphone and a loudspeaker that are simulated, and nothing else."""

from __future__ import annotations

import re
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import jwt
import pytest
from playwright.sync_api import expect

from tests.browser import DESKTOP, PHONE
from tests.fakes import sound
from tests.fakes.openai_realtime import FakeRealtime, Speak
from tests.fakes.twilio import ACCOUNT
from tests.run.serving import Server

GREETING = Speak("Hello, this is ODAI.", ms=400)
LONG = Speak(" ".join(f"number {n}" for n in range(50)), ms=40_000)
BROWSER = {
    **ACCOUNT.environ,
    "TWILIO_API_KEY": "SK" + "b" * 32, "TWILIO_API_SECRET": "secret of a key, long enough to sign",
    "TWILIO_APP_SID": "AP" + "c" * 32,
}  # fmt: skip
RATE = 48_000
Start: TypeAlias = Callable[..., Server]
Open: TypeAlias = Callable[..., Any]
BOTH = pytest.mark.parametrize("where", [DESKTOP, PHONE], ids=["desktop", "phone"])

# What the page plays is looked at where it leaves the page: before the loudspeaker.
EAR = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    const ear = new AnalyserNode(this.context, { fftSize: 2048 });
    connect.call(this, ear);
    window.ear = () => {
      const heard = new Float32Array(ear.fftSize);
      ear.getFloatTimeDomainData(heard);
      const { currentTime: time, state } = this.context;
      return { time, state, peak: Math.max(...heard.map(Math.abs)) };
    };
  }
  return connect.call(this, to, ...rest);
};
"""

# Whether the meter of this speaker shows that somebody speaks.
LOUD = """(whose) => Number(document.querySelector(`.voice-meter[data-whose=${whose}] i`)
  ?.style.getPropertyValue("--level")) > 0.1"""

# The state of a call, as it is shown and as it is read out.
STATE = """(name) => {
  const of = (id) => document.querySelector(`[data-testid=${id}]`);
  return of("voice")?.dataset.state === name
    && of("voice-state").textContent.toLowerCase().includes(name);
}"""

# A short answer may be over between two questions from here: the page itself looks all the time.
DIARY = f"""
window.seen = {{}};
setInterval(() => {{
  const ear = window.ear?.();
  if (ear?.state === "running" && ear.peak > 0.05) seen.heard = true;
  if (({LOUD})("ODAI")) seen.metered = true;
  if (({STATE})("speaking")) seen.said = true;
}}, 20);
"""


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], Path]:
    """Return what makes a recording: `pause` ms of silence, then `speech` ms of a voice."""
    folder = tmp_path_factory.mktemp("heard")
    sound.voice(LONG.ms, sound.MODEL_PITCH, 24_000)  # made now, not while somebody waits for it

    def record(speech: int, pause: int) -> Path:
        heard = folder / f"{speech}-{pause}.wav"
        if heard.exists():
            return heard
        with wave.open(str(heard), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(bytes(2 * RATE * pause // 1000))
            file.writeframes(sound.pcm(sound.voice(speech, sound.CALLER_PITCH, RATE)))
        return heard

    return record


@pytest.fixture
def caller(open_page: Open, microphone: Callable[[int, int], Path]) -> Open:
    """Open a page whose microphone hears `speech` ms of a voice after `pause` ms, and again."""

    def begin(
        *flags: str,
        speech: int = 2000,
        pause: int = 0,
        permission: str = "",
        where: dict[str, Any] = DESKTOP,
    ) -> Any:
        page = open_page(
            f"--use-fake-ui-for-media-stream{permission}",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone(speech, pause)}",
            *flags,
            **where,
        )
        page.add_init_script(EAR + DIARY)
        # Nobody speaks into the greeting.
        page.add_init_script("localStorage.setItem('odai.voice.manner', 'push')")
        return page

    return begin


@pytest.fixture(scope="module")
def model() -> Iterator[FakeRealtime]:
    """Serve a voice model whose script the tests write; it fails where one was not used up."""
    with FakeRealtime(default=Speak("Yes?", ms=300)) as fake:
        yield fake


@pytest.fixture(scope="module")
def voiced(tmp_path_factory: pytest.TempPathFactory, model: FakeRealtime) -> Iterator[Server]:
    """Run a server with this voice model."""
    running = Server(tmp_path_factory.mktemp("voiced"), **settings(model))
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def telephoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server without a voice model whose users may telephone by browser."""
    running = Server(tmp_path_factory.mktemp("telephoned"), **BROWSER)
    yield running
    assert running.stop() == 0


def settings(model: FakeRealtime) -> dict[str, str]:
    """Return what a server with this voice model is told."""
    return {
        "ODAI_REALTIME_URL": model.url,
        "OPENAI_API_KEY": "key-of-a-test",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    }


def signed_in(page: Any, server: Server, name: str) -> None:
    """Sign in as a user of the test's own."""
    page.goto(f"{server.base}/#token={server.token(name)}")
    expect(part(page, "composer")).to_be_visible()


def part(page: Any, name: str) -> Any:
    """Return what has this test id."""
    return page.get_by_test_id(name)


def state(page: Any, name: str) -> None:
    """Wait for a state of the call, both as it is shown and as it is read out."""
    page.wait_for_function(STATE, arg=name)


def hush(page: Any) -> None:
    """Forget that the page has spoken."""
    page.evaluate("window.seen = {}")


def speaks(page: Any) -> None:
    """Wait until the page has spoken: it was heard, its meter rose, and it said so."""
    page.wait_for_function("() => seen.heard && seen.metered && seen.said")


def spoken_for(model: FakeRealtime, ms: int) -> None:
    """Wait until the model has heard `ms` more of the microphone."""
    heard = len(model.session.received("input_audio_buffer.append"))
    enough = heard + ms // 20
    model.wait(lambda: len(model.session.received("input_audio_buffer.append")) >= enough)


@BOTH
def test_a_person_holds_to_talk_and_hears_the_answer(
    voiced: Server, model: FakeRealtime, caller: Open, where: dict[str, Any]
) -> None:
    """Held, the button sends what is said; let go, the answer is heard, and stands in the chat."""
    answer = Speak("It is sunny in Oslo today.", ms=1500)
    model.add(GREETING, answer)
    model.hear("How is the weather in Oslo?")
    page = caller(where=where)
    signed_in(page, voiced, f"holder-{where['viewport']['width']}")
    part(page, "open-voice").click()
    speaks(page)
    expect(part(page, "message-assistant")).to_have_text("Hello, this is ODAI.")
    expect(part(page, "voice-manner")).to_be_checked()
    state(page, "ready")
    assert not model.session.received("input_audio_buffer.append")

    part(page, "voice").focus()
    page.keyboard.down("Space")
    state(page, "listening")
    expect(part(page, "voice-talk")).to_have_attribute("aria-pressed", "true")
    spoken_for(model, 600)
    page.wait_for_function(LOUD, arg="You")
    hush(page)
    page.keyboard.up("Space")
    speaks(page)
    expect(part(page, "message-user")).to_have_text("How is the weather in Oslo?")
    expect(part(page, "message-assistant").last).to_have_text("It is sunny in Oslo today.")
    state(page, "ready")

    box = part(page, "voice").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= where["viewport"]["width"]
    part(page, "voice-hang-up").click()
    expect(part(page, "voice")).to_have_count(0)
    expect(part(page, "open-voice")).to_be_focused()
    page.reload()
    expect(part(page, "message-user")).to_have_text("How is the weather in Oslo?")
    expect(part(page, "message-assistant").last).to_have_text("It is sunny in Oslo today.")
    assert page.complaints == []


@BOTH
def test_hands_free_somebody_speaks_over_the_answer(
    voiced: Server, model: FakeRealtime, caller: Open, where: dict[str, Any]
) -> None:
    """A voice interrupts what sounds: it stops, and the chat keeps what was heard of it."""
    model.add(GREETING, LONG)
    model.hear("Count.")
    page = caller(speech=1500, pause=3000, where=where)
    signed_in(page, voiced, f"counter-{where['viewport']['width']}")
    part(page, "open-voice").click()
    expect(part(page, "message-assistant")).to_have_text("Hello, this is ODAI.")
    state(page, "ready")
    part(page, "voice-manner").uncheck()
    state(page, "listening")
    model.wait(lambda: model.session.truncations, timeout=60)
    part(page, "voice-mute").click()
    state(page, "muted")
    page.wait_for_function("() => window.ear().peak === 0")
    cut = model.session.truncations[0]
    assert 0 < cut.audio_end_ms < LONG.ms
    expect(part(page, "message-user").first).to_have_text("Count.")
    counted = part(page, "message-assistant").filter(has_text=re.compile(r"^number 0"))
    expect(counted).to_be_visible()
    assert "number 49" not in counted.inner_text()
    part(page, "voice-hang-up").click()
    assert page.complaints == []


def test_an_answer_is_stopped_by_hand(voiced: Server, model: FakeRealtime, caller: Open) -> None:
    """Escape, and pressing to talk, silence the answer at once; muted, nothing is sent."""
    model.add(LONG, LONG)
    model.hear("Again.", "Stop.")
    page = caller()
    signed_in(page, voiced, "stopper")
    part(page, "open-voice").click()
    speaks(page)
    page.keyboard.press("Escape")
    state(page, "ready")
    page.wait_for_function("() => window.ear().peak === 0")
    model.wait(lambda: len(model.session.truncations) == 1)
    assert not model.session.received("input_audio_buffer.append")

    talk = part(page, "voice-talk")
    talk.click(delay=10)  # a tap stays down until the next
    expect(talk).to_contain_text("Tap to send")
    model.wait(lambda: model.session.told("input_audio_buffer.speech_started"))
    hush(page)
    talk.click(delay=10)
    speaks(page)
    talk.hover()
    page.mouse.down()
    state(page, "listening")
    model.wait(lambda: len(model.session.told("input_audio_buffer.speech_started")) == 2)
    model.wait(lambda: len(model.session.truncations) == 2)
    spoken_for(model, 600)
    page.wait_for_function("() => window.ear().peak === 0")
    page.mouse.up()
    expect(part(page, "message-assistant").last).to_have_text("Yes?")
    assert page.complaints == []


def test_who_has_no_microphone_is_told_what_to_do(
    voiced: Server, model: FakeRealtime, caller: Open
) -> None:
    """Blocked, missing, or on a page that may not have one: a sentence, and another try."""
    calls = len(model.sessions)
    page = caller(permission="=deny")
    signed_in(page, voiced, "silent")
    part(page, "open-voice").click()
    problem = part(page, "voice-problem")
    expect(problem).to_contain_text("The microphone is blocked for this page. Allow it")
    expect(part(page, "voice-again")).to_be_focused()
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject("
        "new DOMException('', 'NotFoundError')); }"
    )
    part(page, "voice-again").click()
    expect(problem).to_contain_text("No microphone was found. Connect one")
    page.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    part(page, "voice-again").click()
    expect(problem).to_contain_text("Open ODAI by https")
    part(page, "voice-close").click()
    expect(part(page, "voice")).to_have_count(0)
    expect(part(page, "chat-item")).to_have_count(0)
    assert page.complaints == []
    assert len(model.sessions) == calls


def test_without_a_voice_model_nobody_is_asked_for_a_microphone(start: Start, caller: Open) -> None:
    """The offline suite says what would have to be set."""
    page = caller()
    page.goto(start().sign_in_link)
    part(page, "open-voice").click()
    expect(part(page, "voice-problem")).to_contain_text("set OPENAI_API_KEY")
    assert page.evaluate("window.ear") is None
    assert page.complaints == []


def test_a_call_that_breaks_off_is_explained(start: Start, caller: Open) -> None:
    """The server going away ends the call with a sentence; what was said stays on screen."""
    with FakeRealtime(GREETING) as model:
        page = caller()
        server = start(**settings(model))
        page.goto(server.sign_in_link)
        part(page, "open-voice").click()
        expect(part(page, "message-assistant")).to_have_text("Hello, this is ODAI.")
        state(page, "ready")
        server.kill()
        expect(part(page, "voice-problem")).to_contain_text("Check your network, then call again")
        expect(part(page, "message-assistant")).to_have_text("Hello, this is ODAI.")


# A telephone network that answers. What it is given is kept, for the test to look at.
SWITCHBOARD = """
class Told {
  constructor() { this.heard = {}; }
  on(name, act) { (this.heard[name] ??= []).push(act); }
  emit(name, ...said) { for (const act of this.heard[name] ?? []) act(...said); }
}
class Device extends Told {
  constructor(token) { super(); window.phone = { token, muted: false, device: this }; }
  async connect({ params }) {
    return Object.assign(window.phone, { params, call: new Call() }).call;
  }
  destroy() { window.phone.destroyed = true; }
}
class Call extends Told { mute(on) { window.phone.muted = on; } }
window.Twilio = { Device };
"""


def test_a_browser_telephones(telephoned: Server, caller: Open) -> None:
    """With Twilio's keys the panel calls about this chat, mutes, hangs up, tells what failed."""
    page = caller()
    page.route("**/twilio.min.js", lambda route: route.fulfill(
        body=SWITCHBOARD, content_type="text/javascript"
    ))  # fmt: skip
    signed_in(page, telephoned, "caller")
    part(page, "open-voice").click()
    page.wait_for_function("() => window.phone?.call?.heard.disconnect")
    given = page.evaluate("({ token: phone.token, params: phone.params })")
    claims = jwt.decode(given["token"], BROWSER["TWILIO_API_SECRET"], algorithms=["HS256"])
    assert claims["grants"]["voice"]["outgoing"]["application_sid"] == BROWSER["TWILIO_APP_SID"]
    state(page, "connecting")
    page.evaluate("phone.call.emit('accept', phone.call)")
    state(page, "listening")
    assert page.url.endswith(f"#/chats/{given['params']['chat_id']}")
    part(page, "voice-mute").click()
    state(page, "muted")
    assert page.evaluate("phone.muted") is True
    part(page, "voice-hang-up").click()
    expect(part(page, "voice")).to_have_count(0)
    assert page.evaluate("phone.destroyed") is True

    part(page, "open-voice").click()
    page.wait_for_function("() => window.phone?.call?.heard.error && !phone.destroyed")
    page.evaluate("phone.call.emit('error', { code: 31401, message: 'AcquisitionFailed' })")
    expect(part(page, "voice-problem")).to_contain_text("The microphone is blocked for this page")
    assert page.complaints == []


def test_twilios_sdk_runs_under_the_pages_policy(telephoned: Server, caller: Open) -> None:
    """The SDK that is shipped loads, makes a device of our token, and says that nobody answers."""
    page = caller("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    signed_in(page, telephoned, "caller")
    refused: list[str] = []
    page.on("console", lambda said: "Content Security" in said.text and refused.append(said.text))
    part(page, "open-voice").click()
    page.wait_for_function("() => window.Twilio?.Device")
    assert page.evaluate("Twilio.Device.version") == "2.18.5"
    expect(part(page, "voice-problem")).to_contain_text("telephone network", timeout=90_000)
    assert refused == []
