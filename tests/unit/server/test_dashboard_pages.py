"""What the screens say: troubles first, honest states, deeds with their reason, nothing from data run as markup."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from tests.browser.seed import CONFIG, NOW, SHOP, articles, busy_chain, calm_chain, location_id, make_app, memory_store

from tillbridge_server.dashboard.context import DashboardContext
from tillbridge_server.dashboard.routes import setup_dashboard
from tillbridge_server.store.database import Store
from tillbridge_server.store.deciding import decide
from tillbridge_server.store.tables import activation, agent, audit, hold, mailbox

Client = TestClient[web.Request, web.Application]
FILE_HOLD = "1f2e3d4c:h1"
PATHS = (
    "/", "/?show=trouble", "/stores", "/stores/05", "/stores/office", "/skus", "/skus?state=hidden", "/skus?q=hose",
    "/skus/pos:0040999", "/skus/pos:0041140", "/skus/pos:0041000?show=stock", "/holds", f"/holds/{FILE_HOLD}",
    "/holds?done=", "/search?q=honey", "/refused", "/audit", "/words", "/setup", "/shop", "/shop?sale=1", "/orders",
    "/orders?show=all", "/scans", "/orders/WINDOW-1025-K63", "/orders/WINDOW-1021-K100",
)


@dataclass
class Chain:
    """A chain and a browser on the server's own machine."""

    store: Store
    client: Client

    async def text(self, path: str, status: int = 200) -> str:
        """The page at a path."""
        answer = await self.client.get(path)
        assert answer.status == status, path
        return await answer.text()

    async def send(self, page: str, path: str, data: list[tuple[str, str]]) -> str:
        """Send a form with the token of a page; returns where it led to."""
        found = re.search(r'name="csrf" value="([^"]+)"', await self.text(page))
        assert found is not None
        answer = await self.client.post(path, data=[("csrf", found[1]), *data], allow_redirects=False)
        return answer.headers.get("Location", f"status {answer.status}: {await answer.text()}")

    async def hold_of(self, code: str) -> str:
        """The id of the open hold of a check."""
        query = sa.select(hold.c.id).where(hold.c.code == code)
        return await self.store.run(lambda conn: conn.execute(query).scalar_one())


async def _chain(store: Store, app: web.Application) -> AsyncIterator[Chain]:
    client: Client = TestClient(TestServer(app))
    await client.start_server()
    yield Chain(store, client)
    await client.close()
    store.close()


@pytest.fixture
async def busy() -> AsyncIterator[Chain]:
    """Twelve places with every trouble there is."""
    store = memory_store(busy_chain)
    async for chain in _chain(store, make_app(store)):
        yield chain


@pytest.fixture
async def calm() -> AsyncIterator[Chain]:
    """Three stores, all fresh."""
    store = memory_store(calm_chain)
    async for chain in _chain(store, make_app(store)):
        yield chain


@pytest.fixture
async def empty() -> AsyncIterator[Chain]:
    """A server on its first day."""
    store = memory_store()
    async for chain in _chain(store, make_app(store)):
        yield chain


def plain(page: str) -> str:
    """The words of a page without markup, spaces single."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\xa0", " ")


async def test_every_page_answers_strictly_and_runs_nothing_from_data(busy: Chain) -> None:
    """One h1, no inline style or script, a policy that would refuse them."""
    for path in PATHS:
        answer = await busy.client.get(path)
        text = await answer.text()
        assert answer.status == 200, path
        assert "<script>alert" not in text
        assert not re.search(r"\sstyle=|\son[a-z]+=|javascript:", text), path
        assert text.count("<h1") == 1, path
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"


async def test_a_title_that_is_markup_is_shown_as_text(busy: Chain) -> None:
    """In lists, on its own page and in the shop window."""
    for path in ("/skus", "/skus/pos:0040999", "/shop"):
        assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; &amp; Sons" in await busy.text(path)


@pytest.mark.parametrize("path", ["/nothing", "/stores/none", "/skus/pos:none", "/holds/none", "/holds/none.csv",
                                  "/skus/%3Cscript%3E", "/shop?storefront=none", "/orders/none", "/orders?store=none"])
async def test_what_does_not_exist_says_so_in_words(busy: Chain, path: str) -> None:
    """With what to do next and without a trace."""
    text = await busy.text(path, 404)
    assert "There is nothing at this address" in text
    assert "Traceback" not in text


async def test_an_address_used_in_another_way_is_told_so(busy: Chain) -> None:
    """Not a bare status line."""
    answer = await busy.client.post("/stores")
    assert answer.status == 405
    assert "cannot be used like that" in await answer.text()


async def test_the_first_day_says_how_to_connect_a_store(empty: Chain) -> None:
    """And no other page breaks when there is nothing to show."""
    text = await empty.text("/")
    assert "No store is connected yet" in text
    assert "tillbridge-server invite --location" in text
    for path in ("/stores", "/skus", "/orders", "/holds", "/refused", "/audit", "/shop"):
        await empty.text(path)


async def test_a_calm_chain_says_so_in_one_sentence(calm: Chain) -> None:
    """Nothing to review, no button for it."""
    words = plain(await calm.text("/"))
    assert "All 3 stores are fresh. Nothing needs a person." in words
    assert "Nothing is waiting for you." in words
    assert "Review the first" not in words


async def test_the_overview_ranks_decisions_before_silence_before_lateness(busy: Chain) -> None:
    """Orders, holds, offline, late, quarantine, refused."""
    words = plain(await busy.text("/"))
    needs = ("The till of Arbon has not taken order WINDOW-1022-K60", "No store can take order WINDOW-1029-K67",
             "STOCK_1025.CSV has 1,912 rows fewer", "36 prices would fall by a lot in Head office",
             "23 SKUs would go to zero in Chur", "Horw has not called for 3 days", "Frick stopped writing stock",
             "17 rows of Emmen are not readable", "3 changes of Davos refused")
    places = [words.index(need) for need in needs]
    assert places == sorted(places)
    assert "4 of 12 stores are fresh. 14 things need a person" in words


async def test_an_offline_backlog_is_unknown_and_never_zero(busy: Chain) -> None:
    """Nobody can know it."""
    page = await busy.text("/stores/08")
    words = plain(page)
    assert "Backlog unknown known again when it calls" in words
    assert "Offline" in words


async def test_a_place_without_an_agent_is_not_connected(busy: Chain) -> None:
    """And its page says how to connect it."""
    words = plain(await busy.text("/stores/11"))
    assert "Not connected" in words
    assert "tillbridge-server invite --location 11" in words


async def test_an_agent_is_offline_after_three_missed_heartbeats(busy: Chain) -> None:
    """All eleven agents, a minute and a half later."""
    later = NOW + DashboardContext(busy.store, CONFIG, lambda: NOW, "0", NOW).offline_after * 2
    app = make_app(busy.store, later)
    client: Client = TestClient(TestServer(app))
    await client.start_server()
    try:
        words = plain(await (await client.get("/stores?show=offline")).text())
    finally:
        await client.close()
    assert "Offline 11" in words


async def test_unknown_absent_and_zero_look_different(busy: Chain) -> None:
    """A store that never listed it, and one that counted 0."""
    page = await busy.text("/skus/pos:0041042")
    words = plain(page)
    assert '<span class="unknown">unknown</span>' in page
    assert "never listed" in words
    assert "Emmen 0" in words


async def test_the_explanation_sums_to_the_number(busy: Chain) -> None:
    """The equation above the tree is the tree."""
    words = plain(await busy.text("/skus/pos:0041042"))
    equation = re.search(r"(\d+) counted − (\d+) buffer = (\d+)", words)
    assert equation is not None
    counted, buffer, result = map(int, equation.groups())
    assert counted - buffer == result
    assert f"The web may sell {result}" in words


async def test_a_held_price_shows_what_the_web_shows_meanwhile(busy: Chain) -> None:
    """The published price is the big one, the decided one stands beside it."""
    words = plain(await busy.text("/skus/pos:0041140"))
    assert "At CHF 8.65 decided: CHF 0.10" in words
    assert "Held by a breaker: too many prices would fall at once." in words


async def test_a_purchase_price_or_none_keeps_a_sku_hidden_and_says_why(busy: Chain) -> None:
    """A cost is never a price."""
    code = articles()[-2].code
    words = plain(await busy.text(f"/skus/pos:{code}"))
    assert "No selling price is known" in words
    assert "unknown a cost is never a price" in words


async def test_an_earlier_moment_is_explained_as_it_was(busy: Chain) -> None:
    """Local time of the chain; nonsense is told."""
    words = plain(await busy.text("/skus/pos:0041140?at=2026-03-14T09:00"))
    assert "This explains Sat 14 Mar 2026, 09:00:00 Europe/Zurich, not now." in words
    assert "The web price CHF 8.65" in words
    wrong = plain(await busy.text("/skus/pos:0041140?at=yesterday"))
    assert "“yesterday” is not a moment" in wrong


async def test_the_timeline_names_the_store_the_file_and_what_was_before(busy: Chain) -> None:
    """Down to the line."""
    words = plain(await busy.text("/skus/pos:0041140"))
    assert "Head office charges CHF 0.10, before: CHF 8.65" in words
    assert "ARTICLES_1014.CSV, line 3" in words


@pytest.mark.parametrize(("q", "target"), [
    ("0041042", "/skus/pos:0041042"), ("pos:0041042", "/skus/pos:0041042"), ("Emmen", "/stores/05"),
    ("", "/skus"),
])
async def test_a_search_for_one_thing_opens_it(busy: Chain, q: str, target: str) -> None:
    """A code, a variant’s id, a store’s name."""
    answer = await busy.client.get("/search", params={"q": q}, allow_redirects=False)
    assert answer.headers["Location"] == target


@pytest.mark.parametrize("q", ["hose", "<script>", "100%", "_", "é\"", "nothing is called this"])
async def test_a_search_takes_any_text_as_text(busy: Chain, q: str) -> None:
    """Wildcards and markup are letters."""
    answer = await busy.client.get("/search", params={"q": q})
    text = plain(await answer.text())
    assert answer.status == 200
    assert ("SKUs" in text) or ("Nothing is called that" in text)


async def test_approving_a_breaker_needs_a_choice_and_a_reason(busy: Chain) -> None:
    """Until then nothing is decided."""
    tripped = await busy.hold_of("to_zero")
    for data, told in (([], "Choose what is to happen."), ([("verdict", "approve")], "Say why in a few words")):
        answer = await busy.send(f"/holds/{tripped}", f"/holds/{tripped}", data)
        assert answer.startswith("status 422")
        assert told in answer
    assert "23 SKUs would go to zero in Chur" in plain(await busy.text("/"))


async def test_an_approved_breaker_lets_its_values_go(busy: Chain) -> None:
    """They are queued, and who and why stand on the page and in the log."""
    tripped = await busy.hold_of("to_zero")
    led = await busy.send(f"/holds/{tripped}", f"/holds/{tripped}",
                          [("verdict", "approve"), ("reason", "stocktake confirmed by Tom")])
    assert led == f"/holds?done={tripped}"
    assert "Approved: 23 SKUs would go to zero in Chur." in plain(await busy.text(led))
    queued = (await busy.store.run(decide, CONFIG, NOW)).queued
    assert len(queued) == 23
    words = plain(await busy.text(f"/holds/{tripped}"))
    assert "Approved by this computer (no password set)" in words
    assert "“stocktake confirmed by Tom”" in words
    assert "stocktake confirmed by Tom" in plain(await busy.text("/audit"))


async def test_a_decision_about_a_file_travels_to_its_agent(busy: Chain) -> None:
    """By mail, under the agent’s own id of the hold."""
    await busy.send(f"/holds/{FILE_HOLD}", f"/holds/{FILE_HOLD}", [("verdict", "reject"), ("reason", "cut short")])
    query = sa.select(mailbox.c.body).where(mailbox.c.agent_id == "agent-04")
    body = await busy.store.run(lambda conn: conn.execute(query).scalar_one())
    assert '"decision":"reject"' in body
    assert '"hold":"h1"' in body


async def test_a_decided_hold_cannot_be_decided_again(busy: Chain) -> None:
    """The first word stands."""
    for verdict in ("approve", "reject"):
        await busy.send("/setup", f"/holds/{FILE_HOLD}", [("verdict", verdict), ("reason", "seen")])
    state = await busy.store.run(
        lambda conn: conn.execute(sa.select(hold.c.state).where(hold.c.id == FILE_HOLD)).scalar_one()
    )
    assert state == "approved"


async def test_a_hold_comes_as_a_spreadsheet_without_formulas(busy: Chain) -> None:
    """All rows, and no cell begins like a formula."""
    tripped = await busy.hold_of("price_drop")
    answer = await busy.client.get(f"/holds/{tripped}.csv")
    lines = (await answer.text()).splitlines()
    assert answer.content_type == "text/csv"
    assert len(lines) == 37
    assert lines[1].startswith("window,")
    assert not any(cell[:1] in "=+@" for line in lines for cell in line.split(",") if cell)


async def test_a_clash_of_feeds_asks_for_an_owner_and_offers_no_yes(busy: Chain) -> None:
    """There is nothing to approve."""
    await busy.store.run(lambda conn: conn.execute(hold.insert().values(
        id="c1", what="conflict", place="window", since=NOW, code="owner_missing", message="Feeds disagree.",
        hint="Name the owner in server.toml under [owners].", affected=2, sample="[]", state="open",
    )))
    page = await busy.text("/holds/c1")
    assert "Name the owner in server.toml" in page
    assert 'name="verdict"' not in page


async def test_a_held_file_is_told_in_changes_and_a_lost_column_offers_no_yes(busy: Chain) -> None:
    """One row may be three changes; and an agent's own price guard counts changes, not prices."""
    for code in ("price_drop", "column_missing"):
        await busy.store.run(lambda conn, code=code: conn.execute(hold.insert().values(
            id=f"a:{code}", what="file", place="mallow/stock", since=NOW, code=code, message="31 prices would fall.",
            hint="Look.", affected=93, sample="[]", state="open", agent_id="agent-1",
        )))
    page = await busy.text("/holds/a:price_drop")
    assert "93\N{NO-BREAK SPACE}changes" in page
    assert "93\N{NO-BREAK SPACE}rows" not in page
    assert "93\N{NO-BREAK SPACE}prices" not in page
    assert 'value="approve"' in page
    page = await busy.text("/holds/a:column_missing")
    assert 'value="approve"' not in page
    assert 'value="reject"' in page


async def test_activating_chosen_skus_counts_those_that_were_new(busy: Chain) -> None:
    """Unknown ids are left out; the act is in the log once."""
    hidden = [item.code for item in articles()[-3:]]
    chosen = [("storefront", SHOP.id), *[("variant", f"pos:{code}") for code in hidden], ("variant", "pos:none")]
    for n in (3, 0):
        led = await busy.send("/skus?state=hidden", "/activate", chosen)
        assert led == f"/skus?storefront=window&state=hidden&activated={n}"
    active = await busy.store.run(lambda conn: set(conn.scalars(sa.select(activation.c.variant_id))))
    assert {f"pos:{code}" for code in hidden} <= active
    assert "pos:none" not in active
    acts = await busy.store.run(lambda conn: [row.what for row in conn.execute(sa.select(audit))])
    assert acts[-1] == "window: 3 variants"


async def test_everything_on_a_page_can_be_activated_at_once(busy: Chain) -> None:
    """Without a tick."""
    listed = [("listed", f"pos:{item.code}") for item in articles()[-18:]]
    led = await busy.send("/skus?state=hidden", "/activate", [("storefront", SHOP.id), ("everything", "1"), *listed])
    assert led.endswith("activated=18")


async def test_one_sku_is_activated_from_its_own_page(busy: Chain) -> None:
    """And told so there."""
    code = articles()[-1].code
    page = f"/skus/pos:{code}"
    assert "It is hidden until a person activates it." in await busy.text(page)
    led = await busy.send(page, "/activate", [("storefront", SHOP.id), ("variant", f"pos:{code}"), ("back", "sku")])
    assert led == f"{page}?activated=1&storefront=window"
    assert "Activated. It is decided anew within seconds." in await busy.text(led)


async def test_a_deed_wakes_whoever_decides(busy: Chain) -> None:
    """The web follows within seconds, not at the next round."""
    woken = asyncio.Event()
    app = web.Application()
    setup_dashboard(app, DashboardContext(busy.store, CONFIG, lambda: NOW, "0", NOW, woken.set))
    client: Client = TestClient(TestServer(app))
    await client.start_server()
    try:
        chosen = [("storefront", SHOP.id), ("variant", "pos:0041000")]
        await Chain(busy.store, client).send("/setup", "/activate", chosen)
    finally:
        await client.close()
    assert woken.is_set()


async def test_pages_beyond_the_last_show_the_last(busy: Chain) -> None:
    """An old address is no error."""
    for path in ("/skus?page=999", "/skus?page=x", "/stores?page=9", "/shop?page=999", "/audit?page=0",
                 "/orders?show=all&page=99"):
        words = plain(await busy.text(path))
        found = re.search(r"Page (\d+) of (\d+)", words)
        assert found is None or int(found[1]) <= int(found[2])


async def test_stores_that_fall_silent_together_are_one_need(busy: Chain) -> None:
    """One cause, one row."""
    ids = [f"agent-{location_id(name)}" for name in ("Arbon", "Brig", "Ilanz", "Gossau")]
    gone = NOW - DashboardContext(busy.store, CONFIG, lambda: NOW, "0", NOW).offline_after * 9
    await busy.store.run(lambda conn: conn.execute(agent.update().where(agent.c.id.in_(ids)).values(last_seen_at=gone)))
    assert "4 stores stopped at the same minute" in plain(await busy.text("/"))
