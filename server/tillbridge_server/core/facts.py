"""Facts as the rules see them: what one feed said of one code, with its source and what an absence means."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

from tillbridge_protocol.records import Price, Product, Record, StockLevel

#: Phases in which a location only reports; nothing of it is sold or shown (DESIGN §5.17).
OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value was read: agent, feed, file, line, row text, as-of interval and when it came (UTC)."""

    agent: str
    location: str
    feed: str
    file: str
    sha256: str
    line: int
    text: str
    as_of: tuple[dt.datetime, dt.datetime] | None
    as_of_kind: str | None
    captured_at: dt.datetime | None
    applied_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Fact:
    """The latest of one feed about one code; `record` None means absent, `absent` says by which declaration."""

    location: str
    feed: str
    kind: str
    code: str
    record: Record | None
    source: Source
    absent: str | None = None  # None | zero | retire


@dataclass(frozen=True, slots=True)
class Movement:
    """Pieces that left (positive) or came back (negative) at a location, after or around a count."""

    location: str
    id: str
    quantity: Decimal
    at: dt.datetime
    source: Source
    scanned: bool = False  # told by a scanner, one piece each; else a sale line


@dataclass(frozen=True, slots=True)
class Reservation:
    """Pieces promised to a web order that no count includes yet; `location` "" while none was found for it."""

    location: str
    order: str
    line: int
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Known:
    """Everything known of one variant, before any storefront's rules."""

    variant: str
    codes: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    movements: tuple[Movement, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    #: Per storefront the position of its latest order with this variant that was taken in.
    orders_through: Mapping[str, int] = field(default_factory=dict)


def meant(
    *, kind: str, gone: bool, absence: str, now_said: Record | None, last_said: Record | None, code: str,
) -> tuple[Record | None, str | None]:
    """What a fact means, given the feed's declared absence: the record to use, and the declaration that was used.

    A code that is gone keeps its last record where absence means nothing. Where it means zero, its stock is
    zero and everything else is as last said: a sold-out item keeps its price. Retired, its stock is zero and
    the rest is absent.
    """
    if not gone:
        return now_said, None
    if absence == "nothing":
        return last_said, None
    assert absence in {"zero", "retire"}, absence
    if kind == "stock_level":
        return StockLevel(code=code, on_hand=Decimal(0)), absence
    return (last_said if absence == "zero" else None), absence


def stock_of(fact: Fact) -> Decimal:
    """The pieces a stock fact counts."""
    assert isinstance(fact.record, StockLevel), fact
    return fact.record.on_hand


def price_of(fact: Fact) -> Price:
    """The price a price fact tells."""
    assert isinstance(fact.record, Price), fact
    return fact.record


def product_of(fact: Fact) -> Product:
    """The description a product fact tells."""
    assert isinstance(fact.record, Product), fact
    return fact.record


def total(numbers: Iterable[Decimal]) -> Decimal:
    """Their exact sum: the usual 28 digits would round what a hostile or broken file can hold."""
    with localcontext(prec=200):
        return plain(sum(numbers, Decimal(0)))


def plain(number: Decimal) -> Decimal:
    """The same number, exactly, without trailing zeros after the point: 3.000 becomes 3, -0 becomes 0."""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return Decimal(0) if text in {"-0", ""} else Decimal(text)
