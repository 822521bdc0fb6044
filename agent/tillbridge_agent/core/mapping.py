"""Rows become records: a mapping is compiled once per file and tells all problems of a row at once."""

import datetime as dt
import difflib
import re
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from tillbridge_agent.core.feed import FeedConfig, Field, FieldSource, KindFields, MappingConfig
from tillbridge_agent.core.limits import PROBLEM_TEXT_CHARS_MAX
from tillbridge_agent.core.rows import Mapped, Problem, Row
from tillbridge_agent.core.values import Unreadable, date_reader, gtin, key_text, number_reader, time_reader
from tillbridge_agent.errors import MappingError
from tillbridge_protocol.limits import KEY_CHARS_MAX
from tillbridge_protocol.records import KINDS, AsOf, Record

_NONE_FAILED: frozenset[str] = frozenset()
_CURRENCY = re.compile(r"[A-Z]{3}")
_MONEY = {"list_price", "sale_price", "cost", "unit_price"}
#: A record without these says nothing; while their cell is unknown the record is not made.
_REQUIRED = {"stock_level": {"on_hand"}, "price": {"list_price", "currency"}, "cost": {"cost", "currency"},
             "sale_line": {"quantity", "at"}, "product": set()}
#: What to do about a row with too few or too many cells.
_WIDTH_HINT = ("Look at the row in the file: a separator, quote mark or line end stands inside a text. "
               "Correct the text in the till.")


class _Plan(NamedTuple):
    """How one field of a record is made from the cells of a row."""

    name: str
    column: str
    position: int
    const: str | None
    none: frozenset[str]
    read: Callable[[str], Any]
    required: bool


class RowMapper:
    """Maps the rows of a file with these columns. Raises MappingError `column_missing` when one is not there."""

    def __init__(self, feed: FeedConfig, columns: tuple[str, ...]) -> None:
        mapping = feed.mapping
        check_columns(mapping, columns)
        self._columns = columns
        self._index = {column: position for position, column in enumerate(columns)}
        self._keys = tuple((column, self._index[column]) for column in mapping.key)
        self._code = (mapping.code, self._index[mapping.code]) if mapping.code else None
        self._skips = tuple((self._index[rule.column], frozenset(rule.is_)) for rule in mapping.skip_when)
        place = mapping.location
        self._location = (self._index[place.column], frozenset(place.is_), place) if place else None
        kinds = mapping.kinds()
        self._failed = frozenset(kinds)
        self._kinds = tuple((kind, KINDS[kind], self._compile(kind, fields, mapping)) for kind, fields in kinds.items())

    def key_of(self, row: Row) -> str | None:
        """The key of a row without mapping the rest of it; None when it cannot be told."""
        try:
            return self._read_key(row.cells)
        except _CellFault:
            return None

    def map(self, row: Row) -> Mapped:
        """The records of a row and everything in it that was not believed."""
        cells = row.cells
        if len(cells) != len(self._columns):
            if not row.text.strip() or not any(cell.strip() for cell in cells):
                return Mapped(row, None, (), _NONE_FAILED, (), True)
            if any(cell.strip() for cell in cells[len(self._columns):]) or len(cells) < len(self._columns):
                return self._wrong_width(row)
        for index, texts in self._skips:
            if cells[index].strip() in texts:
                return Mapped(row, None, (), _NONE_FAILED, (), True)
        try:
            key = self._read_key(cells)
        except _CellFault as fault:
            if not any(cell.strip() for cell in cells):
                return Mapped(row, None, (), _NONE_FAILED, (), True)
            return Mapped(row, None, (), self._failed, (fault.problem(row, "row"),), False)
        if self._location is not None and (elsewhere := self._elsewhere(row)) is not None:
            return elsewhere
        try:
            code = key if self._code is None else self._read_code(cells, *self._code)
        except _CellFault as fault:
            return Mapped(row, key, (), self._failed, (fault.problem(row, "row"),), False)
        return self._records(row, key, code)

    def _records(self, row: Row, key: str, code: str) -> Mapped:
        records: list[Record] = []
        failed: set[str] = set()
        faults: list[tuple[str, Problem]] = []
        cells = row.cells
        for kind, make, plans in self._kinds:
            values: dict[str, Any] = {"id": key, "code": code} if kind == "sale_line" else {"code": code}
            known = True
            for name, column, index, const, none, read, required in plans:
                text = cells[index].strip() if const is None else const
                try:
                    if text not in none:
                        values[name] = read(text)
                    elif required:
                        known = False
                        if kind == "sale_line":
                            raise Unreadable("cell_empty", "The cell is empty, but a sale line needs it.",
                                             "Look at the receipt in the till.")
                except Unreadable as error:
                    faults.append((kind, _problem(row, column, text, "field", error)))
                    # A wrong barcode is only a missing link candidate; a wrong amount spoils its record.
                    if name != "gtin":
                        failed.add(kind)
            if known and kind not in failed:
                records.append(make(**values))
        if not faults:
            return Mapped(row, key, tuple(records), _NONE_FAILED, (), False)
        problems = tuple(
            problem if records or kind not in failed else _with_effect_row(problem) for kind, problem in faults
        )
        return Mapped(row, key, tuple(records), frozenset(failed), problems, False)

    def _read_key(self, cells: tuple[str, ...]) -> str:
        """The row key: its cells joined with "/", where a "/" inside a cell becomes "%2F" so that keys stay apart."""
        parts = []
        for column, index in self._keys:
            text = cells[index].strip() if index < len(cells) else ""
            try:
                parts.append(key_text(text))
            except Unreadable as error:
                fault = error
                if len(self._keys) > 1 and not text:
                    fault = Unreadable("key_empty", f"The row has no “{column}”, which is a part of its key.",
                                       "Fill it in the till, or skip such rows with `skip_when`.")
                raise _CellFault(column, text, fault) from error
        key = parts[0]
        if len(parts) > 1:
            key = "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)
        if len(key) > KEY_CHARS_MAX:
            raise _CellFault(self._keys[0][0], key, Unreadable(
                "key_long", f"The item number has {len(key)} characters; {KEY_CHARS_MAX} are possible.",
                "Check that `key` names the column with the item number.",
            ))
        return key

    def _read_code(self, cells: tuple[str, ...], column: str, index: int) -> str:
        text = cells[index].strip()
        try:
            return key_text(text)
        except Unreadable as error:
            raise _CellFault(column, text, error) from error

    def _elsewhere(self, row: Row) -> Mapped | None:
        """What becomes of a row of another location; None when it is of this one."""
        assert self._location is not None, "asked only where the feed has a location rule"
        index, here, rule = self._location
        text = row.cells[index].strip()
        if text in here:
            return None
        if rule.others == "skip":
            return Mapped(row, None, (), _NONE_FAILED, (), True)
        shown = f"“{_short(text)}”" if text else "no store"
        ours = " or ".join(f"“{name}”" for name in rule.is_)
        error = Unreadable(
            "wrong_location", f"The row is of {shown}; this feed is of {ours}.",
            "Put the right store's export here. If other stores belong in this file, say others = \"skip\".",
        )
        return Mapped(row, None, (), self._failed, (_problem(row, rule.column, text, "row", error),), False)

    def _wrong_width(self, row: Row) -> Mapped:
        """A row whose cells cannot be told apart: nothing of it is believed but, if it stands first, its key."""
        few = len(row.cells) < len(self._columns)
        error = Unreadable(
            "cells_few" if few else "cells_many",
            f"The row has {len(row.cells)} cells, the header {len(self._columns)}.", _WIDTH_HINT,
        )
        return Mapped(row, self.key_of(row), (), self._failed, (_problem(row, "", row.text, "row", error),), False)

    def _compile(self, kind: str, fields: KindFields, mapping: MappingConfig) -> tuple[_Plan, ...]:
        plans = []
        for name in fields.__struct_fields__:
            source: FieldSource | None = getattr(fields, name)
            if source is None and name == "currency" and mapping.currency is not None:
                source = Field(const=mapping.currency)
            if source is None:
                continue
            field = Field(column=source) if isinstance(source, str) else source
            plans.append(_Plan(
                name=name, column=field.column or "", position=self._index[field.column] if field.column else 0,
                const=field.const, none=frozenset(mapping.none if field.none is None else field.none),
                read=_reader(name, field, mapping), required=name in _REQUIRED[kind],
            ))
        return tuple(plans)


def check_columns(mapping: MappingConfig, columns: tuple[str, ...]) -> None:
    """Raises MappingError `column_missing`, naming every column the mapping needs and the file does not have."""
    missing = tuple(column for column in mapped_columns(mapping) if column not in columns)
    if not missing:
        return
    near = [(column, _nearest(column, columns)) for column in missing]
    guesses = "; ".join(f"“{match}” may be what “{column}” was" for column, match in near if match)
    names = ", ".join(f"“{column}”" for column in missing)
    what = "a column it needs" if len(missing) == 1 else f"{len(missing)} columns it needs"
    raise MappingError(
        "column_missing", f"The file has lost {what}: {names}.", columns=missing,
        hint=f"Export it with that column again, or name the new one in the mapping{': ' if guesses else ''}{guesses}.",
    )


def _nearest(column: str, columns: tuple[str, ...]) -> str:
    """The column this one was probably renamed to, or ""."""
    found = difflib.get_close_matches(column, columns, n=1, cutoff=0.6)
    return found[0] if found else next((name for name in columns if column.casefold() in name.casefold()), "")


def mapped_columns(mapping: MappingConfig) -> tuple[str, ...]:
    """Every column the mapping reads, each once, in the order it names them."""
    names = [*mapping.key, *([mapping.code] if mapping.code else []), *(rule.column for rule in mapping.skip_when)]
    if mapping.location:
        names.append(mapping.location.column)
    for fields in mapping.kinds().values():
        for field in fields.__struct_fields__:
            source = getattr(fields, field)
            if isinstance(source, str):
                names.append(source)
            elif isinstance(source, Field) and source.column:
                names.append(source.column)
    return tuple(dict.fromkeys(names))


class _CellFault(Exception):
    """A key or code cell that cannot be read."""

    def __init__(self, column: str, text: str, error: Unreadable) -> None:
        super().__init__(error.message)
        self.column = column
        self.text = text
        self.error = error

    def problem(self, row: Row, effect: str) -> Problem:
        return _problem(row, self.column, self.text, effect, self.error)


def _reader(name: str, field: Field, mapping: MappingConfig) -> Callable[[str], Any]:
    """The function that reads this field's text; it raises Unreadable."""
    if name in ("on_hand", "quantity") or name in _MONEY:
        decimal = mapping.decimal if field.decimal is None else field.decimal
        thousands = mapping.thousands if field.thousands is None else field.thousands
        number = _whole(number_reader(decimal, thousands)) if field.whole else number_reader(decimal, thousands)
        # A returned piece may be booked with a negative unit price; a price tag never is.
        return _price(number, name) if name in _MONEY - {"unit_price"} else number
    if name in ("at", "as_of"):
        zone = zoneinfo.ZoneInfo(mapping.time_zone) if mapping.time_zone else None
        time = time_reader(field.format, zone)
        return time if name == "at" else _as_of(time)
    if name in ("sale_from", "sale_to"):
        return date_reader(field.format)
    return {"gtin": gtin, "currency": _currency}.get(name, str)


def _price(number: Callable[[str], Decimal], name: str) -> Callable[[str], Decimal]:
    def read(text: str) -> Decimal:
        value = number(text)
        if value < 0:
            raise Unreadable("money_negative", f"“{_short(text)}” is below zero; a price cannot be.",
                             "Correct it in the till, or list it under `none` if it means “unknown”.")
        if name == "sale_price" and value == 0:
            raise Unreadable("sale_zero", f"A sale price of “{_short(text)}” would give the item away.",
                             "If it means “no sale”, list it under `none` of sale_price.")
        return value

    return read


def _whole(number: Callable[[str], Decimal]) -> Callable[[str], Decimal]:
    def read(text: str) -> Decimal:
        value = number(text)
        if value != value.to_integral_value():
            raise Unreadable("number_fraction", f"“{_short(text)}” has a fraction; this column counts whole pieces.",
                             "Look at the row: its cells may have slipped into a wrong column. Correct it in the till.")
        return value

    return read


def _as_of(time: Callable[[str], dt.datetime]) -> Callable[[str], AsOf]:
    def read(text: str) -> AsOf:
        moment = time(text)
        return AsOf(from_=moment, to=moment, kind="data")

    return read


def _currency(text: str) -> str:
    if not _CURRENCY.fullmatch(text):
        raise Unreadable("currency_unknown", f"“{_short(text)}” is not a currency; those have three capital letters.",
                         "Correct it in the till, or name the currency once: currency = \"CHF\" in the mapping.")
    return text


def _problem(row: Row, column: str, text: str, effect: str, error: Unreadable) -> Problem:
    assert effect in ("row", "field"), effect
    return Problem(
        line=row.line, column=column, text=_short(text), effect="row" if effect == "row" else "field",
        code=error.code, message=error.message, hint=error.hint,
    )


def _with_effect_row(problem: Problem) -> Problem:
    return Problem(problem.line, problem.column, problem.text, "row", problem.code, problem.message, problem.hint)


def _short(text: str) -> str:
    return text if len(text) <= PROBLEM_TEXT_CHARS_MAX else text[: PROBLEM_TEXT_CHARS_MAX - 1] + "…"
