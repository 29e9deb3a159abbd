"""`python -m run.local …`: start everything, or look into it from a terminal."""

from __future__ import annotations

import argparse
import os
import sys

from common.errors import OdaiError
from common.settings import Settings
from run.local import commands
from run.local.asyncapi import asyncapi
from run.local.costs import costs_table
from run.local.deploy import deploy, destroy


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 done, 1 it failed, 2 it was asked for in the wrong way."""
    arguments = _parser().parse_args(argv)
    try:
        settings = Settings.from_env(os.environ)
        result: int = arguments.command(settings, arguments)
    except OdaiError as err:
        print(f"ODAI: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 0
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m run.local", description=__doc__)
    parts = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, command: object, help: str) -> argparse.ArgumentParser:
        part = parts.add_parser(name, help=help, description=help)
        part.set_defaults(command=command)
        return part

    add("serve", commands.serve, "start everything on one port")
    doctor = add("doctor", commands.doctor, "say what is configured, reachable and missing")
    doctor.add_argument("--url", default="", help="a deployment to ask from outside, with a turn")
    costs = add("costs", costs_table, "print what 1,000 turns cost, from counted operations")
    costs.add_argument("--write", action="store_true", help="also into docs/operations.md")
    for name, help in (("deploy", "bring a private copy up"), ("destroy", "take it down again")):
        part = add(name, deploy if name == "deploy" else destroy, f"{help} in Google Cloud")
        part.add_argument("--project", required=True, help="Google Cloud project id")
        part.add_argument("--env", choices=("dev", "prod"), default="dev")
        part.add_argument("--region", default="us-central1")
        part.add_argument("--yes", action="store_true", help="ask nothing: for CI")
    token = add("token", commands.token, "print a development token")
    token.add_argument("--name", default="Developer", help="whose token it is")
    chat = add("chat", commands.chat, "ask one thing and watch the answer stream")
    chat.add_argument("text")
    chat.add_argument("--name", default="Developer", help="who asks")
    chat.add_argument("--chat", default="", help="chat to continue; empty: a new one")
    call = add("call", commands.call, "run one tool and print its result as JSON")
    call.add_argument("tool")
    call.add_argument("arguments", nargs="?", default="{}", help="JSON object")
    route = add("route", commands.route, "rank the connectors for a sentence, as JSON")
    route.add_argument("text")
    route.add_argument("--limit", type=int, default=None)
    phone = add("call-sim", commands.call_sim, "hold one phone call; write how it sounds and looks")
    phone.add_argument("--to", default="", help="address of a running suite; empty: one of its own")
    phone.add_argument("--say", action="append", help="what the caller says; may be repeated")
    phone.add_argument("--number", default="+14155550123", help="the caller's number, with --to")
    phone.add_argument("--out", default="build/call", help="folder for call.wav and call.svg")
    add("tools", commands.tools, "print every tool as JSON")
    add("unhandled", commands.unhandled, "sum up what users asked for and could not get")
    add("stage", commands.stage, "lay out each function as it is deployed, under build/")
    add("settings", commands.settings_table, "print the table of settings as Markdown")
    add("docs", commands.docs, "write what documents generate from the code")
    add("asyncapi", asyncapi, "print the chat socket's AsyncAPI document")
    return parser


if __name__ == "__main__":
    sys.exit(main())
