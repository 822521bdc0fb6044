"""Web orders at head office: taken in once, routed, followed, and their stock released on proof alone."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import pytest
import sqlalchemy as sa
from tests.integration.orders import BEAT, NOW, SECOND, Chain, open_chain

from tillbridge_protocol.mailbox import MarkOrder
from tillbridge_protocol.orders import Order
from tillbridge_server.errors import NotKnown, NotPossible
from tillbridge_server.store import order_intake, order_reading, orders
from tillbridge_server.store.facts_reading import read_known
from tillbridge_server.store.order_tables import order_line, order_step, web_order
from tillbridge_server.store.tables import agent, dirty, location, reservation


@pytest.fixture
def chain() -> Iterator[Chain]:
    """Mallow holds 5 cups and 2 pans, sorrel 9 cups."""
    with open_chain() as made:
        made.counts("mallow", NOW - SECOND, cup=5, pan=2)
        made.counts("sorrel", NOW - SECOND, cup=9)
        yield made


def placed(chain: Chain, place: str = "sorrel", **pieces: int) -> str:
    """An order that lies in the till's folder."""
    order = chain.buys(**pieces)
    chain.sends()
    chain.tells(place, order, "received", "ready", "published", sequence=1, file="ORD00001.CSV")
    return order


# -- in, and where to ---------------------------------------------------------------------------------------------

def test_an_order_is_taken_in_once(chain: Chain) -> None:
    """The same order of the storefront again, alone or beside others, is nothing new."""
    sold = chain.sold_order(cup=1)
    assert chain.take_in(sold) == ["WINDOW-1001-ABC"]
    assert chain.take_in(sold) == []
    assert chain.take_in(sold, chain.sold_order(cup=1)) == ["WINDOW-1002-ABC"]
    assert chain.run(order_intake.cursor, "window") == 2
    assert len(chain.reservations()) == 2


def test_the_location_that_keeps_most(chain: Chain) -> None:
    """Both have cups: sorrel keeps more. Only mallow has pans. Nobody has six pans."""
    assert chain.shown(chain.buys(cup=2))["location"] == "sorrel"
    assert chain.shown(chain.buys(cup=1, pan=1))["location"] == "mallow"
    lacking = chain.shown(chain.buys(pan=6))
    assert (lacking["state"], lacking["location"], lacking["overdue"]) == ("unrouted", None, True)
    assert "mallow: has too little of it." in lacking["message"]
    assert "sorrel: does not know all of it." in lacking["message"]


def test_what_is_promised_is_not_there_for_the_next(chain: Chain) -> None:
    """Two pans go to two orders, the third waits; it is promised nowhere in particular."""
    first, second, third = (chain.buys(pan=1) for _ in range(3))
    assert [chain.state(one) for one in (first, second, third)] == ["routed", "routed", "unrouted"]
    assert chain.reserved("pan") == {"mallow": Decimal(2), "": Decimal(1)}
    chain.counts("mallow", chain.now, cup=5, pan=9)
    assert chain.run(order_intake.route_waiting, chain.rules, chain.now) == [third]
    assert chain.reserved("pan") == {"mallow": Decimal(3)}


@pytest.mark.parametrize("change", ["phase", "revoked", "no orders table", "never heard"])
def test_who_cannot_take_orders_gets_none(chain: Chain, change: str) -> None:
    """Sorrel has more, but is not switched on, or nobody there could place it."""
    here = agent.c.location_id == "sorrel"
    statement = {
        "phase": location.update().where(location.c.id == "sorrel").values(phase="stock_and_price"),
        "revoked": agent.update().where(here).values(status="revoked"),
        "no orders table": agent.update().where(here).values(heartbeat=BEAT % "null"),
        "never heard": agent.update().where(here).values(heartbeat=None),
    }[change]
    chain.run(lambda conn: conn.execute(statement))
    assert chain.shown(chain.buys(cup=1))["location"] == "mallow"


def test_the_signed_order_lies_in_one_mailbox_once(chain: Chain) -> None:
    """With the codes of the location's own numbering, bound to agent and location."""
    order = chain.buys(cup=2)
    assert chain.sends() == ["sorrel-1"]
    assert chain.sends() == []
    (sent,) = chain.mail("sorrel")
    assert isinstance(sent, Order)
    assert (sent.id, sent.revision, sent.agent, sent.location) == (order, 1, "sorrel-1", "sorrel")
    assert [(line.code, line.quantity, line.unit_price) for line in sent.lines] == [("cup", 2, Decimal("9.90"))]
    assert chain.mail("mallow") == []


def test_taking_in_makes_the_offers_dirty_and_names_the_position(chain: Chain) -> None:
    """The next number to publish accounts for this order, and says so."""
    chain.run(lambda conn: conn.execute(dirty.delete()))
    chain.take_in(chain.sold_order(position=7, cup=2))
    assert {row.variant_id for row in chain.run(lambda conn: conn.execute(sa.select(dirty)).all())} == {"pos:cup"}
    known = chain.run(read_known, ["pos:cup", "pos:pan"])
    assert (known["pos:cup"].orders_through, known["pos:pan"].orders_through) == ({"window": 7}, {})


# -- states -------------------------------------------------------------------------------------------------------

def test_an_agent_s_word_moves_the_order(chain: Chain) -> None:
    """Step by step or several at once; what is late, repeated or of another revision is noted and moves nothing."""
    order = chain.buys(cup=1)
    chain.sends()
    chain.tells("sorrel", order, "received")
    chain.tells("sorrel", order, "published", file="ORD00001.CSV", sequence=1)
    chain.tells("sorrel", order, "ready", "received")
    chain.tells("sorrel", order, "accepted", revision=2)
    assert chain.state(order) == "published"
    chain.tells("sorrel", order, "rejected", code="till", message="unknown article")
    shown = chain.shown(order)
    assert (shown["state"], shown["code"], shown["message"], shown["file"]) == (
        "rejected", "till", "unknown article", "ORD00001.CSV"
    )
    assert shown["overdue"]
    assert [step["after"] for step in shown["steps"]] == [
        "unrouted", "routed", "received", "published", "published", "published", "published", "rejected",
    ]


def test_another_location_s_word_is_nothing(chain: Chain) -> None:
    """An agent speaks for its own location only."""
    order = chain.buys(cup=1)
    chain.sends()
    chain.tells("mallow", order, "received", "accepted")
    assert chain.state(order) == "routed"


def test_a_person_places_it_once_more(chain: Chain) -> None:
    """A new revision for the same till; what the first one still tells is not the second one's."""
    order = placed(chain, cup=1)
    chain.tells("sorrel", order, "rejected", message="no such customer")
    assert chain.mark(order, "again") == "routed"
    assert chain.sends() == ["sorrel-1"]
    assert [one.revision for one in chain.mail("sorrel") if isinstance(one, Order)] == [1, 2]
    chain.tells("sorrel", order, "accepted", revision=1)
    assert chain.state(order) == "routed"
    chain.tells("sorrel", order, "received", revision=2)
    assert chain.state(order) == "received"


def test_a_person_calls_it_off(chain: Chain) -> None:
    """Nothing is promised any more, and the agent is told."""
    order = placed(chain, cup=1)
    chain.tells("sorrel", order, "rejected")
    assert chain.mark(order, "cancelled") == "cancelled"
    assert chain.reserved("cup") == {}
    told = chain.mail("sorrel")[-1]
    assert isinstance(told, MarkOrder)
    assert (told.mark, told.reason, told.by) == ("cancelled", "looked", "dana")


def test_what_a_person_cannot_say(chain: Chain) -> None:
    """An order on its way is not placed once more; an unknown one is named; nothing has changed."""
    order = chain.buys(cup=1)
    for event in ("again", "imported", "cancelled"):
        with pytest.raises(NotPossible, match="is routed"):
            chain.mark(order, event)
    with pytest.raises(NotKnown, match="There is no order"):
        chain.mark("WINDOW-9", "again")
    assert chain.state(order) == "routed"


def test_a_person_routes(chain: Chain) -> None:
    """An order nobody has enough for goes where a person says, but not where nobody takes orders."""
    order = chain.buys(pan=6)
    with pytest.raises(NotPossible, match="tansy cannot take"):
        chain.run(orders.route, chain.rules, order, "tansy", "dana", "asked them", chain.now)
    chain.run(orders.route, chain.rules, order, "mallow", "dana", "they get more today", chain.now)
    assert (chain.state(order), chain.reserved("pan")) == ("routed", {"mallow": Decimal(6)})


def test_a_rejected_order_goes_to_another_store(chain: Chain) -> None:
    """As a new revision for the other agent; the reservation moves along."""
    order = placed(chain, cup=1)
    chain.tells("sorrel", order, "rejected")
    chain.run(orders.route, chain.rules, order, "mallow", "dana", "they have it", chain.now)
    assert chain.sends() == ["mallow-1"]
    assert chain.reserved("cup") == {"mallow": Decimal(1)}
    (sent,) = chain.mail("mallow")
    assert isinstance(sent, Order)
    assert (sent.revision, sent.agent) == (2, "mallow-1")


def test_a_revoked_agent(chain: Chain) -> None:
    """What it never confirmed is free for others; what it has is in doubt."""
    early, late = chain.buys(cup=1), chain.buys(cup=1)
    chain.sends()
    chain.tells("sorrel", late, "received")
    chain.run(lambda conn: conn.execute(
        agent.update().where(agent.c.id == "sorrel-1").values(status="revoked")
    ))
    chain.run(order_intake.withdraw, "sorrel-1", chain.now)
    assert (chain.state(early), chain.state(late)) == ("unrouted", "uncertain")
    assert chain.run(order_intake.route_waiting, chain.rules, chain.now) == [early]
    assert chain.sends() == ["mallow-1"]
    with pytest.raises(NotPossible, match="no agent any more"):
        chain.mark(late, "again")


# -- the proof ----------------------------------------------------------------------------------------------------

def test_released_by_a_sale_and_a_later_count_only(chain: Chain) -> None:
    """Neither the till's yes, nor the sale alone, nor a count that may have begun before it, ends the reservation."""
    order = placed(chain, cup=2)
    chain.now += SECOND
    chain.tells("sorrel", order, "taken", "accepted")
    chain.counts("sorrel", chain.now, cup=9)
    assert chain.reserved("cup") == {"sorrel": Decimal(2)}
    chain.now += SECOND
    chain.sells("sorrel", order, "cup", 2)
    assert (chain.state(order), chain.reserved("cup")) == ("sold", {"sorrel": Decimal(2)})
    sold_at = chain.now
    chain.now += SECOND
    chain.counts("sorrel", sold_at - SECOND, cup=7)
    assert chain.reserved("cup") == {"sorrel": Decimal(2)}
    chain.now += SECOND
    chain.counts("sorrel", sold_at, cup=7)
    assert (chain.state(order), chain.reserved("cup")) == ("counted", {})
    (row,) = chain.reservations()
    assert (row.state, row.counted, row.released_why) == ("released", Decimal(2), "sold and counted")


def test_the_same_batch_may_bring_both(chain: Chain) -> None:
    """A count that began after the journal was read comes before the line in the batches: state goes first."""
    order = placed(chain, cup=1)
    sold_at = chain.now
    chain.now += 2 * SECOND
    chain.counts("sorrel", sold_at + SECOND, cup=8)
    chain.now = sold_at
    chain.sells("sorrel", order, "cup")
    assert chain.state(order) == "counted"


def test_part_by_part(chain: Chain) -> None:
    """Each piece is released when its own sale is counted; the order is sold when all of it is."""
    order = placed(chain, cup=3)
    chain.sells("sorrel", order, "cup", 1)
    assert chain.state(order) == "published"
    chain.now += SECOND
    chain.counts("sorrel", chain.now, cup=8)
    assert chain.reserved("cup") == {"sorrel": Decimal(2)}
    chain.sells("sorrel", order, "cup", 2)
    chain.now += SECOND
    chain.counts("sorrel", chain.now, cup=6)
    assert (chain.state(order), chain.reserved("cup")) == ("counted", {})


@pytest.mark.parametrize(
    ("place", "code", "pieces"), [("mallow", "cup", 2), ("sorrel", "pan", 2), ("sorrel", "cup", -2)]
)
def test_sales_that_prove_nothing(chain: Chain, place: str, code: str, pieces: int) -> None:
    """Another store's, another item's, or goods that came back."""
    chain.counts("sorrel", chain.now, cup=9, pan=9)
    order = placed(chain, cup=2)
    chain.sells(place, order, code, pieces)
    chain.now += SECOND
    chain.counts("sorrel", chain.now, cup=9, pan=7)
    chain.counts("mallow", chain.now, cup=3, pan=2)
    assert (chain.state(order), chain.reserved("cup")) == ("published", {"sorrel": Decimal(2)})


def test_a_sale_told_twice_counts_once(chain: Chain) -> None:
    """The ledger knows the line; so does the proof."""
    order = placed(chain, cup=2)
    chain.sells("sorrel", order, "cup", 1, sale_id="R7")
    chain.sells("sorrel", order, "cup", 1, sale_id="R7")
    assert chain.state(order) == "published"


def test_a_moving_journal_releases_at_once() -> None:
    """The movement itself has lowered the stock, in the same transaction."""
    with open_chain(moving=("sales",)) as chain:
        chain.counts("sorrel", NOW - SECOND, cup=9)
        order = placed(chain, cup=2)
        chain.now += SECOND
        chain.sells("sorrel", order, "cup", 2)
        assert (chain.state(order), chain.reserved("cup")) == ("counted", {})


def test_a_sale_says_that_the_till_has_it(chain: Chain) -> None:
    """Somebody keyed it in from paper: the agent must not place it any more."""
    order = chain.buys(cup=1)
    chain.sends()
    chain.sells("sorrel", order, "cup")
    assert chain.state(order) == "sold"
    told = chain.mail("sorrel")[-1]
    assert isinstance(told, MarkOrder)
    assert (told.order, told.mark) == (order, "imported")


# -- restores -----------------------------------------------------------------------------------------------------

def test_standings_only_for_the_same_position(chain: Chain) -> None:
    """An agent that stands elsewhere was restored, or is about to be told so."""
    order = chain.buys(cup=1)
    chain.sends()
    chain.tells("sorrel", order, "received")
    known = chain.run(orders_known)
    told = chain.run(orders.standings, "sorrel-1", known, chain.position("sorrel"), chain.now)
    assert [(one.order, one.state, one.received_epoch) for one in told.orders] == [(order, "received", "epoch-1")]
    behind = chain.position("mallow")
    assert chain.run(orders.standings, "sorrel-1", known, behind, chain.now) is None


def orders_known(conn: sa.Connection) -> object:
    """What the server has of sorrel's agent."""
    from tillbridge_server.agents import fleet

    return fleet.get(conn, "sorrel-1").known


def forget_orders(chain: Chain) -> None:
    """The database of head office is put back to before any order."""
    for table in (web_order, order_line, order_step, reservation):
        chain.run(lambda conn, table=table: conn.execute(table.delete()))


def test_a_restored_server_waits_for_the_agents(chain: Chain) -> None:
    """The order is swept again; it may lie in a till already, so nobody gets it before all have told."""
    sold = chain.sold_order(cup=1)
    (order,) = chain.take_in(sold)
    forget_orders(chain)
    chain.now += dt.timedelta(hours=1)
    assert chain.run(order_intake.notice_restore, 1, chain.now) == 0
    assert chain.take_in(sold) == [order]
    shown = chain.shown(order)
    assert shown["state"] == "unrouted"
    assert "sorrel: is waited for" in shown["message"]
    for place in ("mallow", "sorrel"):
        assert chain.run(order_intake.route_waiting, chain.rules, chain.now) == []
        chain.run(lambda conn, place=place: conn.execute(
            agent.update().where(agent.c.location_id == place).values(orders_told_at=chain.now)
        ))
    assert chain.run(order_intake.route_waiting, chain.rules, chain.now) == [order]


def test_what_an_agent_told_meanwhile_is_found(chain: Chain) -> None:
    """The agent speaks before the sweep: the order stands where the agent says, and its sale is found too."""
    sold = chain.sold_order(cup=1)
    (order,) = chain.take_in(sold)
    forget_orders(chain)
    chain.tells("sorrel", order, "published", file="ORD00001.CSV", sequence=1)
    chain.sells("sorrel", order, "cup")
    assert chain.take_in(sold) == [order]
    shown = chain.shown(order)
    assert (shown["state"], shown["location"], shown["file"]) == ("sold", "sorrel", "ORD00001.CSV")
    assert [sale["quantity"] for sale in shown["sales"]] == ["1"]
    assert chain.sends() == []
    chain.now += SECOND
    chain.counts("sorrel", chain.now, cup=8)
    assert (chain.state(order), chain.reserved("cup")) == ("counted", {})


@pytest.mark.parametrize(("before", "waits"), [(None, True), (2, True), (1, False), (0, False)])
def test_how_a_restore_is_noticed(chain: Chain, before: int | None, waits: bool) -> None:
    """Fewer orders than there were, or nobody knows how many there were."""
    chain.buys(cup=1)
    chain.run(order_intake.notice_restore, before, chain.now + SECOND)
    assert (chain.state(chain.buys(cup=1)) == "unrouted") == waits


def test_lists(chain: Chain) -> None:
    """Open ones by default, all when asked; what is overdue says the next step."""
    order, other = placed(chain, cup=1), chain.buys(pan=9)
    chain.tells("sorrel", order, "rejected")
    chain.mark(order, "cancelled")
    shown = chain.run(order_reading.list_orders, everything=False, now=chain.now)["orders"]
    assert [(one["id"], one["overdue"], bool(one["next_step"])) for one in shown] == [(other, True, True)]
    assert len(chain.run(order_reading.list_orders, everything=True, now=chain.now)["orders"]) == 2
