"""Sealing as a property: what was sealed opens where it was sealed, unaltered, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.errors import NotAllowed
from common.vault import Sealer

KEY = bytes(range(32))
# The separator and the escape character often: that is where two places could look the same.
parts = st.text(st.sampled_from("ab|%/7C5"), min_size=1, max_size=6)
names = parts.filter(lambda text: "/" not in text)


@st.composite
def places(draw: st.DrawFn) -> tuple[str, str, str]:
    """Return a user id, a document path and a field."""
    return draw(names), f"{draw(parts)}/{draw(names)}", draw(names)


@given(place=places(), plaintext=st.binary(max_size=2000))
def test_round_trip(place: tuple[str, str, str], plaintext: bytes) -> None:
    """Whatever is sealed opens again, costs 29 bytes, and never looks the same twice."""
    uid, path, field = place
    sealer = Sealer(uid, KEY)
    blob = sealer.seal(path, field, plaintext)
    assert sealer.unseal(path, field, blob) == plaintext
    assert len(blob) == len(plaintext) + 29
    assert sealer.seal(path, field, plaintext) != blob


@given(place=places(), plaintext=st.binary(max_size=40), data=st.data())
def test_any_flipped_bit_is_refused(
    place: tuple[str, str, str], plaintext: bytes, data: st.DataObject
) -> None:
    """A value altered at rest, anywhere, is refused."""
    uid, path, field = place
    blob = bytearray(Sealer(uid, KEY).seal(path, field, plaintext))
    bit = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NotAllowed):
        Sealer(uid, KEY).unseal(path, field, bytes(blob))


@given(place=places(), other=places())
def test_any_other_place_is_refused(
    place: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    """A value moved to another user, document or field is refused, however alike they are spelt."""
    assume(place != other)
    blob = Sealer(place[0], KEY).seal(place[1], place[2], b"x")
    with pytest.raises(NotAllowed):
        Sealer(other[0], KEY).unseal(other[1], other[2], blob)


@pytest.mark.parametrize(
    "moved",
    [
        ("v", "chats/c/items/1", "text"),
        ("u", "chats/d/items/1", "text"),
        ("u", "chats/c/items/2", "text"),
        ("u", "chats/c/items/1", "other"),
        ("u|chats/c/items", "1", "text"),
        ("u", "chats/c/items|1", "text"),
    ],
)
def test_each_part_is_bound(moved: tuple[str, str, str]) -> None:
    """Each of user, collection, document and field is bound on its own."""
    blob = Sealer("u", KEY).seal("chats/c/items/1", "text", b"x")
    with pytest.raises(NotAllowed):
        Sealer(moved[0], KEY).unseal(moved[1], moved[2], blob)


@pytest.mark.parametrize(
    ("place", "alike"),
    [
        (("u", "c/1|a", "b"), ("u", "c/1", "a|b")),
        (("u", "c|1/2", "a"), ("u", "c/1|2", "a")),
        (("u|c", "d/1", "a"), ("u", "c|d/1", "a")),
        (("u", "c/1|2", "a"), ("u", "c/1%7C2", "a")),
    ],
)
def test_separators_do_not_blur_places(
    place: tuple[str, str, str], alike: tuple[str, str, str]
) -> None:
    """Two places whose names join to the same text are still two places."""
    blob = Sealer(place[0], KEY).seal(place[1], place[2], b"x")
    with pytest.raises(NotAllowed):
        Sealer(alike[0], KEY).unseal(alike[1], alike[2], blob)


@given(blob=st.binary(max_size=60))
def test_anything_else_is_refused(blob: bytes) -> None:
    """Bytes that were never sealed are refused as altered, whatever their length."""
    with pytest.raises(NotAllowed):
        Sealer("u", KEY).unseal("chats/c", "text", blob)
