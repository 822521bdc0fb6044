"""The rules of web orders by themselves: where one goes, when its pieces are counted, when a person must look."""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillbridge_protocol.orders import FINAL, STATES
from tillbridge_protocol.records import StockLevel
from tillbridge_server.core.facts import Fact, Known, Reservation, Source
from tillbridge_server.core.orders import (
    ANSWERED_WITHIN,
    COUNTED_WITHIN,
    FOR_A_PERSON,
    PLACED_WITHIN,
    StorefrontLine,
    order_id,
    overdue,
)
from tillbridge_server.core.reservations import Count, Sale, counted, moves_itself, share_out
from tillbridge_server.core.routing import Candidate, route
from tillbridge_server.core.settings import StorefrontConfig

T = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
PIECES = st.integers(0, 6).map(Decimal)


# -- our number --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("storefront", "number", "ours"), [
    ("window", "1001-ABC", "WINDOW-1001-ABC"), ("web.shop_2", "#77/4", "WEBSHOP2-77-4"), ("Ü", "5", "W-5"),
    ("win", "wc-ab", "WIN-WC-AB"),
    ("a-very-long-storefront", "9" * 60, "AVERYLONGSTO-" + "9" * 27),
])
def test_our_number(storefront: str, number: str, ours: str) -> None:
    """Fit for file names and receipts, from any storefront's number."""
    assert order_id(storefront, number) == ours
    assert len(ours) <= 40


# -- proof -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("count", "included"), [
    (Count(T, "observed"), False), (Count(T + SECOND, "observed"), True), (Count(T + 2 * SECOND, "observed"), True),
    (Count(T, "data"), False), (Count(T + dt.timedelta(microseconds=1), "data"), True),
])
def test_a_count_that_starts_later(count: Count, included: bool) -> None:
    """Observed ones by the agent's clock, which saw the sale a second after the till wrote it; others by the till's."""
    sale = Sale(Decimal(2), T, T + SECOND)
    assert counted([sale], [count]) == (2 if included else 0)


def test_every_feed_s_count_must_include_it() -> None:
    """Two feeds count the item: the older one decides. No count, or a sale nobody saw, proves nothing."""
    sale = Sale(Decimal(1), T, T)
    late, early = Count(T, "observed"), Count(T - SECOND, "observed")
    assert counted([sale], [late, late]) == 1
    assert counted([sale], [late, early]) == 0
    assert counted([sale], []) == 0
    assert counted([Sale(Decimal(1), T, None)], [Count(T + SECOND, "observed")]) == 0
    assert counted([Sale(Decimal(1), T, None, moves=True)], []) == 1


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=6))
def test_returns_never_prove(pieces: list[tuple[int, bool]]) -> None:
    """Goods that came back lower what is counted at once; it is never below none."""
    sales = [Sale(Decimal(n), T, T if seen else T + 2 * SECOND) for n, seen in pieces]
    found = counted(sales, [Count(T + SECOND, "observed")])
    assert found == max(0, sum(n for n, seen in pieces if seen or n < 0))


@given(PIECES, st.lists(PIECES, max_size=5))
def test_share_out(pieces: Decimal, quantities: list[Decimal]) -> None:
    """Nothing is made up, nothing above a line, earlier lines first."""
    shares = share_out(pieces, quantities)
    assert sum(shares) == min(pieces, sum(quantities))
    assert all(0 <= share <= wanted for share, wanted in zip(shares, quantities, strict=True))
    short = [n for n, (share, wanted) in enumerate(zip(shares, quantities, strict=True)) if share < wanted]
    assert all(share == 0 for n, share in enumerate(shares) if short and n > short[0])


def test_moving_everywhere_or_not() -> None:
    """A journal lowers the stock by itself only if every storefront that sells the location says so."""
    def shop(name: str, pool: str, *moving: str) -> StorefrontConfig:
        return StorefrontConfig(name, name, "shop_window", "CHF", pool=(pool,), moving_journals=moving)

    assert moves_itself("a", "sales", [shop("x", "*", "sales"), shop("y", "a", "a/sales"), shop("z", "b")])
    assert not moves_itself("a", "sales", [shop("x", "*", "sales"), shop("y", "a", "b/sales")])
    assert not moves_itself("a", "sales", [shop("z", "b", "sales")])


# -- routing -----------------------------------------------------------------------------------------------------

def known(stock: dict[str, int], reserved: dict[str, int] | None = None) -> Known:
    """One variant with these counts by location."""
    facts = tuple(
        Fact(place, "stock", "stock_level", "1", StockLevel("1", Decimal(n)), Source(
            agent="x", location=place, feed="stock", file="", sha256="", line=1, text="", as_of=None, as_of_kind=None,
            captured_at=None, applied_at=T,
        )) for place, n in stock.items()
    )
    held = tuple(Reservation(place, "o", 1, Decimal(n)) for place, n in (reserved or {}).items())
    return Known("v", ("1",), facts, (), held)


def chosen(
    wanted: int, one: Known, *candidates: Candidate, pool: tuple[str, ...] = ("*",), by_hand: str | None = None,
) -> str | None:
    """Where one line of one variant goes."""
    lines = [StorefrontLine(1, "v", Decimal(wanted), Decimal(1))]
    return route(lines, {"v": one}, candidates, pool=pool, owners={}, wanted=by_hand).location


A, B = Candidate("a", "orders", "agent-a"), Candidate("b", "everything", "agent-b")


def test_where_it_goes() -> None:
    """Most left wins, the first by name when equal; what is promised there, and the pool, count."""
    assert chosen(1, known({"a": 3, "b": 4}), A, B) == "b"
    assert chosen(1, known({"a": 3, "b": 3}), B, A) == "a"
    assert chosen(1, known({"a": 3, "b": 4}, {"b": 2}), A, B) == "a"
    assert chosen(1, known({"a": 3, "b": 4}), A, B, pool=("a",)) == "a"
    assert chosen(4, known({"a": 3, "b": 4}), A, B) == "b"
    assert chosen(5, known({"a": 3, "b": 4}), A, B) is None


def test_a_person_may_send_it_where_it_is_short() -> None:
    """But not where nobody takes orders, nor to a place that is none."""
    assert chosen(5, known({"a": 3}), A, B, by_hand="a") == "a"
    assert chosen(5, known({"a": 3}), A, B, by_hand="b") == "b"
    assert chosen(1, known({"a": 3}), A, pool=("b",), by_hand="a") == "a"
    assert chosen(1, known({"c": 3}), Candidate("c", "observe", "agent-c"), by_hand="c") is None
    assert chosen(1, known({"c": 3}), Candidate("c", "orders", None, "has no agent."), by_hand="c") is None
    assert chosen(1, known({"a": 3}), A, by_hand="nowhere") is None


def test_two_lines_of_one_item_add_up() -> None:
    """Three and three are six."""
    lines = [StorefrontLine(n, "v", Decimal(3), Decimal(1)) for n in (1, 2)]
    for count, where in ((5, None), (6, "a")):
        found = route(lines, {"v": known({"a": count})}, [A], pool=("*",), owners={})
        assert found.location == where


# -- a person ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("state", STATES)
def test_every_state_is_seen_in_time(state: str) -> None:
    """Nothing that is not at rest can stay unseen for ever; some are seen at once."""
    assert overdue(state, T, T + COUNTED_WITHIN + SECOND) == (state not in FINAL)
    assert overdue(state, T, T) == (state in FOR_A_PERSON)
    limit = {"routed": PLACED_WITHIN, "received": PLACED_WITHIN, "ready": PLACED_WITHIN,
             "published": ANSWERED_WITHIN, "taken": ANSWERED_WITHIN}.get(state)
    if limit is not None:
        assert not overdue(state, T, T + limit)
        assert overdue(state, T, T + limit + SECOND)
