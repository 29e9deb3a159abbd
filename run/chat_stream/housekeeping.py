"""What the container does by itself: turns nobody came back for, documents past their time.

Runs beside the sockets, rarely and a little off the beat, so that many instances do not ask the
store the same thing at the same moment.
"""

from __future__ import annotations

import asyncio
import random
from itertools import count

from common.bootstrap import Services
from common.errors import OdaiError
from common.log import get_logger
from common.store.expiring import sweep

log = get_logger(__name__)

EVERY_SECONDS = 60.0
_ROUNDS_PER_SWEEP = 30


async def keep_house(services: Services, *, every: float = EVERY_SECONDS) -> None:
    """Look after turns and expired documents until cancelled."""
    for number in count():
        try:
            await services.turns.recover_abandoned()
            # Google's store has TTL policies of its own.
            if services.settings.local and number % _ROUNDS_PER_SWEEP == 0:
                await sweep(services.store, services.clock())
        except OdaiError as err:
            log.warning("housekeeping put off", extra={"code": err.code})
        except Exception:
            log.exception("housekeeping failed")  # and goes on: nobody else would close dead turns
        await asyncio.sleep(every * random.uniform(0.8, 1.2))
