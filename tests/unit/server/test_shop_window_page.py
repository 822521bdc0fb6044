"""The shop window's page and its JSON: what shoppers see, and only what changed since a version."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from tests.browser.seed import NOW, SHOP, make_app, memory_store

from tillbridge_server.connectors.shop_window.connector import show
from tillbridge_server.core.offers import HIDE
from tillbridge_server.store.database import Store

Client = TestClient[web.Request, web.Application]
HONEY = (
    '{"variant":"pos:7","codes":["7"],"title":"Honey, \\"wild\\" 100%","available":"3","currency":"CHF",'
    '"list_price":"8.00","sale":{"price":"6.00","from":null,"to":"2026-03-30"},"price_now":"6.00","was":"8.00"}'
)
OIL = (
    '{"variant":"pos:8","codes":["8","0008"],"title":"Oil","available":"0","currency":"CHF",'
    '"list_price":"9.50","sale":null,"price_now":"9.50","was":null}'
)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """An empty chain."""
    made = memory_store()
    yield made
    made.close()


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    """A browser on this machine."""
    client: Client = TestClient(TestServer(make_app(store)))
    await client.start_server()
    yield client
    await client.close()


async def test_everything_at_first_then_only_what_changed(store: Store, client: Client) -> None:
    """Items, their exact fields, and what was taken off."""
    await store.run(show, SHOP.id, {"pos:7": HONEY, "pos:8": OIL}, NOW)
    first = await (await client.get("/shop/items.json?since=0")).json()
    assert (first["v"], first["version"], first["removed"]) == (1, 1, [])
    assert first["items"][0] == {
        "variant": "pos:7", "codes": ["7"], "title": 'Honey, "wild" 100%', "available": "3", "price": "6.00",
        "was": "8.00", "currency": "CHF", "changed_at": "2026-03-14T09:26:53.000000Z",
    }
    assert [item["variant"] for item in first["items"]] == ["pos:7", "pos:8"]
    still = await (await client.get("/shop/items.json?since=1")).json()
    assert still == {"v": 1, "version": 1, "since": 1, "items": [], "removed": []}
    await store.run(show, SHOP.id, {"pos:7": HIDE, "pos:8": OIL.replace('"0"', '"2"')}, NOW)
    then = await (await client.get("/shop/items.json?since=1")).json()
    assert then["version"] == 2
    assert [(item["variant"], item["available"]) for item in then["items"]] == [("pos:8", "2")]
    assert then["removed"] == ["pos:7"]


async def test_a_version_from_the_future_gets_everything(store: Store, client: Client) -> None:
    """The database was restored under the watcher."""
    await store.run(show, SHOP.id, {"pos:8": OIL}, NOW)
    answer = await (await client.get("/shop/items.json?since=99")).json()
    assert (answer["since"], answer["version"], len(answer["items"])) == (0, 1, 1)


async def test_the_same_answer_again_is_not_sent_again(store: Store, client: Client) -> None:
    """By its tag, until something changes."""
    await store.run(show, SHOP.id, {"pos:8": OIL}, NOW)
    tag = (await client.get("/shop/items.json?since=1")).headers["ETag"]
    assert (await client.get("/shop/items.json?since=1", headers={"If-None-Match": tag})).status == 304
    await store.run(show, SHOP.id, {"pos:7": HONEY}, NOW)
    assert (await client.get("/shop/items.json?since=1", headers={"If-None-Match": tag})).status == 200


@pytest.mark.parametrize("since", ["-1", "x", "1.5", "9" * 20, "١"])
async def test_a_since_that_is_no_version_is_told_so(client: Client, since: str) -> None:
    """As JSON, with what to send instead."""
    answer = await client.get("/shop/items.json", params={"since": since})
    assert answer.status == 400
    assert "since is a version" in (await answer.json())["error"]


async def test_shoppers_read_words_prices_and_sales(store: Store, client: Client) -> None:
    """And nothing of what is hidden."""
    await store.run(show, SHOP.id, {"pos:7": HONEY, "pos:8": OIL, "pos:9": HIDE}, NOW)
    page = (await (await client.get("/shop")).text()).replace("\xa0", " ")
    for words in ("Only 3 left", "Out of stock", "CHF 6.00", "Sale −25 %", "until 30 Mar", "changed", "All 2",
                  "On sale 1"):
        assert words in page
    assert "pos:9" not in page
    sale = await (await client.get("/shop?sale=1")).text()
    assert "Oil" not in sale


@pytest.mark.parametrize(("q", "found"), [
    ("honey", 1), ("WILD", 1), ('"wild"', 1), ("100%", 1), ("0008", 1), ("%", 1), ("title", 0), ("CHF", 0), ("_", 0),
    ("variant", 0),
])
async def test_the_search_looks_at_titles_and_codes_only(store: Store, client: Client, q: str, found: int) -> None:
    """Not at the names of fields or other values."""
    await store.run(show, SHOP.id, {"pos:7": HONEY, "pos:8": OIL}, NOW)
    page = await (await client.get("/shop", params={"q": q})).text()
    assert page.count('class="prod"') == found


async def test_twenty_four_to_a_page(store: Store, client: Client) -> None:
    """The rest is a page further."""
    many = {f"pos:{n}": HONEY.replace('"pos:7"', f'"pos:{n}"') for n in range(25)}
    await store.run(show, SHOP.id, many, NOW)
    page = await (await client.get("/shop")).text()
    assert page.count('class="prod"') == 24
    assert "Page 1 of 2" in page
