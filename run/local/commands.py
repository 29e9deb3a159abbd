"""The operator's commands. Each takes the settings and its arguments and returns an exit code."""

from __future__ import annotations

import argparse
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from common import log
from common.bootstrap import EMULATED_PROJECT, Services
from common.documents import new_id
from common.errors import Misconfigured
from common.events import TOPICS
from common.events.facts import columns
from common.loop import LoopThread
from common.settings import Settings
from common.settings import settings_table as rows


def serve(settings: Settings, _: argparse.Namespace) -> int:
    """Start everything on one port until Ctrl-C."""
    from run.local.suite import serve_suite

    _check_port(settings.port)
    log.configure(level="WARNING" if settings.log_level == "INFO" else settings.log_level)
    with ExitStack() as stack:
        if settings.sandbox:
            from run.local.sandbox import sandbox

            settings = stack.enter_context(sandbox(settings))
        if settings.backend == "emulators":
            from run.local.emulators import emulators

            print("Starting Google's emulators …", flush=True)
            project = settings.google_project or EMULATED_PROJECT
            stack.enter_context(emulators(project, TOPICS))
        serve_suite(settings)
    return 0


def doctor(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print what is configured, reachable and missing; 1 where something is broken."""
    from run.local.checks import run_checks, run_deployed_checks

    with _services(settings) as services:
        if arguments.url:
            findings = run_deployed_checks(services, arguments.url)
        else:
            findings = run_checks(services)
    for finding in findings:
        print(f"{finding.mark} {finding.what}: {finding.detail}")
    return 0 if all(finding.fine for finding in findings) else 1


def token(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print a development token."""
    from run.chat_stream.app import development_uid

    with _services(settings) as services:
        if services.development is None:
            raise Misconfigured("ODAI_ENV=production has no development tokens.")
        print(services.development.mint(development_uid(arguments.name), name=arguments.name))
    return 0


def chat(settings: Settings, arguments: argparse.Namespace) -> int:
    """Ask one thing; tool calls go to standard error, the answer to standard output."""
    from run.chat_stream.app import development_uid
    from run.local.suite import create_suite
    from run.local.terminal import ask

    uid = development_uid(arguments.name)
    chat_id = arguments.chat or f"terminal-{new_id()}"
    with _services(settings) as services:
        create_suite(services)  # slow tools run in a function
        status = services.loop.run(ask(services.turns, chat_id, uid, arguments.text), timeout=None)
    return 0 if status == "done" else 1


def call(settings: Settings, arguments: argparse.Namespace) -> int:
    """Run one tool; 1 where it failed. Nothing asks for approval here: you typed it yourself."""
    from common.tools import Asker

    with _services(settings) as services:
        tool = services.registry.tool(arguments.tool)
        run = services.runner.run(
            tool.name, arguments.arguments, Asker("dev-terminal"), key=new_id()
        )
        outcome = services.loop.run(run, timeout=3 * tool.timeout_s)
    if outcome.error:
        shown = {"ok": False, "error": outcome.error.code, "message": str(outcome.error)}
    elif result := outcome.result:
        shown = {
            "ok": True,
            "response_type": result.response_type,
            "summary": result.summary,
            "data": result.data,
            "sources": [vars_of(source) for source in result.sources],
            "untrusted": result.untrusted,
        }
    print(json.dumps({**shown, "duration_ms": outcome.duration_ms}, ensure_ascii=False, indent=2))
    return 0 if outcome.ok else 1


def call_sim(settings: Settings, arguments: argparse.Namespace) -> int:
    """Hold one phone call with simulators at its ends; 1 where it failed."""
    from run.local.call_sim import call_sim as hold

    return hold(settings, arguments)


def route(settings: Settings, arguments: argparse.Namespace) -> int:
    """Rank the connectors for a sentence."""
    from common.tools import Registry
    from common.tools.ranking import Ranker

    ranked = Ranker(Registry.discover()).rank(arguments.text, limit=arguments.limit)
    print(json.dumps([{"slug": r.slug, "score": round(r.score, 4)} for r in ranked]))
    return 0


def tools(settings: Settings, _: argparse.Namespace) -> int:
    """List every tool of every connector with its risk, keys and whether it is on."""
    from common.tools import Registry

    registry = Registry.discover()
    listed = []
    for tool in (each for name in registry.tools for each in registry.providers(name)):
        entry = registry.entry_of(tool)
        listed.append(
            {
                "tool": tool.name,
                "connector": entry.slug,
                "risk": tool.risk,
                "slow": tool.slow,
                "description": tool.description.partition("\n")[0],
                "keys": list(entry.connector.secrets),
                "auth": entry.connector.auth,
                "on": not entry.missing(settings.secret),
                "parameters": tool.parameters.schema,
            }
        )
    print(json.dumps(listed, ensure_ascii=False, indent=2))
    return 0


def unhandled(settings: Settings, _: argparse.Namespace) -> int:
    """Sum up what the assistant was asked for and could not do, the most wanted first."""
    with _services(settings) as services:
        demands = services.loop.run(services.unhandled.demands(), timeout=None)
    if not demands:
        print("Nothing that was asked for went unhandled (it takes ODAI_SMALL_MODEL to tell).")
    for demand in demands:
        since, until = demand.first_at.date(), demand.last_at.date()
        print(
            f"{demand.count:>5} x  {demand.users:>4} user{'s' if demand.users != 1 else ' '}  "
            f"{since} to {until}  {demand.reason:<13}  {demand.capability}"
        )
    return 0


def stage(_: Settings, __: argparse.Namespace) -> int:
    """Lay out each function as it is deployed."""
    from run.local.stage import stage_all

    for folder in stage_all(Path("build")):
        print(folder)
    return 0


def docs(_: Settings, __: argparse.Namespace) -> int:
    """Write what documents generate from the code: settings, the sockets' and pages' contracts."""
    from common.web import openapi
    from run.local.asyncapi import closes_table, codes_table, document_text
    from run.local.cloud import FACTS, access_table, facts_text, rewrite
    from run.local.functions import aliases

    readme = Path("README.md")
    before, rest = readme.read_text().split("<!-- settings -->")
    after = rest.partition("<!-- /settings -->")[2]
    readme.write_text(f"{before}<!-- settings -->\n{_settings()}\n<!-- /settings -->{after}")
    Path("docs/asyncapi.json").write_text(document_text())
    Path("docs/openapi.json").write_text(openapi.document_text(aliases()))
    FACTS.write_text(facts_text())
    rewrite(Path("docs/operations.md"), "access", access_table())
    rewrite(Path("docs/protocol.md"), "closes", closes_table())
    rewrite(Path("docs/protocol.md"), "codes", codes_table())
    table = json.dumps(columns(), indent=2)
    Path("terraform/schemas/analytics.json").write_text(table + "\n")
    return 0


def settings_table(_: Settings, __: argparse.Namespace) -> int:
    """Print the table of settings as the README has it."""
    print(_settings())
    return 0


def _settings() -> str:
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, default, meaning in rows():
        lines.append(f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |")
    return "\n".join(lines)


def vars_of(source: Any) -> dict[str, str]:
    """Return a source as JSON."""
    return {"title": source.title, "url": source.url}


@contextmanager
def _services(settings: Settings) -> Iterator[Services]:
    log.configure(level="ERROR")
    services = Services(settings, LoopThread())
    try:
        yield services
    finally:
        services.close()


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as err:
            raise Misconfigured(
                f"Port {port} is in use. Stop what uses it, or choose another: PORT={port + 1}."
            ) from err
