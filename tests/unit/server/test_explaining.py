"""Explanations and the other documents: every number with its row, sums that add up, shapes that never change."""

import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.conftest import ROOT
from tests.unit.server.made import NOW, Chain, item, prices, stocks, storefront

from tillbridge_protocol.changes import Change, Source
from tillbridge_protocol.records import AsOf, Cost, Price, Product, SaleLine, StockLevel
from tillbridge_server import reports
from tillbridge_server.core.publishing import Rejection
from tillbridge_server.errors import NotKnown, NotPossible
from tillbridge_server.store import activation, event_writes, publishing
from tillbridge_server.store.fact_writes import Where
from tillbridge_server.store.tables import numbering_code, reservation

SCHEMAS = ROOT / "tests" / "golden" / "cli"


def checked(document: dict[str, Any], name: str) -> dict[str, Any]:
    """The document as JSON gives it back, after its schema and the sum of its terms were checked."""
    plain: dict[str, Any] = json.loads(json.dumps(document))
    schema = json.loads((SCHEMAS / f"server-{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(plain)
    if name == "explain" and plain["available"]["value"] is not None:
        total = sum(Decimal(term["value"]) for term in plain["available"]["terms"])
        assert total == Decimal(plain["available"]["value"])
    return plain


def explain(chain: Chain, what: str, at: str | None = None, shop: str | None = None) -> dict[str, Any]:
    """A checked explanation."""
    with chain.engine.begin() as conn:
        return checked(reports.explain(conn, chain.rules, what, storefront=shop, at=at, now=chain.now), "explain")


def offers(chain: Chain, **asked: str) -> list[dict[str, Any]]:
    """Checked offers."""
    with chain.engine.begin() as conn:
        found: list[dict[str, Any]] = checked(
            reports.offers(conn, chain.rules, now=chain.now, **asked), "offers"  # type: ignore[arg-type]
        )["offers"]
    return found


def test_a_published_number_is_explained_by_its_row(shop: Chain) -> None:
    """File, line, text, as-of and when it came; price with its rule; what the web shows."""
    as_of = AsOf(NOW - dt.timedelta(minutes=3), NOW - dt.timedelta(minutes=2), "observed")
    shop.tell(*stocks("5", 1), file="STOCK_1400.CSV", as_of=as_of)
    shop.settle()
    told = explain(shop, "01")
    assert (told["storefront"], told["variant"], told["codes"]) == ("window", "pos:01", ["01"])
    assert told["title"] == "Item 01"
    assert told["available"]["terms"] == [{
        "term": "count", "value": "5", "location": "mallow", "order": None, "rule": None, "source": {
            "agent": "agent-1", "feed": "stock", "file": "STOCK_1400.CSV", "sha256": "stock_1400.csv", "line": 2,
            "text": "row 01", "as_of": ["2026-11-23T13:57:00.000000Z", "2026-11-23T13:58:00.000000Z"],
            "as_of_kind": "observed", "captured_at": "2026-11-23T14:00:00.000000Z",
            "applied_at": "2026-11-23T14:00:00.000000Z",
        },
    }]
    assert (told["available"]["value"], told["available"]["unclamped"]) == ("5", "5")
    assert (told["price"]["value"], told["price"]["rule"], told["price"]["source"]["file"]) == (
        "10.00", "list_price v1", "STOCK.CSV"
    )
    assert told["visibility"] == {"state": "live", "why": []}
    assert told["published"] == {"available": "5", "price": "10.00", "at": "2026-11-23T14:00:00.000000Z"}
    assert told["breakers"] == told["conflicts"] == []


def test_every_kind_of_term_is_told_and_they_sum(make_chain: Callable[..., Chain]) -> None:
    """Counts of two places, one below zero, a reservation, the buffer, the clamp, a sale of a moving journal."""
    chain = make_chain(storefront(activate="auto", buffer=Decimal(2), moving_journals=("journal",)))
    for place in ("mallow", "ennis", "naas", "tuam"):
        chain.add_location(place, "observe" if place == "tuam" else "stock_and_price")
    as_of = AsOf(NOW - dt.timedelta(minutes=3), NOW - dt.timedelta(minutes=2), "data")
    chain.tell(*item("01", "4"), as_of=as_of)
    chain.tell(StockLevel("01", Decimal(-3)), where="ennis/stock")
    chain.tell(StockLevel("01", Decimal(90)), where="tuam/stock")
    chain.tell(Product("01", title="Item 01"), where="mallow/journal", absence="nothing")
    line = SaleLine("88213/1", "01", Decimal(1), NOW - dt.timedelta(minutes=1))
    with chain.engine.begin() as conn:
        change = Change("journal", "sale_line", line.id, "put", line, Source("SALES.TXT", "5a", 7, "88213;01;1"))
        assert list(event_writes.append(conn, Where("mallow", "agent-1", NOW), [(0, change)])) == []
    chain.reserve("W-1", "pos:01", "1")
    chain.decide()
    told = explain(chain, "pos:01")
    assert [(one["term"], one["value"], one["location"], one["order"]) for one in told["available"]["terms"]] == [
        ("buffer", "-2", "", None), ("clamp", "3", "", None), ("count", "-3", "ennis", None),
        ("count", "4", "mallow", None), ("movement", "-1", "mallow", None), ("reservation", "-1", "mallow", "W-1"),
    ]
    assert (told["available"]["value"], told["available"]["unclamped"]) == ("0", "-3")
    movement = told["available"]["terms"][4]
    assert (movement["rule"], movement["source"]["file"], movement["source"]["line"]) == (
        "sold_after_count v1", "SALES.TXT", 7
    )
    assert {one["location"]: one["state"] for one in told["available"]["places"]} == {
        "ennis": "counted", "mallow": "counted", "naas": "unknown", "tuam": "observes"
    }
    assert [one["available"] for one in offers(chain)] == ["0"]
    chain.later(minutes=1)
    late = SaleLine("88214/1", "01", Decimal(9), NOW)
    with chain.engine.begin() as conn:
        change = Change("journal", "sale_line", late.id, "put", late)
        assert list(event_writes.append(conn, Where("mallow", "agent-1", chain.now), [(0, change)])) == []
    assert explain(chain, "pos:01")["available"]["unclamped"] == "-12"
    assert explain(chain, "pos:01", "2026-11-23T14:00:30Z")["available"]["unclamped"] == "-3"


def test_the_later_as_of_of_row_and_feed_holds(shop: Chain) -> None:
    """A file that confirms a row makes it younger; an as-of that stands in the row itself is never made older."""
    def as_of(minutes: int) -> AsOf:
        return AsOf(NOW - dt.timedelta(minutes=minutes + 1), NOW - dt.timedelta(minutes=minutes), "observed")

    shop.tell(StockLevel("01", Decimal(5), as_of(5)), as_of=as_of(10))
    shop.decide()
    assert explain(shop, "01")["available"]["terms"][0]["source"]["as_of"][1] == "2026-11-23T13:55:00.000000Z"
    shop.tell(Product("02", title="Item 02"), as_of=as_of(1))
    assert explain(shop, "01")["available"]["terms"][0]["source"]["as_of"][1] == "2026-11-23T13:59:00.000000Z"


def test_an_explanation_can_be_asked_for_an_earlier_instant(shop: Chain) -> None:
    """The counts, prices, reservations and activations of then; what was not published yet is not told."""
    shop.later(hours=1)
    shop.tell(*stocks("5", 1), *prices("8.00", 1), file="LATER.CSV")
    shop.reserve("W-1", "pos:01", "2")
    shop.settle()
    with shop.engine.begin() as conn:
        conn.execute(reservation.update().values(state="released", released_at=shop.now + dt.timedelta(minutes=10)))
    shop.later(hours=1)
    shop.tell_gone("stock_level", "01", file="GONE.CSV")
    shop.settle()

    def at(text: str | None) -> tuple[str, str, str, str | None]:
        told = explain(shop, "01", text)
        counts = [one["source"]["file"] for one in told["available"]["terms"] if one["term"] == "count"]
        shown = told["published"]["available"] if told["published"] else None
        return told["available"]["value"], told["price"]["value"], counts[0], shown

    assert at("2026-11-23T14:30:00Z") == ("9", "10.00", "STOCK.CSV", None)
    assert at("2026-11-23T16:05:00+01:00") == ("3", "8.00", "LATER.CSV", None)
    assert at("2026-11-23T15:30:00Z") == ("5", "8.00", "LATER.CSV", None)
    assert at(None) == ("0", "8.00", "GONE.CSV", "0")
    gone = explain(shop, "01")["available"]
    assert gone["terms"][0]["rule"] == "absence_zero v1"
    assert gone["places"] == [{"location": "mallow", "state": "absent", "count": "0"}]
    before = explain(shop, "01", "2026-11-23T13:00:00Z")
    assert (before["available"]["value"], before["price"]["value"]) == (None, None)
    assert before["visibility"]["why"] == ["not_activated", "price_unknown", "no_stock_known"]


def test_absence_that_means_nothing_is_explained_by_the_last_row(shop: Chain) -> None:
    """Not by the row that is missing."""
    shop.tell_gone("stock_level", "01", file="GONE.CSV", absence="nothing")
    shop.settle()
    told = explain(shop, "01")["available"]
    assert (told["value"], told["terms"][0]["source"]["file"]) == ("9", "STOCK.CSV")


def test_what_is_held_is_told_with_its_hold(shop: Chain) -> None:
    """The number that should be shown, the one that is, and why they differ."""
    shop.tell(*stocks("0", 1, 2, 3, 4), file="BAD.CSV")
    shop.settle()
    told = explain(shop, "01")
    assert told["visibility"] == {"state": "held", "why": ["to_zero"]}
    assert (told["available"]["value"], told["published"]["available"]) == ("0", "9")
    (breaker,) = told["breakers"]
    assert (breaker["code"], breaker["state"]) == ("to_zero", "open")
    with shop.engine.begin() as conn:
        holds = checked(reports.holds(conn), "holds")["holds"]
    assert [(one["id"], one["what"], one["where"], one["affected"]) for one in holds] == [
        (breaker["hold"], "breaker", "mallow/stock", 4)
    ]
    with shop.engine.begin() as conn:
        assert reports.decide_hold(conn, breaker["hold"], "reject", by="Maeve", why="Wrong.", now=NOW) == "rejected"
    shop.settle()
    told = explain(shop, "01")
    assert told["visibility"] == {"state": "held", "why": ["to_zero", "rejected"]}
    assert [one["state"] for one in told["breakers"]] == ["rejected"]
    with shop.engine.begin() as conn:
        assert checked(reports.holds(conn), "holds")["holds"] == []
    assert [(one["state"], one["why"], one["available"], one["published"]["available"])
            for one in offers(shop, variant="01")] == [("held", ["to_zero", "rejected"], "0", "9")]


def test_a_conflict_is_told_with_both_sides(shop: Chain) -> None:
    """So that a person can name the owner."""
    shop.add_location("ennis")
    shop.tell(Price("01", Decimal("12.00"), "CHF"), where="ennis/stock")
    shop.settle()
    told = explain(shop, "01")
    assert told["conflicts"] == [{"field": "price", "values": [
        {"where": "ennis/stock", "value": "12.00 CHF"}, {"where": "mallow/stock", "value": "10.00 CHF"},
    ]}]
    assert (told["price"]["value"], told["price"]["rule"], told["price"]["source"]) == (None, "owner_missing", None)
    assert told["visibility"] == {"state": "held", "why": ["owner_missing"]}


def test_a_variant_with_nothing_but_a_cost(chain: Chain) -> None:
    """Unknown is null, and the purchase price is nowhere in it."""
    chain.tell(Cost("01", Decimal("4.44"), "CHF"))
    chain.decide()
    told = explain(chain, "01")
    assert (told["available"]["value"], told["available"]["unclamped"], told["available"]["terms"]) == (None, None, [])
    assert (told["price"]["value"], told["price"]["rule"]) == (None, "no_selling_price")
    assert told["visibility"] == {"state": "hidden", "why": ["not_activated", "price_unknown", "no_stock_known"]}
    assert told["published"] is None
    (offer,) = offers(chain)
    assert (offer["available"], offer["list_price"], offer["price_now"], offer["sale"]) == (None, None, None, None)
    assert "4.44" not in json.dumps([told, offer])


def test_offers_are_sorted_and_can_be_narrowed(shop: Chain) -> None:
    """By storefront and variant; a variant by its id or a code."""
    shop.tell(Price("02", Decimal("10.00"), "CHF", Decimal("9.00"), "2026-11-20", "2026-11-30"))
    shop.settle()
    assert [one["variant"] for one in offers(shop)] == [f"pos:{n:02}" for n in range(1, 11)]
    (one,) = offers(shop, storefront="window", variant="02")
    assert one == {
        "storefront": "window", "variant": "pos:02", "codes": ["02"], "title": "Item 02", "state": "live", "why": [],
        "available": "9", "currency": "CHF", "list_price": "10.00",
        "sale": {"price": "9.00", "from": "2026-11-20", "to": "2026-11-30"}, "price_now": "9.00",
        "published": {"available": "9", "price": "9.00", "at": "2026-11-23T14:00:00.000000Z"},
    }
    assert offers(shop, variant="pos:02") == [one]


def test_names_that_nobody_uses_or_too_many_use(shop: Chain) -> None:
    """Each says what to do; a variant's id wins over an equal code."""
    for ask in (lambda: explain(shop, "99"), lambda: explain(shop, "01", shop="shop"),
                lambda: offers(shop, variant="99"), lambda: offers(shop, storefront="shop")):
        with pytest.raises(NotKnown) as unknown:
            ask()
        assert unknown.value.hint
    with shop.engine.begin() as conn:
        conn.execute(numbering_code.insert().values(
            numbering="erp", code="01", variant_id="pos:02", linked_by="Maeve", linked_at=NOW
        ))
    with pytest.raises(NotPossible, match="pos:01, pos:02"):
        explain(shop, "01")
    assert explain(shop, "pos:01")["variant"] == "pos:01"


@pytest.mark.parametrize("at", ["yesterday", "2026-11-23T14:00:00", "2026-13-01T00:00:00Z"])
def test_an_instant_needs_its_zone(shop: Chain, at: str) -> None:
    """Nobody should have to guess which clock was meant."""
    with pytest.raises(NotPossible) as refused:
        explain(shop, "01", at)
    assert "2026-11-23T14:30:00+01:00" in refused.value.hint


def test_without_a_storefront_there_is_nothing_to_explain(chain: Chain) -> None:
    """The first one is the default, so there must be one."""
    chain.tell(*item("01", "1"))
    empty = type(chain.rules)()
    with chain.engine.begin() as conn, pytest.raises(NotKnown) as unknown:
        reports.explain(conn, empty, "01", now=NOW)
    assert "[[storefronts]]" in unknown.value.hint


def test_the_ledger_tells_every_line_with_its_row(chain: Chain) -> None:
    """Sorted by id; unknown prices are null; another kind is another list."""
    chain.tell(Product("01"), where="mallow/journal")
    lines = [SaleLine("R2/1", "01", Decimal(-1), NOW), SaleLine("R1/1", "01", Decimal("2.5"), NOW, Decimal("3.10"))]
    with chain.engine.begin() as conn:
        changes = [Change("journal", "sale_line", one.id, "put", one, Source("SALES.TXT", "5a", n, one.id))
                   for n, one in enumerate(lines)]
        assert list(event_writes.append(conn, Where("mallow", "agent-1", NOW), list(enumerate(changes)))) == []
        told = checked(reports.ledger(conn, kind="sale_line"), "ledger")["entries"]
        assert checked(reports.ledger(conn, kind="scan"), "ledger")["entries"] == []
    assert [(one["id"], one["quantity"], one["price"], one["source"]["line"]) for one in told] == [
        ("R1/1", "2.5", "3.10", 1), ("R2/1", "-1", None, 0)
    ]


def test_dead_letters_are_told_without_their_payload(shop: Chain) -> None:
    """Its hash is enough to find it."""
    shop.tell(*stocks("5", 1))
    shop.decide()
    with shop.engine.begin() as conn:
        tasks = publishing.take_due(conn, "window", shop.now)
        publishing.record_outcome(
            conn, tasks, accepted=[], rejected={"pos:01": Rejection("too_dear", "No.")}, retry_at=NOW, error="",
            now=shop.now,
        )
        (letter,) = checked(reports.dead_letters(conn), "dead-letters")["dead_letters"]
    assert (letter["from"], letter["where"], letter["code"], letter["message"]) == (
        "storefront", "window", "too_dear", "pos:01: No."
    )


def test_variants_are_found_in_the_order_asked(shop: Chain) -> None:
    """Ids and codes mixed."""
    with shop.engine.begin() as conn:
        assert reports.variants_of(conn, ["pos:03", "01", "02"]) == ["pos:03", "pos:01", "pos:02"]
        assert activation.known_variants(conn, ["pos:03", "pos:99"]) == {"pos:03"}
        assert reports.agents(conn) == {"v": 1, "agents": []}


def test_the_schemas_refuse_what_they_should() -> None:
    """A schema that accepts anything checks nothing."""
    good = {"v": 1, "at": "2026-11-23T14:00:00Z", "offers": []}
    checked(good, "offers")
    for wrong in ({**good, "v": 2}, {**good, "at": "14:00"}, {"v": 1, "at": good["at"]}, {**good, "offers": [{}]}):
        with pytest.raises(jsonschema.ValidationError):
            checked(wrong, "offers")
    assert sorted(Path(SCHEMAS).glob("server-*.schema.json")) != []
