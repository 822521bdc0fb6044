"""Writes an order as a csv file: pure, and never an altered number, code or file that holds half an order."""

import datetime as dt
import re
import unicodedata
import zoneinfo
from collections.abc import Iterator
from decimal import Context, Decimal

from tillbridge_agent.errors import Unwritable
from tillbridge_agent.imports.config import CONTROL, file_name, fits
from tillbridge_agent.imports.csv.config import FIELDS, Column, CsvConfig, RecordConfig
from tillbridge_agent.imports.results import Rendered
from tillbridge_protocol.orders import Order, OrderLine
from tillbridge_protocol.records import plain

#: Exact for whatever two numbers of a record give; nothing is ever rounded.
_EXACT = Context(prec=200)
_BLANKED = re.compile(rf"(?:{CONTROL.pattern}|[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff])+")
_FORMULA = ("=", "+", "-", "@")
_TIME = "%Y-%m-%d %H:%M:%S"

_Value = str | int | Decimal | dt.datetime | None


def render(config: CsvConfig, order: Order, *, sequence: int) -> Rendered:
    """The import file of an order with this file number. Raises Unwritable; `config` has no faults."""
    return _Writer(config, order, sequence).file()


class _Writer:
    """Writes one order; collects what had to be changed in its texts."""

    def __init__(self, config: CsvConfig, order: Order, sequence: int) -> None:
        self._config = config
        self._order = order
        self._zone = None if config.time_zone is None else zoneinfo.ZoneInfo(config.time_zone)
        self._notes: dict[str, None] = {}
        self._name = file_name(config.name, order=order.id, revision=order.revision, sequence=sequence)
        self._of_line = {line.line: _values_of(line) for line in order.lines}
        if len(self._of_line) != len(order.lines):
            raise Unwritable("lines_double", "Two lines of the order have the same number.", hint=_HEAD_OFFICE)
        self._of_order = self._values(sequence)

    def file(self) -> Rendered:
        """The whole file."""
        config = self._config
        planned = list(self._planned())
        lines = list(config.header)
        for row, (record, values) in enumerate(planned, 1):
            counted = {**self._of_order, **values, "row": row, "rows": len(planned)}
            lines.append(self._row([self._cell(column, counted) for column in record.full_columns()]))
        body = "".join(line + config.line_end for line in lines).encode(config.encoding)
        return Rendered(self._name, body, tuple(self._notes))

    def _planned(self) -> Iterator[tuple[RecordConfig, dict[str, _Value]]]:
        """Every record in file order: neighbouring line records take turns, line by line."""
        group: list[RecordConfig] = []
        for record in (*self._config.records, None):
            if record is not None and record.each == "line":
                group.append(record)
                continue
            for line in self._order.lines if group else ():
                yield from ((each, self._of_line[line.line]) for each in group)
            group = []
            if record is not None:
                yield record, {}

    def _values(self, sequence: int) -> dict[str, _Value]:
        order, shopper = self._order, self._order.shopper
        totals = [values["line_total"] for values in self._of_line.values()]
        total = Decimal(0)
        for each in totals:
            assert isinstance(each, Decimal)
            total = _EXACT.add(total, each)
        values: dict[str, _Value] = {
            "order": order.id, "revision": order.revision, "number": order.number, "sequence": sequence,
            "file": self._name, "storefront": order.storefront, "location": order.location,
            "placed_at": order.placed_at, "currency": order.currency, "lines": len(order.lines),
            "total": total,
        }
        return values | {f"shopper.{name}": getattr(shopper, name) for name in shopper.__struct_fields__}

    def _cell(self, column: Column, values: dict[str, _Value]) -> str:
        """The text of one cell, before quoting."""
        if column.field is None:
            return column.const or ""
        name, value = column.field, values[column.field]
        writing = FIELDS[name]
        if writing in ("text", "contact"):
            return self._text(name, str(value or ""), column.max, whole=writing == "contact")
        if isinstance(value, Decimal):
            text = self._decimal(name, value, column.decimals)
        elif isinstance(value, dt.datetime):
            text = value.astimezone(self._zone).strftime(column.format or _TIME)
        else:
            text = str(value)
        return self._exact(name, text, column.max)

    def _decimal(self, name: str, value: Decimal, decimals: int | None) -> str:
        if decimals is None:
            return format(value, "f").replace(".", self._config.decimal)
        written = _EXACT.quantize(value, Decimal(1).scaleb(-decimals))
        if written != value:
            raise Unwritable(
                "decimals_many", f"The {_said(name)} {value:f} needs more than {decimals} decimals.",
                hint="Allow more `decimals` in [orders] if the till takes them, or key the order in by hand.",
            )
        return format(written, "f").replace(".", self._config.decimal)

    def _exact(self, name: str, text: str, longest: int | None) -> str:
        """What must reach the till as it is, or not at all."""
        if name == "code" and not text.strip():
            raise Unwritable("code_empty", "A line of the order has no item number.", hint=_HEAD_OFFICE)
        if CONTROL.search(text):
            raise Unwritable("cell_control", f"The {_said(name)} holds a control character.", hint=_HEAD_OFFICE)
        if not fits(text, self._config.encoding):
            raise Unwritable(
                "cell_encoding", f"The {_said(name)} {text!r} has a character that {self._config.encoding} lacks.",
                hint="Choose an `encoding` in [orders] that has it, if the till reads it, or key the order in by hand.",
            )
        if not self._config.quote and self._config.separator in text:
            raise Unwritable(
                "cell_separator", f"The {_said(name)} {text!r} holds the separator {self._config.separator!r}.",
                hint="Choose another `separator` in [orders], or a `quote` where the till reads quote marks.",
            )
        if longest is not None and _width(text) > longest:
            raise Unwritable(
                "cell_long", f"The {_said(name)} {text!r} is longer than the {longest} characters the till takes.",
                hint="A shortened one would name something else. Raise `max` if the till takes more, "
                     "or key the order in by hand.",
            )
        return text

    def _text(self, name: str, text: str, longest: int | None, *, whole: bool) -> str:
        """What people read: it may lose characters, and every loss is noted."""
        config = self._config
        text = unicodedata.normalize("NFC", text)
        text = self._noted(text, _BLANKED.sub(" ", text).strip(), name,
                           "control characters and line breaks became blanks", blanks=True)
        if not config.quote:
            text = self._noted(text, text.replace(config.separator, " "), name, "the separator became a blank")
        if not fits(text, config.encoding):
            text = self._noted(
                text, "".join(each if fits(each, config.encoding) else config.substitute for each in text), name,
                f"characters that {config.encoding} lacks became {config.substitute!r}",
            )
        if config.excel_safe and text.startswith(_FORMULA):
            text = self._noted(text, f"'{text}", name, "a ' keeps it from being a formula")
        if longest is not None and _width(text) > longest:
            cut = "" if whole else _cut(text, longest)
            text = self._noted(text, cut, name, f"longer than {longest} characters, " + (
                "left empty, because a part of it would be wrong" if whole else "cut"))
        return text

    def _noted(self, before: str, after: str, name: str, what: str, *, blanks: bool = False) -> str:
        """The text after a change, which is noted if there was any (blanks around a text are none)."""
        if after != (before.strip() if blanks else before):
            self._notes[f"{name}: {what}."] = None
        return after

    def _row(self, cells: list[str]) -> str:
        """The cells of one record, quoted where they have to be."""
        quote, separator = self._config.quote, self._config.separator
        if not quote:
            return separator.join(cells)
        row = separator.join(
            quote + cell.replace(quote, quote + quote) + quote
            if self._config.quote_all or quote in cell or separator in cell or cell != cell.strip() else cell
            for cell in cells
        )
        return row or quote + quote  # a record with one empty column is not a blank line


_HEAD_OFFICE = "Head office has sent it so: call the order off there, or key it in by hand."


def _values_of(line: OrderLine) -> dict[str, _Value]:
    """The fields of a line; numbers that cannot be believed are refused."""
    quantity, price = _number("quantity", line.quantity), _number("unit_price", line.unit_price)
    if quantity <= 0 or price < 0:
        name, value = ("quantity", quantity) if quantity <= 0 else ("unit_price", price)
        raise Unwritable("number_wrong", f"The {_said(name)} of line {line.line} is {value:f}.", hint=_HEAD_OFFICE)
    return {"line": line.line, "code": line.code, "quantity": quantity, "unit_price": price, "title": line.title,
            "line_total": _EXACT.multiply(quantity, price)}


def _number(name: str, value: Decimal) -> Decimal:
    try:
        return plain(value)
    except ValueError as error:
        raise Unwritable("number_wrong", f"The {_said(name)} cannot be written: {error}.", hint=_HEAD_OFFICE) from error


def _said(name: str) -> str:
    """A field as people say it."""
    return "item number" if name == "code" else name.replace("_", " ")


def _width(text: str) -> int:
    """Characters as tills count them: one beyond the first 65,536, as emoji are, counts twice."""
    return len(text) + sum(each > "\uffff" for each in text)


def _cut(text: str, longest: int) -> str:
    """The longest beginning that fits and ends neither inside a pair nor between a letter and its marks."""
    end, width = 0, 0
    while end < len(text) and width + _width(text[end]) <= longest:
        width += _width(text[end])
        end += 1
    while end and end < len(text) and (unicodedata.combining(text[end]) or text[end] in "\u200d\ufe0f"
                                       or text[end - 1] == "\u200d"):
        end -= 1
    return text[:end].rstrip()
