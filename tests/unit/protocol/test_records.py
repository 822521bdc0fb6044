"""Records: exact decimals as strings, times in UTC, unknown fields tolerated, nothing that is no fact let in."""

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.made import records

from tillbridge_protocol import records as r
from tillbridge_protocol.limits import KEY_CHARS_MAX

AT = dt.datetime(2026, 3, 14, 9, 26, 53, tzinfo=dt.UTC)
RECORD: msgspec.json.Decoder[r.Record] = msgspec.json.Decoder(r.Record)


def wire(record: r.Record) -> dict[str, Any]:
    """The record as JSON."""
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record))
    return decoded


def stock(on_hand: str) -> Decimal:
    """The count of a stock level made with this number."""
    return r.StockLevel("1", Decimal(on_hand)).on_hand


@given(records)
def test_every_record_comes_back_as_it_went(record: r.Record) -> None:
    """Exactly, whatever its texts, numbers and zones; its kind and key say the same on both sides."""
    back = RECORD.decode(msgspec.json.encode(record))
    assert back == record
    assert msgspec.json.encode(back) == msgspec.json.encode(record)
    assert (r.kind_of(back), r.key_of(back)) == (r.kind_of(record), r.key_of(record))
    assert r.KINDS[r.kind_of(record)] is type(record)


def test_kinds_are_states_or_events() -> None:
    """Each kind is one of the two, and the literal type lists them all."""
    assert set(r.KINDS) == r.STATE_KINDS | r.EVENT_KINDS
    assert not r.STATE_KINDS & r.EVENT_KINDS
    assert set(r.KINDS) == set(r.Kind.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", [
    "0", "12.50", "-3", "0.1", "99999999999999.999999", "0.000001", "1000000000000000000000",
])
def test_decimals_are_strings_and_exact(text: str) -> None:
    """Not one digit more or less, trailing zeros included; never a JSON number."""
    assert wire(r.StockLevel("1", Decimal(text)))["on_hand"] == text
    assert str(RECORD.decode(msgspec.json.encode(r.StockLevel("1", Decimal(text)))).on_hand) == text  # type: ignore[union-attr]


@pytest.mark.parametrize(("made", "written"), [
    ("1E+3", "1000"), ("-2.5E+2", "-250"), ("0E-7", "0"), ("0E+9", "0"), ("0.00000000000000000000", "0"),
    ("12345678901234.50000000000000000000", "12345678901234.5"), ("1E+20", "100000000000000000000"),
    ("1.0E-6", "0.0000010"), ("-0E+5", "0"),
])
def test_exponents_and_long_tails_become_plain(made: str, written: str) -> None:
    """However the number was calculated, it is held and written in plain notation, and it is the same number."""
    assert wire(r.StockLevel("1", Decimal(made)))["on_hand"] == written
    assert stock(made) == Decimal(made)


@pytest.mark.parametrize("text", ["NaN", "sNaN", "-NaN", "Infinity", "-Infinity", "1E+999999", "1E-999999", "1E-7",
                                  "1E+30", "0." + "1" * 40])
def test_what_is_no_storable_number_is_no_fact(text: str) -> None:
    """Made or received: the record does not come to be."""
    with pytest.raises(ValueError):
        r.StockLevel("1", Decimal(text))
    with pytest.raises(msgspec.ValidationError):
        RECORD.decode(f'{{"kind":"stock_level","code":"1","on_hand":"{text}"}}')


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_plain_is_the_same_value_or_an_error(value: Decimal) -> None:
    """Plain notation never changes a number."""
    try:
        kept = r.plain(value)
    except ValueError:
        return
    assert kept == value
    assert msgspec.convert(str(kept), r.DecimalText) == str(kept)


@pytest.mark.parametrize(("kind", "field"), [
    (kind, spec.name) for kind, struct in r.KINDS.items() for spec in msgspec.structs.fields(struct)
    if spec.type in (Decimal, Decimal | None)
])
def test_every_decimal_field_is_guarded(kind: str, field: str) -> None:
    """A new field of money or quantity cannot be forgotten."""
    given_fields: dict[str, Any] = {
        "code": "1", "id": "1", "at": AT, "currency": "CHF", "on_hand": Decimal(1), "list_price": Decimal(1),
        "cost": Decimal(1), "quantity": Decimal(1),
    }
    struct = r.KINDS[kind]
    names = {spec.name for spec in msgspec.structs.fields(struct)}
    fitting = {name: value for name, value in given_fields.items() if name in names}
    assert str(getattr(struct(**fitting | {field: Decimal("1E+3")}), field)) == "1000"
    with pytest.raises(ValueError):
        struct(**fitting | {field: Decimal("NaN")})


def test_fields_a_later_version_added_are_tolerated() -> None:
    """An old server reads what it knows."""
    raw = b'{"kind":"price","code":"1","list_price":"5","currency":"CHF","loyalty_price":"4","levels":[{"from":10}]}'
    assert RECORD.decode(raw) == r.Price("1", Decimal(5), "CHF")


def test_unknown_absent_and_zero_are_three_values() -> None:
    """None is left out of the JSON and comes back as None; zero is written."""
    assert wire(r.Price("1", Decimal(0), "CHF")) == {"kind": "price", "code": "1", "list_price": "0", "currency": "CHF"}
    assert RECORD.decode(b'{"kind":"price","code":"1","list_price":"0","currency":"CHF","sale_price":null}') == r.Price(
        "1", Decimal(0), "CHF", sale_price=None
    )
    with pytest.raises(msgspec.ValidationError):
        RECORD.decode(b'{"kind":"price","code":"1","list_price":null,"currency":"CHF"}')


@pytest.mark.parametrize("raw", [
    b'{"kind":"scan","id":"1","text":"x","at":"2026-03-14T09:26:53"}',
    b'{"kind":"scan","id":"1","text":"x","at":"2026-03-14"}',
    b'{"kind":"scan","id":"1","text":"x","at":1773480413}',
    b'{"kind":"stock_level","code":"1","on_hand":"1","as_of":{"from":"2026-03-14T09:26:53","to":"2026-03-14T09:26:53Z"}}',
    b'{"kind":"sale_line","id":"1","code":"1","quantity":"1","at":"14.03.2026 09:26"}',
])
def test_times_without_a_zone_are_refused(raw: bytes) -> None:
    """A local time of an unknown place is not a time."""
    with pytest.raises(msgspec.ValidationError):
        RECORD.decode(raw)


def test_naive_times_cannot_be_made_into_records() -> None:
    """The agent notices before it sends."""
    naive = AT.replace(tzinfo=None)
    for make in (
        lambda: r.Scan("1", "x", naive), lambda: r.SaleLine("1", "1", Decimal(1), naive),
        lambda: r.AsOf(AT, naive, "data"), lambda: r.AsOf(naive, AT, "data"),
    ):
        with pytest.raises(ValueError, match="no time zone"):
            make()


def test_times_are_held_in_utc() -> None:
    """The same instant has one text, from whatever zone it was read."""
    zurich = dt.timezone(dt.timedelta(hours=1))
    assert wire(r.Scan("1", "x", AT.astimezone(zurich)))["at"] == "2026-03-14T09:26:53Z"
    raw = b'{"kind":"scan","id":"1","text":"x","at":"2026-03-14T10:26:53+01:00"}'
    assert msgspec.json.encode(RECORD.decode(raw)) == msgspec.json.encode(r.Scan("1", "x", AT))


@pytest.mark.parametrize("currency", ["chf", "CH", "CHFX", "", "CHF\\n", " CHF", "C\u00c4F", "123"])
def test_currency_is_three_capitals(currency: str) -> None:
    """ISO 4217 form, and nothing hidden behind it."""
    with pytest.raises(msgspec.ValidationError):
        RECORD.decode(f'{{"kind":"cost","code":"1","cost":"1","currency":"{currency}"}}')


@pytest.mark.parametrize("code", ["", "x" * (KEY_CHARS_MAX + 1)])
def test_codes_have_bounds(code: str) -> None:
    """Empty and endless codes are refused; leading zeros and spaces are kept as they are."""
    with pytest.raises(msgspec.ValidationError):
        RECORD.decode(f'{{"kind":"product","code":"{code}"}}')
    for kept in ("0001", " 1", "x" * KEY_CHARS_MAX):
        assert r.key_of(RECORD.decode(f'{{"kind":"product","code":"{kept}"}}')) == kept


def test_fields_without_kind_and_key() -> None:
    """What `check --json` and the ledger show of a record."""
    as_of = r.AsOf(AT, AT, "observed")
    assert r.fields_of(r.StockLevel("1", Decimal("2.50"), as_of)) == {
        "on_hand": "2.50",
        "as_of": {"from": "2026-03-14T09:26:53Z", "to": "2026-03-14T09:26:53Z", "kind": "observed"},
    }
    sale = r.SaleLine("1/1", "7", Decimal(-1), AT, unit_price=Decimal("9.90"), currency="CHF")
    assert r.fields_of(sale) == {
        "code": "7", "quantity": "-1", "at": "2026-03-14T09:26:53Z", "unit_price": "9.90", "currency": "CHF",
    }
