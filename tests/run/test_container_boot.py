"""The container's own command on a read-only copy of what its image holds, as another user.

There is no image here: the tree is copied as the Dockerfile copies it, the lock's packages are
those that are installed (a test says when they are not), and the command is the Dockerfile's.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from run.local.ports import free_port
from tests.fakes.openai_responses import Answer, FakeOpenAI, Gate, Reply, Text
from tests.run.serving import ROOT, Client, Event, Server, connected

DOCKERFILE = (ROOT / "run" / "chat_stream" / "Dockerfile").read_text()
NOBODY = 65534
LINGER = 10.0  # what Cloud Run leaves between SIGTERM and SIGKILL


def runnable() -> tuple[str, dict[str, int]]:
    """Return an interpreter that another user may start, and that user; ours where nobody may."""
    packages = sysconfig.get_path("purelib")
    if os.geteuid():
        return sys.executable, {}
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for python in (sys.executable, f"/usr/bin/python{version}", "/usr/local/bin/python3"):
        probe = f"import sys; sys.path.append({packages!r}); import pydantic_core, flask"
        try:
            done = subprocess.run(
                [python, "-I", "-c", probe], user=NOBODY, group=NOBODY, cwd="/", capture_output=True
            )
        except OSError:
            continue
        if done.returncode == 0:
            return python, {"user": NOBODY, "group": NOBODY}
    pytest.skip("no interpreter here can be started by another user than root")


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """What the image holds, with nothing in it that may be written."""
    folder = Path(tempfile.mkdtemp(prefix="odai-image-"))
    folder.chmod(0o755)
    copied = re.findall(r"^COPY (\w[\w.]*) (\w[\w.]*|\./)$", DOCKERFILE, re.MULTILINE)
    assert {"common", "functions", "run", "requirements.txt"} == {source for source, _ in copied}
    for source, _ in copied:
        if (ROOT / source).is_dir():
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, folder / source, ignore=skipped)
        else:
            shutil.copy2(ROOT / source, folder)
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(folder)


class Container(Server):
    """The Dockerfile's command, in `image`, as another user; `data` is all it may write to."""

    def __init__(self, image: Path, data: Path, **settings: str) -> None:
        python, user = runnable()
        declared = re.search(r"^ENV (.*)$", DOCKERFILE, re.MULTILINE)
        command = re.search(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
        assert declared and command
        environ = dict(pair.split("=", 1) for pair in declared[1].split())
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        environ |= {
            "PATH": os.environ["PATH"], "PYTHONPATH": sysconfig.get_path("purelib"),
            "PORT": str(self.port), "ODAI_DATA": str(data),
            "ODAI_SMALL_MODEL": "off", **settings,
        }  # fmt: skip
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [python, *json.loads(command[1])[1:]],
            cwd=image, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, **user,
        )  # type: ignore[call-overload]  # fmt: skip
        self._lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._healthy()

    def _healthy(self) -> None:
        until = time.monotonic() + 90.0
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.base}/healthz", timeout=5) as answer:
                    assert answer.status == 200
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(self.output)


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder that the container's user may write to."""
    folder = Path(tempfile.mkdtemp(prefix="odai-data-"))
    if not os.geteuid():
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def test_the_packages_here_are_the_images() -> None:
    """What runs here is what the lock pins, so that the boot below speaks for the image."""
    pins = dict(
        line.split("==") for line in (ROOT / "requirements.txt").read_text().split() if "==" in line
    )
    assert len(pins) > 50
    here = {each.name.lower().replace("_", "-"): each.version for each in metadata.distributions()}
    wanted = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    assert {n: (v, here[n]) for n, v in wanted.items() if here.get(n, v) != v} == {}


def test_the_image_runs_as_nobody_special_without_a_shell() -> None:
    """Neither root nor a shell stands between the platform and the process."""
    assert re.search(r"^USER 10001$", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.index("\nUSER ") < DOCKERFILE.index("\nCMD [")
    assert "--only-binary=:all:" in DOCKERFILE and "compileall" in DOCKERFILE
    assert len(re.findall(r"^FROM python:3\.11-slim", DOCKERFILE, re.MULTILINE)) == 2


def model(body: dict[str, Any]) -> Answer:
    """Begin every answer; where it stops depends on what was asked."""
    asked = str([item for item in body["input"] if item.get("role") == "user"][-1]["content"])
    return Reply(Text("begun, and finished."), gate=GATES[asked], gate_after=1)


GATES: dict[str, Gate] = {}


@pytest.mark.timeout(300)
def test_it_drains_and_loses_nothing(image: Path, data: Path) -> None:
    """On SIGTERM with 100 sockets and 20 turns: some end, the rest are closed, none is lost."""
    GATES.update({"soon": Gate(), "never": Gate()})

    async def crowd(server: Container) -> dict[str, list[Event]]:
        """Hold 100 sockets of ten users, 20 of them answering, while the server is told to end."""
        async with AsyncExitStack() as stack:
            tokens = [await asyncio.to_thread(server.token, f"User {n}") for n in range(10)]
            sockets: list[tuple[str, Client]] = []
            for number in range(100):
                chat, token = f"chat-{number}", tokens[number % 10]
                opening = connected(server, chat, token=token)
                sockets.append((chat, await stack.enter_async_context(opening)))
            await asyncio.gather(*(client.until_type("hello") for _, client in sockets))
            for number, (_, client) in enumerate(sockets[:20]):
                await client.send(type="prompt", text="soon" if number % 2 else "never")
            busy = [client.until_type("raw_response_event") for _, client in sockets[:20]]
            await asyncio.gather(*busy)
            told = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            GATES["soon"].open()
            codes = await asyncio.gather(*(client.until_closed() for _, client in sockets))
            assert set(codes) == {1001}
            assert await asyncio.to_thread(server.process.wait, 30) == 0
            assert time.monotonic() - told < LINGER
            return {chat: client.events for chat, client in sockets[:20]}

    async def look(server: Container, seen: dict[str, list[Event]]) -> None:
        """Come back to the next instance, each with its cursor."""
        for number, (chat, events) in enumerate(seen.items()):
            token = await asyncio.to_thread(server.token, f"User {number % 10}")
            last = [event for event in events if event["turn_id"]][-1]
            cursor = f"{last['turn_id']}:{last['seq']}"
            async with connected(server, chat, token=token, cursor=cursor) as client:
                assert not (await client.until_type("hello"))["running_turn"]
            page = await asyncio.to_thread(server.get, f"/chats/{chat}/turns", token)
            (turn,) = page["turns"]
            finished = number % 2
            said = "".join(e["response"] for e in turn["events"] if e["type"] == "llm_response")
            assert turn["status"] == ("done" if finished else "failed")
            assert said == ("begun, and finished." if finished else "begun,"), (chat, said)
            assert turn["events"][-1]["type"] in ("end_of_stream", "suggested_prompts", "title")

    with FakeOpenAI(default=model) as fake:
        settings = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "k"}
        server = Container(image, data, **settings)
        try:
            seen = asyncio.run(crowd(server))
            GATES["never"].open()
            assert server.stop() == 0
            ended = [
                event["status"] for events in seen.values()
                for event in events if event["type"] == "end_of_stream"
            ]  # fmt: skip
            assert sorted(ended) == ["done"] * 10 + ["failed"] * 10  # each was told before 1001
            server = Container(image, data, **settings)
            asyncio.run(look(server, seen))
        finally:
            if server.process.poll() is None:
                server.stop(signal.SIGTERM)
    if not os.geteuid():
        assert not [path for path in image.rglob("*") if path.stat().st_uid == NOBODY]
