"""Every page in a real browser at 1280 and 390 px: nothing sideways, one h1, labels, landmarks, targets, contrast."""

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.browser.conftest import House
from tests.browser.driver import Browser
from tests.browser.seed import Chain, calm_chain

from tillbridge_server.store.tables import location

pytestmark = pytest.mark.browser

PATHS = (
    "/", "/?show=trouble", "/stores", "/stores/05", "/stores/11", "/skus", "/skus?state=hidden", "/skus/pos:0040999",
    "/skus/pos:0041140", "/skus/pos:0041140?at=2026-03-14T09:00", "/holds", "/holds/1f2e3d4c:h1", "/holds?done=",
    "/search?q=honey", "/refused", "/audit", "/words", "/setup", "/shop", "/shop?sale=1", "/nothing", "/orders",
    "/orders?show=waiting", "/orders?show=all&page=2", "/orders?store=01", "/orders/WINDOW-1022-K60",
    "/orders/WINDOW-1025-K63", "/orders/WINDOW-1029-K67", "/orders/WINDOW-1021-K100", "/stores/07",
    "/skus/pos:0041413", "/shop?bought=1022-K60",
)

#: A function body that lists what is wrong with a page.
FAULTS = (Path(__file__).parent / "faults.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_every_page_is_whole_at_this_width(browser: Browser, busy: House, width: int) -> None:
    """320 is what 200 % zoom of a small screen leaves."""
    browser.size(width)
    faults = {}
    for path in PATHS:
        browser.open(busy.url + path)
        found = browser.run(FAULTS)
        if found:
            faults[path] = found
    assert faults == {}


@pytest.mark.parametrize("width", [1280, 390])
def test_the_first_day_and_a_calm_day_are_whole(
    browser: Browser, serve: Callable[[Chain | None], House], width: int
) -> None:
    """The empty and the quiet screens."""
    browser.size(width)
    for house in (serve(None), serve(calm_chain)):
        for path in ("/", "/stores", "/skus", "/orders", "/holds", "/shop", "/audit", "/refused"):
            browser.open(house.url + path)
            assert browser.run(FAULTS) == [], path


def test_every_page_works_in_the_dark_too(browser: Browser, busy: House) -> None:
    """Surfaces turn dark and text light, everywhere."""
    browser.size(1280, dark=True)
    for path in PATHS:
        browser.open(busy.url + path)
        ground = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert max(int(part) for part in ground.strip("rgb()").split(",")) < 64, path


def test_links_in_pages_lead_somewhere(browser: Browser, busy: House) -> None:
    """Every address on every page answers."""
    seen: set[str] = set()
    for path in PATHS:
        browser.open(busy.url + path)
        seen |= set(browser.run("return [...document.links].map(e => e.getAttribute('href'))"))
    script = "return Promise.all(arguments[0].map(p => fetch(p).then(r => [p, r.status])))"
    answers = browser.run(script, sorted({path.partition("#")[0] for path in seen if path.startswith("/")}))
    assert [path for path, status in answers if status != 200] == []
    assert len(answers) > 100


def test_parts_refresh_in_place_and_keep_what_the_reader_holds(browser: Browser, busy: House) -> None:
    """The overview follows the store while the search keeps its text and the focus."""
    browser.open(busy.url + "/")
    browser.run("const q = document.getElementById('q'); q.focus(); q.value = 'half a wo'; scrollTo(0, 400)")
    busy.store.submit(_rename, "Arbon", "Arbon am See").result()
    browser.run("htmx.trigger(document.getElementById('live'), 'every')")
    browser.wait("return document.getElementById('live').innerText.includes('Arbon am See')")
    assert browser.run("return [document.activeElement.id, document.getElementById('q').value, scrollY]") == [
        "q", "half a wo", 400,
    ]


def _rename(conn: sa.Connection, old: str, new: str) -> None:
    conn.execute(location.update().where(location.c.name == old).values(name=new))
