"""Mapping: rows become records, every problem of a row is told at once, and nothing unreadable becomes a value."""

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tillbridge_agent.core.feed import FeedConfig
from tillbridge_agent.core.mapping import RowMapper, mapped_columns
from tillbridge_agent.core.rows import Mapped, Row
from tillbridge_agent.errors import MappingError
from tillbridge_protocol.records import AsOf, Cost, Price, Product, SaleLine, StockLevel

COLUMNS = ("Nr", "Titel", "EAN", "Bestand", "VK", "Aktion", "EK", "Storno", "Filiale")
MAPPING: dict[str, Any] = {
    "key": ["Nr"], "decimal": ",", "currency": "CHF",
    "product": {"title": "Titel", "gtin": "EAN"}, "stock_level": {"on_hand": "Bestand"},
    "price": {"list_price": "VK", "sale_price": "Aktion"}, "cost": {"cost": "EK"},
    "skip_when": [{"column": "Storno", "is": ["J", "1"]}],
}
GOOD = ("0017", "Kanne", "4006381333931", "5", "12,90", "9,90", "6,00", "", "01")


def feed(**changes: Any) -> FeedConfig:
    """A feed of MAPPING with these keys changed; None takes a key away."""
    mapping = {key: value for key, value in (MAPPING | changes).items() if value is not None}
    return msgspec.convert({"name": "stock", "reader": {}, "mapping": mapping}, FeedConfig)


def mapped(cells: tuple[str, ...], config: FeedConfig | None = None, columns: tuple[str, ...] = COLUMNS) -> Mapped:
    """One row of these cells, mapped."""
    return RowMapper(config or feed(), columns).map(Row(7, ";".join(cells), cells))


def with_cells(**cells: str) -> tuple[str, ...]:
    """GOOD with some cells changed, by column name."""
    return tuple(cells.get(column, cell) for column, cell in zip(COLUMNS, GOOD, strict=True))


def told(row: Mapped) -> list[tuple[str, str, str]]:
    """(column, effect, code) of each problem."""
    return [(problem.column, problem.effect, problem.code) for problem in row.problems]


def test_a_row_gives_one_record_of_each_kind() -> None:
    """Values are exact: decimals, leading zeros, and the currency of the feed."""
    row = mapped(GOOD)
    assert row.key == "0017"
    assert row.records == (
        Product(code="0017", title="Kanne", gtin="4006381333931"), StockLevel(code="0017", on_hand=Decimal(5)),
        Price(code="0017", list_price=Decimal("12.90"), currency="CHF", sale_price=Decimal("9.90")),
        Cost(code="0017", cost=Decimal("6.00"), currency="CHF"),
    )
    assert (row.failed, row.problems, row.filtered) == (frozenset(), (), False)


def test_columns_go_by_name() -> None:
    """Another order of columns, and columns nobody maps, change nothing."""
    columns = (*reversed(COLUMNS), "Neu")
    row = mapped((*reversed(GOOD), "x"), columns=columns)
    assert row.records == mapped(GOOD).records


def test_unknown_absent_and_zero_are_three() -> None:
    """An empty count is unknown and gives no record; a zero is a zero; unknown is not a problem."""
    unknown = mapped(with_cells(Bestand="", EK=" "))
    assert [type(record) for record in unknown.records] == [Product, Price]
    assert (unknown.failed, unknown.problems) == (frozenset(), ())
    zero = mapped(with_cells(Bestand="0"))
    assert StockLevel(code="0017", on_hand=Decimal(0)) in zero.records


def test_all_problems_of_a_row_at_once() -> None:
    """Each unreadable amount takes its own record back; a wrong barcode only itself; the rest is believed."""
    row = mapped(with_cells(EAN="4.03899E+12", Bestand="viele", VK="12,5,0", Aktion="x"))
    assert told(row) == [
        ("EAN", "field", "gtin_scientific"), ("Bestand", "field", "number_text"),
        ("VK", "field", "number_two_marks"), ("Aktion", "field", "number_text"),
    ]
    assert row.records == (Product(code="0017", title="Kanne"), Cost(code="0017", cost=Decimal("6.00"), currency="CHF"))
    assert row.failed == {"stock_level", "price"}
    assert [problem.line for problem in row.problems] == [7] * 4


def test_a_row_of_which_nothing_is_left_is_refused() -> None:
    """When no record could be made, the problem is of the whole row, and its key is still known."""
    row = mapped(with_cells(Bestand="?"), feed(product=None, price=None, cost=None))
    assert told(row) == [("Bestand", "row", "number_text")]
    assert (row.key, row.records, row.failed) == ("0017", (), {"stock_level"})


@pytest.mark.parametrize(("cells", "told_", "kinds"), [
    ({"Aktion": "0"}, [("Aktion", "field", "sale_zero")], {"price"}),
    ({"Aktion": "-1"}, [("Aktion", "field", "money_negative")], {"price"}),
    ({"VK": "-12,90"}, [("VK", "field", "money_negative")], {"price"}),
    ({"EK": "-1"}, [("EK", "field", "money_negative")], {"cost"}),
    ({"Bestand": "-3"}, [], set()), ({"VK": "0"}, [], set()),
])
def test_amounts_that_cannot_be(cells: dict[str, str], told_: list[Any], kinds: set[str]) -> None:
    """Prices below zero and sales for nothing are refused; a negative count is what the till says."""
    row = mapped(with_cells(**cells))
    assert (told(row), row.failed) == (told_, kinds)


@pytest.mark.parametrize(("number", "code"), [
    ("", "key_empty"), ("x" * 201, "key_long"), ("4,03E+12", "key_scientific"),
])
def test_a_row_without_item_number(number: str, code: str) -> None:
    """Nothing of it is believed, and it stands for no item."""
    row = mapped(with_cells(Nr=number))
    assert told(row) == [("Nr", "row", code)]
    assert (row.key, row.records, row.failed) == (None, (), {"product", "stock_level", "price", "cost"})


@pytest.mark.parametrize("cells", [("",) * 9, ("  ",) * 9, ("",), (" ",), ("", ""), ("",) * 12, with_cells(Storno="J")])
def test_rows_left_out_on_purpose(cells: tuple[str, ...]) -> None:
    """Rows of separators only, blank lines and rows the feed skips are filtered, not refused."""
    row = mapped(cells)
    assert (row.filtered, row.records, row.problems) == (True, (), ())


@pytest.mark.parametrize(("cells", "code"), [
    (GOOD[:5], "cells_few"), ((*GOOD, "x"), "cells_many"), (("0017",), "cells_few"),
])
def test_a_row_whose_cells_may_have_slipped(cells: tuple[str, ...], code: str) -> None:
    """None of its values are believed, but its key keeps the item from being taken for gone."""
    row = mapped(cells)
    assert told(row) == [("", "row", code)]
    assert (row.key, row.failed) == ("0017", {"product", "stock_level", "price", "cost"})


def test_blank_cells_beyond_the_last_column_do_no_harm() -> None:
    """Many tills end each row with a separator or two."""
    assert mapped((*GOOD, "", " ")).records == mapped(GOOD).records


@pytest.mark.parametrize(("place", "others", "filtered", "codes"), [
    ("01", "hold", False, []), ("02", "hold", False, ["wrong_location"]), ("", "hold", False, ["wrong_location"]),
    ("02", "skip", True, []), ("1", "skip", False, []),
])
def test_rows_of_another_store(place: str, others: str, filtered: bool, codes: list[str]) -> None:
    """A row of another store is a problem that holds the file, or is skipped where the feed says so."""
    config = feed(location={"column": "Filiale", "is": ["01", "1"], "others": others})
    row = mapped(with_cells(Filiale=place), config)
    assert row.filtered is filtered
    assert [problem.code for problem in row.problems] == codes
    assert bool(row.records) is (not filtered and not codes)


def test_keys_of_several_columns_stay_apart() -> None:
    """Joined with "/", where a "/" inside a cell cannot make two keys one."""
    config = feed(key=["Nr", "Titel"])
    keys = [mapped(with_cells(Nr=one, Titel=two), config).key for one, two in
            [("a", "b/c"), ("a/b", "c"), ("a%2Fb", "c"), ("a", "b")]]
    assert keys == ["a/b%2Fc", "a%2Fb/c", "a%252Fb/c", "a/b"]


def test_the_key_alone_is_the_key_of_the_row() -> None:
    """Scans for some keys need not map every row."""
    mapper = RowMapper(feed(), COLUMNS)
    assert mapper.key_of(Row(1, "", GOOD)) == "0017"
    assert mapper.key_of(Row(1, "", ("", "x"))) is None
    assert mapper.key_of(Row(1, "", ())) is None


def test_fields_say_more_than_a_column() -> None:
    """Constants, other marks, other none-texts and whole pieces hold for their own field."""
    config = feed(
        product={"unit": {"const": "piece"}, "title": {"column": "Titel", "none": ["-"]}},
        stock_level={"on_hand": {"column": "Bestand", "whole": True}},
        price={"list_price": {"column": "VK", "decimal": ".", "thousands": ","}, "currency": {"column": "Aktion"}},
        cost=None,
    )
    row = mapped(with_cells(Titel="-", Bestand="2,000", VK="1,234.50", Aktion="EUR"), config)
    assert row.records == (
        Product(code="0017", unit="piece"), StockLevel(code="0017", on_hand=Decimal("2.000")),
        Price(code="0017", list_price=Decimal("1234.50"), currency="EUR"),
    )
    spoilt = mapped(with_cells(Bestand="36,1", VK="1", Aktion="Fr."), config)
    assert [code for _, _, code in told(spoilt)] == ["number_fraction", "currency_unknown"]


def test_a_count_may_say_when_it_was_true() -> None:
    """as_of from the data is one moment; unreadable, it takes the count back."""
    config = feed(
        time_zone="Europe/Zurich", product=None, price=None, cost=None,
        stock_level={"on_hand": "Bestand", "as_of": {"column": "Titel", "format": "%d.%m.%Y %H:%M"}},
    )
    moment = dt.datetime(2026, 7, 1, 16, 0, tzinfo=dt.UTC)
    (record,) = mapped(with_cells(Titel="01.07.2026 18:00"), config).records
    assert record == StockLevel(code="0017", on_hand=Decimal(5), as_of=AsOf(moment, moment, "data"))
    assert mapped(with_cells(Titel="gestern"), config).failed == {"stock_level"}


SALE_COLUMNS = ("at", "till", "receipt", "line", "item", "quantity", "price")
SALE = ("2026-07-01 18:00:00", "K1", "88", "2", "0017", "-1", "12.90")
SALES: dict[str, Any] = {
    "key": ["till", "receipt", "line"], "code": "item", "time_zone": "Europe/Zurich", "currency": "CHF",
    "sale_line": {"quantity": "quantity", "at": "at", "unit_price": "price", "till": "till"},
}


def sale(**cells: str) -> Mapped:
    """A row of a sales journal, mapped."""
    config = msgspec.convert({"name": "sales", "reader": {}, "mapping": SALES}, FeedConfig)
    row = tuple(cells.get(column, cell) for column, cell in zip(SALE_COLUMNS, SALE, strict=True))
    return mapped(row, config, SALE_COLUMNS)


def test_a_sale_line_has_a_natural_id() -> None:
    """What the till numbers is the id; the item is its code; a return is negative."""
    assert sale().records == (SaleLine(
        id="K1/88/2", code="0017", quantity=Decimal(-1), at=dt.datetime(2026, 7, 1, 16, 0, tzinfo=dt.UTC),
        unit_price=Decimal("12.90"), currency="CHF", till="K1",
    ),)


@pytest.mark.parametrize(("cells", "code"), [
    ({"quantity": ""}, "cell_empty"), ({"at": ""}, "cell_empty"), ({"at": "noon"}, "time_text"),
    ({"item": ""}, "key_empty"), ({"quantity": "1E2"}, "number_scientific"), ({"receipt": ""}, "key_empty"),
])
def test_a_sale_line_is_complete_or_refused(cells: dict[str, str], code: str) -> None:
    """An event without its quantity, time or item never happened half."""
    row = sale(**cells)
    assert row.records == ()
    assert [(problem.effect, problem.code) for problem in row.problems] == [("row", code)]


def test_a_mapped_column_that_is_not_there() -> None:
    """Every missing column is named, with what it may be called now."""
    columns = ("Nr", "Titel", "EAN", "Bestand neu", "VK", "Aktion", "Storno", "Filiale")
    with pytest.raises(MappingError) as refused:
        RowMapper(feed(), columns)
    assert refused.value.code == "column_missing"
    assert refused.value.columns == ("Bestand", "EK")
    assert "“Bestand neu” may be what “Bestand” was" in refused.value.hint


def test_every_column_a_mapping_reads() -> None:
    """Keys, rules and fields count; constants do not."""
    config = feed(location={"column": "Filiale", "is": ["01"]}, product={"unit": {"const": "x"}, "title": "Titel"})
    assert mapped_columns(config.mapping) == ("Nr", "Storno", "Filiale", "Titel", "Bestand", "VK", "Aktion", "EK")


def test_long_texts_are_cut_in_problems() -> None:
    """A problem is for reading; the row itself is kept elsewhere."""
    (problem,) = mapped(with_cells(Bestand="x" * 1000)).problems
    assert len(problem.text) == 200
    assert problem.text.endswith("…")
