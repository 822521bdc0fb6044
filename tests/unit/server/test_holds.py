"""Deciding holds: an approved value passes once, a rejected one stays suppressed, every act needs a reason."""

import json
from decimal import Decimal

import msgspec
import pytest
import sqlalchemy as sa
from tests.unit.server.made import Chain, offer_of, open_holds, prices, published, rows_of, stocks

from tillbridge_protocol.mailbox import DecideHold, decode_body
from tillbridge_protocol.records import Price, StockLevel
from tillbridge_server import reports
from tillbridge_server.errors import NotKnown, NotPossible
from tillbridge_server.store import holds
from tillbridge_server.store.tables import audit, hold, hold_item, mailbox


def decide(chain: Chain, verdict: str, hold_id: str | None = None, why: str = "Looked at it.") -> str:
    """A person decides the only open hold, or the named one."""
    wanted = hold_id or open_holds(chain)[0].id
    with chain.engine.begin() as conn:
        return reports.decide_hold(conn, wanted, verdict, by="Maeve", why=why, now=chain.now)  # type: ignore[arg-type]


def available(chain: Chain, code: str = "01") -> int | None:
    """Pieces the storefront shows."""
    shown = published(chain, f"pos:{code}")
    return int(shown.available) if shown else None


@pytest.fixture
def zeroed(shop: Chain) -> Chain:
    """A shop in which a file zeroed four of ten; they are held."""
    shop.tell(*stocks("0", 1, 2, 3, 4), file="BAD.CSV")
    shop.settle()
    return shop


def test_approved_values_are_published_once(zeroed: Chain) -> None:
    """The next fall of the same variant is judged afresh, not waved through."""
    assert decide(zeroed, "approve") == "approved"
    assert available(zeroed) == 9
    zeroed.settle()
    assert available(zeroed) == 0
    assert offer_of(zeroed, "pos:01").state == "live"
    assert rows_of(zeroed, hold_item) == []
    zeroed.tell(*stocks("9", 1, 2, 3, 4), file="GOOD.CSV")
    zeroed.settle()
    zeroed.tell(*stocks("0", 1, 2, 3, 4), file="WORSE.CSV")
    zeroed.settle()
    assert available(zeroed) == 9
    assert len(open_holds(zeroed)) == 1


def test_rejected_values_stay_suppressed_until_the_facts_say_otherwise(zeroed: Chain) -> None:
    """The web keeps what it shows; the next count is used again."""
    assert decide(zeroed, "reject") == "rejected"
    zeroed.settle()
    assert available(zeroed) == 9
    row = offer_of(zeroed, "pos:01")
    assert (row.state, row.value.why) == ("held", ("to_zero", "rejected"))
    assert open_holds(zeroed) == []
    zeroed.tell(*stocks("4", 1), file="NEXT.CSV")
    zeroed.settle()
    assert (available(zeroed), offer_of(zeroed, "pos:01").state) == (4, "live")
    zeroed.tell(*stocks("0", 1), file="LATER.CSV")
    zeroed.settle()
    assert available(zeroed) == 0


def test_a_value_that_changed_after_the_approval_is_judged_afresh(shop: Chain) -> None:
    """Approved was 1.00, not 0.01."""
    shop.tell(*prices("1.00", 1, 2, 3, 4), file="BAD.CSV")
    shop.settle()
    decide(shop, "approve")
    shop.tell(*prices("0.01", 1, 2, 3, 4), file="WORSE.CSV")
    shop.settle()
    shown = published(shop, "pos:01")
    assert shown is not None
    assert shown.price_now == Decimal("10.00")
    assert [one.affected for one in open_holds(shop)] == [4]


def test_stock_that_moves_does_not_undo_the_approval_of_a_price(shop: Chain) -> None:
    """The approved part is the price alone."""
    shop.tell(*prices("1.00", 1, 2, 3, 4))
    shop.settle()
    decide(shop, "approve")
    shop.tell(*stocks("8", 1, 2, 3, 4))
    shop.settle()
    shown = published(shop, "pos:01")
    assert shown is not None
    assert (shown.price_now, shown.available) == (Decimal("1.00"), 8)
    assert open_holds(shop) == []


def test_more_of_a_rejected_file_asks_again(zeroed: Chain) -> None:
    """Its hold is decided, so what else it does makes another, with another id."""
    decide(zeroed, "reject")
    zeroed.settle()
    zeroed.tell(*stocks("0", 5, 6, 7), file="BAD.CSV")
    zeroed.settle()
    first, second = rows_of(zeroed, hold)
    assert (first.state, second.state, second.affected) == ("rejected", "open", 3)
    assert first.id != second.id


def test_a_decision_stands_in_the_audit_log(zeroed: Chain) -> None:
    """Who, what, why."""
    held = open_holds(zeroed)[0]
    decide(zeroed, "reject", why="Stocktake is half way.")
    act = rows_of(zeroed, audit)[-1]
    assert (act.by, act.act, act.why) == ("Maeve", "reject_hold", "Stocktake is half way.")
    assert held.id in act.what
    assert "mallow/stock" in act.what
    with zeroed.engine.begin() as conn:
        decided = holds.read_hold(conn, held.id)
    assert (decided.decided_by, decided.decided_why, decided.decided_at) == (
        "Maeve", "Stocktake is half way.", zeroed.now
    )


@pytest.mark.parametrize("why", ["", "   "])
def test_a_decision_needs_a_reason(zeroed: Chain, why: str) -> None:
    """Without one nothing changes."""
    before = rows_of(zeroed, hold)
    with pytest.raises(NotPossible, match="reason"):
        decide(zeroed, "approve", why=why)
    assert rows_of(zeroed, hold) == before


def test_a_hold_is_decided_once(zeroed: Chain) -> None:
    """The second person is told what the first one did."""
    held = open_holds(zeroed)[0].id
    decide(zeroed, "approve")
    with pytest.raises(NotPossible, match="approved"):
        decide(zeroed, "reject", held)


def test_unknown_holds_and_words_are_refused(zeroed: Chain) -> None:
    """Each with what to do."""
    with pytest.raises(NotKnown) as unknown:
        decide(zeroed, "approve", "b-none-1")
    assert "holds --json" in unknown.value.hint
    with pytest.raises(NotPossible, match="maybe"):
        decide(zeroed, "maybe")
    assert len(open_holds(zeroed)) == 1


def test_a_conflict_is_settled_by_an_owner_not_by_a_yes(shop: Chain) -> None:
    """Neither feed becomes right by approving."""
    shop.add_location("ennis")
    shop.tell(Price("01", Decimal("12.00"), "CHF"), StockLevel("01", Decimal(1)), where="ennis/stock")
    shop.settle()
    for verdict in ("approve", "reject"):
        with pytest.raises(NotPossible) as refused:
            decide(shop, verdict)
        assert "[owners]" in refused.value.hint


def held_file(chain: Chain, code: str) -> None:
    """A file that an agent holds."""
    with chain.engine.begin() as conn:
        conn.execute(hold.insert().values(
            id="0a1b2c3d:held-7", what="file", place="mallow/stock", since=chain.now, code=code,
            message="A third of the rows is missing.", hint="Look at the export.", affected=400,
            sample=json.dumps([{"key": "1028", "before": "3", "after": None}]), state="open", agent_id="agent-1",
        ))


@pytest.mark.parametrize("code", ["column_missing", "wrong_location"])
def test_no_yes_makes_a_file_readable(chain: Chain, code: str) -> None:
    """The agent would refuse it, so nobody is told that it is approved; a no is good."""
    held_file(chain, code)
    with pytest.raises(NotPossible, match="cannot be believed") as refused:
        decide(chain, "approve")
    assert refused.value.hint == "Look at the export."
    assert rows_of(chain, mailbox) == []
    assert decide(chain, "reject") == "rejected"


def test_a_decision_about_a_file_travels_to_its_agent(chain: Chain) -> None:
    """By mail, with the agent's own id of the hold; a second one leaves no second message."""
    held_file(chain, "rows_lost")
    assert decide(chain, "reject", why="The export was cut off.") == "rejected"
    (message,) = rows_of(chain, mailbox)
    assert message.agent_id == "agent-1"
    assert decode_body(msgspec.Raw(message.body.encode())) == DecideHold(
        hold="held-7", decision="reject", reason="The export was cut off.", by="Maeve"
    )
    with chain.engine.begin() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(hold_item)).scalar() == 0
