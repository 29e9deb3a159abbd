"""The operator's commands: what they print can be read by a person or a program."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.bootstrap import Services
from common.tools import Registry
from run.local.__main__ import main
from run.local.suite import _announce
from tests.fakes.vendors import Vendors

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Run a command in a bare environment; return its exit code, output and messages."""
    import os

    for name in os.environ:
        if name.startswith(("ODAI_", "OPENAI_", "GOOGLE_")) or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ODAI_DATA", str(tmp_path / "data"))
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def call(*words: str, **settings: str) -> tuple[int, str, str]:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        code = main(list(words))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    yield call
    root.handlers[:], root.level = before


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    """Serve the keyless vendors."""
    with Vendors() as served:
        yield served


def test_route_ranks_services_for_a_sentence(command: Command) -> None:
    """`route` prints slugs with falling scores; the fitting service is first."""
    code, out, _ = command("route", "convert 250 euros to dollars", "--limit", "3")
    ranked = json.loads(out)
    assert code == 0
    assert 1 <= len(ranked) <= 3
    assert "frankfurter" in [entry["slug"] for entry in ranked]
    scores = [entry["score"] for entry in ranked]
    assert scores == sorted(scores, reverse=True)


def test_tools_lists_every_tool(command: Command) -> None:
    """`tools` prints each tool with each service that has it, its risk and parameters."""
    code, out, _ = command("tools")
    listed = {(entry["tool"], entry["connector"]): entry for entry in json.loads(out)}
    assert code == 0
    assert {tool for tool, _ in listed} == set(Registry.discover().tools)
    assert {slug for _, slug in listed} == set(Registry.discover().entries)
    rate = listed["get_exchange_rate_for_currency_pair", "frankfurter"]
    assert rate["on"] is True
    assert rate["risk"] == "read"
    assert "from_currency" in rate["parameters"]["properties"]


def test_call_runs_one_tool(command: Command, vendors: Vendors) -> None:
    """`call` prints the result as JSON and exits 0; a failed call says why and exits 1."""
    tool = "get_exchange_rate_for_currency_pair"
    code, out, _ = command(
        "call",
        tool,
        '{"from_currency": "EUR", "to_currency": "USD", "amount": 250}',
        ODAI_EGRESS_MAP=vendors.egress_map,
    )
    shown = json.loads(out)
    assert code == 0
    assert shown["ok"] is True
    assert "270.5" in shown["summary"]
    code, out, _ = command("call", tool, '{"from_currency": "EURO", "to_currency": "USD"}')
    assert code == 1
    assert json.loads(out)["error"] == "invalid_input"
    code, out, err = command("call", "no_such_tool")
    assert code == 1
    assert "no_such_tool" in err
    assert out == ""
    code, out, err = command("call", tool, "{broken")
    assert code == 1
    assert "Traceback" not in err


def test_token_prints_a_token(command: Command) -> None:
    """`token` prints one token and nothing else."""
    code, out, _ = command("token", "--name", "Ann")
    assert code == 0
    assert out.count("\n") == 1
    assert out.count(".") == 2


def test_chat_answers_in_the_terminal(command: Command, vendors: Vendors) -> None:
    """`chat` prints the answer to standard output and the work beside it."""
    code, out, err = command(
        "chat", "convert 250 euros to dollars", ODAI_EGRESS_MAP=vendors.egress_map
    )
    assert code == 0
    assert "270.5" in out
    assert "→" not in out
    assert "get_exchange_rate_for_currency_pair" in err
    assert "✓" in err


def test_doctor_says_what_works(command: Command) -> None:
    """`doctor` prints one line for each finding; a broken one makes it fail."""
    hosts = {
        host
        for entry in Registry.discover().entries.values()
        for host in entry.connector.hosts
        if not host.startswith("*")
    }
    nowhere = ",".join(f"{host}=http://127.0.0.1:9" for host in hosts)
    code, out, _ = command("doctor", ODAI_EGRESS_MAP=nowhere)
    lines = out.splitlines()
    assert code == 0
    assert all(line[0] in "✓–✗" and ": " in line for line in lines)
    assert {"✓ store: works", "✓ keys: works"} <= set(lines)
    assert any("offline planner" in line for line in lines)
    assert "– Gmail: off: set GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET" in lines
    assert "– Slack: off: set SLACK_CLIENT_ID, SLACK_CLIENT_SECRET" in lines


def test_the_banner_counts_what_works(
    services: Callable[..., Services], capsys: pytest.CaptureFixture[str]
) -> None:
    """A service is on where its key is set, or the client with which its accounts are linked."""

    def banner(**settings: str) -> tuple[int, str]:
        _announce(services(**settings))
        found = re.search(r"Services on: (\d+)(.*)", capsys.readouterr().out)
        assert found
        return int(found[1]), found[2]

    on, waiting = banner()
    every = Registry.discover().entries.values()
    assert on == sum(not e.connector.secrets and not e.connector.account for e in every)
    assert "Gmail" in waiting and "Slack" in waiting
    more, waiting = banner(SLACK_CLIENT_ID="x", SLACK_CLIENT_SECRET="x")
    assert more == on + 1 and "Slack" not in waiting


def test_settings_prints_the_table(command: Command) -> None:
    """`settings` prints a Markdown table of every setting."""
    code, out, _ = command("settings")
    rows = out.splitlines()
    assert code == 0
    assert rows[0] == "| setting | default | meaning |"
    assert all(row.count("|") >= 4 for row in rows)
    assert any("`ODAI_DATA`" in row for row in rows)


@pytest.mark.parametrize("words", [(), ("nonsense",), ("call",)])
def test_a_command_that_is_none_explains_itself(command: Command, words: Any) -> None:
    """A mistyped command prints the usage and exits 2."""
    with pytest.raises(SystemExit) as ended:
        command(*words)
    assert ended.value.code == 2
