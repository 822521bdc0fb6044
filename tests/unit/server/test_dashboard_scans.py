"""The page of scans: newest first, the SKU whose code it is, the scanners, and that nothing moves by them."""

import datetime as dt

import msgspec
import pytest
import sqlalchemy as sa
from aiohttp.test_utils import TestClient, TestServer
from tests.browser.seed import CONFIG, NOW, Builder, heartbeat, make_app, memory_store

from tillbridge_protocol.changes import Change, FeedInfo, Source
from tillbridge_protocol.heartbeat import DeviceHealth
from tillbridge_protocol.records import Product, Scan
from tillbridge_server.config import ServerConfig
from tillbridge_server.store.database import Store
from tillbridge_server.store.event_writes import append
from tillbridge_server.store.fact_writes import Where, apply_changes

SECOND = dt.timedelta(seconds=1)


def scanned(conn: sa.Connection, now: dt.datetime) -> None:
    """Two stores; one has scanned 25 labels, the newest of a known code, the other one label that is markup."""
    built = Builder(conn, now)
    for place, name in (("01", "Aarau"), ("02", "Brig")):
        built.place(place, name)
    health = DeviceHealth("counter", "line_scanner", "open", now, 25, 2, 3, "The last 3 readings were noise.")
    built.agent("01", SECOND, heartbeat(now, [], devices=[health]))
    built.agent("02", SECOND, heartbeat(now, [], devices=[DeviceHealth("counter", "line_scanner", "missing")]))
    built.feed("01", "stock", SECOND)
    built.feed("01", "counter", SECOND)
    built.feed("02", "counter", SECOND, numbering="ean")
    item = Change("stock", "product", "0041000", "put", Product("0041000", title="Copper kettle"), Source("S.CSV"))
    apply_changes(conn, Where("01", "agent-01", now), {"stock": FeedInfo("pos")}, [item])
    labels = {"01": [*(f"76123450000{n:02}" for n in range(24)), "0041000"], "02": ["<b>0041000\x1d10"]}
    for place, texts in labels.items():
        kind = "]E0" if place == "01" else None
        scans = [Scan(f"{place}-{n}", text, now - SECOND * (60 - n), "counter", kind) for n, text in enumerate(texts)]
        events = [(n, Change("counter", "scan", one.id, "put", one)) for n, one in enumerate(scans)]
        assert list(append(conn, Where(place, f"agent-{place}", now), events)) == []


@pytest.fixture
def store() -> Store:
    """The chain."""
    return memory_store(scanned)


async def text(store: Store, path: str, config: ServerConfig = CONFIG, status: int = 200) -> str:
    """The page at a path."""
    async with TestClient(TestServer(make_app(store, NOW, config))) as client:
        answer = await client.get(path)
        assert answer.status == status, path
        return await answer.text()


async def test_newest_first_with_the_sku_and_no_stock_moved(store: Store) -> None:
    """Twenty a page; a code of the device's numbering leads to its SKU, and nothing in a label is markup."""
    page = await text(store, "/scans")
    assert "they move no stock" in page
    assert "The till is the one that counts" in page
    assert page.index("0041000</span>") < page.index("7612345000023")
    assert 'href="/skus/pos:0041000">Copper kettle</a>' in page
    assert "EAN-13" in page
    assert "no SKU has this code in pos" in page
    assert "Page 1 of 2, 26\u00a0scans" in page
    assert "<b>0041000" not in page
    older = await text(store, "/scans?page=2")
    assert "&lt;b&gt;0041000␝10" in older
    assert "not told" in older
    assert "no SKU has this code in ean" in older


async def test_one_store(store: Store) -> None:
    """Its scans and its scanner only; a store that is none is not found."""
    page = await text(store, "/scans?store=02")
    assert "Scans of Brig" in page
    assert "7612345" not in page
    assert "Unplugged" in page
    assert "Page 1 of 1, 1\u00a0scan" in page
    await text(store, "/scans?store=99", status=404)


async def test_scanners_tell_how_they_are(store: Store) -> None:
    """With their trouble in words; they are no feeds that could be late."""
    page = await text(store, "/scans")
    assert "The last 3 readings were noise." in page
    assert "<th scope=\"row\">counter<small>" in page
    assert "counter" not in (await text(store, "/stores/01")).partition('id="h-feeds"')[2].partition("</table>")[0]


async def test_a_location_whose_scans_move_stock_is_named(store: Store) -> None:
    """What server.toml says stands on the page."""
    shop = msgspec.structs.replace(CONFIG.storefronts[0], moving_journals=("01/counter", "02/journal"))
    page = await text(store, "/scans", msgspec.structs.replace(CONFIG, storefronts=(shop,)))
    assert "but for Aarau, counter, where server.toml says that each takes one piece out" in page


async def test_nothing_scanned_yet() -> None:
    """It says what is missing."""
    assert "[[devices]]" in await text(memory_store(), "/scans")
