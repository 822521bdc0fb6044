"""Web orders at the simulated POS: what it takes for an order, what it answers, and what it counts."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tillbridge_agent.simulate.till import OrderedLine, SoldLine
from tillbridge_agent.simulate.weborders import (
    Imported,
    OrderTold,
    Unfit,
    orders_told,
    owed,
    read_import,
    render_answer,
)

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
GOOD = (
    'H;WINDOW-1001-7KQ;23.11.2026;"37,90";Zoë Œuvray;Bern\r\n'
    'L;WINDOW-1001-7KQ;1;000071;2,000;12,95;"Käsereibe fein; groß"\r\n'
    "L;WINDOW-1001-7KQ;2;000123;1,000;12,00;Coupe-œuf\r\n"
    "T;WINDOW-1001-7KQ;2\r\n"
)
LINES = [
    OrderedLine("000071", "Käsereibe fein; groß", Decimal(2), Decimal("12.95")),
    OrderedLine("000123", "Coupe-œuf", Decimal(1), Decimal("12.00")),
]


def test_an_order_as_agreed_is_read() -> None:
    """Leading zeros, decimal commas, quotes and letters of cp1252 survive."""
    assert read_import(GOOD.encode("cp1252")) == ("WINDOW-1001-7KQ", LINES)


UNFIT = {
    "empty": ("", "", "header wrong"),
    "no header": (GOOD.partition("\r\n")[2], "WINDOW-1001-7KQ", "header wrong"),
    "header without a number": (GOOD.replace("H;WINDOW-1001-7KQ", "H;"), "", "header wrong"),
    "header too short": ("H;W-1;23.11.2026\r\nT;W-1;0\r\n", "W-1", "header wrong"),
    "cut before the trailer": (GOOD.rpartition("T;")[0], "WINDOW-1001-7KQ", "trailer missing"),
    "a line lost": (GOOD.replace(GOOD.splitlines(keepends=True)[2], ""), "WINDOW-1001-7KQ", "trailer count wrong"),
    "two orders in one": (GOOD.replace("L;WINDOW-1001-7KQ;2", "L;OTHER;2"), "WINDOW-1001-7KQ", "order number differs"),
    "no lines": ("H;W-1;23.11.2026;0,00\r\nT;W-1;0\r\n", "W-1", "trailer count wrong"),
    "American numbers": (GOOD.replace(",", "."), "WINDOW-1001-7KQ", "date, number or line wrong"),
    "a day that is none": (GOOD.replace("23.11.", "11/23/"), "WINDOW-1001-7KQ", "date, number or line wrong"),
    "nothing ordered": (GOOD.replace("2,000", "0,000"), "WINDOW-1001-7KQ", "date, number or line wrong"),
    "another total": (GOOD.replace("37,90", "37,91"), "WINDOW-1001-7KQ", "total wrong"),
    "an open quote": (GOOD.replace('groß"', "groß"), "", "not readable"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_is_not_as_agreed_is_refused_with_its_reason(case: str) -> None:
    """The number is told whenever it can be read, so that the answer finds its order."""
    text, order, reason = UNFIT[case]
    with pytest.raises(Unfit) as refused:
        read_import(text.encode("cp1252"))
    assert (refused.value.order, refused.value.reason) == (order, reason)


def test_bytes_of_another_code_page_are_refused() -> None:
    """0x81 is no character of cp1252."""
    with pytest.raises(Unfit, match="not readable"):
        read_import(GOOD.encode("cp1252") + b"\x81")


def test_answers_as_agreed() -> None:
    """Number, word and reason."""
    assert render_answer("W-1", "") == b"W-1;OK;\r\n"
    assert render_answer("W-1", "not in stock") == b"W-1;ERR;not in stock\r\n"


def sold(receipt: int, *lines: OrderedLine, order: str = "W-1") -> list[SoldLine]:
    """A receipt of an order."""
    return [
        SoldLine("01", f"{receipt:06d}", at, NOW, line.code, line.title, line.quantity, line.unit_price, order=order)
        for at, line in enumerate(lines, start=1)
    ]


def test_what_is_owed_is_what_the_journal_lacks() -> None:
    """Of a receipt cut off in its last row the rest stays owed; void lines and other people's lines pay nothing."""
    imports = {"a": Imported("W-1", LINES), "b": Imported("W-2", LINES, "not in stock")}
    assert owed(imports, []) == {"a": LINES}
    assert owed(imports, sold(1, LINES[0])) == {"a": LINES[1:]}
    assert owed(imports, sold(1, *LINES)) == {}
    assert owed(imports, sold(1, *LINES, order="")) == {"a": LINES}
    assert owed(imports, [replace(line, void=True) for line in sold(1, *LINES)]) == {"a": LINES}


def test_an_order_imported_twice_is_owed_twice_and_told_so() -> None:
    """The doubling is never hidden: two imports, two sales, twice the pieces."""
    imports = {"a": Imported("W-1", LINES), "a~2": Imported("W-1", LINES)}
    assert owed(imports, sold(1, *LINES)) == {"a~2": LINES}
    twice = sold(1, *LINES) + sold(2, *LINES)
    assert owed(imports, twice) == {}
    told = orders_told(imports, twice, {line.id for line in twice}, {}, 4)
    assert told == {"W-1": OrderTold(2, sold=True, export=4, lines={"000071": Decimal(4), "000123": Decimal(2)})}


def test_the_first_export_that_counts_every_piece_is_told() -> None:
    """Half counted is not counted; later exports change nothing; a second import opens the order again."""
    imports = {"a": Imported("W-1", LINES), "no": Imported("W-2", LINES, "total wrong")}
    receipt = sold(1, *LINES)
    pieces = {"000071": Decimal(2), "000123": Decimal(1)}
    assert orders_told(imports, [], set(), {}, 3) == {"W-1": OrderTold(1, sold=False, export=None, lines=pieces)}
    half = orders_told(imports, receipt, {receipt[0].id}, {}, 3)
    assert half["W-1"] == OrderTold(1, sold=True, export=None, lines=pieces)
    whole = orders_told(imports, receipt, {line.id for line in receipt}, half, 4)
    assert whole["W-1"].export == 4
    assert orders_told(imports, receipt, {line.id for line in receipt}, whole, 9) == whole
    again = orders_told(imports | {"b": Imported("W-1", LINES)}, receipt, {line.id for line in receipt}, whole, 9)
    assert (again["W-1"].imported, again["W-1"].sold, again["W-1"].export) == (2, False, None)
