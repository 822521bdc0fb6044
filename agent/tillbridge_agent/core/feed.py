"""The structs of a feed: source, reader, mapping, guards; and what is wrong with one beyond its types."""

import datetime as dt
import hashlib
import re
from typing import Annotated, Any, Literal

import msgspec

from tillbridge_agent.readers import ReaderConfig
from tillbridge_protocol.records import Currency

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Mark = Annotated[str, msgspec.Meta(max_length=1)]
FeedName = Annotated[str, msgspec.Meta(min_length=1, max_length=60, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class _Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every table of a configuration: a key nobody knows is an error that names it."""


class SourceConfig(_Config, frozen=True, kw_only=True):
    """Where the bytes of a feed come from."""

    type: Literal["folder"] = "folder"
    path: Annotated[str, msgspec.Meta(min_length=1)]
    pattern: Annotated[str, msgspec.Meta(min_length=1)]
    style: Literal["replace", "journal"] = "replace"
    settle_s: Seconds = 5.0
    poll_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 1.0
    counted_before_s: Seconds = 0.0


class Field(_Config, frozen=True, kw_only=True):
    """Where one field of a record comes from: a column or a constant, and how its text is written."""

    column: str | None = None
    const: str | None = None
    decimal: Mark | None = None
    thousands: Mark | None = None
    none: tuple[str, ...] | None = None
    whole: bool = False
    format: str | None = None


#: A column name, or a table with more to say.
FieldSource = str | Field


class SkipRule(_Config, frozen=True, kw_only=True, rename={"is_": "is"}):
    """Rows whose cell is one of these texts are left out on purpose."""

    column: str
    is_: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class LocationRule(_Config, frozen=True, kw_only=True, rename={"is_": "is"}):
    """The column that names the store of a row, the texts that mean this one, and what to do with others."""

    column: str
    is_: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    others: Literal["hold", "skip"] = "hold"


class ProductFields(_Config, frozen=True, kw_only=True):
    """Which columns name and describe an item."""

    title: FieldSource | None = None
    gtin: FieldSource | None = None
    brand: FieldSource | None = None
    department: FieldSource | None = None
    unit: FieldSource | None = None
    description: FieldSource | None = None
    group: FieldSource | None = None


class StockLevelFields(_Config, frozen=True, kw_only=True):
    """Which column counts pieces, and which one says when the count was true."""

    on_hand: FieldSource
    as_of: FieldSource | None = None


class PriceFields(_Config, frozen=True, kw_only=True):
    """Which columns hold selling prices and the dates of a sale."""

    list_price: FieldSource
    sale_price: FieldSource | None = None
    sale_from: FieldSource | None = None
    sale_to: FieldSource | None = None
    currency: FieldSource | None = None


class CostFields(_Config, frozen=True, kw_only=True):
    """Which column holds the purchase price."""

    cost: FieldSource
    currency: FieldSource | None = None


class SaleLineFields(_Config, frozen=True, kw_only=True):
    """Which columns make one line of a receipt."""

    quantity: FieldSource
    at: FieldSource
    unit_price: FieldSource | None = None
    list_price: FieldSource | None = None
    currency: FieldSource | None = None
    till: FieldSource | None = None
    receipt: FieldSource | None = None
    order: FieldSource | None = None
    reason: FieldSource | None = None


class MappingConfig(_Config, frozen=True, kw_only=True):
    """How rows become records: the key, how values are written, and one table per kind of record."""

    key: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    code: str | None = None
    decimal: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = "."
    thousands: Mark = ""
    none: tuple[str, ...] = ("",)
    currency: Currency | None = None
    time_zone: str | None = None
    skip_when: tuple[SkipRule, ...] = ()
    location: LocationRule | None = None
    product: ProductFields | None = None
    stock_level: StockLevelFields | None = None
    price: PriceFields | None = None
    cost: CostFields | None = None
    sale_line: SaleLineFields | None = None

    def kinds(self) -> dict[str, "KindFields"]:
        """The kinds of record this mapping makes, in the order their records appear."""
        all_kinds: dict[str, KindFields | None] = {
            "product": self.product, "stock_level": self.stock_level, "price": self.price,
            "cost": self.cost, "sale_line": self.sale_line,
        }
        return {kind: fields for kind, fields in all_kinds.items() if fields is not None}


KindFields = ProductFields | StockLevelFields | PriceFields | CostFields | SaleLineFields


class Guard(_Config, frozen=True, kw_only=True):
    """Trips when at least `at_least` are touched and their share is more than `share`."""

    share: Share
    at_least: Annotated[int, msgspec.Meta(ge=1)]


class PriceDropGuard(_Config, frozen=True, kw_only=True):
    """Like Guard, for prices that fall by more than the part `by` of what they were."""

    share: Share = 0.2
    at_least: Annotated[int, msgspec.Meta(ge=1)] = 10
    by: Share = 0.5


class GuardsConfig(_Config, frozen=True, kw_only=True):
    """How much may change at once before a person is asked."""

    rows_lost: Guard = Guard(share=0.2, at_least=5)
    rows_unreadable: Guard = Guard(share=0.3, at_least=10)
    stock_to_zero: Guard = Guard(share=0.3, at_least=20)
    price_drop: PriceDropGuard = PriceDropGuard()


class FeedConfig(_Config, frozen=True, kw_only=True):
    """One feed: a configured source, reader, mapping and guards, with a name."""

    name: FeedName
    numbering: FeedName = "main"
    absence: Literal["nothing", "zero", "retire"] = "zero"
    source: SourceConfig | None = None
    reader: ReaderConfig
    mapping: MappingConfig
    guards: GuardsConfig = GuardsConfig()

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of everything that decides which records a file gives; comments and guards do not."""
        deciding = {"reader": self.reader, "mapping": self.mapping, "numbering": self.numbering}
        return hashlib.sha256(msgspec.json.encode(deciding, order="deterministic")).hexdigest()


def faults(feed: FeedConfig) -> list[tuple[str, str, str]]:
    """What decoding by type alone cannot see: (key, message, hint) of each fault, keys dotted from the feed."""
    found = [(f"reader.{key}", message, hint) for key, message, hint in feed.reader.faults()]
    mapping = feed.mapping
    kinds = mapping.kinds()
    if not kinds:
        found.append(("mapping", "The mapping makes no record.",
                      "Add a table such as [mapping.stock_level] with on_hand = \"the column that counts\"."))
    for kind, fields in kinds.items():
        found += _field_faults(kind, fields, mapping)
    if "sale_line" in kinds:
        if len(kinds) > 1:
            found.append(("mapping.sale_line", "One feed gives either sale lines or the state of items, not both.",
                          "Make a second feed with the same source for the other kind."))
        if mapping.code is None:
            found.append(("mapping.code", "A sale line needs the column with the item number.",
                          "Name it: code = \"ArtNr\"; `key` are the columns that number the line itself."))
    elif mapping.code is not None and mapping.key != (mapping.code,):
        found.append(("mapping.code", "Items are kept by their code, so the key of their rows is the code.",
                      "Leave `code` out, or name the same single column in `key`."))
    return found + _mark_faults("mapping", mapping.decimal, mapping.thousands)


def _mark_faults(key: str, decimal: str, thousands: str) -> list[tuple[str, str, str]]:
    """Marks that would be read as a digit, a sign or a unit, or as each other."""
    found = []
    if not re.fullmatch(r"[^0-9A-Za-z\s+-]", decimal):
        found.append((f"{key}.decimal", f"{decimal!r} is no decimal mark.", "Usual ones are \".\" and \",\"."))
    if thousands and re.fullmatch(r"[0-9A-Za-z+-]", thousands):
        found.append((f"{key}.thousands", f"{thousands!r} is no thousands mark.",
                      "Usual ones are \"'\", \".\" and \",\"."))
    if thousands and thousands == decimal:
        found.append((f"{key}.thousands", "One mark cannot be both decimal mark and thousands mark.",
                      "Look into the file which is which, and change one of them."))
    return found


def _names_a_day(form: str) -> bool:
    """Whether a time written this way can be read again with the day it is of."""
    probe = dt.datetime(2026, 11, 23, 8, 15, 30, tzinfo=dt.UTC)
    try:
        return dt.datetime.strptime(probe.strftime(form), form).date() == probe.date()  # noqa: DTZ007
    except ValueError:
        return False


def _field_faults(kind: str, fields: KindFields, mapping: MappingConfig) -> list[tuple[str, str, str]]:
    found = []
    given: dict[str, Any] = {name: getattr(fields, name) for name in fields.__struct_fields__}
    for name, source in given.items():
        if isinstance(source, Field) and (source.column is None) == (source.const is None):
            found.append((f"mapping.{kind}.{name}", "A field comes from a column or is a constant, one of the two.",
                          "Write either column = \"...\" or const = \"...\"."))
        if isinstance(source, Field):
            at = f"mapping.{kind}.{name}"
            if source.decimal is not None or source.thousands is not None:
                decimal = mapping.decimal if source.decimal is None else source.decimal
                found += _mark_faults(at, decimal, mapping.thousands if source.thousands is None else source.thousands)
            if source.format is not None and not _names_a_day(source.format):
                found.append((f"{at}.format", f"{source.format!r} does not say day, month and year of a time.",
                              "Write it as \"%d.%m.%Y %H:%M:%S\", as agent/README.md says."))
    if "currency" in given and given["currency"] is None and mapping.currency is None and kind != "sale_line":
        found.append(("mapping.currency", f"The {kind} has no currency.",
                      "Say which one the file is in: currency = \"CHF\"."))
    for name in ("at", "as_of"):
        source = given.get(name)
        form = source.format if isinstance(source, Field) else None
        if source is not None and mapping.time_zone is None and not (form and "%z" in form):
            found.append(("mapping.time_zone", f"The times in {kind}.{name} need a time zone.",
                          "Name the zone of the store: time_zone = \"Europe/Zurich\"."))
    return found
