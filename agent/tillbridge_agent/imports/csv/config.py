"""The `orders` table of a till that imports csv files; sample.toml beside it explains every key."""

import datetime as dt
import re
from typing import Annotated, Literal

import msgspec

from tillbridge_agent.imports.config import CONTROL, Fault, ImportConfig, fits, mark_faults

#: How a field is written. What names something is written exactly or not at all; a text may lose characters;
#: a contact is only good whole: it is left empty rather than cut.
Writing = Literal["exact", "text", "contact", "number", "time"]

FIELDS: dict[str, Writing] = {
    "order": "exact", "revision": "exact", "number": "exact", "sequence": "exact", "file": "exact",
    "storefront": "exact", "location": "exact", "placed_at": "time", "currency": "exact",
    "lines": "exact", "total": "number", "row": "exact", "rows": "exact",
    "line": "exact", "code": "exact", "quantity": "number", "unit_price": "number", "line_total": "number",
    "title": "text",
    "shopper.name": "text", "shopper.street": "text", "shopper.city": "text", "shopper.note": "text",
    "shopper.postcode": "contact", "shopper.country": "contact", "shopper.phone": "contact",
    "shopper.email": "contact",
}
#: These belong to one line of the order, and stand only in records that are written for each line.
LINE_FIELDS = frozenset({"line", "code", "quantity", "unit_price", "line_total", "title"})
#: Without these a till cannot book the order, nor sell it under its number.
_NEEDED = {"order": "the till sells under it, and that sale releases the stock", "code": "it names the item",
           "quantity": "it says how many"}
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)
#: Those that Windows and Linux write alike.
_DIRECTIVES = frozenset("dmyYHMSIpjfzbB%")


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One column that is more than the name of a field: a constant, or a field and how it is written."""

    field: str | None = None
    const: str | None = None
    format: str | None = None
    decimals: Annotated[int, msgspec.Meta(ge=0, le=6)] | None = None
    max: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None


#: The name of a field, or a table with more to say.
ColumnSource = str | Column


class RecordConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One record of the file: written once for the order, or once for each of its lines."""

    each: Literal["order", "line"]
    columns: Annotated[tuple[ColumnSource, ...], msgspec.Meta(min_length=1, max_length=200)]

    def full_columns(self) -> tuple[Column, ...]:
        """The columns, those named by their field alone as tables too."""
        return tuple(Column(field=column) if isinstance(column, str) else column for column in self.columns)


class CsvConfig(ImportConfig, frozen=True, forbid_unknown_fields=True, tag_field="format", tag="csv", kw_only=True):
    """How an order becomes a csv file."""

    separator: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = ";"
    quote: Annotated[str, msgspec.Meta(max_length=1)] = '"'
    quote_all: bool = False
    line_end: Literal["\r\n", "\n", "\r"] = "\r\n"
    decimal: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = "."
    excel_safe: bool = False
    header: tuple[str, ...] = ()
    records: Annotated[tuple[RecordConfig, ...], msgspec.Meta(min_length=1, max_length=50)]

    def faults(self) -> list[Fault]:
        """What decoding by type alone cannot see: (key, message, hint) of each fault, keys dotted from `orders`."""
        found = self.base_faults() + mark_faults("", self.separator, self.quote)
        if not re.fullmatch(r"[^0-9A-Za-z\s+-]", self.decimal) or self.decimal == self.quote:
            found.append(("decimal", f"{self.decimal!r} is no decimal mark.", 'Usual ones are "." and ",".'))
        if self.substitute in (self.separator, self.quote):
            found.append(("substitute", "What stands for a missing character cannot be separator or quote mark.",
                          'Take another one, as "?".'))
        if self.quote_all and not self.quote:
            found.append(("quote_all", "There is no quote mark to put around every cell.", 'Say quote = "\\"".'))
        if found:
            return found  # what follows is written with these marks
        for number, line in enumerate(self.header):
            found += self._text_faults(f"header[{number}]", line, in_cell=False)
        for number, record in enumerate(self.records):
            for place, column in enumerate(record.full_columns()):
                found += self._column_faults(f"records[{number}].columns[{place}]", record.each, column)
        named = {column.field for record in self.records for column in record.full_columns()}
        found += [
            ("records", f"No column writes the field {field!r}: {why}.", f'Add "{field}" to the columns of a record.')
            for field, why in _NEEDED.items() if field not in named and not found
        ]
        return found

    def _column_faults(self, at: str, each: str, column: Column) -> list[Fault]:
        if (column.field is None) == (column.const is None):
            return [(at, "A column is a field or a constant, one of the two.",
                     'Write either field = "..." or const = "...".')]
        if column.const is not None:
            found = self._text_faults(f"{at}.const", column.const, in_cell=True)
            given = {"format": column.format, "decimals": column.decimals, "max": column.max}
            return found + [(f"{at}.{key}", "A constant is written as it stands.", f"Take `{key}` out.")
                            for key, value in given.items() if value is not None]
        writing = FIELDS.get(column.field or "")
        if writing is None:
            return [(f"{at}.field", f"An order has no field {column.field!r}.", f"There are: {', '.join(FIELDS)}.")]
        if each == "order" and column.field in LINE_FIELDS:
            return [(f"{at}.field", f"{column.field!r} differs from line to line.",
                     'Put it into a record with each = "line".')]
        return self._writing_faults(at, column, writing)

    def _writing_faults(self, at: str, column: Column, writing: Writing) -> list[Fault]:
        found: list[Fault] = []
        if column.decimals is not None and writing != "number":
            found.append((f"{at}.decimals", f"{column.field!r} is not a number with decimals.", "Take `decimals` out."))
        if column.format is not None and writing != "time":
            found.append((f"{at}.format", f"{column.field!r} is not a time.", "Take `format` out."))
        if writing == "time":
            if self.time_zone is None:
                found.append(("time_zone", f"The time in {column.field!r} needs a time zone.",
                              'Name the zone of the store: time_zone = "Europe/Zurich".'))
            found += self._format_faults(f"{at}.format", column.format)
        if writing == "number" and not self.quote and self.decimal == self.separator:
            found.append(("decimal", "Without quote marks a decimal mark cannot be the separator too.",
                          "Change one of them, or say which quote mark the till reads."))
        return found

    def _format_faults(self, at: str, form: str | None) -> list[Fault]:
        if form is None:
            return []
        strange = [found[0] for found in _DIRECTIVE.finditer(form) if found[1] not in _DIRECTIVES or not found[1]]
        if strange or "%" not in form:
            what = f"{strange[0]!r} is not a part of a time" if strange else f"{form!r} says nothing of a time"
            return [(at, f"{what}.", 'Write it as "%d.%m.%Y %H:%M:%S", as agent/README.md says.')]
        return self._text_faults(at, dt.datetime(2026, 11, 23, 8, 15, 30, tzinfo=dt.UTC).strftime(form), in_cell=True)

    def _text_faults(self, at: str, text: str, *, in_cell: bool) -> list[Fault]:
        """A text that stands in every file must be one that can be written."""
        if CONTROL.search(text if in_cell else text.replace("\t", "")):
            return [(at, "It holds a line end or a control character.", "Take it out; each record ends by itself.")]
        if not fits(text, self.encoding):
            return [(at, f"{self.encoding} lacks a character of {text!r}.", "Write it with characters it has.")]
        if in_cell and not self.quote and self.separator in text:
            return [(at, f"{text!r} holds the separator, and there is no quote mark.",
                     'Take it out, or say quote = "\\"" where the till reads quotes.')]
        return []
