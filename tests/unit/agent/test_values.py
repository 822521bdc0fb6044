"""Numbers, times and barcodes are read strictly: what is not sure is refused, with words a shopkeeper understands."""

import datetime as dt
import zoneinfo
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillbridge_agent.core.values import (
    Unreadable,
    check_digit,
    date_reader,
    gtin,
    key_text,
    number_reader,
    time_reader,
)

ZURICH = zoneinfo.ZoneInfo("Europe/Zurich")


@pytest.mark.parametrize(("marks", "text", "value"), [
    ((".", ""), "12.50", "12.50"), ((".", ""), "0", "0"), ((".", ""), "-3", "-3"), ((".", ""), "+3", "3"),
    ((".", ""), ".5", "0.5"), ((".", ""), "0054", "54"), ((".", ""), "99.998 -", "-99.998"), ((".", ""), "3-", "-3"),
    ((".", ""), "\u22127", "-7"), ((".", ","), "1,234,567.80", "1234567.80"), ((",", "."), "114.057,97", "114057.97"),
    ((",", "."), "1.250", "1250"), ((",", ""), "12,20", "12.20"), ((",", " "), "1\u00a0234,5", "1234.5"),
    ((",", " "), "1\u202f234", "1234"), ((".", "'"), "1’234.50", "1234.50"),
    ((".", ""), "999999999999999", "999999999999999"),
])
def test_numbers_as_the_feed_says(marks: tuple[str, str], text: str, value: str) -> None:
    """A number written with the marks of the feed is read exactly, its decimals kept."""
    assert str(number_reader(*marks)(text)) == value


def test_minus_zero_is_zero() -> None:
    """"-0,00" is nothing owed, not a negative number."""
    assert str(number_reader(",")("-0,00")) == "0.00"


@pytest.mark.parametrize(("marks", "text", "code", "told"), [
    ((",", ""), "12,5,0", "number_two_marks", "“12,5,0” has two decimal marks. It could be 12,5 or 1,250."),
    ((".", ""), "1.2.3.4", "number_two_marks", "“1.2.3.4” has three decimal marks. It could be 1.2 or 1.234."),
    ((",", ""), "12.50", "number_mark", "“12.50” is written with “.”, but this feed expects “,” as decimal mark."),
    ((".", ""), "12,50", "number_mark", "“12,50” is written with “,”"),
    ((",", "."), "12.50", "number_grouping", "are not three digits apart"),
    ((",", "."), "1.23,4", "number_grouping", "are not three digits apart"),
    ((".", ""), "4.03E+12", "number_scientific", "was shortened by a spreadsheet"),
    ((".", ""), "1e5", "number_scientific", "was shortened by a spreadsheet"),
    ((".", ""), "", "number_empty", "this feed does not say what empty means"),
    ((".", ""), "12.", "number_text", "ends with its decimal mark"),
    ((".", ""), "Nein", "number_text", "“Nein” is not a number."),
    ((".", ""), "--3", "number_text", "is not a number"), ((".", ""), "-3-", "number_text", "is not a number"),
    ((".", ""), "1 2", "number_text", "is not a number"), ((".", ""), "٣", "number_text", "is not a number"),
    ((".", ""), "NaN", "number_text", "is not a number"), ((".", ""), "Infinity", "number_text", "is not a number"),
    ((".", ""), "1_000", "number_text", "is not a number"), ((".", ""), "12\n", "number_text", "is not a number"),
    ((".", ""), "1234567890123456", "number_large", "more digits than any stock or price"),
    ((".", ""), "0.1234567", "number_large", "more digits than any stock or price"),
])
def test_numbers_that_are_not_sure(marks: tuple[str, str], text: str, code: str, told: str) -> None:
    """What could be read in two ways, or not at all, is refused; the message names what was seen."""
    with pytest.raises(Unreadable) as refused:
        number_reader(*marks)(text)
    assert refused.value.code == code
    assert told in refused.value.message
    assert refused.value.hint.endswith(".")


@given(
    st.decimals(min_value=-10**12, max_value=10**12, places=2), st.sampled_from([(".", ","), (",", "."), (",", " ")]),
)
def test_what_a_till_writes_is_what_we_read(value: Decimal, marks: tuple[str, str]) -> None:
    """A number written with thousands marks comes back as it was."""
    decimal, thousands = marks
    text = f"{value:,.2f}".replace(",", "T").replace(".", decimal).replace("T", thousands)
    assert number_reader(decimal, thousands)(text) == value


@given(st.text(alphabet="0123456789.,-+E ' ", max_size=12))
def test_a_number_is_never_made_up(text: str) -> None:
    """Whatever is accepted has exactly the digits of the text, in their order."""
    try:
        value = number_reader(",", ".")(text)
    except Unreadable:
        return
    written, understood = ("".join(filter(str.isdigit, shown)).lstrip("0") for shown in (text, format(value, "f")))
    assert written == understood


@pytest.mark.parametrize("text", ["4015867568453", "96385074", "036000291452", "10036000291459"])
def test_barcodes_with_a_right_check_digit(text: str) -> None:
    """GTIN-8, -12, -13 and -14 stay the text they are."""
    assert gtin(text) == text


@pytest.mark.parametrize(("text", "code"), [
    ("4.03899E+12", "gtin_scientific"), ("4,03899E+12", "gtin_scientific"), ("8.2916e11", "gtin_scientific"),
    ("4015867568454", "gtin_check_digit"), ("12345", "gtin_length"), ("40158675684531", "gtin_check_digit"),
    ("401586756845A", "gtin_not_digits"), ("", "gtin_not_digits"), ("0000000000000", "gtin_zeros"),
    ("４０１５８６７５６８４５３", "gtin_not_digits"),
])
def test_barcodes_that_are_none(text: str, code: str) -> None:
    """A barcode that a spreadsheet or a finger has spoilt is told, with the reason."""
    with pytest.raises(Unreadable) as refused:
        gtin(text)
    assert refused.value.code == code


@given(st.text(alphabet="0123456789", min_size=12, max_size=12), st.integers(0, 11), st.integers(1, 9))
def test_one_wrong_digit_is_noticed(digits: str, place: int, by: int) -> None:
    """Changing any one digit breaks the check digit."""
    wrong = digits[:place] + str((int(digits[place]) + by) % 10) + digits[place + 1:]
    assert check_digit(wrong) != check_digit(digits)


@pytest.mark.parametrize(("text", "code"), [
    ("", "key_empty"), ("4.03899E+12", "key_scientific"), ("4,1E+5", "key_scientific"),
])
def test_item_numbers_that_are_none(text: str, code: str) -> None:
    """An empty or destroyed item number is refused."""
    with pytest.raises(Unreadable) as refused:
        key_text(text)
    assert refused.value.code == code


@pytest.mark.parametrize("text", ["0180009", "12E10", "018Z046", "1E5", "A-1/2"])
def test_item_numbers_stay_text(text: str) -> None:
    """Leading zeros matter, and a real number with an E in it is not taken for a spreadsheet's."""
    assert key_text(text) == text


@pytest.mark.parametrize(("form", "text", "utc"), [
    ("%d.%m.%y %H:%M:%S", "30.1.11 01:10:36", "2011-01-30T00:10:36+00:00"),
    ("%d.%m.%Y", "06.07.2026", "2026-07-05T22:00:00+00:00"),
    ("%d.%m.%Y %H:%M %z", "26.10.2025 02:30 +0100", "2025-10-26T01:30:00+00:00"),
    (None, "2026-01-02 03:04:05", "2026-01-02T02:04:05+00:00"),
    (None, "2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00"),
])
def test_times_become_utc(form: str | None, text: str, utc: str) -> None:
    """Local times are read in the zone of the store, times with an offset by their offset."""
    assert time_reader(form, ZURICH)(text) == dt.datetime.fromisoformat(utc)


@pytest.mark.parametrize(("text", "code"), [
    ("26.10.2025 02:30", "time_twice"), ("30.03.2025 02:30", "time_missing"), ("31.02.2025 10:00", "time_text"),
    ("sofort", "time_text"), ("99.99.9999 00:00", "time_text"), ("01.01.0001 00:00", "time_text"),
])
def test_times_that_are_not_sure(text: str, code: str) -> None:
    """A local time that never was, or was twice, is not guessed."""
    with pytest.raises(Unreadable) as refused:
        time_reader("%d.%m.%Y %H:%M", ZURICH)(text)
    assert refused.value.code == code


def test_dates_become_iso_text() -> None:
    """A sale date is a day of the storefront, not a moment."""
    assert date_reader("%d.%m.%Y")("5.9.2026") == "2026-09-05"
    assert date_reader(None)("2026-09-05") == "2026-09-05"
