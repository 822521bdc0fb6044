"""The publisher of one storefront: takes due values, pushes them through the connector, records what became of them."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Sequence
from random import Random

import structlog

from tillbridge_server import crash
from tillbridge_server.connectors.interface import Connector
from tillbridge_server.core.publishing import Item, Outcome, Rejection, pause_s
from tillbridge_server.errors import Refused, TryLater
from tillbridge_server.store import publishing
from tillbridge_server.store.database import Store
from tillbridge_server.store.publishing import Recorded, Task

log = structlog.get_logger()

#: Looked for due values at least this often: another process may have queued them.
LOOK_AGAIN_S = 2.0

#: Hears of every recorded push: what was sent, what became of it, and when.
OnRecorded = Callable[[Sequence[Task], Recorded, dt.datetime], None]


class Publisher:
    """Publishes one storefront's queue, one push at a time; `wake` says that something was queued.

    After trouble it waits with full jitter before it touches the storefront again, and at least as long as
    the storefront asked. Pushes bear repeats, so an unknown outcome is simply sent again.
    """

    def __init__(
        self, store: Store, storefront: str, connector: Connector, clock: Callable[[], dt.datetime], rng: Random,
        wake: asyncio.Event, on_recorded: OnRecorded,
    ) -> None:
        self.storefront = storefront
        self._store = store
        self._connector = connector
        self._clock = clock
        self._rng = rng
        self._wake = wake
        self._on_recorded = on_recorded
        self._failures = 0
        self._not_before: dt.datetime | None = None

    async def run(self) -> None:
        """Until cancelled."""
        await self.begin()
        while True:
            wait_s = await self.step()
            if wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()

    async def begin(self) -> None:
        """Once, before the first step: values that a process now gone had taken are due again.

        Where other processes may run, nobody knows who holds a lease: it ends by itself.
        """
        if self._store.shared:
            return
        await self._store.run(publishing.release_leases, self.storefront, self._clock())

    async def step(self) -> float:
        """One push, if something is due and the storefront may be asked; returns seconds to wait before the next."""
        self._wake.clear()
        now = self._clock()
        if self._not_before is not None and now < self._not_before:
            return min(LOOK_AGAIN_S, (self._not_before - now).total_seconds())
        tasks = await self._store.run(publishing.take_due, self.storefront, now)
        if not tasks:
            return LOOK_AGAIN_S
        crash.reach("publish.taken")
        outcome, error, pause = await self._push(tasks)
        crash.reach("publish.sent")
        now = self._clock()
        retry_at = now + dt.timedelta(seconds=pause)
        recorded = await self._store.run(
            publishing.record_outcome, tasks, accepted=sorted(outcome.accepted), rejected=outcome.rejected,
            retry_at=retry_at, error=error, now=now,
        )
        crash.reach("publish.recorded")
        self._not_before = retry_at if recorded.kept else None
        self._on_recorded(tasks, recorded, now)
        return min(LOOK_AGAIN_S, pause) if recorded.kept else 0.0

    async def _push(self, tasks: Sequence[Task]) -> tuple[Outcome, str, float]:
        """The outcome, the error if something is kept, and the pause before the next try."""
        try:
            outcome = await self._push_parts([publishing.item_of(task) for task in tasks])
        except AssertionError:
            raise
        except TryLater as later:
            return self._failed(later.message, later.retry_after_s)
        except Exception as error:  # Whatever it was, the outcome is unknown, and a push bears repeats.
            return self._failed(f"{type(error).__name__}: {error}", None)
        if len(outcome.accepted) + len(outcome.rejected) < len(tasks):
            _, message, pause = self._failed("The storefront did not say what became of some items.", None)
            return outcome, message, pause
        self._failures = 0
        return outcome, "", 0.0

    async def _push_parts(self, items: Sequence[Item]) -> Outcome:
        """Push; if the storefront refuses the whole, halve it until the item at fault is alone."""
        try:
            return await self._connector.push(items)
        except Refused as refused:
            if len(items) == 1:
                return Outcome(rejected={items[0].variant: Rejection(refused.code, refused.message)})
        half = len(items) // 2
        first, second = await self._push_parts(items[:half]), await self._push_parts(items[half:])
        return Outcome(first.accepted | second.accepted, {**first.rejected, **second.rejected})

    def _failed(self, message: str, asked_s: float | None) -> tuple[Outcome, str, float]:
        self._failures += 1
        pause = pause_s(self._failures, self._rng, asked_s)
        log.warning("publish_later", storefront=self.storefront, error=message, failures=self._failures, pause_s=pause)
        return Outcome(), message, pause
