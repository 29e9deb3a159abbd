"""Fixtures of the tests that run the real server: one shared by a module, or one of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.bootstrap import Services
from run.local.suite import create_suite
from tests.assistant.acting import effects
from tests.browser import DESKTOP, PHONE
from tests.fakes import acts
from tests.fakes.openai_responses import FakeOpenAI, Step
from tests.fakes.twilio import ACCOUNT, FakeTwilio
from tests.fakes.vendors import Vendors
from tests.run.phones import Clock, Phone
from tests.run.serving import Server


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    """Serve the keyless vendors on loopback."""
    with Vendors() as served:
        yield served


@pytest.fixture(scope="module")
def model() -> Iterator[FakeOpenAI]:
    """Serve a model whose script the tests write with `then`."""
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, model: FakeOpenAI, vendors: Vendors
) -> Iterator[Server]:
    """Run the server on a folder of its own; it must stop cleanly on Ctrl-C."""
    running = Server(
        tmp_path_factory.mktemp("data"),
        OPENAI_BASE_URL=model.base_url,
        OPENAI_API_KEY="key-of-a-test",
        ODAI_SOCKETS_PER_USER="6",
        ODAI_LOG_LEVEL="DEBUG",
        ODAI_EGRESS_MAP=vendors.egress_map,
        **ACCOUNT.environ,  # so that there is something to ask a yes for, with no account linked
    )
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory, vendors: Vendors) -> Iterator[Server]:
    """Run the server as it is with no key at all: its planner answers."""
    running = Server(tmp_path_factory.mktemp("offline"), ODAI_EGRESS_MAP=vendors.egress_map)
    yield running
    assert running.stop() == 0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers of the test's own, on one folder; whatever still runs is stopped."""
    started: list[Server] = []

    def begin(**settings: str) -> Server:
        started.append(Server(tmp_path / "data", **settings))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.stop()


@pytest.fixture
def twilio() -> Iterator[FakeTwilio]:
    """Serve Twilio's API on loopback."""
    with FakeTwilio() as fake:
        yield fake


@pytest.fixture
def phone_suite(
    services: Callable[..., Services], twilio: FakeTwilio, tmp_path: Path
) -> Iterator[Callable[..., Phone]]:
    """Start the suite in this process, with a scripted model if given; return ada's telephone."""
    before = Services._of_process
    fakes: list[FakeOpenAI] = []

    def begin(*script: Step, **environ: str) -> Phone:
        given = {**twilio.environ, **environ}
        if script:
            fakes.append(FakeOpenAI(*script).__enter__())
            given |= {"OPENAI_BASE_URL": fakes[-1].base_url, acts.ENV: str(effects(tmp_path).path)}
        made = services(**given)
        made.clock = Clock()
        if script:
            acts.install(made)
        phone = Phone(made, create_suite(made), twilio)
        phone.own()
        return phone

    yield begin
    Services._of_process = before
    for fake in fakes:
        fake.__exit__(None, None, None)


@pytest.fixture
def page(open_page: Callable[..., Any]) -> Any:
    """Open an empty page; its complaints are kept in `page.complaints`."""
    return open_page(**DESKTOP)


@pytest.fixture
def phone_page(open_page: Callable[..., Any]) -> Any:
    """Open an empty page on a phone: small, touched, without a mouse."""
    return open_page(**PHONE)
