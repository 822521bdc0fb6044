"""The files of the simulated shop as bytes: stock export and sales journal, rendered and read back; no disk.

Both are what old tills write: cp1252, ';' between cells, decimal comma, CRLF, quotes only where needed.
"""

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from tillbridge_agent.simulate.assortment import Variant
from tillbridge_agent.simulate.till import DATE_FORMAT, SHOP_ZONE, TIME_FORMAT, SoldLine

ENCODING = "cp1252"
#: The number of a web order, empty for a sale in the shop; journals of earlier versions do not have it.
ORDER_COLUMN = "Auftrag"
EXPORT_COLUMNS = ("ArtNr", "EAN", "Bezeichnung", "Warengruppe", "Bestand", "VK", "Aktion")
JOURNAL_COLUMNS = (
    "Kasse", "Datum", "Bon", "Zeile", "ArtNr", "Bezeichnung", "Menge", "Preis", "Storno", "Zeit", ORDER_COLUMN,
)


def render_export(variants: Iterable[Variant]) -> bytes:
    """The whole stock export: header and one row per variant."""
    rows = [
        (v.code, v.gtin, v.title, v.department, _text(v.on_hand), _text(v.list_price), _text(v.sale_price))
        for v in variants
    ]
    return _render([EXPORT_COLUMNS, *rows])


def render_journal_header() -> bytes:
    """The first line of a new journal."""
    return _render([JOURNAL_COLUMNS])


def render_journal(lines: Iterable[SoldLine], *, with_order: bool = True) -> bytes:
    """The journal rows of receipt lines, each with its line end; with or without the column of web orders."""
    return _render([
        (
            line.till, line.date_text, line.receipt, str(line.line), line.code, line.title, _text(line.quantity),
            _text(line.unit_price), "1" if line.void else "0",
            line.at.astimezone(SHOP_ZONE).strftime(f"{DATE_FORMAT} {TIME_FORMAT}"),
            *([line.order] if with_order else ()),
        )
        for line in lines
    ])


def has_order_column(data: bytes) -> bool:
    """Whether the header of a journal names the column of web orders; an empty journal will."""
    header = data.partition(b"\r\n")[0].decode(ENCODING)
    return not header or ORDER_COLUMN in header.split(";")


def read_journal(data: bytes) -> tuple[list[SoldLine], int]:
    """The lines of a journal and how many bytes of it are whole rows; a torn last row is not read."""
    whole = data[: data.rfind(b"\r\n") + 2] if b"\r\n" in data else b""
    rows = csv.DictReader(io.StringIO(whole.decode(ENCODING), newline=""), delimiter=";")
    return [_line(row) for row in rows], len(whole)


def _line(row: dict[str, str]) -> SoldLine:
    local = datetime.strptime(row["Zeit"], f"{DATE_FORMAT} {TIME_FORMAT}").replace(tzinfo=SHOP_ZONE)
    return SoldLine(
        till=row["Kasse"], receipt=row["Bon"], line=int(row["Zeile"]), at=local.astimezone(UTC), code=row["ArtNr"],
        title=row["Bezeichnung"], quantity=_number(row["Menge"]), unit_price=_number(row["Preis"]),
        void=row["Storno"] == "1", order=row.get(ORDER_COLUMN, ""),
    )


def _render(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";", lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode(ENCODING)


def _text(number: Decimal | None) -> str:
    return "" if number is None else f"{number:f}".replace(".", ",")


def _number(text: str) -> Decimal:
    return Decimal(text.replace(",", "."))
