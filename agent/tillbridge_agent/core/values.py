"""Texts of cells become numbers, times and barcodes: strictly, exactly, and never by guessing."""

import datetime as dt
import functools
import re
from collections.abc import Callable
from decimal import Decimal

from tillbridge_agent.core.limits import NUMBER_DECIMAL_DIGITS_MAX, NUMBER_INTEGER_DIGITS_MAX

_SCIENTIFIC = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+")
_EXCEL_KEY = re.compile(r"[0-9][.,][0-9]+[eE]\+[0-9]{1,3}")
_ZERO = Decimal(0)
#: Marks that are written in several ways: blanks and apostrophes between thousands.
_SAME_MARKS = {" ": " \u00a0\u202f\u2009", "'": "'\u2019"}
_GTIN_LENGTHS = (8, 12, 13, 14)


class Unreadable(Exception):
    """A cell cannot be read as what it should be; `code` is explained in agent/README.md."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def number_reader(decimal: str = ".", thousands: str = "") -> Callable[[str], Decimal]:
    """A function that reads numbers written with these marks; it raises Unreadable. Answers are remembered."""
    groups = re.escape(_SAME_MARKS.get(thousands, thousands))
    whole = rf"[0-9]{{1,3}}(?:[{groups}][0-9]{{3}})+|[0-9]+" if thousands else "[0-9]+"
    point = re.escape(decimal)
    shape = re.compile(rf"([+\-\u2212]?)({whole}|(?={point}))(?:{point}([0-9]+))?(?:[ \u00a0]?([\-\u2212]))?")

    @functools.lru_cache(maxsize=16_384)
    def read(text: str) -> Decimal:
        match = shape.fullmatch(text)
        if match is None or (match[1] and match[4]):
            raise _number_fault(text, decimal, thousands)
        digits = "".join(character for character in match[2] if character in "0123456789")
        fraction = match[3] or ""
        if len(digits.lstrip("0")) > NUMBER_INTEGER_DIGITS_MAX or len(fraction) > NUMBER_DECIMAL_DIGITS_MAX:
            raise Unreadable("number_large", f"“{_short(text)}” has more digits than any stock or price.",
                             "Look whether this column really holds a number, or a barcode.")
        value = Decimal(f"{digits or '0'}.{fraction}" if fraction else digits)
        negative = match[4] or match[1] in ("-", "\u2212")
        return -value if negative and value != _ZERO else value

    return read


def _number_fault(text: str, decimal: str, thousands: str) -> Unreadable:
    """Why a text is not a number, said so that the shopkeeper knows what to change."""
    shown = _short(text)
    if not text:
        return Unreadable("number_empty", "The cell is empty, and this feed does not say what empty means.",
                          "Fill it in the till, or list \"\" under `none` in the mapping.")
    if _SCIENTIFIC.fullmatch(text):
        return Unreadable("number_scientific", f"“{shown}” was shortened by a spreadsheet; digits are lost.",
                          "Export again straight from the till, without opening the file in a spreadsheet.")
    if text.count(decimal) > 1 and re.fullmatch(rf"[0-9]+(?:{re.escape(decimal)}[0-9]+)+", text):
        parts = text.split(decimal)
        digits = "".join(parts)
        grouped = f"{int(digits):,}".replace(",", decimal) if len(digits) <= NUMBER_INTEGER_DIGITS_MAX else digits
        return Unreadable("number_two_marks", f"“{shown}” has {_count(len(parts) - 1)} decimal marks. "
                          f"It could be {parts[0]}{decimal}{parts[1]} or {grouped}.",
                          "Correct the number in the till and export again.")
    if text.endswith(decimal) and text[:-1].isdigit():
        return Unreadable("number_text", f"“{shown}” ends with its decimal mark, as if digits were cut off.",
                          "Look at the row in the file; correct the number in the till and export again.")
    other = "," if decimal == "." else "."
    if other in text and other != thousands and re.fullmatch(rf"[+-]?[0-9]*{re.escape(other)}[0-9]+", text):
        return Unreadable("number_mark", f"“{shown}” is written with “{other}”, but this feed expects “{decimal}” "
                          "as decimal mark.", f"If the till writes so now, set decimal = \"{other}\" in the mapping.")
    if thousands and re.fullmatch(r"[+-]?[0-9.,'’ \u00a0\u202f]+", text):
        return Unreadable("number_grouping", f"The thousands marks in “{shown}” are not three digits apart.",
                          "Correct the number in the till, or check `decimal` and `thousands` in the mapping.")
    return Unreadable("number_text", f"“{shown}” is not a number.",
                      "Correct it in the till, or list it under `none` if it means “unknown”.")


def gtin(text: str) -> str:
    """The digits of a GTIN-8, -12, -13 or -14 with a right check digit. Raises Unreadable."""
    if text.isascii() and text.isdigit():
        if len(text) not in _GTIN_LENGTHS:
            raise Unreadable("gtin_length", f"“{_short(text)}” has {len(text)} digits; a barcode has 8, 12, 13 or 14.",
                             "Correct the barcode in the till; leading zeros may have been lost.")
        if check_digit(text[:-1]) != text[-1]:
            raise Unreadable("gtin_check_digit", f"The last digit of “{text}” does not fit the others: one is wrong.",
                             "Scan the item and correct the barcode in the till.")
        if not text.strip("0"):
            raise Unreadable("gtin_zeros", f"“{text}” is a placeholder, not a barcode.",
                             "Leave the barcode empty in the till, or list it under `none`.")
        return text
    if _SCIENTIFIC.fullmatch(text):
        raise Unreadable("gtin_scientific", f"“{_short(text)}” was a barcode before a spreadsheet cut its digits off.",
                         "Export again straight from the till, without opening the file in a spreadsheet.")
    raise Unreadable("gtin_not_digits", f"“{_short(text)}” is not a barcode number: it holds more than digits.",
                     "Correct the barcode in the till, or map another column to `gtin`.")


def check_digit(digits: str) -> str:
    """The GS1 check digit that belongs behind these digits."""
    total = 3 * sum(map(int, digits[::-2])) + sum(map(int, digits[-2::-2]))
    return str(-total % 10)


def key_text(text: str) -> str:
    """A cell that is part of a key. Raises Unreadable when it is empty or was destroyed by a spreadsheet."""
    if not text:
        raise Unreadable("key_empty", "The row has no item number.",
                         "Give the item a number in the till, or skip such rows with `skip_when`.")
    if _EXCEL_KEY.fullmatch(text):
        raise Unreadable("key_scientific", f"“{_short(text)}” was an item number before a spreadsheet shortened it.",
                         "Export again straight from the till, without opening the file in a spreadsheet.")
    return text


def time_reader(form: str | None, zone: dt.tzinfo | None) -> Callable[[str], dt.datetime]:
    """A function that reads times as aware UTC; without `form` ISO 8601 is expected. It raises Unreadable."""

    @functools.lru_cache(maxsize=4_096)
    def read(text: str) -> dt.datetime:
        local = _parse_time(text, form)
        assert local.tzinfo or zone, "a feed whose times have no offset names its zone (core/feed.py)"
        try:
            return _from_local(text, local, zone) if local.tzinfo is None and zone else local.astimezone(dt.UTC)
        except OverflowError as error:
            raise Unreadable("time_text", f"“{_short(text)}” is the calendar's end, not a time.",
                             "List the text under `none` if it means “unknown”.") from error

    return read


def date_reader(form: str | None) -> Callable[[str], str]:
    """A function that reads dates as ISO text (2026-11-23); without `form` ISO is expected. It raises Unreadable."""

    @functools.lru_cache(maxsize=4_096)
    def read(text: str) -> str:
        return _parse_time(text, form).date().isoformat()

    return read


def _parse_time(text: str, form: str | None) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text) if form is None else dt.datetime.strptime(text, form)  # noqa: DTZ007
    except ValueError as error:
        expected = "an ISO date and time such as 2026-11-23 08:15:00" if form is None else f"written as {form}"
        hint = "Check `format` of this field, or list the text under `none` if it means “unknown”."
        raise Unreadable("time_text", f"“{_short(text)}” is not {expected}.", hint) from error


def _from_local(text: str, local: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """UTC of a local time that exists exactly once."""
    first = local.replace(tzinfo=zone, fold=0).astimezone(dt.UTC)
    second = local.replace(tzinfo=zone, fold=1).astimezone(dt.UTC)
    if first.astimezone(zone).replace(tzinfo=None) != local:
        raise Unreadable("time_missing", f"“{text}” never was: the clocks were put forward over it.",
                         "Check the clock and the time zone of the till.")
    if first != second:
        raise Unreadable("time_twice", f"“{text}” was twice that night: the clocks were put back.",
                         "Let the till write the offset, and read it with %z in `format`.")
    return first


def _count(number: int) -> str:
    return {2: "two", 3: "three", 4: "four"}.get(number, str(number))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
