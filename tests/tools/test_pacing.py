"""Quotas that a vendor sets for the whole application hold over several processes."""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from common.egress import Egress, Policy, Quota
from common.errors import RateLimited
from common.store.sqlite import SqliteStore
from common.tools import Registry
from common.tools.pacing import SharedSlots

START = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
# What each of two processes does: wait for the other, then claim, and print when the calls go out.
CLAIMS = """
import asyncio, datetime as dt, pathlib, sys, time
from common.egress import Quota
from common.store.sqlite import SqliteStore
from common.tools.pacing import SharedSlots

folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
(folder / name).touch()
while not all((folder / other).exists() for other in "ab"):
    time.sleep(0.01)

async def main():
    store = SqliteStore.open(folder / "store.sqlite")
    seen = []
    def moment():
        seen.append(dt.datetime.now(dt.UTC))
        return seen[-1]
    slots = SharedSlots(store, clock=moment)
    for _ in range(8):
        wait = await slots.claim("Example", Quota(3, seconds=0.5), patience=60)
        print((seen[-1] + dt.timedelta(seconds=wait)).timestamp())
    document = await store.get("paces/example")
    assert len(document.data["taken"]) == 3
    await store.close()

asyncio.run(main())
"""


class Moving:
    """A clock that the test moves."""

    now = START

    def __call__(self) -> dt.datetime:
        return self.now


def test_two_processes_share_one_quota(tmp_path: Path) -> None:
    """Claimed from two processes at once, no window ever holds more calls than allowed."""
    script = tmp_path / "claims.py"
    script.write_text(CLAIMS)
    root = Path(__file__).parents[2]
    running = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path), name],
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        )
        for name in "ab"
    ]
    told = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    moments = sorted(float(line) for text in told for line in text.split())
    assert len(moments) == 16
    assert min(b - a for a, b in zip(moments, moments[3:], strict=False)) > 0.499


def test_moments_never_crowd_a_window(tmp_path: Path) -> None:
    """Whoever asks whenever: any window holds at most the quota, and the list stays short."""
    clock, moments = Moving(), []

    async def main() -> None:
        store = SqliteStore.open(tmp_path / "store.sqlite")
        two = [SharedSlots(store, clock=clock) for _ in range(2)]
        for step in range(60):
            clock.now += dt.timedelta(seconds=(step * 7 % 5) / 10)
            wait = await two[step % 2].claim("OSM", Quota(4, seconds=2), patience=1e6)
            moments.append(clock.now + dt.timedelta(seconds=wait))
        document = await store.get("paces/osm")
        assert document and len(document.data["taken"]) == 4
        assert document.data["expires_at"] == moments[-1] + dt.timedelta(seconds=2)
        await store.close()

    asyncio.run(main())
    assert moments == sorted(moments)
    spans = [b - a for a, b in zip(moments, moments[4:], strict=False)]
    assert min(spans) >= dt.timedelta(seconds=2)


def test_a_spent_quota_is_told_with_its_time(tmp_path: Path) -> None:
    """Rather than wait for an hour the user hears how long; what is refused claims nothing."""
    clock = Moving()

    async def main() -> None:
        store = SqliteStore.open(tmp_path / "store.sqlite")
        slots = SharedSlots(store, clock=clock)
        quota = Quota(2, seconds=3600)
        for _ in range(2):
            assert await slots.claim("511", quota, patience=5) == 0
        for _ in range(2):
            with pytest.raises(RateLimited, match="Try again in 3600 seconds") as caught:
                await slots.claim("511", quota, patience=5)
            assert caught.value.retry_after == 3600
        clock.now += dt.timedelta(hours=1)
        assert await slots.claim("511", quota, patience=5) == 0
        await store.close()

    asyncio.run(main())


class Counting:
    """Slots that note what was claimed."""

    def __init__(self) -> None:
        self.claims: list[tuple[str, Quota]] = []

    async def claim(self, vendor: str, quota: Quota, *, patience: float) -> float:
        self.claims.append((vendor, quota))
        return 0.0


def test_only_a_vendor_with_a_quota_costs_a_claim() -> None:
    """Each try of a limited vendor claims its place; others never touch the store."""
    slots = Counting()

    async def main() -> None:
        answers = iter([503, 200, 200])

        async def answer(request: web.Request) -> web.Response:
            return web.Response(status=next(answers))

        app = web.Application()
        app.router.add_get("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        origin = f"http://127.0.0.1:{runner.addresses[0][1]}"

        async def at_once(seconds: float) -> None:
            return

        egress = Egress(host_map={"api.example.com": origin}, slots=lambda: slots, sleep=at_once)
        hosts = ("api.example.com",)
        try:
            limited = Policy(name="OSM", hosts=hosts, quota=Quota(1, seconds=1))
            await egress.client(limited).get("https://api.example.com/")
            await egress.client(Policy(name="Yelp", hosts=hosts)).get("https://api.example.com/")
        finally:
            await egress.close()
            await runner.cleanup()

    asyncio.run(main())
    assert slots.claims == [("OSM", Quota(1, seconds=1))] * 2


@pytest.mark.parametrize(
    ("slug", "quota"), [("nominatim", Quota(1, seconds=1)), ("caltrain", Quota(60, seconds=3600))]
)
def test_the_vendors_that_ask_for_it_have_one(slug: str, quota: Quota) -> None:
    """The public map server's second and 511's hour hold for everybody together."""
    entry = Registry.discover().entries[slug]
    assert entry.policy(lambda _: None).quota == quota
