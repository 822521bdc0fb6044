"""The decider: decides dirty variants whenever facts changed, and sales whenever a new day begins somewhere."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable
from zoneinfo import ZoneInfo

import sqlalchemy as sa
import structlog

from tillbridge_server import crash
from tillbridge_server.core.pricing import next_day_starts
from tillbridge_server.core.settings import Rules
from tillbridge_server.store import deciding
from tillbridge_server.store.database import Store, level_triggered
from tillbridge_server.store.deciding import Decided

log = structlog.get_logger()

#: Looked for dirty variants at least this often: another process may have marked them.
LOOK_AGAIN_S = 2.0


class Decider:
    """Decides until nothing is dirty, then waits for `wake`; `on_decided` hears of every decision."""

    def __init__(
        self, store: Store, rules: Rules, clock: Callable[[], dt.datetime], wake: asyncio.Event,
        on_decided: Callable[[Decided], None],
    ) -> None:
        self._store = store
        self._rules = rules
        self._clock = clock
        self._wake = wake
        self._on_decided = on_decided
        self._next_day: dt.datetime | None = None

    async def run(self) -> None:
        """Until cancelled."""
        await self.begin()
        while True:
            decided = await self.step()
            if not decided.more:
                await self._rest()

    async def begin(self) -> None:
        """Once, before the first step: other rules than last time, or days that began meanwhile, make work."""
        now = self._clock()
        changed = await self._store.run(deciding.notice_rules, self._rules, now)
        if changed:
            log.info("rules_changed", variants=changed)
        await self._store.run(deciding.touch_sales, now)
        self._next_day = self._day_after(now)

    async def step(self) -> Decided:
        """One decision; `more` says that it should be called again at once."""
        self._wake.clear()
        now = self._clock()
        if self._next_day is not None and now >= self._next_day:
            touched = await self._store.run(deciding.touch_sales, now)
            log.info("day_began", variants=touched)
            self._next_day = self._day_after(now)
        decided = await self._store.run(_decide, self._rules, now)
        crash.reach("decide.committed")
        if decided.variants:
            self._on_decided(decided)
        return decided

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN_S):
                await self._wake.wait()

    def _day_after(self, now: dt.datetime) -> dt.datetime | None:
        return next_day_starts([ZoneInfo(storefront.time_zone) for storefront in self._rules.storefronts], now)


@level_triggered
def _decide(conn: sa.Connection, rules: Rules, now: dt.datetime) -> Decided:
    decided = deciding.decide(conn, rules, now)
    if decided.variants:
        crash.reach("decide.deciding")
    return decided
