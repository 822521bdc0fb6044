"""Web orders on the screens: what waits comes first with its next step; a person's word changes what it says."""

import datetime as dt
import re
from collections.abc import AsyncIterator

import msgspec
import pytest
import sqlalchemy as sa
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from tests.browser.seed import CONFIG, NOW, busy_chain, calm_chain, memory_store

from tillbridge_protocol.orders import FINAL, STATES, Shopper, choices
from tillbridge_server.core.orders import overdue
from tillbridge_server.dashboard.context import DashboardContext
from tillbridge_server.dashboard.pages import order_words
from tillbridge_server.dashboard.reads import orders as reads
from tillbridge_server.dashboard.routes import setup_dashboard
from tillbridge_server.store.database import Store
from tillbridge_server.store.order_tables import order_step, web_order
from tillbridge_server.store.orders import mark
from tillbridge_server.store.tables import audit, mailbox, reservation

UNCERTAIN, UNROUTED, COUNTED = "WINDOW-1025-K63", "WINDOW-1029-K67", "WINDOW-1021-K100"


class Chain:
    """The invented chain, a browser on the server's own machine, and a clock that a test may move."""

    def __init__(self, store: Store) -> None:
        self.store, self.now, self.acted = store, NOW, 0
        app = web.Application()
        setup_dashboard(app, DashboardContext(store, CONFIG, lambda: self.now, "0.1.0", NOW, self._act))
        self.client: TestClient[web.Request, web.Application] = TestClient(TestServer(app))

    def _act(self) -> None:
        self.acted += 1

    async def words(self, path: str, status: int = 200) -> str:
        """The words of a page, spaces single."""
        answer = await self.client.get(path)
        assert answer.status == status, path
        text = re.sub(r"<[^>]+>", " ", await answer.text())
        return re.sub(r"\s+", " ", text).replace("\xa0", " ").replace(" .", ".")

    async def decide(self, order: str, **form: str) -> tuple[int, str]:
        """Send the form of an order's page; returns status and the words or the address it led to."""
        page = await (await self.client.get(f"/orders/{order}")).text()
        token = re.search(r'name="csrf" value="([^"]+)"', page)
        assert token is not None
        answer = await self.client.post(f"/orders/{order}", data={"csrf": token[1], **form}, allow_redirects=False)
        return answer.status, answer.headers.get("Location", await answer.text())

    async def state(self, order: str) -> str:
        """The state of an order."""
        query = sa.select(web_order.c.state).where(web_order.c.id == order)
        return await self.store.run(lambda conn: conn.execute(query).scalar_one())


@pytest.fixture
async def busy() -> AsyncIterator[Chain]:
    """Thirty-two orders, one in each state there is."""
    store = memory_store(busy_chain)
    chain = Chain(store)
    await chain.client.start_server()
    yield chain
    await chain.client.close()
    store.close()


def test_the_words_cover_the_table_and_name_no_command() -> None:
    """Every state has a mark and, where the table asks something of a person, a sentence without a command in it."""
    assert set(order_words.MARKS) == set(order_words.NEXT) == set(STATES)
    for state, row in STATES.items():
        sentence = order_words.next_step(state, "Arbon")
        assert bool(sentence) is bool(row.next_step), state
        assert not re.search(r"`|orders mark|orders route|status", sentence), sentence
        assert order_words.in_list(state, "Arbon", overdue=False) == "" or state not in FINAL
        assert "{" not in order_words.need_title(state, "", 1, "W-1") + order_words.need_title(state, "Arbon", 3, "")


def test_the_decisions_are_those_of_the_table() -> None:
    """And choosing a store where there is none or it may be sent again; nothing of a final one."""
    for state in STATES:
        values = {choice.value for choice in order_words.decisions(state, "Arbon")}
        assert values - {"route"} == set(choices(state)), state
        assert ("route" in values) is (state == "unrouted" or "again" in choices(state)), state


async def test_the_database_and_the_rule_agree_on_who_waits(busy: Chain) -> None:
    """At every age: the list asks the database, the order itself asks the rule."""
    for later in (0, 14, 15, 16, 31, 60 * 23, 60 * 26, 60 * 24 * 9):
        now = NOW + dt.timedelta(minutes=later)

        def both(conn: sa.Connection, now: dt.datetime = now) -> tuple[set[str], set[str]]:
            told = set(conn.scalars(sa.select(web_order.c.id).where(reads.waiting(now))))
            every = conn.execute(sa.select(web_order)).all()
            return told, {row.id for row in every if overdue(row.state, row.state_at, now)}

        told, ruled = await busy.store.run(both)
        assert told == ruled
        assert len(told) >= 7


async def test_the_list_shows_the_newest_first_by_filter_store_and_page(busy: Chain) -> None:
    """Open ones at first; the filters say how many; a store's own list says whose it is."""
    words = await busy.words("/orders")
    assert "Open 10 Waiting for a person 7 All 32" in words
    assert words.index("WINDOW-1032-K70") < words.index(UNROUTED) < words.index("WINDOW-1022-K60")
    assert COUNTED not in words
    assert "WINDOW-1032-K70" not in await busy.words("/orders?show=waiting")
    second = await busy.words("/orders?show=all&page=2")
    assert "Page 2 of 2, 32 orders" in second
    assert "WINDOW-1001-K80" in second
    arbon = await busy.words("/orders?store=01")
    assert "Orders of Arbon" in arbon
    assert "Gossau" not in arbon


async def test_an_order_is_told_with_its_lines_its_history_and_the_sale(busy: Chain) -> None:
    """Down to the row of the journal; nothing is left to decide about it."""
    words = await busy.words(f"/orders/{COUNTED}")
    for told in ("Counted", "ORD00061.CSV", "The shopper pays", "0 sold and counted", "Included in a count counted",
                 "Laid into the till’s import folder published by agent agent-02", "JOURNAL.TXT, line 88"):
        assert told in words
    assert "Decide about this order" not in words
    page = await (await busy.client.get(f"/orders/{COUNTED}")).text()
    assert 'href="/skus/pos:0041693"' in page


async def test_a_shopper_is_shown_as_text_and_only_when_known(busy: Chain) -> None:
    """The demo's shoppers have no name."""
    assert "Shopper" not in (await busy.words(f"/orders/{COUNTED}")).replace("shopper", "")
    who = msgspec.json.encode(Shopper(name="A. <b>Weber</b>", city="Arbon", note="ring twice")).decode()
    await busy.store.run(lambda conn: conn.execute(web_order.update().values(shopper=who)))
    page = await (await busy.client.get(f"/orders/{COUNTED}")).text()
    assert "A. &lt;b&gt;Weber&lt;/b&gt;" in page
    assert "ring twice" in page


async def test_needs_tell_every_waiting_order_with_its_reason_and_next_step(busy: Chain) -> None:
    """Several of one kind at one store are one row; none is told twice."""
    words = await busy.words("/")
    for told in (
        "The till of Arbon has not taken order WINDOW-1022-K60 The import file lies in the till's import folder.",
        "Start the import at the till of Arbon. If the order is there already, say so.",
        "Brig rejected order WINDOW-1023-K61 0041420: article is blocked for sale. Put right what the reason names",
        "Nobody knows whether Arbon has 2 orders",
        "Order WINDOW-1026-K64 came too late to Gossau Older than it may be placed. Ask the shopper",
        "Order WINDOW-1027-K65 has not reached the till of Gossau",
        "No store can take order WINDOW-1029-K67 01, 02, 07: has too little of it.",
        "Gossau cannot place web orders The till’s import folder D:\\POS\\IMPORT cannot be reached: no such folder.",
    ):
        assert told in words.replace("&#39;", "'"), told
    page = await (await busy.client.get("/")).text()
    assert 'href="/orders?show=waiting&amp;store=01"' in page
    assert f'href="/orders/{UNROUTED}"' in page
    assert "Orders wait" in await busy.words("/stores")


async def test_stock_that_stays_promised_for_a_day_is_told_once(busy: Chain) -> None:
    """An order whose state lasts too long tells it by itself; one that moved lately does not."""
    promised = await busy.store.run(reads.long_promised, NOW + dt.timedelta(hours=25))
    assert promised == []
    yesterday = NOW - dt.timedelta(hours=30)
    lately = ("WINDOW-1030-K68", "WINDOW-1032-K70")
    await busy.store.run(lambda conn: conn.execute(
        reservation.update().where(reservation.c.order_id.in_(lately)).values(created_at=yesterday)))
    promised = await busy.store.run(reads.long_promised, NOW)
    assert [(one.place, set(one.orders), one.pieces) for one in promised] == [("Arbon", set(lately), 2)]
    words = await busy.words("/")
    assert "2 pieces of Arbon stay reserved for 2 orders since yesterday or longer" in words


async def test_a_calm_chain_asks_nothing_and_says_how_orders_begin() -> None:
    """No order yet is no need."""
    chain = Chain(memory_store(calm_chain))
    await chain.client.start_server()
    try:
        assert "Nothing needs a person." in await chain.words("/")
        words = await chain.words("/orders")
        assert "No order has come yet." in words
        assert "tillbridge-server phase LOCATION orders" in words
    finally:
        await chain.client.close()
        chain.store.close()


@pytest.mark.parametrize(("form", "told"), [
    ({"why": "seen"}, "Choose what is to happen"), ({"event": "imported"}, "Say why in a few words"),
    ({"event": "route", "why": "closed"}, "Choose the store."), ({"event": "sell", "why": "x"}, "Choose what is to"),
    ({"event": "route", "why": "closed", "location": "03"}, "is not switched on for orders"),
    ({"event": "route", "why": "closed", "location": "none"}, "none"),
])
async def test_half_a_decision_changes_nothing(busy: Chain, form: dict[str, str], told: str) -> None:
    """What is missing is said, what was typed stays."""
    status, text = await busy.decide(UNCERTAIN, **form)
    assert status in (409, 422)
    assert told in text
    assert form.get("why", "Reason") in text
    assert await busy.state(UNCERTAIN) == "uncertain"
    assert busy.acted == 0


async def test_an_order_seen_at_the_till_is_said_to_be_there(busy: Chain) -> None:
    """With who and why in its history and the log, and the agent hears of it."""
    assert await busy.decide(UNCERTAIN, event="imported", why="Tom has it on his screen") == (
        303, f"/orders/{UNCERTAIN}?done=imported")
    assert (await busy.state(UNCERTAIN), busy.acted) == ("accepted", 1)
    words = await busy.words(f"/orders/{UNCERTAIN}?done=imported")
    assert "Written down: the order is at the till." in words
    assert "Said to be at the till accepted by this computer (no password set): Tom has it on his screen" in words
    acts = await busy.store.run(lambda conn: [row.act for row in conn.execute(sa.select(audit))])
    assert acts[-1] == "mark order imported"
    mail = await busy.store.run(lambda conn: conn.scalars(sa.select(mailbox.c.body)).all())
    assert any(UNCERTAIN in body and '"imported"' in body for body in mail)


async def test_an_order_is_sent_again_as_a_new_sending(busy: Chain) -> None:
    """Its stock stays reserved at the same store."""
    assert (await busy.decide(UNCERTAIN, event="again", why="not there"))[0] == 303
    words = await busy.words(f"/orders/{UNCERTAIN}")
    assert "sent 2 times" in words
    assert "1 at Arbon" in words
    assert "Sent again routed by this computer (no password set), sending 2: not there" in words


async def test_a_called_off_order_frees_its_stock(busy: Chain) -> None:
    """And cannot be decided about any more."""
    assert (await busy.decide(UNROUTED, event="cancelled", why="the shopper called"))[0] == 303
    words = await busy.words(f"/orders/{UNROUTED}")
    assert "0 cancelled" in words
    assert "Decide about this order" not in words


async def test_an_order_without_a_store_goes_to_the_chosen_one(busy: Chain) -> None:
    """Also where there is too little; the choice offers only stores that are switched on."""
    page = await (await busy.client.get(f"/orders/{UNROUTED}")).text()
    assert re.findall(r'<option value="(\w+)"', page) == ["01", "02", "07"]
    assert (await busy.decide(UNROUTED, event="route", location="02", why="Brig orders more"))[0] == 303
    words = await busy.words(f"/orders/{UNROUTED}")
    assert "Routed" in words
    assert "6 at Brig" in words


async def test_an_order_that_moved_on_meanwhile_is_not_decided_about(busy: Chain) -> None:
    """The form was made for another state."""
    page = await (await busy.client.get(f"/orders/{UNCERTAIN}")).text()
    token = re.search(r'name="csrf" value="([^"]+)"', page)
    assert token is not None
    await busy.store.run(mark, UNCERTAIN, "imported", "Tom", "seen", NOW)
    answer = await busy.client.post(f"/orders/{UNCERTAIN}", data={"csrf": token[1], "event": "again", "why": "lost"})
    assert answer.status == 422
    assert "another state by now" in await answer.text()
    assert await busy.state(UNCERTAIN) == "accepted"


async def test_a_form_without_its_token_is_not_ours(busy: Chain) -> None:
    """Whoever sent it."""
    answer = await busy.client.post(f"/orders/{UNCERTAIN}", data={"event": "again", "why": "x"})
    assert answer.status == 403
    assert await busy.state(UNCERTAIN) == "uncertain"
    assert (await busy.client.post("/orders/none", data={"event": "again"})).status == 403


async def test_what_an_agent_tells_again_is_told_as_that(busy: Chain) -> None:
    """A repeat after a restore is no second step."""
    await busy.store.run(lambda conn: conn.execute(order_step.insert().values(
        order_id=COUNTED, revision=1, at=NOW, event="told taken", before="counted", after="counted",
        by="agent agent-02", message="", told_id="again",
    )))
    assert "The agent told taken; nothing changed by agent agent-02" in await busy.words(f"/orders/{COUNTED}")


async def test_a_store_shows_its_orders_and_what_hinders_them(busy: Chain) -> None:
    """Those that wait for a person first; a store that takes none says nothing of orders."""
    words = await busy.words("/stores/01")
    assert words.index(UNCERTAIN) < words.index("WINDOW-1030-K68")
    assert "WINDOW-1028-K66" not in words
    assert "Cannot place orders The till’s import folder" in await busy.words("/stores/07")
    assert "Web orders in work" not in await busy.words("/stores/05")


async def test_an_explanation_leads_to_the_order_that_reserves(busy: Chain) -> None:
    """And the table of stores sums what is reserved, also for an order without a store."""
    page = await (await busy.client.get("/skus/pos:0041413")).text()
    assert re.search(r'<a href="/orders/WINDOW-1022-K60">WINDOW-1022-K60, Arbon</a>', page)
    words = await busy.words("/skus/pos:0041462")
    assert "WINDOW-1029-K67, no store yet −6" in words
    assert "All stores −6" in words


@pytest.mark.parametrize("q", [UNCERTAIN, "1025-K63"])
async def test_a_search_for_an_order_opens_it(busy: Chain, q: str) -> None:
    """By our number or the storefront's."""
    answer = await busy.client.get("/search", params={"q": q}, allow_redirects=False)
    assert answer.headers["Location"] == f"/orders/{UNCERTAIN}"
