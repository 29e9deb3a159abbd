"""The telephone's end in the container: texts answered, and calls without a voice model.

    POST /twilio/texts    from our own queue: run a text's turn, send its answer, once
    POST /twilio/heard    from Twilio, signed: what a caller said (`<Gather>`), answered by `<Say>`

The second serves calls where no Realtime model is configured: Twilio turns speech into text and
back, and the ordinary turn loop answers, with any text model or the offline planner. Twilio waits
15 s for an answer, a turn may take longer: it then asks again until the turn has ended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flask import Flask, Response, request

from common.assistant.approvals import LIFETIME
from common.assistant.calls import Call, check_sid
from common.assistant.manner import Manner
from common.assistant.protocol import Prompt
from common.assistant.texts import GIVE_UP, TEXTS_PATH, Claim, Errand, Line, is_text_chat
from common.assistant.twilio_api import OPTED_OUT, Refused
from common.errors import (
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    OdaiError,
    RateLimited,
    VendorUnavailable,
)
from common.log import get_logger
from common.store import Create
from common.telephony import twiml
from common.telephony.callers import spoken_pin
from common.telephony.messages import (
    PROSE,
    Decision,
    asking,
    code_of,
    decision,
    economical,
    plain,
    split,
)
from common.web.edge import json_body, text_field
from common.web.endpoint import acknowledge, check_platform
from common.web.twilio_requests import answered, form_of

if TYPE_CHECKING:
    from common.assistant.answering import Answer, Asked
    from common.bootstrap import Services

log = get_logger(__name__)

HEARD_PATH = "/twilio/heard"
_TURN_S = 45.0  # how long an attempt waits for a turn; the next one goes on waiting
_SPOKEN_S = 8.0  # how long a caller hears nothing: Twilio itself gives up after 15
_MOST_WAITS = 15
_MOST_SILENCES = 2
_CODES_AN_HOUR = 20
_MONEY = "Money moves only with your OK in the app: {link}"
_MEMBERS_ONLY = "That is for members. Sign up in the app and add your number there."
_NO_CODE = "I have no open question with that code. Open the app to see what waits: {link}"
_TOO_MANY = "Too many codes that fit nothing. Please decide in the app: {link}"
_NOTHING = "I have no answer to that. Try again in other words."
_TOO_LONG = "That takes longer than I can wait here. Look in the app: {link}"
_BYE = re.compile(
    r"\W*(ok(ay)?\W+)?(thank(s| you)\W+(that'?s all|bye|goodbye)|that'?s all( thanks| thank you)?|"
    r"(good)?bye( bye)?|hang up|end (the|this) call|stop)\W*",
    re.IGNORECASE,
)
_TEXT_ME = re.compile(
    r"\W*((please|can you|could you)\W+)*(text|sms|message|send) (me )?(that|this|it)( answer)?"
    r"( to me| to my phone| by (text|sms))?( please)?\W*",
    re.IGNORECASE,
)


def install(app: Flask, services: Services) -> None:
    """Give `app` the telephone's routes."""
    texting = Texting(services)
    calling = Calling(services, texting)

    @app.post(TEXTS_PATH)
    def run_text() -> Response:
        """Bring one text to its end; 2xx ends the task, 429 and 503 repeat it."""
        check_platform(request, services)
        errand_id = text_field(json_body(), "id", longest=64)
        status, after = services.loop.run(texting.work(errand_id), timeout=_TURN_S + 60.0)
        return acknowledge(status, after)

    @app.post(HEARD_PATH)
    def heard() -> Response:
        """Answer what a caller said or keyed."""
        form = form_of(request, services)
        sid = check_sid(form.get("CallSid", ""))
        said = calling.hear(sid, form, request.args)
        return answered(*services.loop.run(said, timeout=14.0))


async def tell_follow_up(services: Services, body: Mapping[str, object]) -> None:
    """Have a follow-up's turn told by text, where its chat is one by text."""
    from common.assistant.room import APPROVAL, JOB  # with it come the model libraries

    uid, after = str(body.get("uid", "")), str(body.get("after", ""))
    suffix = f":{after}" if after else ""
    try:
        if job_id := str(body.get("job_id", "")):
            finished = await services.jobs.finished(job_id)
            uid, chat_id, prompt_id = finished.uid, finished.chat_id, f"{JOB}{job_id}{suffix}"
        else:
            approval_id = str(body.get("approval_id", ""))
            chat_id = (await services.approvals.get(approval_id, uid)).chat_id
            prompt_id = f"{APPROVAL}{approval_id}{suffix}"
    except (NotFound, NotAllowed, Conflict):
        return  # gone meanwhile: nobody waits for it
    if is_text_chat(chat_id) and (line := await services.texts.line_of(uid, chat_id)):
        await services.texts.expect(uid, chat_id, prompt_id, line)


class Texting:
    """Answers texts."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def work(self, errand_id: str) -> tuple[int, float | None]:
        """Do what is left of an errand; return what to tell the queue, and when to come back."""
        texts = self._services.texts
        errand = await texts.get(errand_id)
        if errand is None or errand.over:
            return 200, None
        try:
            if errand.state == "received":
                parts = await self._composed(errand)
                if parts is None:
                    return 503, 1.0
                await texts.compose(errand, parts)
                errand = await texts.get(errand_id) or errand
            return await self._send(errand)
        except Conflict:
            return 503, 5.0  # another delivery of this task is at it
        except RateLimited as err:
            return 429, err.retry_after
        except VendorUnavailable:
            return 503, None
        except OdaiError as err:  # the chat or the user is gone: trying again changes nothing
            log.warning("text given up", extra={"code": err.code})
            await texts.close(errand, "refused")
            return 200, None

    # --- what is said -----------------------------------------------------------------------

    async def _composed(self, errand: Errand) -> list[str] | None:
        """Return the texts that answer; None where the turn goes on."""
        decided = decision(errand.body) if not errand.guest else None
        if decided:
            return await self._decided(errand, decided)
        answering = self._services.answering
        if errand.body:
            # The text came from this number, and the answer goes there: forging the sender of a
            # text shows nothing to whoever forges it, and acts need the code that is sent there.
            manner = Manner("text", proven=not errand.guest, guest=errand.guest)
            answer = await answering.ask(
                errand.uid, errand.chat_id, Prompt(errand.body, errand.prompt_id),
                patience=_TURN_S, manner=manner,
            )  # fmt: skip
        else:
            answer = await answering.answer_to(
                errand.uid, errand.chat_id, errand.prompt_id, patience=_TURN_S
            )
        if answer is None:
            late = self._services.clock() - errand.created_at > GIVE_UP
            return [_TOO_LONG.format(link=self._link(errand.chat_id))] if late else None
        return await self._worded(answer, errand)

    async def _worded(self, answer: Answer, errand: Errand) -> list[str]:
        link = self._link(errand.chat_id)
        said = "\n\n".join(part for part in (plain(answer.text), answer.error) if part)
        if not said and not answer.asked:
            said = _NOTHING
        parts = split(economical(said), f"More: {link}") if said else []
        for asked in answer.asked:
            question = (
                _MEMBERS_ONLY
                if errand.guest
                else await self.question(asked, errand.uid, errand.chat_id)
            )
            parts += split(economical(question), link, most=1)
        return parts

    async def question(self, asked: Asked, uid: str, chat_id: str) -> str:
        """Return the text that asks for a decision: by code word, or in the app."""
        link = self._link(chat_id)
        if asked.risk == "money":
            return f"{asked.title}. {_MONEY.format(link=link)}"
        code = await self._code(asked, uid, chat_id)
        if not code:
            return f"{asked.title}. Decide in the app: {link}"
        told = asking(asked.title, asked.arguments, code)
        return told or f"{asked.title}. That is too much for a text: decide in the app: {link}"

    async def _code(self, asked: Asked, uid: str, chat_id: str) -> str:
        """Return the code word for an approval, the same each time; "" where another has it."""
        services = self._services
        code = code_of(await services.blind.of("approval code", asked.approval_id))
        path = await self._code_path(uid, code)
        data = {
            "uid": uid, "approval_id": asked.approval_id, "chat_id": chat_id,
            "expires_at": services.clock() + LIFETIME,
        }  # fmt: skip
        try:
            await services.store.commit(Create(path, data))
        except Conflict:
            found = await services.store.get(path)
            if found is None or found.data["approval_id"] != asked.approval_id:
                return ""
        return code

    async def _decided(self, errand: Errand, decided: Decision) -> list[str]:
        """Take a decision by code word; what it leads to is told by an errand of its own."""
        services, link = self._services, self._link(errand.chat_id)
        found = await services.store.get(await self._code_path(errand.uid, decided.code))
        if found is None or found.data["expires_at"] < services.clock():
            try:
                await services.limits.spend(
                    "wrong code", errand.uid, most=_CODES_AN_HOUR, seconds=3600.0
                )
            except RateLimited:
                return [_TOO_MANY.format(link=link)]
            return [_NO_CODE.format(link=link)]
        approval_id, chat_id = found.data["approval_id"], found.data["chat_id"]
        try:
            await services.answering.decide(
                errand.uid, chat_id, approval_id, approve=decided.approve, patience=0.0
            )
        except Conflict:
            # Decided before: by an earlier delivery of this text, or somewhere else.
            log.info("approval was decided before", extra={"approval_id": approval_id})
        except NotFound:
            return [_NO_CODE.format(link=link)]
        await services.texts.expect(errand.uid, chat_id, _decided_id(approval_id), errand.line)
        return []

    async def _code_path(self, uid: str, code: str) -> str:
        return f"approval_codes/{await self._services.blind.of('approval code of', uid + code)}"

    def _link(self, chat_id: str) -> str:
        return f"{self._services.settings.base_url}/#/chats/{chat_id}"

    # --- sending ----------------------------------------------------------------------------

    async def _send(self, errand: Errand) -> tuple[int, float | None]:
        texts, book = self._services.texts, self._services.phone_book
        if not errand.over and await book.opted_out(errand.line.theirs):
            await texts.close(errand, "refused")
            return 200, None
        while claim := await texts.claim(errand):
            if claim.doubtful and self._services.clock() - claim.since > GIVE_UP:
                log.error("text of unknown fate", extra={"errand": errand.id})
                await texts.close(errand, "unknown")
                break
            if not await self._part(errand, claim):
                break
        return 200, None

    async def _part(self, errand: Errand, claim: Claim) -> bool:
        """Send one part, once; False where nothing more of the errand can be sent."""
        services, line, text = self._services, errand.line, errand.parts[claim.index]
        if claim.doubtful and await services.twilio.was_sent(
            theirs=line.theirs, ours=line.ours, text=text, since=claim.since
        ):
            await services.texts.sent(errand, claim.index)
            return True
        try:
            await services.twilio.send(
                theirs=line.theirs, ours=line.ours, text=text, callback=self._callback()
            )
        except RateLimited:
            await services.texts.release(errand)
            raise
        except VendorUnavailable:
            raise  # nobody knows: the claim stays, and the next attempt asks Twilio
        except OdaiError as err:
            await self._refused(errand, err)
            return False
        await services.texts.sent(errand, claim.index)
        return True

    async def _refused(self, errand: Errand, err: OdaiError) -> None:
        reason = err.reason if isinstance(err, Refused) else 0
        log.warning("text refused", extra={"code": err.code, "reason": reason})
        if reason == OPTED_OUT:
            await self._services.phone_book.opt_out(errand.line.theirs)
        await self._services.texts.close(errand, "refused")

    def _callback(self) -> str:
        base = self._services.settings.base_url
        return f"{base}/twilio/sms/status" if base.startswith("https://") else ""


class Calling:
    """Answers callers by `<Gather>` and `<Say>`."""

    def __init__(self, services: Services, texting: Texting) -> None:
        self._services = services
        self._texting = texting

    async def hear(self, sid: str, form: Mapping[str, str], query: Mapping[str, str]) -> list[str]:
        """Return what is said next. Safe to repeat: the same question is one turn."""
        call = await self._services.calls.get(sid)
        if call is None or call.over:
            return [twiml.hang_up()]
        number, waited, silent = (_count(query.get(name, "0")) for name in ("n", "w", "s"))
        speech, digits = form.get("SpeechResult", "").strip(), form.get("Digits", "").strip()
        try:
            if waited:
                decided, services = bool(query.get("a")), self._services
                prompt_id = _decided_id(call.asked) if decided else _prompt_id(sid, number)
                answer = await services.answering.answer_to(
                    call.uid, call.chat_id, prompt_id, patience=_SPOKEN_S
                )
                return await self._told(call, answer, number, waited, decided)
            if not speech and not digits:
                return await self._silence(call, number, silent)
            return await self._answered(call, speech, digits, number)
        except VendorUnavailable as err:
            log.warning("caller not answered", extra={"code": err.code})
            return self._listen(number + 1, "Something is not working right now. Ask me again.")
        except OdaiError as err:
            return self._listen(number + 1, str(err))

    async def _answered(self, call: Call, speech: str, digits: str, number: int) -> list[str]:
        services = self._services
        if call.asked and digits in ("1", "2"):
            answer = await services.answering.decide(
                call.uid, call.chat_id, call.asked, approve=digits == "1", patience=_SPOKEN_S
            )
            return await self._told(call, answer, number, 0, True)
        if call.asked and digits == "3":
            return self._listen(number + 1, await self._ask_by_text(call))
        if not (call.proven or call.guest) and (pin := spoken_pin(speech, digits)):
            return await self._proven(call, pin, number)
        if _BYE.fullmatch(speech):
            return await self._goodbye(call, "Goodbye.")
        if _TEXT_ME.fullmatch(speech):
            return self._listen(number + 1, await self._text_last(call, number))
        if not speech:
            return self._listen(number + 1, "Please say that in words.")
        answer = await services.answering.ask(
            call.uid, call.chat_id, Prompt(speech, _prompt_id(call.sid, number)),
            patience=_SPOKEN_S, manner=Manner("voice", proven=call.proven, guest=call.guest),
        )  # fmt: skip
        return await self._told(call, answer, number, 0, False)

    async def _proven(self, call: Call, pin: str, number: int) -> list[str]:
        """Check a PIN; it is said to nobody and kept nowhere, least of all in the chat."""
        try:
            right = await self._services.pins.check(call.uid, pin)
        except NotFound:
            return self._listen(number + 1, "You have no PIN yet. Set one in the app.")
        if not right:
            return self._listen(number + 1, "That is not your PIN. Try again, or ask something.")
        await self._services.calls.note(call.sid, proven=True)
        return self._listen(number + 1, "Thank you. Your own accounts are open now.")

    async def _told(
        self, call: Call, answer: Answer | None, number: int, waited: int, decided: bool
    ) -> list[str]:
        """Return an answer as speech, or a moment's wait for one that is not there yet."""
        if answer is None and waited >= _MOST_WAITS:
            return self._listen(number + 1, "That takes too long. You find the answer in the app.")
        if answer is None:
            again = self._url(n=number, w=waited + 1, a=int(decided))
            filler = [twiml.say("One moment, please.")] if waited in (0, 3, 8) else []
            return [*filler, twiml.pause(1), twiml.redirect(again)]
        said = " ".join(economical(plain(answer.text)).split())
        said = said or answer.error or ("" if answer.asked else "Done.")
        if answer.hang_up:
            return await self._goodbye(call, said)
        if not answer.asked:
            return self._listen(number + 1, said)
        asked = answer.asked[0]
        spoken = _spoken(asked.arguments)
        if asked.risk == "money" or spoken is None:
            return self._listen(number + 1, f"{said} {asked.title} needs your OK in the app.")
        await self._services.calls.note(call.sid, asked=asked.approval_id, asked_at=number)
        question = f"May I do this? {asked.title}. {spoken}"
        keys = "Press 1 to allow it, 2 to refuse, or 3 to decide later by text."
        return self._listen(number + 1, f"{said} {question} {keys}", seconds=15)

    async def _text_last(self, call: Call, number: int) -> str:
        """Send the last answer to the caller's own number; return what to say about it."""
        services = self._services
        if call.guest:
            return _MEMBERS_ONLY
        last = await self._last_answer(call)
        if not last:
            return "There is nothing to text yet. Ask me something first."
        link = f"{services.settings.base_url}/#/chats/{call.chat_id}"
        parts = split(economical(plain(last)), f"More: {link}")
        return await self._texted(call, parts, _prompt_id(call.sid, number))

    async def _ask_by_text(self, call: Call) -> str:
        """Send the open question to the caller's own number, with its code word."""
        prompt_id = _prompt_id(call.sid, call.asked_at)
        answer = await self._services.answering.answer_to(
            call.uid, call.chat_id, prompt_id, patience=_SPOKEN_S
        )
        found = [each for each in answer.asked if each.approval_id == call.asked] if answer else []
        if not found:
            return "Please decide that in the app."
        question = await self._texting.question(found[0], call.uid, call.chat_id)
        return await self._texted(call, split(economical(question), "", most=1), call.asked)

    async def _texted(self, call: Call, parts: list[str], key: str) -> str:
        """Send texts to the caller's own number, once for each `key`; return what to say."""
        services = self._services
        theirs = await services.phone_book.number_of(call.uid)
        if await services.phone_book.opted_out(theirs):
            return "You have opted out of our texts. Text START to our number first."
        line = Line(theirs=theirs, ours=services.twilio.ours)
        await services.texts.say(call.uid, call.chat_id, parts, line, key=key)
        return "I have texted it to you. What else?"

    async def _last_answer(self, call: Call) -> str:
        state = await self._services.chats.load(call.chat_id, call.uid)
        for item in reversed(state.input_items()):
            if item.get("role") != "assistant":
                continue
            content = item.get("content")
            if isinstance(content, str):
                return content
            said = [part.get("text") or "" for part in content or () if isinstance(part, dict)]
            if text := "".join(said).strip():
                return text
        return ""

    async def _goodbye(self, call: Call, said: str) -> list[str]:
        await self._services.calls.end(call.sid)
        return [twiml.say(said or "Goodbye."), twiml.hang_up()]

    async def _silence(self, call: Call, number: int, silent: int) -> list[str]:
        if silent >= _MOST_SILENCES:
            return await self._goodbye(call, "I hear nothing. Goodbye.")
        return self._listen(number, "I did not hear you. What can I do?", silent=silent + 1)

    def _listen(self, number: int, said: str, *, silent: int = 0, seconds: int = 8) -> list[str]:
        """Say something and hear what comes next; silence is asked about, twice."""
        here = self._url(n=number)
        return [
            twiml.gather(here, twiml.say(said), seconds=seconds),
            twiml.redirect(self._url(n=number, s=silent)),
        ]

    def _url(self, **query: int) -> str:
        shown = "&".join(f"{name}={value}" for name, value in query.items() if value)
        return f"{self._services.settings.base_url}{HEARD_PATH}?{shown}"


def _prompt_id(sid: str, number: int) -> str:
    return f"call:{sid}:{number}"


def _decided_id(approval_id: str) -> str:
    """Return the id of the prompt that acts on a decision."""
    from common.assistant.room import APPROVAL  # with it come the model libraries

    return f"{APPROVAL}{approval_id}"


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise InvalidInput("That is not an address of ours.")
    return int(text)


def _spoken(arguments: object) -> str | None:
    """Return a call's arguments for the ear; None where they are too much to be asked about so.

    Of what is written only the beginning is said; everything else is said whole, and first.
    """
    given = arguments.items() if isinstance(arguments, Mapping) else ()
    parts = [
        (name in PROSE, f"{str(name).replace('_', ' ')}: {value}")
        for name, value in given
        if value not in (None, "", [], False)
    ]
    whole = ", ".join(part for prose, part in parts if not prose)
    written = ", ".join(part for prose, part in parts if prose)
    if len(whole) > 300:
        return None
    return f"{', '.join(filter(None, (whole, written[: 320 - len(whole)])))}." if parts else ""
