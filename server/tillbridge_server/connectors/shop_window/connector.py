"""The connector of the shop window: writes its pages' values; nobody else does."""

import datetime as dt
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from tillbridge_server import crash
from tillbridge_server.connectors.interface import Given
from tillbridge_server.connectors.shop_window.book import read_orders
from tillbridge_server.connectors.shop_window.wire import shown_of, text_of
from tillbridge_server.core.offers import Shown
from tillbridge_server.core.orders import StorefrontOrder
from tillbridge_server.core.publishing import Item, Outcome
from tillbridge_server.store.fact_writes import chunks, upsert
from tillbridge_server.store.tables import window_item


class ShopWindow:
    """Shows items at once and accepts every one; all changed items of a push get the next version."""

    def __init__(self, given: Given) -> None:
        self._given = given

    async def push(self, items: Sequence[Item]) -> Outcome:
        """Show these values; the same value again changes nothing, not even its version."""
        values = {item.variant: text_of(item) for item in items}
        crash.reach("publish.showing")
        await self._given.store.run(show, self._given.storefront.id, values, self._given.clock())
        return Outcome(accepted=frozenset(values))

    async def read_back(self) -> Mapping[str, Shown]:
        """What the window was told to show; its pages take off what was bought since (book.py)."""
        return await self._given.store.run(read_window, self._given.storefront.id)

    async def orders(self, after: int, limit: int) -> Sequence[StorefrontOrder]:
        """What shoppers bought in the window."""
        return await self._given.store.run(read_orders, self._given.storefront.id, after, limit)


def show(conn: sa.Connection, storefront: str, values: Mapping[str, str], now: dt.datetime) -> int:
    """Put these values (canonical text by variant) into the window; returns how many differed from what it showed."""
    before: dict[str, str] = {}
    for some in chunks(sorted(values)):
        query = sa.select(window_item.c.variant_id, window_item.c.value).where(
            window_item.c.storefront == storefront, window_item.c.variant_id.in_(some)
        )
        before.update({row.variant_id: row.value for row in conn.execute(query)})
    changed = sorted(variant for variant, value in values.items() if before.get(variant) != value)
    newest = sa.select(sa.func.max(window_item.c.version)).where(window_item.c.storefront == storefront)
    version = (conn.execute(newest).scalar() or 0) + 1
    same = {"storefront": storefront, "version": version, "changed_at": now}
    rows = [{**same, "variant_id": variant, "value": values[variant]} for variant in changed]
    upsert(conn, window_item, rows, ("storefront", "variant_id"))
    return len(changed)


def read_window(conn: sa.Connection, storefront: str) -> dict[str, Shown]:
    """What the window was told to show, by variant."""
    query = sa.select(window_item.c.variant_id, window_item.c.value).where(window_item.c.storefront == storefront)
    shown = {row.variant_id: shown_of(row.value) for row in conn.execute(query)}
    return {variant: value for variant, value in sorted(shown.items()) if value is not None}
