"""What the tests of the server's rules are made of: facts, storefronts, and a small chain in a database."""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal

import sqlalchemy as sa
from tests.engines import sqlite_engine

from tillbridge_protocol.changes import Change, FeedInfo, Source
from tillbridge_protocol.records import AsOf, Price, Product, Record, StockLevel, key_of, kind_of
from tillbridge_server.core import facts
from tillbridge_server.core.offers import Shown
from tillbridge_server.core.settings import BreakerLimit, BreakersConfig, DropLimit, PlainRules, StorefrontConfig
from tillbridge_server.store import activation, deciding, holds, publishing
from tillbridge_server.store.deciding import Decided
from tillbridge_server.store.fact_writes import Where, apply_changes, touch
from tillbridge_server.store.offers import OfferRow, read_offers, read_published
from tillbridge_server.store.tables import feed, location, reservation

NOW = dt.datetime(2026, 11, 23, 14, 0, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


def storefront(**given: object) -> StorefrontConfig:
    """A storefront in francs over all locations, unless given otherwise."""
    values: dict[str, object] = {
        "id": "window", "title": "Shop window", "connector": "shop_window", "currency": "CHF",
        "time_zone": "Europe/Zurich",
    }
    return StorefrontConfig(**{**values, **given})  # type: ignore[arg-type]


def source(location_id: str = "mallow", feed_name: str = "stock", **given: object) -> facts.Source:
    """Where a value was read."""
    values: dict[str, object] = {
        "agent": "agent-1", "location": location_id, "feed": feed_name, "file": "STOCK.CSV", "sha256": "5a" * 32,
        "line": 3, "text": "1028;3", "as_of": (NOW - 2 * MINUTE, NOW - MINUTE), "as_of_kind": "observed",
        "captured_at": NOW - MINUTE, "applied_at": NOW,
    }
    return facts.Source(**{**values, **given})  # type: ignore[arg-type]


def fact(record: Record | None, location_id: str = "mallow", feed_name: str = "stock", **given: object) -> facts.Fact:
    """A fact that is not absent, unless given otherwise."""
    values: dict[str, object] = {
        "kind": kind_of(record) if record else "stock_level", "code": key_of(record) if record else "1028",
        "source": source(location_id, feed_name), "absent": None,
    }
    return facts.Fact(location=location_id, feed=feed_name, record=record, **{**values, **given})  # type: ignore[arg-type]


def stock(on_hand: str, location_id: str = "mallow", feed_name: str = "stock", code: str = "1028",
          **given: object) -> facts.Fact:
    """A count."""
    return fact(StockLevel(code, Decimal(on_hand)), location_id, feed_name, **given)


def price(list_price: str, location_id: str = "mallow", feed_name: str = "stock", currency: str = "CHF",
          sale: str | None = None, begin: str | None = None, end: str | None = None) -> facts.Fact:
    """A price, with a sale if given."""
    record = Price("1028", Decimal(list_price), currency, Decimal(sale) if sale else None, begin, end)
    return fact(record, location_id, feed_name)


def title(text: str | None, location_id: str = "mallow", feed_name: str = "stock") -> facts.Fact:
    """A product with this title."""
    return fact(Product("1028", title=text), location_id, feed_name)


def known(*given: facts.Fact, reservations: Sequence[facts.Reservation] = (),
          movements: Sequence[facts.Movement] = ()) -> facts.Known:
    """Everything known of one variant."""
    return facts.Known("pos:1028", ("1028",), given, tuple(movements), tuple(reservations))


class Chain:
    """Locations, feeds and storefronts over a database (in memory unless given); each call is one transaction."""

    def __init__(self, *shops: StorefrontConfig, breakers: BreakersConfig | None = None,
                 owners: Mapping[str, tuple[str, ...]] | None = None, engine: sa.Engine | None = None) -> None:
        self.engine = engine or sqlite_engine()
        self.rules = PlainRules(
            shops or (storefront(),),
            breakers or BreakersConfig(to_zero=BreakerLimit(0.2, 3), price_drop=DropLimit(0.2, 3, 0.4)),
            dict(owners or {}),
        )
        self.now = NOW
        self.feeds: dict[tuple[str, str], FeedInfo] = {}

    def close(self) -> None:
        """Give the database back."""
        self.engine.dispose()

    def add_location(self, location_id: str = "mallow", phase: str = "stock_and_price") -> None:
        """A location in this phase, or an existing one set to it."""
        with self.engine.begin() as conn:
            conn.execute(location.delete().where(location.c.id == location_id))
            conn.execute(location.insert().values(
                id=location_id, name=location_id.title(), phase=phase, time_zone="Europe/Zurich", created_at=self.now
            ))

    def tell(self, *records: Record, where: str = "mallow/stock", file: str = "STOCK.CSV", sha256: str = "",
             absence: str = "zero", numbering: str = "pos", as_of: AsOf | None = None) -> None:
        """A feed says these records."""
        self._change([Change(where.split("/")[1], kind_of(one), key_of(one), "put", one, Source(
            file, sha256 or file.lower(), line, f"row {key_of(one)}", self.now,
        )) for line, one in enumerate(records, 2)], where, absence, numbering, as_of)

    def tell_gone(self, kind: str, *codes: str, where: str = "mallow/stock", file: str = "STOCK.CSV",
                  absence: str = "zero") -> None:
        """A feed no longer has these codes."""
        self._change([Change(where.split("/")[1], kind, code, "gone", None, Source(file, file.lower()))
                      for code in codes], where, absence, "pos", None)

    def activate(self) -> int:
        """A person activates everything, in every storefront."""
        with self.engine.begin() as conn:
            return sum(activation.activate_all(conn, shop.id, by="Maeve", why="opening", now=self.now)
                       for shop in self.rules.storefronts)

    def reserve(self, order: str, variant: str, quantity: str, location_id: str = "mallow") -> None:
        """An order reserves pieces."""
        with self.engine.begin() as conn:
            conn.execute(reservation.insert().values(
                location_id=location_id, order_id=order, line=1, variant_id=variant, quantity=Decimal(quantity),
                state="open", created_at=self.now,
            ))
            touch(conn, [variant], self.now)

    def decide(self, limit: int = 5000) -> Decided:
        """One decision."""
        with self.engine.begin() as conn:
            return deciding.decide(conn, self.rules, self.now, limit)

    def publish(self, shop: str = "window") -> list[str]:
        """Everything due is published; returns the variants."""
        with self.engine.begin() as conn:
            tasks = publishing.take_due(conn, shop, self.now, limit=10_000)
            done = publishing.record_outcome(
                conn, tasks, accepted=[task.variant for task in tasks], rejected={}, retry_at=self.now, error="",
                now=self.now,
            )
            return list(done.published)

    def settle(self) -> Decided:
        """Decide and publish."""
        decided = self.decide()
        for shop in self.rules.storefronts:
            self.publish(shop.id)
        return decided

    def later(self, **given: float) -> None:
        """Time passes."""
        self.now += dt.timedelta(**given)

    def _change(self, changes: list[Change], where: str, absence: str, numbering: str, as_of: AsOf | None) -> None:
        place, name = where.split("/")
        info = FeedInfo(numbering, absence=absence, as_of=as_of)  # type: ignore[arg-type]
        with self.engine.begin() as conn:
            conn.execute(feed.delete().where(feed.c.location_id == place, feed.c.name == name))
            conn.execute(feed.insert().values(
                location_id=place, name=name, agent_id="agent-1", numbering=numbering, absence=absence, config="",
                as_of_from=as_of.from_ if as_of else None, as_of_to=as_of.to if as_of else None,
                as_of_kind=as_of.kind if as_of else None,
            ))
            apply_changes(conn, Where(place, "agent-1", self.now), {name: info}, changes)


def item(code: str, on_hand: str, list_price: str = "10.00", **price_given: object) -> tuple[Record, ...]:
    """The records of one ordinary row."""
    return (
        StockLevel(code, Decimal(on_hand)), Product(code, title=f"Item {code}"),
        Price(code, Decimal(list_price), "CHF", **price_given),  # type: ignore[arg-type]
    )


def offer_of(chain: Chain, variant: str, shop: str = "window") -> OfferRow:
    """The stored offer of a variant."""
    with chain.engine.begin() as conn:
        return read_offers(conn, storefront=shop, variants=[variant])[0]


def published(chain: Chain, variant: str, shop: str = "window") -> Shown | None:
    """What the storefront is known to show."""
    with chain.engine.begin() as conn:
        row = read_published(conn, shop, [variant]).get(variant)
        return row.shown if row else None


def open_holds(chain: Chain) -> list[holds.HoldRow]:
    """Holds that wait for a person."""
    with chain.engine.begin() as conn:
        return holds.read_holds(conn)


def rows_of(chain: Chain, table: sa.Table) -> list[sa.Row[tuple[object, ...]]]:
    """Everything in a table."""
    with chain.engine.begin() as conn:
        return list(conn.execute(sa.select(table).order_by(*table.primary_key.columns)).all())


def stocks(on_hand: str, *codes: int) -> list[Record]:
    """Counts of these variants."""
    return [StockLevel(f"{code:02}", Decimal(on_hand)) for code in codes]


def prices(amount: str, *codes: int) -> list[Record]:
    """Prices of these variants."""
    return [Price(f"{code:02}", Decimal(amount), "CHF") for code in codes]
