"""Csv import files: whatever a shopper typed, the till reads the same columns, and nothing of a number is lost."""

import csv
import datetime as dt
import io
import unicodedata
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillbridge_agent.imports import OrdersConfig, Rendered, Unwritable, render
from tillbridge_agent.imports.csv.config import FIELDS, LINE_FIELDS
from tillbridge_protocol.orders import Order, OrderLine, Shopper

AT = dt.datetime(2026, 3, 14, 23, 30, tzinfo=dt.UTC)
SHOPPER = ("name", "street", "postcode", "city", "country", "phone", "email", "note")
ENCODINGS = ["cp1252", "utf-8", "utf-16", "utf-8-sig", "cp850", "iso-8859-1", "utf-16-be"]
#: Anything that Python can hold, lone surrogates and control characters too.
anything = st.text(st.characters(), max_size=40)
codes = st.text(st.sampled_from("0123456789ABC-./"), min_size=1, max_size=12)
pieces = st.decimals("0.001", "9999", places=3)
prices = st.decimals(0, 99999, places=2)


def order(lines: list[OrderLine] | None = None, **shopper: Any) -> Order:
    """An order of these lines by this shopper."""
    lines = lines or [OrderLine(1, "0012", Decimal(2), Decimal("12.50"), "Hammer")]
    return Order(
        id="WEB-1009-7ZK", revision=1, agent="a", location="bern", storefront="web", number="1009-7ZK", placed_at=AT,
        not_after=AT, currency="CHF", lines=lines, shopper=Shopper(**shopper),
    )


def config(*records: tuple[str, list[Any]], **keys: Any) -> OrdersConfig:
    """An orders table with these records, without faults."""
    given = {"format": "csv", "path": "import", "records": [{"each": each, "columns": columns}
                                                           for each, columns in records], **keys}
    made: OrdersConfig = msgspec.convert(given, OrdersConfig)
    assert made.faults() == []
    return made


LINE = ("line", ["order", "code", "quantity"])
TEXTS = ("order", [{"const": "H"}, "order", *(f"shopper.{name}" for name in SHOPPER)])
WHOLE = ("line", [{"const": "L"}, "order", "line", "code", {"field": "quantity", "decimals": 3}, "unit_price", "title"])


def cells(made: Rendered, table: OrdersConfig) -> list[list[str]]:
    """The file as Python's own csv reader sees it."""
    text = made.body.decode(table.encoding).removeprefix("\ufeff")
    quote = {"quotechar": table.quote} if table.quote else {"quoting": csv.QUOTE_NONE}
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=table.separator, strict=True, **quote))


def first(field: Any, text: str, **keys: Any) -> tuple[str, tuple[str, ...]]:
    """How one text of the shopper's note is written, and what is noted of it."""
    table = config(("order", [field]), LINE, **keys)
    made = render(table, order(note=text), sequence=1)
    return cells(made, table)[0][0], made.notes


# -- whatever a shopper types -------------------------------------------------------------------------------------

@given(
    st.lists(anything, min_size=8, max_size=8), anything,
    st.lists(st.tuples(codes, pieces, prices), min_size=1, max_size=4),
    st.sampled_from(ENCODINGS), st.sampled_from([";", ",", "\t", "|"]), st.sampled_from(['"', "'", ""]), st.booleans(),
)
def test_no_text_makes_another_line_or_column(
    texts: list[str], title: str, lines: list[tuple[str, Decimal, Decimal]], encoding: str, separator: str, quote: str,
    quote_all: bool,
) -> None:
    """Read back, the file has one row per record, every column in its place, and every number and code as it was."""
    table = config(
        TEXTS, WHOLE, ("order", [{"const": "T"}, "lines", "rows"]), encoding=encoding, separator=separator, quote=quote,
        quote_all=quote_all and bool(quote),
    )
    made = order(
        [OrderLine(number, *line, title) for number, line in enumerate(lines, 1)],
        **dict(zip(SHOPPER, texts, strict=True)),
    )
    written = render(table, made, sequence=7)
    rows = cells(written, table)
    assert [row[0] for row in rows] == ["H", *("L" for _ in lines), "T"]
    assert [len(row) for row in rows] == [10, *(7 for _ in lines), 3]
    for row, (number, (code, quantity, price)) in zip(rows[1:-1], enumerate(lines, 1), strict=True):
        assert row[1:4] == ["WEB-1009-7ZK", str(number), code]
        assert (Decimal(row[4]), Decimal(row[5])) == (quantity, price)
    assert rows[-1] == ["T", str(len(lines)), str(len(lines) + 2)]
    text = written.body.decode(encoding).removeprefix("\ufeff").replace("\r\n", "").replace("\t", "")
    assert not [each for each in text if unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp")]
    assert written.body.decode(encoding).count("\r\n") == len(rows)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])), min_size=8,
                max_size=8))
def test_what_the_till_can_read_is_unchanged(texts: list[str]) -> None:
    """Any separator and quote mark in it; only blanks at the ends go, and composed letters stay composed."""
    table = config(TEXTS, LINE, encoding="utf-8")
    made = render(table, order(**dict(zip(SHOPPER, texts, strict=True))), sequence=7)
    assert cells(made, table)[0][2:] == [unicodedata.normalize("NFC", text).strip() for text in texts]
    assert made.notes == ()


@given(st.text(st.characters(codec="utf-8"), max_size=30), st.integers(1, 12), st.sampled_from(ENCODINGS))
def test_a_cut_is_never_inside_a_character(text: str, longest: int, encoding: str) -> None:
    """At most so many UTF-16 units, a beginning of the uncut text, and never before a combining mark."""
    whole, _ = first("shopper.note", text, encoding=encoding)
    cut, notes = first({"field": "shopper.note", "max": longest}, text, encoding=encoding)
    assert len(cut.encode("utf-16-le")) // 2 <= longest
    assert whole.startswith(cut)
    if cut == whole:
        assert not [note for note in notes if "longer" in note]
    else:
        assert "shopper.note: longer than" in notes[-1]
        rest = whole.removeprefix(cut).lstrip()
        assert not unicodedata.combining(rest[0]) or not cut


# -- one by one -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "keys", "written", "note"), [
    ("Zoë", {}, "Zoë", ""),
    ("Zoe\u0308", {}, "Zoë", ""),
    ("  Zoë ", {}, "Zoë", ""),
    ("a\r\nb", {}, "a b", "line breaks"),
    ("a\x00\x1a\u2028b", {}, "a b", "control"),
    ("\ufeffa\u202eb", {}, "a b", "control"),
    ("ł€", {}, "?€", "cp1252 lacks became '?'"),
    ("ł€", {"substitute": "_", "encoding": "iso-8859-1"}, "__", "iso-8859-1 lacks became '_'"),
    ("\ud800x", {"encoding": "utf-8"}, "?x", "lacks"),
    ("\ud800x", {"encoding": "utf-16"}, "?x", "lacks"),
    ("😀", {}, "?", "lacks"),
    ("=1+1", {}, "=1+1", ""),
    ("=1+1", {"excel_safe": True}, "'=1+1", "formula"),
    ("\t=1+1", {"excel_safe": True}, "'=1+1", "formula"),
    ("a;b", {}, "a;b", ""),
    ("a;b", {"quote": ""}, "a b", "separator"),
    ('"a"', {"quote": ""}, '"a"', ""),
    ('"a"', {}, '"a"', ""),
])
def test_a_text_is_written_so(text: str, keys: dict[str, Any], written: str, note: str) -> None:
    """And what became of it is noted, without what it says."""
    found, notes = first("shopper.note", text, **keys)
    assert found == written
    assert (note in notes[0] and notes[0].startswith("shopper.note: ")) if note else notes == ()
    assert not any(text in said for said in notes if text.isalnum())


@pytest.mark.parametrize(("text", "longest", "written"), [
    ("abc", 3, "abc"), ("abcd", 3, "abc"), ("ab cd", 3, "ab"), ("ab😀", 3, "ab"), ("ab😀", 4, "ab😀"),
    ("a\u0301\u0323b", 1, ""), ("xq\u0301\u0323", 2, "x"), ("👨\u200d👩", 3, ""), ("👨\u200d👩!", 5, "👨\u200d👩"),
])
def test_a_text_is_cut_so(text: str, longest: int, written: str) -> None:
    """As tills count, without half a character at the end."""
    assert first({"field": "shopper.note", "max": longest}, text, encoding="utf-8")[0] == written


@pytest.mark.parametrize("name", ["postcode", "country", "phone", "email"])
def test_a_contact_is_whole_or_empty(name: str) -> None:
    """Half an e-mail address is somebody else's."""
    table = config(("order", [{"const": "H"}, {"field": f"shopper.{name}", "max": 5}]), LINE)
    assert cells(render(table, order(**{name: "12345"}), sequence=1), table)[0] == ["H", "12345"]
    made = render(table, order(**{name: "123456"}), sequence=1)
    assert cells(made, table)[0] == ["H", ""]
    assert made.notes == (
        f"shopper.{name}: longer than 5 characters, left empty, because a part of it would be wrong.",
    )


@pytest.mark.parametrize(("quantity", "decimals", "written"), [
    ("2", None, "2"), ("2.50", None, "2,50"), ("1E+2", None, "100"), ("2", 3, "2,000"), ("2.5000", 1, "2,5"),
    ("0.001", 3, "0,001"), ("12345678901234567890", 2, "12345678901234567890,00"),
])
def test_a_number_is_written_so(quantity: str, decimals: int | None, written: str) -> None:
    """Fixed or as it comes, with the mark of the till, never an exponent."""
    column = "quantity" if decimals is None else {"field": "quantity", "decimals": decimals}
    table = config(("line", ["order", "code", column]), decimal=",")
    made = render(table, order([OrderLine(1, "1", Decimal(quantity), Decimal(1))]), sequence=1)
    assert cells(made, table) == [["WEB-1009-7ZK", "1", written]]


@pytest.mark.parametrize(("field", "line"), [
    ("quantity", OrderLine(1, "1", Decimal("1.2345"), Decimal(1))),
    ("unit_price", OrderLine(1, "1", Decimal(1), Decimal("0.0005"))),
    ("line_total", OrderLine(1, "1", Decimal("0.25"), Decimal("0.33"))),
    ("total", OrderLine(1, "1", Decimal("0.25"), Decimal("0.33"))),
])
def test_nothing_is_rounded(field: str, line: OrderLine) -> None:
    """More decimals than the template has are a matter for a person."""
    table = config(("line", ["order", "code", "quantity", {"field": field, "decimals": 3}]))
    with pytest.raises(Unwritable) as refused:
        render(table, order([line]), sequence=1)
    assert refused.value.code == "decimals_many"
    assert field.replace("_", " ") in refused.value.message


def test_totals_are_exact() -> None:
    """Beyond the digits that ordinary arithmetic keeps, and without an exponent."""
    table = config(("line", ["order", "code", "quantity", "line_total", "total"]))
    lines = [OrderLine(1, "1", Decimal("1234567890123.1"), Decimal("9876543210.123456")),
             OrderLine(2, "2", Decimal("0.001"), Decimal("0.001"))]
    rows = cells(render(table, order(lines), sequence=1), table)
    exact = 12345678901231 * 9876543210123456
    assert rows[0][3] == f"{str(exact)[:-7]}.{str(exact)[-7:]}"
    assert rows[0][4] == "12193263112631744182594.0374346"
    tiny = render(table, order([OrderLine(1, "1", Decimal("0.000001"), Decimal("0.000001"))]), sequence=1)
    assert cells(tiny, table)[0][3] == "0.000000000001"


@pytest.mark.parametrize(("zone", "form", "written"), [
    ("Europe/Zurich", "%d.%m.%Y", "15.03.2026"), ("UTC", "%d.%m.%Y %H:%M", "14.03.2026 23:30"),
    ("America/New_York", "%m/%d/%y %I:%M %p", "03/14/26 07:30 PM"), ("Asia/Tokyo", None, "2026-03-15 08:30:00"),
    ("Europe/Zurich", "%Y%m%dT%H%M%S%z", "20260315T003000+0100"), ("UTC", "100%% %j", "100% 073"),
])
def test_times_are_those_of_the_store(zone: str, form: str | None, written: str) -> None:
    """The day of an order is the day on the wall of the shop."""
    column = "placed_at" if form is None else {"field": "placed_at", "format": form}
    table = config(("order", [column]), LINE, time_zone=zone)
    assert cells(render(table, order(), sequence=1), table)[0] == [written]


def test_every_field_can_be_written() -> None:
    """Each of them, by its name alone, with what the order says."""
    table = config(("line", list(FIELDS)), time_zone="UTC")
    lines = [OrderLine(1, "0012", Decimal(2), Decimal("12.50"), "Hammer"), OrderLine(2, "0013", Decimal(1), Decimal(5))]
    shopper = {name: name.upper() for name in SHOPPER}
    rows = cells(render(table, order(lines, **shopper), sequence=17), table)
    said = dict(zip(FIELDS, rows[1], strict=True))
    assert said == {
        "order": "WEB-1009-7ZK", "revision": "1", "number": "1009-7ZK", "sequence": "17", "file": "ORD00017.CSV",
        "storefront": "web", "location": "bern", "placed_at": "2026-03-14 23:30:00", "currency": "CHF", "lines": "2",
        "total": "30.00", "row": "2", "rows": "2", "line": "2", "code": "0013", "quantity": "1", "unit_price": "5",
        "line_total": "5", "title": "", **{f"shopper.{name}": name.upper() for name in SHOPPER},
    }
    assert set(FIELDS) > LINE_FIELDS


def test_neighbouring_line_records_take_turns() -> None:
    """Item, text, item, text; a record between them keeps them apart."""
    item, text = ("line", [{"const": "I"}, "order", "code", "quantity"]), ("line", [{"const": "T"}, "line"])
    lines = [OrderLine(1, "A", Decimal(1), Decimal(1)), OrderLine(2, "B", Decimal(1), Decimal(1))]
    table = config(item, text)
    assert "".join(row[0] for row in cells(render(table, order(lines), sequence=1), table)) == "ITIT"
    table = config(item, ("order", [{"const": "-"}]), text)
    assert "".join(row[0] for row in cells(render(table, order(lines), sequence=1), table)) == "II-TT"


def test_an_empty_record_is_not_a_blank_line() -> None:
    """A till that skips blank lines would count one record less."""
    table = config(("order", ["shopper.note"]), LINE)
    assert render(table, order(), sequence=1).body.startswith(b'""\r\n')


@pytest.mark.parametrize(("name", "made"), [
    ("ORD{sequence:05d}.CSV", "ORD00017.CSV"), ("{sequence}.txt", "17.txt"), ("{order}_{revision}", "WEB-1009-7ZK_1"),
    ("{order}.{revision:03d}", "WEB-1009-7ZK.001"), ("O{sequence:01d}.X", "O17.X"),
])
def test_names_are_filled_in(name: str, made: str) -> None:
    """With zeros in front where they are asked for."""
    assert render(config(LINE, name=name), order(), sequence=17).name == made


def test_a_number_that_outgrows_its_zeros_stays_whole() -> None:
    """Cut, it would be a name used before."""
    assert render(config(LINE), order(), sequence=123_456).name == "ORD123456.CSV"
