"""What is installed beside our code: every file known by its hash, few, allowed, not known bad."""

from __future__ import annotations

import json
import re

import pytest

from tests.supply import advisories, licences, sbom
from tests.supply.lock import LOCKS, MOST_ALL, MOST_DIRECT, ROOT, Pin, direct, pins


@pytest.mark.parametrize("path", LOCKS)
def test_every_release_is_known_by_the_hashes_of_its_files(path: str) -> None:
    """Pip refuses a file that the index has exchanged, and a package that nobody has pinned."""
    locked = pins(path)
    assert len(locked) > 50
    assert [pin.name for pin in locked if not pin.hashes or not pin.version] == []
    text = (ROOT / path).read_text()
    assert not re.search(r"https?:|--(extra-)?index|--find-links|-e |@ file", text)


def test_the_locks_hold_what_is_asked_for_and_agree() -> None:
    """Whoever adds a dependency locks it, and the tests run with the product's own releases."""
    product, beside = ({pin.name: pin.version for pin in pins(path)} for path in LOCKS)
    assert set(direct()) <= product.keys(), "make lock"
    assert set(direct("tests/requirements.in")) <= beside.keys(), "make lock"
    assert {
        name for name in product.keys() & beside.keys() if product[name] != beside[name]
    } == set()


def test_there_are_no_more_packages_than_agreed() -> None:
    """A new dependency is a decision, not an accident."""
    assert len(direct()) <= MOST_DIRECT
    assert len(pins()) <= MOST_ALL


@pytest.mark.parametrize("path", LOCKS)
def test_nothing_pinned_is_known_to_be_bad(path: str) -> None:
    """No release is one that a published advisory names, as far as our own copy of them goes."""
    assert advisories.offline(pins(path)) == []


@pytest.mark.parametrize(
    ("name", "version", "bad"),
    [
        ("h11", "0.14.0", True),
        ("h11", "0.16.0", False),
        ("protobuf", "4.25.7", True),
        ("protobuf", "5.0.0", False),
        ("protobuf", "5.29.4", True),
        ("starlette", "0.38.0", True),
        ("nobody-knows-it", "1", False),
    ],
)
def test_the_vendored_advisories_tell_bad_releases_from_good_ones(
    name: str, version: str, bad: bool
) -> None:
    """Without a network the audit still sees a release that must not be installed."""
    assert bool(advisories.offline([Pin(name, version, None, ())])) is bad


def test_the_vendored_advisories_are_in_osvs_format_and_of_use() -> None:
    """Each record is about something we install, so that the file does not rot."""
    names = {pin.name for path in LOCKS for pin in pins(path)}
    for record in advisories.known():
        assert record["id"] and record["summary"] and record["affected"]
        for affected in record["affected"]:
            assert affected["package"]["ecosystem"] == "PyPI"
            assert affected["package"]["name"] in names, record["id"]


def test_an_index_that_knows_no_advisories_is_no_clean_bill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """pip-audit ends well when it could ask nobody; that is not taken for an answer."""

    def skipped(*_: object, **__: object) -> object:
        report = {"dependencies": [{"name": "h11", "skip_reason": "not found"}]}
        return type("Ended", (), {"stdout": json.dumps(report)})

    monkeypatch.setattr(advisories.subprocess, "run", skipped)
    assert advisories.online(LOCKS[0]) is None


def test_the_licences_are_allowed_and_listed() -> None:
    """The page names the terms of everything installed, and none of them binds our own code."""
    found = {pin.name: licences.licence(pin.name) for pin in pins()}
    assert {name: said for name, said in found.items() if not licences.allowed(said)} == {}
    assert licences.PAGE.read_text() == licences.page(pins()), "python -m tests.supply licences"


@pytest.mark.parametrize(
    ("expression", "ours"),
    [
        ("MIT", True),
        ("Apache-2.0 AND MIT", True),
        ("MPL-1.1 OR GPL-2.0-only", True),
        ("GPL-3.0-only", False),
        ("MIT AND AGPL-3.0-only", False),
        ("", False),
    ],
)
def test_a_licence_that_nobody_allowed_fails(expression: str, ours: bool) -> None:
    """One free choice is enough; one binding part is too much; silence is no permission."""
    assert licences.allowed(expression) is ours


def test_the_bill_of_materials_is_whole() -> None:
    """Somebody else's tools read what is inside, by CycloneDX's own schema."""
    text = sbom.bill(pins())
    assert sbom.problems(text) == ""
    bill = json.loads(text)
    assert {part["name"] for part in bill["components"]} == {pin.name for pin in pins()}
    assert all(part["hashes"] and part["licenses"] for part in bill["components"])
    needs = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert len(needs["odai"]) == len(direct())
    assert any(ref.startswith("werkzeug@") for ref in needs[f"flask@{_version('flask')}"])
    assert sbom.problems(text.replace('"CycloneDX"', '"Other"'))


def _version(name: str) -> str:
    return next(pin.version for pin in pins() if pin.name == name)
