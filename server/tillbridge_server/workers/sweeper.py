"""The sweeper: forgets, a few times a day, what is past its time."""

import asyncio
import datetime as dt
from collections.abc import Callable

import structlog

from tillbridge_server.store import retention
from tillbridge_server.store.database import Store

log = structlog.get_logger()

SWEEP_EVERY_S = 6 * 3600.0


class Sweeper:
    """Sweeps at start and then every SWEEP_EVERY_S seconds."""

    def __init__(self, store: Store, clock: Callable[[], dt.datetime]) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.step()
            await asyncio.sleep(SWEEP_EVERY_S)

    async def step(self) -> retention.Swept:
        """One sweep."""
        swept = await self._store.run(retention.sweep, self._clock())
        log.info("swept", mail=swept.mail, tallies=swept.tallies, batches=swept.batches)
        return swept
