"""Tagged records: the typed facts that mappings make from rows and changes carry.

Money and quantities are `Decimal` in Python and strings on the wire; times are aware UTC; ids are text
(leading zeros matter). Unknown, absent and zero are three values: None is unknown, a `gone` change is
absent, Decimal(0) is zero. A record holds its decimals in plain notation and its times in UTC however it
was made, so that equal facts have equal text.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import msgspec

from tillbridge_protocol.limits import COUNT_MAX, DECIMAL_CHARS_MAX, KEY_CHARS_MAX

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_CHARS_MAX)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
#: `\Z` in every pattern: `$` would let a newline pass.
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
#: A decimal as it is written on the wire: plain notation, never an exponent, never NaN or Infinity.
DecimalText = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?\Z", max_length=DECIMAL_CHARS_MAX)]
AsOfKind = Literal["data", "file_name", "sequence", "observed"]


class AsOf(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The interval [from, to], UTC, in which a count was true, and how we know it."""

    from_: Instant
    to: Instant
    kind: AsOfKind

    def __post_init__(self) -> None:
        """Times in UTC. Raises ValueError for naive ones."""
        _in_utc(self, "from_", "to")


class Product(msgspec.Struct, frozen=True, tag_field="kind", tag="product", omit_defaults=True):
    """What one system says about an item: names and descriptions, never stock or money."""

    code: Text
    title: str | None = None
    gtin: str | None = None
    brand: str | None = None
    department: str | None = None
    unit: str | None = None
    description: str | None = None
    group: str | None = None

    key_field: ClassVar[str] = "code"


class StockLevel(msgspec.Struct, frozen=True, tag_field="kind", tag="stock_level", omit_defaults=True):
    """How many pieces a location counted, and when that count was true. May be negative."""

    code: Text
    on_hand: Decimal
    as_of: AsOf | None = None

    key_field: ClassVar[str] = "code"

    def __post_init__(self) -> None:
        """Decimals plain. Raises ValueError for what cannot be."""
        _in_plain(self, "on_hand")


class Price(msgspec.Struct, frozen=True, tag_field="kind", tag="price", omit_defaults=True):
    """A selling price; `sale_price` holds between the dates, which are local to the storefront.

    `sale_from` and `sale_to` are ISO dates ("2026-11-23"), both inclusive; None means open.
    """

    code: Text
    list_price: Decimal
    currency: Currency
    sale_price: Decimal | None = None
    sale_from: str | None = None
    sale_to: str | None = None

    key_field: ClassVar[str] = "code"

    def __post_init__(self) -> None:
        """Decimals plain. Raises ValueError for what cannot be."""
        _in_plain(self, "list_price", "sale_price")


class Cost(msgspec.Struct, frozen=True, tag_field="kind", tag="cost", omit_defaults=True):
    """A purchase price. Never shown, never a selling price (DESIGN §5.14)."""

    code: Text
    cost: Decimal
    currency: Currency

    key_field: ClassVar[str] = "code"

    def __post_init__(self) -> None:
        """Decimals plain. Raises ValueError for what cannot be."""
        _in_plain(self, "cost")


class SaleLine(msgspec.Struct, frozen=True, tag_field="kind", tag="sale_line", omit_defaults=True):
    """One line of a receipt; `id` is its natural id, made of what the till itself numbers."""

    id: Text
    code: Text
    quantity: Decimal
    at: Instant
    unit_price: Decimal | None = None
    list_price: Decimal | None = None
    currency: Currency | None = None
    till: str | None = None
    receipt: str | None = None
    order: str | None = None
    reason: str | None = None

    key_field: ClassVar[str] = "id"

    def __post_init__(self) -> None:
        """Decimals plain, times in UTC. Raises ValueError for what cannot be."""
        _in_plain(self, "quantity", "unit_price", "list_price")
        _in_utc(self, "at")


class Scan(msgspec.Struct, frozen=True, tag_field="kind", tag="scan", omit_defaults=True):
    """One scanned symbol; `id` is random, drawn when the scan was captured."""

    id: Text
    text: Text
    at: Instant
    device: str | None = None
    symbology: str | None = None

    key_field: ClassVar[str] = "id"

    def __post_init__(self) -> None:
        """Times in UTC. Raises ValueError for naive ones."""
        _in_utc(self, "at")


class OrderState(msgspec.Struct, frozen=True, tag_field="kind", tag="order_state", omit_defaults=True):
    """What an agent says of one web order; `id` is random, drawn with the step it tells.

    `sequence` and `file` name the import file once there is one; `code` and `message` say why an order was
    rejected, is uncertain or expired.
    """

    id: Text
    order: Text
    revision: Annotated[int, msgspec.Meta(ge=1, le=COUNT_MAX)]
    state: str
    at: Instant
    sequence: Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)] | None = None
    file: str | None = None
    code: str | None = None
    message: str | None = None

    key_field: ClassVar[str] = "id"

    def __post_init__(self) -> None:
        """Times in UTC. Raises ValueError for naive ones."""
        _in_utc(self, "at")


Record = Product | StockLevel | Price | Cost | SaleLine | Scan | OrderState
Kind = Literal["product", "stock_level", "price", "cost", "sale_line", "scan", "order_state"]

KINDS: dict[str, type[Record]] = {
    "product": Product,
    "stock_level": StockLevel,
    "price": Price,
    "cost": Cost,
    "sale_line": SaleLine,
    "scan": Scan,
    "order_state": OrderState,
}
#: Latest value per key wins; the outbox keeps one change per key.
STATE_KINDS = frozenset({"product", "stock_level", "price", "cost"})
#: Every one counts; natural ids, never coalesced.
EVENT_KINDS = frozenset({"sale_line", "scan", "order_state"})


def kind_of(record: Record) -> str:
    """The tag of a record, as on the wire."""
    return str(type(record).__struct_config__.tag)


def key_of(record: Record) -> str:
    """The key a change of this record has: its code, or the natural id of an event."""
    return str(getattr(record, record.key_field))


def fields_of(record: Record) -> dict[str, object]:
    """The record's fields without kind and key, decimals as strings, times as ISO text."""
    built: dict[str, object] = msgspec.to_builtins(record)
    del built["kind"], built[record.key_field]
    return built


_PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def plain(value: Decimal) -> Decimal:
    """The same value in plain notation, as short as DECIMAL_CHARS_MAX asks.

    Raises ValueError for NaN, Infinity, and what needs more characters or is closer to zero than a millionth.
    """
    text = str(value)
    if len(text) <= DECIMAL_CHARS_MAX and _PLAIN.fullmatch(text):
        return value
    if not value.is_finite():
        raise ValueError(f"{text} is not a number that can be stored")
    if not value:
        return Decimal(0)
    # Judged before it is written out: 1E+999999 would take a million digits.
    if not -6 <= value.adjusted() < DECIMAL_CHARS_MAX:
        raise ValueError(f"{text[:40]} is too large or too close to zero to be stored exactly")
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    if len(text) > DECIMAL_CHARS_MAX:
        raise ValueError(f"{text[:40]} has more than {DECIMAL_CHARS_MAX} characters")
    return Decimal(text)


def _in_plain(record: msgspec.Struct, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if value is not None and (kept := plain(value)) is not value:
            msgspec.structs.force_setattr(record, name, kept)


def _in_utc(record: msgspec.Struct, *names: str) -> None:
    for name in names:
        at: datetime = getattr(record, name)
        if at.tzinfo is None:
            raise ValueError(f"the time {name.rstrip('_')} has no time zone")
        if at.tzinfo is not UTC:
            try:
                msgspec.structs.force_setattr(record, name, at.astimezone(UTC))
            except OverflowError as error:
                raise ValueError(f"the time {name.rstrip('_')} lies outside the calendar") from error
