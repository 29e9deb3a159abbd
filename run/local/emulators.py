"""Google's own emulators, for `make run BACKEND=emulators` and the tests of the Google adapters.

They come with the Cloud SDK (`google-cloud-cli-firestore-emulator` and
`google-cloud-cli-pubsub-emulator`, or `gcloud components install …`) and need Java. They keep
everything in memory: what you say to a server that uses them is gone when it stops.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from common.errors import Misconfigured
from run.local.ports import free_port

START_TIMEOUT_S = 60.0
_LOOPBACK = "127.0.0.1,localhost"


class EmulatorMissing(Misconfigured):
    """An emulator is not installed; the message says how to install it."""


@contextmanager
def emulators(project: str, topics: Sequence[str]) -> Iterator[None]:
    """Start both, name them in this process's environment, and make the topics of `project`."""
    with firestore_emulator() as firestore, pubsub_emulator() as pubsub:
        os.environ["FIRESTORE_EMULATOR_HOST"] = firestore
        os.environ["PUBSUB_EMULATOR_HOST"] = pubsub
        for topic in topics:
            url = f"http://{pubsub}/v1/projects/{project}/topics/{topic}"
            urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=10).close()
        yield


@contextmanager
def firestore_emulator() -> Iterator[str]:
    """Yield host:port of a Firestore emulator; `FIRESTORE_EMULATOR_HOST` names one that runs."""
    if running := os.environ.get("FIRESTORE_EMULATOR_HOST"):
        yield running
        return
    jar = _jar("cloud-firestore-emulator/cloud-firestore-emulator.jar", "firestore-emulator")
    main = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
    with _started(["-Duser.language=en", "-Xmx512m", "-cp", jar, main], _answers_http) as host:
        yield host


@contextmanager
def pubsub_emulator() -> Iterator[str]:
    """Yield host:port of a Pub/Sub emulator; `PUBSUB_EMULATOR_HOST` names one that runs."""
    if running := os.environ.get("PUBSUB_EMULATOR_HOST"):
        yield running
        return
    jar = _jar("pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar", "pubsub-emulator")
    with _started(["-Xmx256m", "-jar", jar], _says_started) as host:
        yield host


def bypass_proxy() -> None:
    """Keep loopback out of any proxy, for urllib and for gRPC, which reads the same variables."""
    for name in ("NO_PROXY", "no_proxy"):
        known = os.environ.get(name, "")
        if "127.0.0.1" not in known:
            os.environ[name] = f"{known},{_LOOPBACK}".lstrip(",")


def _jar(pattern: str, component: str) -> str:
    for root in _sdk_roots():
        if found := sorted((root / "platform").glob(pattern)):
            return str(found[-1])
    raise EmulatorMissing(
        f"The {component} of the Google Cloud SDK is not installed: "
        f"apt-get install google-cloud-cli-{component}, or gcloud components install "
        f"{'cloud-' if component.startswith('firestore') else ''}{component}."
    )


def _sdk_roots() -> Iterator[Path]:
    if named := os.environ.get("CLOUDSDK_ROOT"):
        yield Path(named)
    yield Path("/usr/lib/google-cloud-sdk")
    yield Path.home() / "google-cloud-sdk"
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return
    yield Path(gcloud).resolve().parent.parent
    asked = subprocess.run(  # last: it takes a second or two to answer
        [gcloud, "info", "--format=value(installation.sdk_root)"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.stdout.strip():
        yield Path(asked.stdout.strip())


@contextmanager
def _started(arguments: list[str], ready: Callable[[str, str], bool]) -> Iterator[str]:
    java = shutil.which("java", path=_java_path())
    if java is None:
        raise EmulatorMissing(
            "Google's emulators need Java 17 or later: apt-get install default-jre-headless."
        )
    bypass_proxy()
    host, port = "127.0.0.1", free_port()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [java, *arguments, f"--host={host}", f"--port={port}"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(process, output, lambda said: ready(f"{host}:{port}", said))
            yield f"{host}:{port}"
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _java_path() -> str:
    home = os.environ.get("JAVA_HOME")
    path = os.environ.get("PATH", os.defpath)
    return f"{home}/bin{os.pathsep}{path}" if home else path


def _wait(
    process: subprocess.Popen[bytes], output: IO[bytes], ready: Callable[[str], bool]
) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        # pread: the child writes at the offset it shares with this very file object
        said = os.pread(output.fileno(), 1 << 20, 0).decode(errors="replace")
        if ready(said):
            return
        if process.poll() is not None:
            raise Misconfigured(f"The emulator ended at once:\n{said[-2000:]}")
        time.sleep(0.05)
    raise Misconfigured(
        f"The emulator was not ready within {START_TIMEOUT_S:.0f} s:\n{said[-2000:]}"
    )


def _answers_http(host: str, _: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{host}/", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _says_started(_: str, said: str) -> bool:
    return "Server started" in said
