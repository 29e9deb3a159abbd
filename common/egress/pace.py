"""How hard a vendor may be pressed: concurrency, pace and a circuit breaker, together a lane."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from common.errors import RateLimited, VendorUnavailable

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Quota:
    """How many calls in how many seconds a vendor allows all our processes together."""

    calls: int
    seconds: float


class Slots(Protocol):
    """Hands out the calls of a quota to every process; egress keeps no documents itself."""

    async def claim(self, vendor: str, quota: Quota, *, patience: float) -> float:
        """Claim one call and return in how many seconds it may go out.

        Raises RateLimited, claiming nothing, where that is more than `patience`.
        """
        ...


class Bucket:
    """A token bucket of `per_second` tokens a second that holds one second's worth."""

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._rate, self._clock = per_second, clock
        self._size = max(1.0, per_second)
        self._tokens, self._at = self._size, clock()

    def take(self, patience: float) -> tuple[float, bool]:
        """Return (seconds until a token is due, whether it was taken): within `patience` it is."""
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._at) * self._rate)
        self._at = now
        wait = max(0.0, (1.0 - self._tokens) / self._rate)
        if wait > patience:
            return wait, False
        self._tokens -= 1.0  # below zero: a place in the queue
        return wait, True


class Breaker:
    """Stops calls after `threshold` failures in a row, then lets one through per `cooldown_s`."""

    def __init__(self, clock: Clock, *, threshold: int = 5, cooldown_s: float = 30.0) -> None:
        self._clock, self._threshold, self._cooldown = clock, threshold, cooldown_s
        self._failures = 0
        self._opens_at = 0.0
        self._probing = False

    def admit(self) -> bool:
        """Return whether a call may go out; an open breaker's one probe is claimed by this."""
        if self._failures < self._threshold:
            return True
        if self._probing or self._clock() < self._opens_at:
            return False
        self._probing = True
        return True

    def record(self, ok: bool | None) -> None:
        """Note how an admitted call ended; None, a cancelled call, says nothing of the vendor."""
        self._probing = False
        if ok is None:
            return
        self._failures = 0 if ok else self._failures + 1
        if self._failures >= self._threshold:
            self._opens_at = self._clock() + self._cooldown


class Lane:
    """The one way to a vendor; pair every `enter` that returned with one `leave`."""

    def __init__(
        self, vendor: str, *, concurrency: int, per_second: float | None, clock: Clock, sleep: Sleep
    ) -> None:
        self._vendor, self._sleep = vendor, sleep
        self._slots = asyncio.Semaphore(concurrency)
        self._bucket = Bucket(per_second, clock) if per_second else None
        self._breaker = Breaker(clock)

    async def enter(self, patience: float) -> None:
        """Wait for a slot and for the pace, `patience` seconds each at most.

        Raises RateLimited when our own pace asks for longer, VendorUnavailable while the breaker
        is open or all slots stay taken.
        """
        try:
            async with asyncio.timeout(patience):
                await self._slots.acquire()
        except TimeoutError:
            raise VendorUnavailable(f"{self._vendor} is busy. Try again in a moment.") from None
        try:
            await self._wait_for_pace(patience)
            self._pass_breaker()
        except BaseException:
            self._slots.release()
            raise

    def leave(self, ok: bool | None) -> None:
        """Give the slot back; `ok` is None where the call was cancelled."""
        self._breaker.record(ok)
        self._slots.release()

    def _pass_breaker(self) -> None:
        if not self._breaker.admit():
            raise VendorUnavailable(
                f"{self._vendor} failed several times in a row and is left alone for a short while."
                " Try again in a minute."
            )

    async def _wait_for_pace(self, patience: float) -> None:
        if self._bucket is None:
            return
        wait, taken = self._bucket.take(patience)
        if not taken:
            raise RateLimited(
                f"{self._vendor} is being asked too often. Try again in {wait:.0f} seconds.",
                retry_after=wait,
            )
        if wait:
            await self._sleep(wait)
