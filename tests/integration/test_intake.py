"""The intake loop: sweeps, routes, mails, bears a storefront that is down, and notices a database put back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.fakes.order_book import OrderBook
from tests.integration.orders import NOW, SECOND, Chain, open_chain

from tillbridge_protocol.orders import Order, sign_order
from tillbridge_server.core.orders import StorefrontOrder
from tillbridge_server.core.settings import PlainRules, StorefrontConfig
from tillbridge_server.store.database import Store
from tillbridge_server.store.tables import agent
from tillbridge_server.workers import intake
from tillbridge_server.workers.intake import MARK_FILE, Intake


class Desk:
    """An intake over a chain; two storefronts, "window" and "other"."""

    def __init__(self, chain: Chain, folder: Path) -> None:
        self.chain, self.store, self.folder = chain, Store(chain.engine), folder
        self.books = {"window": OrderBook(), "other": OrderBook()}
        other = StorefrontConfig("other", "Other", "shop_window", "CHF", activate="auto")
        chain.rules = PlainRules(storefronts=(chain.shop, other))
        self.wake, self.mailed, self.touched = asyncio.Event(), [], 0  # type: ignore[var-annotated]
        self.intake = self.restarted()

    def restarted(self) -> Intake:
        """As at a start of the server."""
        self.intake = Intake(
            self.store, self.chain.rules, self.books, lambda order: sign_order(order, self.chain.key, "s/1"),
            lambda: self.chain.now, self.wake, self.touch, self.mailed.append, self.folder,
        )
        return self.intake

    def touch(self) -> None:
        """Counted."""
        self.touched += 1

    @property
    def mark(self) -> str:
        """What stands in the file beside the database."""
        return (self.folder / MARK_FILE).read_text()


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    """An intake that has begun."""
    with open_chain() as chain:
        chain.counts("sorrel", NOW - SECOND, cup=9)
        made = Desk(chain, folder)
        try:
            await made.intake.begin()
            yield made
        finally:
            made.store.close()


async def test_swept_routed_mailed(tmp_path: Path) -> None:
    """One look takes in what every storefront has, many at a time, and names who has mail once."""
    async with desk(tmp_path) as at:
        at.books["window"].book = [at.chain.sold_order(cup=1) for _ in range(5)]
        at.books["other"].book = [at.chain.sold_order(cup=1)]
        await at.intake.step()
        assert at.mailed == ["sorrel-1"]
        assert at.touched > 0
        assert len([one for one in at.chain.mail("sorrel") if isinstance(one, Order)]) == 6
        assert at.mark == "6"
        at.mailed.clear()
        await at.intake.step()
        assert at.mailed == []
        assert len(at.chain.mail("sorrel")) == 6


async def test_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one sweep holds is fetched page by page, from where the last one ended."""
    monkeypatch.setattr(intake, "ORDERS_AT_ONCE", 2)
    async with desk(tmp_path) as at:
        at.books["window"].book = [at.chain.sold_order(cup=1) for _ in range(5)]
        await at.intake.step()
        assert at.books["window"].asked == [0, 2, 4, 5]
        assert len(at.chain.listed()) == 5


async def test_a_storefront_that_is_down(tmp_path: Path) -> None:
    """Costs the others nothing, and its orders come when it is back."""
    async with desk(tmp_path) as at:
        at.books["window"].book = [at.chain.sold_order(cup=1)]
        at.books["other"].book = [at.chain.sold_order(cup=1)]
        at.books["window"].down = True
        await at.intake.step()
        assert [one["storefront"] for one in at.chain.listed()] == ["other"]
        at.books["window"].down = False
        await at.intake.step()
        assert [one["storefront"] for one in at.chain.listed()] == ["other", "window"]


async def test_a_storefront_whose_answer_breaks_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop lives, and the others have their orders."""
    async with desk(tmp_path) as at:
        async def broken(after: int, limit: int) -> list[StorefrontOrder]:
            raise KeyError("line_items")

        monkeypatch.setattr(at.books["window"], "orders", broken)
        at.books["other"].book = [at.chain.sold_order(cup=1)]
        await at.intake.step()
        assert [one["storefront"] for one in at.chain.listed()] == ["other"]


async def test_a_storefront_that_tells_old_orders_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands before the position is nothing new: the sweep ends."""
    async with desk(tmp_path) as at:
        book = [at.chain.sold_order(cup=1), at.chain.sold_order(cup=1)]

        async def everything(after: int, limit: int) -> list[StorefrontOrder]:
            return book

        monkeypatch.setattr(at.books["window"], "orders", everything)
        async with asyncio.timeout(20):
            await at.intake.step()
            await at.intake.step()
        assert len(at.chain.listed()) == 2


async def test_where_servers_share_the_database_each_counts_the_orders_of_all(tmp_path: Path) -> None:
    """The mark of one that took none in itself notices a database that is put back, too."""
    async with desk(tmp_path) as at:
        at.chain.take_in(at.chain.sold_order(cup=1), at.chain.sold_order(cup=1))
        at.store.shared = True
        await at.intake.step()
        assert at.mark == "2"


async def test_a_hint_wakes_it(tmp_path: Path) -> None:
    """Woken, it looks at once; a hint that comes while it looks is not lost."""
    async with desk(tmp_path) as at:
        loop = asyncio.create_task(at.intake.run())
        try:
            while not at.books["other"].asked:
                await asyncio.sleep(0.01)
            at.books["window"].book = [at.chain.sold_order(cup=1)]
            at.wake.set()
            async with asyncio.timeout(intake.LOOK_AGAIN_S * 5):
                while not at.mailed:
                    await asyncio.sleep(0.01)
        finally:
            loop.cancel()
        assert len(at.chain.listed()) == 1


@pytest.mark.parametrize(("kept", "waits"), [("1", False), ("2", True), (None, True), ("rubbish", True)])
async def test_a_database_put_back(tmp_path: Path, kept: str | None, waits: bool) -> None:
    """The mark beside it says how many orders there were; fewer, or no word, makes routing wait for the agents."""
    async with desk(tmp_path) as at:
        at.books["window"].book = [at.chain.sold_order(cup=1)]
        await at.intake.step()
        at.chain.now += SECOND
        if kept is None:
            (tmp_path / MARK_FILE).unlink()
        else:
            (tmp_path / MARK_FILE).write_text(kept)
        await at.restarted().begin()
        at.books["window"].book.append(at.chain.sold_order(cup=1))
        await at.intake.step()
        assert {one["state"] for one in at.chain.listed()} == ({"routed", "unrouted"} if waits else {"routed"})
        asked = at.chain.run(lambda conn: conn.execute(sa.select(agent.c.resync_asked)).scalars().all())
        assert set(asked) == {waits}
