"""Buying in the shop window: one order with its price, fewer pieces at once, never more than are shown."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal

import msgspec
import pytest
import sqlalchemy as sa
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from tests.browser.seed import CONFIG, NOW, SHOP, memory_store
from tests.unit.server.test_shop_window_page import HONEY, OIL

from tillbridge_server.connectors.shop_window.book import read_orders, still_available
from tillbridge_server.connectors.shop_window.connector import show
from tillbridge_server.connectors.shop_window.wire import shown_of
from tillbridge_server.core.offers import HIDE
from tillbridge_server.core.orders import StorefrontLine, StorefrontOrder
from tillbridge_server.dashboard.context import DashboardContext
from tillbridge_server.dashboard.routes import setup_dashboard
from tillbridge_server.store.database import Store

JSON = {"Accept": "application/json"}
Client = TestClient[web.Request, web.Application]


class Shop:
    """A demo's shop window with two articles, and how often it said that something was ordered."""

    def __init__(self, store: Store, *, demo: bool = True) -> None:
        self.store = store
        self.ordered = 0
        config = msgspec.structs.replace(CONFIG, demo=demo)
        app = web.Application()
        setup_dashboard(app, DashboardContext(
            self.store, config, lambda: NOW, "0.1.0", NOW, ordered=self._hear,
        ))
        self.client: Client = TestClient(TestServer(app))

    def _hear(self) -> None:
        self.ordered += 1

    async def start(self) -> None:
        """Listen, with three honeys and no oil."""
        await self.client.start_server()
        await self.store.run(show, SHOP.id, {"pos:7": HONEY, "pos:8": OIL}, NOW)

    async def stop(self) -> None:
        """The end."""
        await self.client.close()
        self.store.close()

    async def buy(self, **form: str) -> tuple[int, dict[str, str]]:
        """Buy as a program does."""
        answer = await self.client.post("/shop/buy", data=form, headers=JSON)
        return answer.status, await answer.json()

    async def left(self, variant: str) -> str:
        """How many items.json says there are."""
        told = await (await self.client.get("/shop/items.json")).json()
        return next(str(item["available"]) for item in told["items"] if item["variant"] == variant)

    async def book(self, after: int = 0) -> list[StorefrontOrder]:
        """The orders behind a position."""
        return await self.store.run(read_orders, SHOP.id, after, 100)


@pytest.fixture
async def shop(new_engine: Callable[[], sa.Engine]) -> AsyncIterator[Shop]:
    """The shop window of a demo."""
    made = Shop(Store(new_engine()))
    await made.start()
    yield made
    await made.stop()


async def test_an_order_has_the_price_shown_and_a_number_of_its_own(shop: Shop) -> None:
    """In the book and in the answer; whoever takes orders in is woken."""
    status, told = await shop.buy(variant="pos:7", quantity="2")
    assert (status, told["v"], shop.ordered) == (201, 1, 1)
    assert told["order"] == f"WINDOW-{told['number']}"
    assert await shop.book() == [
        StorefrontOrder(1, told["number"], NOW, "CHF", (
            StorefrontLine(1, "pos:7", Decimal(2), Decimal("6.00"), 'Honey, "wild" 100%'),
        ))
    ]
    base, tail = told["number"].split("-")
    assert (base, len(tail)) == ("1001", 3)
    assert set(tail) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
    second = (await shop.buy(variant="pos:7"))[1]
    assert second["number"].startswith("1002-")
    assert [order.number for order in await shop.book(after=1)] == [second["number"]]


async def test_the_shown_stock_falls_with_every_order_and_pollers_see_it(shop: Shop) -> None:
    """Under a version of its own; the last one gets told that nothing is left."""
    before = (await (await shop.client.get("/shop/items.json?since=0")).json())["version"]
    assert (await shop.buy(variant="pos:7", quantity="2"))[0] == 201
    delta = await (await shop.client.get(f"/shop/items.json?since={before}")).json()
    assert [(item["variant"], item["available"]) for item in delta["items"]] == [("pos:7", "1")]
    assert await shop.buy(variant="pos:7", quantity="2") == (
        409, {"v": 1, "error": "sold out meanwhile", "available": "1"})
    assert (await shop.buy(variant="pos:7"))[0] == 201
    assert await shop.left("pos:7") == "0"
    assert (await shop.buy(variant="pos:7"))[0] == 409
    assert len(await shop.book()) == 2
    assert shop.ordered == 2


async def test_many_buyers_at_once_get_no_more_than_there_are(shop: Shop) -> None:
    """Three of twelve, though as many wanted something else; no number twice, no position left out."""
    await shop.store.run(show, SHOP.id, {"pos:8": OIL.replace('"available":"0"', '"available":"40"')}, NOW)
    wanted = ["pos:7", "pos:8"] * 12
    answers = await asyncio.gather(*(shop.buy(variant=variant) for variant in wanted))
    of = {variant: sorted(status for one, (status, _) in zip(wanted, answers, strict=True) if one == variant)
          for variant in ("pos:7", "pos:8")}
    assert of == {"pos:7": [201] * 3 + [409] * 9, "pos:8": [201] * 12}
    assert len({told["number"] for status, told in answers if status == 201}) == 15
    assert [order.position for order in await shop.book()] == list(range(1, 16))


async def test_a_pushed_stock_that_knows_of_the_orders_is_not_lowered_twice(shop: Shop) -> None:
    """Only orders behind `through` are taken off, and the stock is never below zero."""
    for _ in range(3):
        await shop.buy(variant="pos:7")
    await shop.store.run(show, SHOP.id, {"pos:7": HONEY.replace('"was":"8.00"', '"was":"8.00","through":2')}, NOW)
    assert await shop.left("pos:7") == "2"
    await shop.store.run(show, SHOP.id, {
        "pos:7": HONEY.replace('"3"', '"1"').replace('"was":"8.00"', '"was":"8.00","through":3')}, NOW)
    assert await shop.left("pos:7") == "1"
    await shop.store.run(show, SHOP.id, {"pos:7": HONEY.replace('"3"', '"1"')}, NOW)
    assert await shop.left("pos:7") == "0"


async def test_a_whole_window_is_lowered_like_a_part_of_it(shop: Shop) -> None:
    """More variants than one query takes."""
    values = {f"pos:{n}": HONEY.replace('"pos:7"', f'"pos:{n}"') for n in range(450)}
    await shop.store.run(show, SHOP.id, values, NOW)
    for variant in ("pos:7", "pos:7", "pos:449"):
        assert (await shop.buy(variant=variant))[0] == 201
    shown = [value for text in values.values() if (value := shown_of(text)) is not None]
    left = await shop.store.run(still_available, SHOP.id, shown)
    assert {value.variant: value.available for value in left if value.available != 3} == {"pos:7": 1, "pos:449": 2}


@pytest.mark.parametrize(("form", "status"), [
    ({"variant": "pos:8"}, 409), ({"variant": "pos:9"}, 404), ({"variant": ""}, 404), ({}, 404),
    ({"variant": "pos:7", "quantity": "0"}, 400), ({"variant": "pos:7", "quantity": "-1"}, 400),
    ({"variant": "pos:7", "quantity": "1.5"}, 400), ({"variant": "pos:7", "quantity": "100"}, 400),
    ({"variant": "pos:7", "quantity": "١"}, 400), ({"variant": "pos:7", "quantity": "9" * 5000}, 400),
])
async def test_what_cannot_be_sold_is_told_and_leaves_no_order(shop: Shop, form: dict[str, str], status: int) -> None:
    """Sold out, hidden, unknown, or no number of pieces."""
    await shop.store.run(show, SHOP.id, {"pos:9": HIDE}, NOW)
    assert (await shop.buy(**form))[0] == status
    assert await shop.book() == []
    assert shop.ordered == 0


async def test_a_plain_form_leads_back_to_the_shop_with_thanks(shop: Shop) -> None:
    """To the page it came from; the number is in the book, or nothing is said."""
    answer = await shop.client.post(
        "/shop/buy?q=honey&page=1", data={"variant": "pos:7", "quantity": "1"}, allow_redirects=False)
    number = (await shop.book())[0].number
    assert (answer.status, answer.headers["Location"]) == (303, f"/shop?q=honey&page=1&bought={number}")
    text = await (await shop.client.get(answer.headers["Location"])).text()
    assert f"Thank you, your order number is {number}" in text
    assert f'href="/orders/WINDOW-{number}"' in text
    assert 'action="/shop/buy?q=honey&amp;page=1"' in text
    assert "Thank you" not in await (await shop.client.get("/shop?bought=1001-ZZZ")).text()


async def test_who_comes_too_late_reads_that_it_is_sold_out(shop: Shop) -> None:
    """And that nothing was ordered; there is no button for what is sold out."""
    for _ in range(3):
        await shop.buy(variant="pos:7")
    answer = await shop.client.post("/shop/buy", data={"variant": "pos:7"})
    assert str(answer.url).endswith("/shop?missed=pos:7") or str(answer.url).endswith("/shop?missed=pos%3A7")
    text = await answer.text()
    assert "Sold out meanwhile: Honey" in text
    assert "Nothing was ordered" in text
    assert 'action="/shop/buy' not in text


async def test_a_named_window_is_kept(shop: Shop) -> None:
    """In the form and on the way back."""
    text = await (await shop.client.get("/shop?storefront=window")).text()
    assert 'action="/shop/buy?storefront=window"' in text
    answer = await shop.client.post("/shop/buy?storefront=window", data={"variant": "pos:7"}, allow_redirects=False)
    assert "storefront=window" in answer.headers["Location"]
    assert (await shop.client.post("/shop/buy", data={"variant": "pos:7", "storefront": "none"})).status == 404
    assert len(await shop.book()) == 1


@pytest.mark.parametrize("headers", [
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://shop.example"},
    {"Origin": "null"},
])
async def test_no_other_site_can_buy_here(shop: Shop, headers: dict[str, str]) -> None:
    """A page somewhere else must not fill a demo with orders."""
    answer = await shop.client.post("/shop/buy", data={"variant": "pos:7"}, headers=headers | JSON)
    assert answer.status == 403
    assert await shop.book() == []


async def test_nothing_can_be_bought_outside_a_demo() -> None:
    """Neither button nor address."""
    real = Shop(memory_store(), demo=False)
    await real.start()
    assert "/shop/buy" not in await (await real.client.get("/shop")).text()
    answer = await real.client.post("/shop/buy", data={"variant": "pos:7"})
    assert answer.status == 404
    assert await real.book() == []
    await real.stop()
