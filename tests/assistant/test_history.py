"""Past chats: listed page by page, searched without an index in clear, exported, deleted whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common import documents
from common.assistant.history import SCANNED, markdown
from common.assistant.journal import Chunk, Deltas, encode_entries
from common.bootstrap import Services
from common.errors import InvalidInput, NotFound
from common.store import Create, Query, Update
from tests.assistant.test_chats import chunk, record

Make = Callable[..., Services]


def chat(
    made: Services, chat_id: str, *said: tuple[str, str], title: str = "", uid: str = "u1"
) -> list[str]:
    """Store a chat of these prompts and answers; return its turns' ids."""
    run, chats = made.loop.run, made.chats
    state = run(chats.load(chat_id, uid))
    turns = []
    for prompt, answer in said:
        turn = record(chats, prompt)
        user = {"role": "user", "content": prompt}
        first = Chunk(1, 1, 1, encode_entries([Deltas(1, "ODAI", ["x"])]))
        run(chats.begin(state, turn, user, first))
        told = {"role": "assistant", "content": [{"type": "output_text", "text": answer}]}
        run(chats.end(
            state, turn.id, items=[user, told], chunk=chunk(2, 2), status="done", usage={}
        ))  # fmt: skip
        turns.append(turn.id)
    if title:
        run(chats.rename(state, title))
    return turns


def test_chats_are_listed_page_by_page_the_latest_first(services: Make) -> None:
    """Whoever has many chats reaches all of them, and only their own."""
    made = services()
    for number in range(7):
        chat(made, f"c{number}", ("hello", "hi"), title=f"Title {number}")
    chat(made, "other", ("hello", "hi"), uid="u2")
    titles, after = [], ""
    for _ in range(3):
        lines, after = made.loop.run(made.history.page("u1", after=after, limit=3))
        titles += [line.title for line in lines]
    assert titles == [f"Title {number}" for number in reversed(range(7))]
    assert after == ""
    with pytest.raises(NotFound):
        made.loop.run(made.history.page("u1", after="other"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("marzipan", {("c1", "assistant")}),
        ("MARZIPAN almonds", {("c1", "assistant")}),
        ('"almonds and sugar"', {("c1", "assistant")}),
        ('"sugar and almonds"', set()),
        ("creme brulee", {("c2", "user")}),
        ("Désserts", {("c2", "title")}),
        ("xylophone", set()),
        ("mar", {("c1", "assistant")}),
    ],
)
def test_words_are_found_where_they_were_said(
    services: Make, text: str, found: set[tuple[str, str]]
) -> None:
    """All words of a search, in titles, questions and answers, whatever their case and accents."""
    made = services()
    chat(made, "c1", ("what is it?", "Marzipan is made of almonds and sugar."))
    chat(made, "c2", ("how do I make crème brûlée?", "With cream."), title="Desserts")
    chat(made, "c3", ("xylophone marzipan", "hm"), uid="u2")
    page = made.loop.run(made.history.search("u1", text))
    assert {(hit.chat.id, hit.role) for hit in page.hits} == found
    assert page.after == ""
    for hit in page.hits:
        assert hit.excerpt and (hit.turn_id or hit.role == "title")


def test_a_search_goes_on_where_it_stopped(services: Make) -> None:
    """However many chats there are, each is searched once, in pages."""
    made = services()
    for number in range(SCANNED + 5):
        chat(made, f"c{number}", ("find the needle" if number == 2 else "hay", "hm"))
    page = made.loop.run(made.history.search("u1", "needle"))
    assert page.hits == [] and page.after
    rest = made.loop.run(made.history.search("u1", "needle", after=page.after))
    assert [hit.chat.id for hit in rest.hits] == ["c2"] and rest.after == ""


@pytest.mark.parametrize("text", ["", "  ", "x" * 201])
def test_an_empty_or_endless_search_is_refused(services: Make, text: str) -> None:
    """Nothing to search for is said, instead of finding everything."""
    made = services()
    with pytest.raises(InvalidInput):
        made.loop.run(made.history.search("u1", text))


def test_a_search_leaves_no_words_behind(services: Make, tmp_path: Path) -> None:
    """Searching makes no index that somebody who steals the file could read."""
    made = services()
    chat(made, "c1", ("where is the xylophone?", "In the attic."), title="Marzipan")
    assert made.loop.run(made.history.search("u1", "xylophone attic")).hits == []
    assert made.loop.run(made.history.search("u1", "xylophone")).hits
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("*sqlite*"))
    for word in (b"xylophone", b"attic", b"Marzipan"):
        assert word not in stored


def test_an_export_is_the_whole_chat_in_order(services: Make) -> None:
    """What was asked and answered is all there, and nobody else gets it."""
    made = services()
    turns = chat(made, "c1", ("one?", "One."), ("two?", "Two."), title="Numbers")

    async def read(uid: str) -> list[tuple[str, str]]:
        return [(s.role, s.text) async for s in made.history.messages("c1", uid)]

    expected = [("user", "one?"), ("assistant", "One."), ("user", "two?"), ("assistant", "Two.")]
    assert made.loop.run(read("u1")) == expected
    with pytest.raises(NotFound):
        made.loop.run(read("u2"))

    async def whole() -> str:
        return markdown("Numbers", [s async for s in made.history.messages("c1", "u1")])

    page = made.loop.run(whole())
    assert page.startswith("# Numbers\n") and page.index("one?") < page.index("**ODAI:** Two.")
    assert len(turns) == 2


def test_a_deleted_chat_leaves_nothing(services: Make) -> None:
    """Its turns, journal, items, prompts, jobs and waiting actions go; another chat's stay."""
    made = services()
    run, store = made.loop.run, made.store
    chat(made, "c1", ("one?", "One."))
    chat(made, "c2", ("two?", "Two."))
    for chat_id in ("c1", "c2"):
        own = {"uid": "u1", "chat_id": chat_id, "status": "pending"}
        run(store.commit(Create(f"approvals/a{chat_id}", own), Create(f"jobs/j{chat_id}", own)))
    run(store.commit(Update("chats/c1", {"title_by": "auto"})))
    run(made.chats.delete(run(made.chats.load("c1", "u1"))))
    for collection in (documents.items("c1"), documents.turns("c1"), "chats/c1/prompts"):
        assert run(store.query(Query(collection))) == []
    assert run(store.query(Query("journal", all_groups=True))) != []  # the other chat's
    assert [row.id for row in run(store.query(Query("approvals")))] == ["ac2"]
    assert [row.id for row in run(store.query(Query("jobs")))] == ["jc2"]
    assert run(made.history.search("u1", "one")).hits == []
