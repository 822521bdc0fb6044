"""The simulated shop's files: what they say parses back to the truth; writing is slow, in place and torn."""

import csv
import io
import random
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tillbridge_agent.simulate.assortment import Variant, make_assortment
from tillbridge_agent.simulate.export import (
    EXPORT_COLUMNS,
    read_journal,
    render_export,
    render_journal,
    render_journal_header,
)
from tillbridge_agent.simulate.till import SoldLine, Till
from tillbridge_agent.simulate.writer import Journal, write_broken, write_in_place

NOW = datetime(2026, 7, 23, 21, 59, 58, tzinfo=UTC)


def number(text: str) -> Decimal | None:
    """A decimal comma number, None for an empty cell."""
    return Decimal(text.replace(",", ".")) if text else None


def parsed(data: bytes) -> list[Variant]:
    """The export read by an independent reader."""
    text = data.decode("cp1252")
    assert text.endswith("\r\n")
    header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=";")
    assert tuple(header) == EXPORT_COLUMNS
    return [
        Variant(code, gtin, title, department, number(stock) or Decimal(0), number(price) or Decimal(0), number(sale))
        for code, gtin, title, department, stock, price, sale in rows
    ]


def test_export_parses_back_to_the_variants() -> None:
    """Quotes, separators in titles, empty cells and code page survive."""
    variants = list(make_assortment(4, 300))
    data = render_export(variants)
    assert parsed(data) == variants
    assert b';"' in data
    assert b"\n" not in data.replace(b"\r\n", b"")


def sold_lines(seed: int) -> list[SoldLine]:
    """A day's lines of a small shop, void ones among them."""
    till = Till(make_assortment(seed, 40), random.Random(seed))
    return [line for _ in range(60) for line in till.sell(NOW)]


def test_journal_parses_back_to_the_lines_sold() -> None:
    """Everything of a line survives, void lines too; the date is the shop's, not that of UTC."""
    lines = sold_lines(1)
    data = render_journal_header() + render_journal(lines)
    assert read_journal(data) == (lines, len(data))
    assert any(line.void for line in lines)
    late = SoldLine("01", "000009", 1, NOW.replace(hour=22, minute=30), "000001", "é", Decimal(1), Decimal("1.05"))
    assert late.id == "01/24.07.2026/000009/1"


@given(cut=st.integers(min_value=0, max_value=4_000))
def test_a_torn_journal_gives_its_whole_rows_only(cut: int) -> None:
    """Wherever a journal is cut off, only rows with their line end are read."""
    lines = sold_lines(2)[:30]
    whole = render_journal_header() + render_journal(lines)
    data = whole[:cut]
    read, size = read_journal(data)
    assert read == lines[: len(read)]
    assert size == (data.rfind(b"\n") + 1)
    assert len(read) == max(0, data.count(b"\r\n") - 1)


def test_writing_in_place_is_slow_and_visible_half_way(tmp_path: Path) -> None:
    """The same file is truncated and grows piece by piece; what is seen in between is no whole export."""
    path, seen, pauses = tmp_path / "BESTAND.CSV", [], []
    path.write_bytes(b"old content")
    before = path.stat().st_ino
    data = render_export(make_assortment(1, 200))

    def idle(seconds: float) -> None:
        pauses.append(seconds)
        seen.append(path.stat().st_size)

    started, ended = write_in_place(path, data, idle)
    assert path.read_bytes() == data
    assert path.stat().st_ino == before
    assert started <= ended
    assert started.tzinfo is UTC
    assert seen == sorted(seen)
    assert len(seen) >= 8
    assert seen[-1] < len(data)
    assert sum(pauses) >= 0.3


def test_a_broken_file_is_no_text_and_new_each_time(tmp_path: Path) -> None:
    """Binary with zero bytes; another run drops other bytes."""
    rng = random.Random(1)
    write_broken(tmp_path / "a", rng)
    write_broken(tmp_path / "b", rng)
    assert b"\x00" in (tmp_path / "a").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_the_journal_only_grows_and_tears_its_last_row(tmp_path: Path) -> None:
    """Each receipt arrives in two writes of which the first ends inside a row."""
    path = tmp_path / "JOURNAL.CSV"
    halves: list[bytes] = []
    journal = Journal(path, lambda _seconds: halves.append(path.read_bytes()))
    lines = sold_lines(3)
    written = path.read_bytes()
    for at in range(0, 30, 3):
        journal.append(lines[at : at + 3])
        assert path.read_bytes() == written + render_journal(lines[at : at + 3])
        written = path.read_bytes()
    assert len(halves) == 10
    assert all(not half.endswith(b"\r\n") and written.startswith(half) for half in halves)
    assert journal.lines == lines[:30]


def test_a_row_torn_by_a_crash_is_cut_off_when_continuing(tmp_path: Path) -> None:
    """The unfinished row was never a sale; the rows before it stay, byte for byte."""
    path = tmp_path / "JOURNAL.CSV"
    lines = sold_lines(4)[:5]
    whole = render_journal_header() + render_journal(lines[:4])
    path.write_bytes(whole + render_journal(lines[4:])[:-3])
    journal = Journal(path, lambda _seconds: None)
    assert journal.lines == lines[:4]
    assert path.read_bytes() == whole
