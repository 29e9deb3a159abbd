"""The model of the load: one paced answer to everybody, and a long one to who asks for it.

A process of its own. Prints `{"base_url": …}` once it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from typing import Any

import uvloop

from tests.bench.processes import raise_limit
from tests.fakes.openai_responses import STAMP, FakeOpenAI, Reply, Steady, Text
from tests.soak.load_crowd import LONG

_WORDS = ("The ", "quick ", "brown ", "fox ", "jumps ", "over ", "the ", "lazy ", "dog. ")
_LONG_DELTA = "and so on " * 200  # 2 KB, fifty times a second
_LONG = 150  # of them: an answer is one document, and a document has a limit


def _steady(pieces: list[str], interval_s: float, *, stamp: bool) -> Steady:
    return Steady(Reply(Text("".join(pieces), chunks=pieces), interval_s=interval_s), stamp=stamp)


async def _serve(options: argparse.Namespace) -> None:
    interval_s = options.interval_ms / 1000
    mark = STAMP.decode() + " "
    plain = _steady(
        [mark + _WORDS[n % len(_WORDS)] for n in range(options.deltas)], interval_s, stamp=True
    )
    long = _steady([_LONG_DELTA] * _LONG, interval_s, stamp=False)

    def answer(body: dict[str, Any]) -> Steady:
        asked = [each["content"] for each in body["input"] if each.get("role") == "user"]
        return long if asked and asked[-1] == LONG else plain

    fake = FakeOpenAI(default=answer, record=False, validate=False)
    runner = await fake.start(port=0)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(json.dumps({"base_url": fake.base_url}), flush=True)
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deltas", type=int, default=500, help="of an answer")
    parser.add_argument("--interval-ms", type=float, default=20.0)
    raise_limit()
    uvloop.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
