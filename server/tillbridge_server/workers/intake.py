"""The order intake: sweeps every storefront's orders, finds each a location, and mails it signed to the agent there."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from tillbridge_server import crash
from tillbridge_server.connectors.interface import Connector
from tillbridge_server.core.settings import Rules
from tillbridge_server.errors import TryLater
from tillbridge_server.store import order_intake
from tillbridge_server.store.database import Store
from tillbridge_server.store.order_intake import Sign

log = structlog.get_logger()

#: Storefronts are swept, and orders without a place tried again, at least this often; a webhook is only a hint.
LOOK_AGAIN_S = 2.0
ORDERS_AT_ONCE = 100
#: Beside the database and never in its backup: how many orders had been taken in.
MARK_FILE = "orders.mark"


class Intake:
    """Takes in orders until cancelled; `wake` is a hint that one may have come.

    `touched` hears that stock was promised, `mailed` which agent has mail.
    """

    def __init__(
        self, store: Store, rules: Rules, connectors: Mapping[str, Connector], sign: Sign,
        clock: Callable[[], dt.datetime], wake: asyncio.Event, touched: Callable[[], None],
        mailed: Callable[[str], None], folder: Path,
    ) -> None:
        self._store = store
        self._rules = rules
        self._connectors = connectors
        self._sign = sign
        self._clock = clock
        self._wake = wake
        self._touched = touched
        self._mailed = mailed
        self._mark = folder / MARK_FILE
        self._taken_in = 0

    async def run(self) -> None:
        """Until cancelled."""
        await self.begin()
        while True:
            self._wake.clear()
            await self.step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._wake.wait()

    async def begin(self) -> None:
        """Once, before the first step: an older database than there was makes routing wait for the agents."""
        before = _read(self._mark)
        self._taken_in = await self._store.run(order_intake.notice_restore, before, self._clock())
        if before is not None and self._taken_in < before:
            log.warning("database_restored", orders=self._taken_in, orders_before=before)
        self._remember()

    async def step(self) -> None:
        """One look at every storefront, at what has no place yet, and at what is not mailed yet."""
        for storefront in self._rules.storefronts:
            await self._sweep(storefront.id)
        if self._store.shared and (taken_in := await self._store.run(order_intake.count_taken_in)) > self._taken_in:
            self._taken_in = taken_in  # another server took some in, and may be the one that is gone tomorrow
            self._remember()
        routed = await self._store.run(order_intake.route_waiting, self._rules, self._clock())
        for order in routed:
            log.info("order_routed", order=order)
            self._touched()
        crash.reach("order.routed")
        mailed = await self._store.run(order_intake.send_routed, self._sign, self._clock())
        crash.reach("order.mailed")
        for agent in sorted(set(mailed)):
            self._mailed(agent)

    async def _sweep(self, storefront: str) -> None:
        connector = self._connectors[storefront]
        shop = next(shop for shop in self._rules.storefronts if shop.id == storefront)
        while True:
            after = await self._store.run(order_intake.cursor, storefront)
            try:
                orders = await connector.orders(after, ORDERS_AT_ONCE)
            except TryLater as later:
                log.warning("sweep_later", storefront=storefront, error=later.message)
                return
            except AssertionError:
                raise
            except Exception as error:  # whatever it was, the other storefronts go on, and this one is asked again
                log.exception("sweep_failed", storefront=storefront, error=type(error).__name__)
                return
            orders = [one for one in orders if one.position > after]
            if not orders:  # nothing new, also from one that tells again what stands before the position
                return
            crash.reach("order.swept")
            new = await self._store.run(order_intake.take_in, self._rules, shop, orders, self._clock())
            crash.reach("order.taken_in")
            self._touched()
            self._taken_in += len(new)
            self._remember()
            for order in new:
                log.info("order_taken_in", order=order, storefront=storefront)

    def _remember(self) -> None:
        """Written after the commit: a crash in between makes the file too small, which harms nothing."""
        new = self._mark.with_suffix(".new")
        new.write_text(str(self._taken_in), encoding="ascii")
        new.replace(self._mark)


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
