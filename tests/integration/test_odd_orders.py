"""Web orders that come otherwise than they should: malformed, under one number, late, sold after all, told oddly."""

import dataclasses
import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.orders import BEAT, NOW, SECOND, Chain, open_chain

from tillbridge_protocol.orders import Shopper
from tillbridge_server.store import order_intake
from tillbridge_server.store.tables import agent, dead_letter


@pytest.fixture
def chain() -> Iterator[Chain]:
    """Sorrel holds 9 cups."""
    with open_chain() as made:
        made.counts("sorrel", NOW - SECOND, cup=9)
        yield made


def placed(chain: Chain, **pieces: int) -> str:
    """An order that lies in the till's folder."""
    order = chain.buys(**pieces)
    chain.sends()
    chain.tells("sorrel", order, "received", "ready", "published", sequence=1, file="ORD00001.CSV")
    return order


@pytest.mark.parametrize("wrong", [
    {"lines": ()}, {"lines": "twice"}, {"quantity": Decimal(0)}, {"quantity": Decimal("NaN")},
    {"quantity": Decimal("1E+40")}, {"unit_price": Decimal(-1)}, {"title": "a\0b"}, {"title": "a\udc80b"},
    {"variant": ""}, {"currency": "francs"}, {"placed_at": dt.datetime(2026, 11, 23)}, {"number": "x" * 300},  # noqa: DTZ001
])
def test_an_order_that_can_never_be_placed(chain: Chain, wrong: dict[str, Any]) -> None:
    """It becomes one dead letter, however often it is told, promises nothing, and what comes behind it is taken in."""
    good, after = chain.sold_order(cup=1), chain.sold_order(cup=1)
    line = dataclasses.replace(good.lines[0], **{
        name: value for name, value in wrong.items() if name in ("quantity", "unit_price", "title", "variant")
    })
    lines = {"lines": (line, line) if wrong.get("lines") == "twice" else wrong.get("lines", (line,))}
    head = {name: value for name, value in wrong.items() if name in ("currency", "placed_at", "number")}
    bad = dataclasses.replace(good, **head, **lines, shopper=Shopper(name="Ada Private"))
    for _ in range(2):
        chain.take_in(bad, after)
    assert [one["id"] for one in chain.listed()] == ["WINDOW-1002-ABC"]
    assert chain.run(order_intake.cursor, "window") == 2
    letter, = chain.run(lambda conn: conn.execute(sa.select(dead_letter)).all())
    assert (letter.code, letter.place, letter.origin) == ("order_malformed", "window", "storefront")
    assert b"Ada" not in letter.payload
    assert len(chain.reservations()) == 1


def test_two_orders_that_would_have_one_number(chain: Chain) -> None:
    """The second one is not taken for the first: a person hears of it."""
    first = dataclasses.replace(chain.sold_order(cup=1), number="10/1")
    second = dataclasses.replace(chain.sold_order(cup=2), number="10-1")
    assert chain.take_in(first, second) == ["WINDOW-10-1"]
    letter, = chain.run(lambda conn: conn.execute(sa.select(dead_letter)).all())
    assert letter.code == "order_number_taken"
    assert "10-1" in letter.message
    assert "'10/1' of window" in letter.message


def test_orders_without_a_place_do_not_block_each_other(chain: Chain) -> None:
    """Each of two shops has one; two orders that waited go to one each."""
    for place in ("mallow", "sorrel"):
        chain.counts(place, chain.now, jug=1)
    chain.run(lambda conn: conn.execute(agent.update().values(heartbeat=None)))
    waiting = [chain.buys(jug=1), chain.buys(jug=1)]
    assert [chain.state(one) for one in waiting] == ["unrouted", "unrouted"]
    chain.run(lambda conn: conn.execute(agent.update().values(heartbeat=BEAT % "{}")))
    assert chain.run(order_intake.route_waiting, chain.rules, chain.now) == waiting
    assert [chain.shown(one)["location"] for one in waiting] == ["mallow", "sorrel"]


def test_a_called_off_order_that_is_sold_is_promised_until_a_count_has_it(chain: Chain) -> None:
    """The till had it after all: its pieces are gone, so they must not be sold again before the count says so."""
    order = placed(chain, cup=1)
    chain.tells("sorrel", order, "taken")
    chain.mark(order, "cancelled")
    assert chain.reserved("cup") == {}
    chain.now += SECOND
    chain.sells("sorrel", order, "cup")
    assert (chain.state(order), chain.reserved("cup")) == ("sold", {"sorrel": Decimal(1)})
    chain.now += SECOND
    chain.counts("sorrel", chain.now, cup=8)
    assert (chain.state(order), chain.reserved("cup")) == ("counted", {})


def test_the_second_content_of_a_sale_line_proves_nothing(chain: Chain) -> None:
    """The same line came first without our number: that is a conflict for a person, and no proof."""
    order = placed(chain, cup=1)
    chain.sells("sorrel", None, "cup", sale_id="R9")
    with pytest.raises(AssertionError):  # the ack names the line as dead
        chain.sells("sorrel", order, "cup", sale_id="R9")
    assert chain.shown(order)["sales"] == []


def test_a_till_that_writes_our_number_in_its_own_way(chain: Chain) -> None:
    """Blanks around it, and small letters."""
    order = placed(chain, cup=1)
    chain.sells("sorrel", f" {order.lower()} ", "cup")
    assert chain.state(order) == "sold"


@pytest.mark.parametrize("told", [{"sequence": 2**70}, {"sequence": -1}, {"revision": 2**70}, {"revision": 0}])
def test_numbers_no_database_takes(chain: Chain, told: dict[str, int]) -> None:
    """Such a state is a dead letter, and the batch with everything else in it is applied."""
    order = chain.buys(cup=1)
    chain.sends()
    with pytest.raises(AssertionError):  # the ack names it as dead
        chain.tells("sorrel", order, "received", **told)
    assert chain.state(order) == "routed"
    letters = chain.run(lambda conn: conn.execute(sa.select(dead_letter.c.code)).scalars().all())
    assert letters == ["change_malformed"]


@pytest.mark.parametrize(("told", "stands", "promised"), [
    (("received", "ready", "published", "accepted"), "accepted", 1),
    (("received", "rejected", "accepted"), "accepted", 1),
    (("received", "cancelled"), "cancelled", 0), (("received",), "received", 1),
])
def test_the_furthest_of_what_was_told_meanwhile(
    chain: Chain, told: tuple[str, ...], stands: str, promised: int,
) -> None:
    """Also when the agent's clock stood still between the steps; what was called off promises nothing."""
    sold = chain.sold_order(cup=1)
    chain.tells("sorrel", "WINDOW-1001-ABC", *told)
    (order,) = chain.take_in(sold)
    assert chain.state(order) == stands
    assert sum(chain.reserved("cup").values()) == promised
