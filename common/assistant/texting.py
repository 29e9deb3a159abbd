"""Telling what a schedule tells by SMS too: where the user asked for it, or asked by SMS."""

from __future__ import annotations

from collections.abc import Callable

from common.assistant.phone_book import PhoneBook
from common.assistant.texts import Line, Texts, is_text_chat
from common.errors import NotAllowed
from common.log import get_logger

log = get_logger(__name__)


class Texting:
    """Sends through the texts of the operator's number, which `ours` returns."""

    def __init__(self, texts: Texts, book: PhoneBook, ours: Callable[[], str]) -> None:
        self._texts = texts
        self._book = book
        self._ours = ours

    async def check(self, uid: str) -> None:
        """Raise NotAllowed, saying what to do, where no text can reach the user."""
        await self._line(uid)

    async def tell(self, uid: str, chat_id: str, prompt_id: str, *, wished: bool) -> None:
        """Have the answer to `prompt_id` sent, once, if that is `wished` or the chat is by text."""
        line = await self._texts.line_of(uid, chat_id) if is_text_chat(chat_id) else None
        if line is None and not wished:
            return
        try:
            line = line or await self._line(uid)
        except NotAllowed as err:  # the number was given up since; the chat has it all the same
            log.warning("text not sent", extra={"code": err.code})
            return
        await self._texts.expect(uid, chat_id, prompt_id, line)

    async def _line(self, uid: str) -> Line:
        theirs = await self._book.number_of(uid)
        if await self._book.opted_out(theirs):
            raise NotAllowed("You have opted out of our texts. Text START to us first.")
        return Line(theirs=theirs, ours=self._ours())
