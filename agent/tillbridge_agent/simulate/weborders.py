"""Web orders at the simulated POS, pure: import files read, answers rendered, what is owed and what is counted.

An import file has a header, a row per line and a trailer: H;order;date;total;..., L;order;line;code;quantity;
price;title and T;order;lines. Text is cp1252, cells are separated by ';', numbers have a decimal comma.
"""

import csv
import io
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation

import msgspec

from tillbridge_agent.simulate.till import DATE_FORMAT, OrderedLine, SoldLine

ENCODING = "cp1252"
#: Cells of a header and of a line that have to be there.
HEADER_CELLS, LINE_CELLS = 4, 6


class Imported(msgspec.Struct, forbid_unknown_fields=True):
    """What became of one import file: imported when `reason` is empty, else refused for it."""

    order: str
    lines: list[OrderedLine]
    reason: str = ""
    answered: bool = False


class OrderTold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One order as the truth tells it.

    `imported` counts its import files: two are an order that was placed twice, and it is sold twice. `lines` are
    the pieces of all of them together, by code; `export` is the first export that counts every piece.
    """

    imported: int
    sold: bool
    export: int | None
    lines: dict[str, Decimal]


class Unfit(Exception):
    """The file is no order as this POS expects it; `order` is its number as far as it can be told."""

    def __init__(self, order: str, reason: str) -> None:
        """`reason` is what the answer says."""
        super().__init__(reason)
        self.order = order
        self.reason = reason


def read_import(data: bytes) -> tuple[str, list[OrderedLine]]:
    """Order number and lines of an import file. Raises Unfit when header, lines and trailer are not as agreed."""
    try:
        rows = list(csv.reader(io.StringIO(data.decode(ENCODING), newline=""), delimiter=";", strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unfit("", "not readable") from error
    order = next((row[1] for row in rows if len(row) > 1), "")
    if not rows or rows[0][:1] != ["H"] or len(rows[0]) < HEADER_CELLS or not order:
        raise Unfit(order, "header wrong")
    if len(rows) < 2 or rows[-1][:1] != ["T"]:
        raise Unfit(order, "trailer missing")
    header, body, trailer = rows[0], rows[1:-1], rows[-1]
    if any(row[1:2] != [order] for row in rows):
        raise Unfit(order, "order number differs")
    if trailer[2:3] != [str(len(body))] or not body:
        raise Unfit(order, "trailer count wrong")
    try:
        datetime.strptime(header[2], DATE_FORMAT)  # noqa: DTZ007 - only whether it is a day
        lines = [_line(row) for row in body]
        total = _number(header[3])
    except (ValueError, InvalidOperation) as error:
        raise Unfit(order, "date, number or line wrong") from error
    if total != sum(line.quantity * line.unit_price for line in lines):
        raise Unfit(order, "total wrong")
    return order, lines


def _line(row: list[str]) -> OrderedLine:
    if row[0] != "L" or len(row) < LINE_CELLS:
        raise ValueError(row[0])
    quantity, unit_price = _number(row[4]), _number(row[5])
    if quantity <= 0 or unit_price < 0:
        raise ValueError(row[4])
    return OrderedLine(row[3], row[6] if len(row) > LINE_CELLS else "", quantity, unit_price)


def _number(text: str) -> Decimal:
    """A number with a decimal comma; a point would be somebody else's number."""
    if "." in text:
        raise ValueError(text)
    number = Decimal(text.replace(",", "."))
    if not number.is_finite():
        raise ValueError(text)
    return number


def render_answer(order: str, reason: str) -> bytes:
    """The answer file: `order;OK;`, or `order;ERR;reason`."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";", lineterminator="\r\n").writerow((order, "ERR" if reason else "OK", reason))
    return text.getvalue().encode(ENCODING, errors="replace")


def owed(imports: Mapping[str, Imported], sold: Iterable[SoldLine]) -> dict[str, list[OrderedLine]]:
    """The lines that are imported and not yet sold, by file; files without any are left out.

    Sales are matched by order number and code, oldest file first, so that each further import is sold once more.
    """
    done: dict[tuple[str, str], Decimal] = {}
    for line in sold:
        if line.order and not line.void:
            done[line.order, line.code] = done.get((line.order, line.code), Decimal(0)) + line.quantity
    rest: dict[str, list[OrderedLine]] = {}
    for file, one in imports.items():
        for wanted in () if one.reason else one.lines:
            key = one.order, wanted.code
            if done.get(key, Decimal(0)) >= wanted.quantity:
                done[key] -= wanted.quantity
            else:
                rest.setdefault(file, []).append(wanted)
    return rest


def pieces(lines: Iterable[OrderedLine]) -> dict[str, Decimal]:
    """How many of each code."""
    total: dict[str, Decimal] = {}
    for line in lines:
        total[line.code] = total.get(line.code, Decimal(0)) + line.quantity
    return total


def orders_told(
    imports: Mapping[str, Imported], sold: Iterable[SoldLine], counted: Collection[str],
    before: Mapping[str, OrderTold], exports: int,
) -> dict[str, OrderTold]:
    """Every imported order; `counted` are the natural ids of the sales that export number `exports` counts.

    An order that was told as counted by an earlier export stays so, unless there is more of it now.
    """
    ours = [line for line in sold if line.order and not line.void]
    open_orders = {imports[file].order for file in owed(imports, ours)}
    missing = {line.order for line in ours if line.id not in counted}
    told: dict[str, OrderTold] = {}
    for order in dict.fromkeys(one.order for one in imports.values() if not one.reason):
        files = [one for one in imports.values() if one.order == order and not one.reason]
        is_sold = order not in open_orders
        export = None
        if is_sold and order not in missing:
            kept = before.get(order)
            same = kept is not None and kept.imported == len(files) and kept.export is not None
            export = kept.export if kept is not None and same else exports
        told[order] = OrderTold(len(files), is_sold, export, pieces(line for one in files for line in one.lines))
    return told
