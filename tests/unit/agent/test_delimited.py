"""The delimited reader: same rows in whatever portions the bytes come, right line numbers, quotes where they open."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillbridge_agent.core.limits import COLUMNS_MAX, ROW_BYTES_MAX
from tillbridge_agent.core.rows import Row
from tillbridge_agent.errors import ReadError
from tillbridge_agent.readers import DelimitedConfig, Reader, open_reader
from tillbridge_agent.readers.delimited.config import line_safe


def read(portions: list[bytes], config: DelimitedConfig, encoding: str = "utf-8") -> tuple[list[Row], Reader]:
    """All rows of a file that comes in these portions."""
    reader = open_reader(config, encoding=encoding)
    rows = [row for portion in portions for row in reader.feed(portion)]
    rows += reader.finish()
    assert all(isinstance(row, Row) for row in rows)
    return [row for row in rows if isinstance(row, Row)], reader


def read_all(reader: Reader, portions: list[bytes]) -> None:
    """Feed all portions and drop the rows."""
    for portion in portions:
        list(reader.feed(portion))


#: name: (reader table, text, columns, rows as (line, cells))
CASES = {
    "plain": ({}, "A;B\n1;2\n3;4\n", ("A", "B"), [(2, "1", "2"), (3, "3", "4")]),
    "no last line end": ({}, "A;B\n1;2", ("A", "B"), [(2, "1", "2")]),
    "CR LF": ({}, "A;B\r\n1;2\r\n", ("A", "B"), [(2, "1", "2")]),
    "CR": ({}, "A;B\r1;2\r3;4\r", ("A", "B"), [(2, "1", "2"), (3, "3", "4")]),
    "mixed line ends": ({}, "A\r\n1\n2\r3\r\n", ("A",), [(2, "1"), (3, "2"), (4, "3")]),
    "blank lines": ({}, "A\n\n1\n", ("A",), [(2, ""), (3, "1")]),
    "byte order mark": ({}, "\ufeffA;B\n1;2\n", ("A", "B"), [(2, "1", "2")]),
    "DOS end mark": ({}, "A;B\n1;2\n\x1a", ("A", "B"), [(2, "1", "2")]),
    "quoted": ({}, 'A;B\n"1;x";"say ""hi"""\n', ("A", "B"), [(2, "1;x", 'say "hi"')]),
    "quoted line ends": ({}, 'A;B\n"1\r\n2\n";3\n4;5\n', ("A", "B"), [(2, "1\r\n2\n", "3"), (5, "4", "5")]),
    "inch marks": ({}, 'A;B\n3.5" disk;2"\n', ("A", "B"), [(2, '3.5" disk', '2"')]),
    "quotes mean nothing": ({"quote": ""}, 'A;B\n"1;2"\n', ("A", "B"), [(2, '"1', '2"')]),
    "text after the quote": ({}, 'A;B\n"1"x;2\n', ("A", "B"), [(2, "1x", "2")]),
    "empty quoted cell": ({}, 'A;B\n"";2\n', ("A", "B"), [(2, "", "2")]),
    "two-character separator": ({"separator": "||"}, 'A||B\n"1||x"||2|3\n', ("A", "B"), [(2, "1||x", "2|3")]),
    "tab": ({"separator": "\t"}, "A\tB\n1\t\n", ("A", "B"), [(2, "1", "")]),
    "no header": ({"header": False, "columns": ("X", "Y")}, "1;2\n", ("X", "Y"), [(1, "1", "2")]),
    "lines before": ({"skip_lines": 2}, "Title\n\nA;B\n1;2\n", ("A", "B"), [(4, "1", "2")]),
    "lines before, no header": ({"skip_lines": 1, "header": False, "columns": ("X",)}, "T\n1\n", ("X",), [(2, "1")]),
    "header over two lines": ({}, '"A\nx";B\n1;2\n', ("A\nx", "B"), [(3, "1", "2")]),
    "blank and double names": ({}, "N;;N;;N\n1;2;3;4;\n", ("N", "#2", "N#2", "#4", "N#3"), [(2, *"1234", "")]),
    "names like ours": ({}, "#2;;#2\n1;2;3\n", ("#2", "##2", "#2#2"), [(2, "1", "2", "3")]),
    "line separators inside": ({}, "A\n1\u2028\x0b\x85\n", ("A",), [(2, "1\u2028\x0b\x85")]),
    "header only": ({}, "A;B\n", ("A", "B"), []),
    "nothing": ({}, "", (), []),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16"])
def test_rows_in_any_portions(name: str, encoding: str) -> None:
    """Whole, byte by byte, and in odd portions: the same columns, rows and line numbers."""
    table, text, columns, expected = CASES[name]
    config = DelimitedConfig(**table)
    data = text.encode(encoding)
    for size in (max(len(data), 1), 1, 3):
        portions = [data[at:at + size] for at in range(0, len(data), size)]
        rows, reader = read(portions, config, encoding)
        assert reader.columns == columns
        assert [(row.line, *row.cells) for row in rows] == expected
        assert reader.cut_off == 0


@pytest.mark.parametrize(("text", "line"), [('A;B\n1;"open', 2), ('A;B\n1;2\n3;"open\nstill\n', 3), ('"A;B\n', 1)])
def test_a_file_that_ends_inside_quotes(text: str, line: int) -> None:
    """The reader tells the line on which the open quote's row begins."""
    _, reader = read([text.encode()], DelimitedConfig())
    assert reader.cut_off == line


@pytest.mark.parametrize(("text", "ended"), [
    ("A\n1\n", True), ("A\n1", False), ("A\n1\r", True), ("A\n1\n\x1a", True), ("A\n1\x1a", False),
])
def test_whether_the_last_row_has_its_line_end(text: str, ended: bool) -> None:
    """The gate judges a cut last row by this."""
    _, reader = read([text.encode()], DelimitedConfig())
    assert reader.ended is ended


def test_a_row_by_itself_is_the_row_in_its_file() -> None:
    """Block compare hands over raw rows; reading one alone gives what reading the file gives."""
    text = 'A;B\n1;2\n"x;\n""y""";3\n4;"5\n'
    rows, reader = read([text.encode()[: text.index('4;')]], DelimitedConfig())
    for row in rows:
        assert reader.row(row.line, row.text.encode() + b"\n") == row


def test_a_slice_begins_at_its_line() -> None:
    """With columns given there is no header to read, and lines count from the slice's first."""
    reader = open_reader(DelimitedConfig(skip_lines=3), encoding="utf-8", columns=("A",), first_line=700)
    assert [row.line for row in reader.feed(b"1\n2\n") if isinstance(row, Row)] == [700, 701]


@pytest.mark.parametrize("quote", ['"', ""])
def test_a_row_that_never_ends_is_refused(quote: str) -> None:
    """Memory stays bounded: a row longer than the bound is a ReadError that names its first line."""
    reader = open_reader(DelimitedConfig(quote=quote), encoding="utf-8")
    list(reader.feed(b'A;B\n1;2\n"'))
    more = (b"x" * 49 + (b"\n" if quote else b"x")) * 1000
    portions = [more] * (ROW_BYTES_MAX // len(more) + 2)
    with pytest.raises(ReadError) as refused:
        read_all(reader, portions)
    assert refused.value.code == "row_long"
    assert refused.value.line == 3


def test_wrong_bytes_are_refused_not_replaced() -> None:
    """Strict decoding: a byte that is no character of the encoding ends the reading."""
    for encoding, data in (("utf-8", b"A\n\xff\n"), ("cp1252", b"A\n\x81\n"), ("ascii", "A\nä\n".encode())):
        reader = open_reader(DelimitedConfig(), encoding=encoding)
        with pytest.raises(ReadError) as refused:
            list(reader.feed(data))
        assert refused.value.code == "wrong_encoding"


def test_too_many_columns_are_refused() -> None:
    """A wrong separator shows as an absurd number of columns."""
    with pytest.raises(ReadError) as refused:
        list(open_reader(DelimitedConfig(), encoding="utf-8").feed(b";" * COLUMNS_MAX + b"\n"))
    assert refused.value.code == "columns_many"


CELLS = st.text(alphabet='ab;"\r\n\' é\u2028', max_size=6)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=6), st.sampled_from(["\n", "\r\n"]),
       st.lists(st.integers(1, 7), max_size=20))
def test_what_a_careful_till_writes_is_what_we_read(table: list[list[str]], end: str, sizes: list[int]) -> None:
    """Properly quoted rows, written by the standard library, come back cell by cell in any portions."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["A", "B"])
    writer.writerows(table)
    data = text.getvalue().encode()
    portions, at = [], 0
    for size in sizes:
        portions.append(data[at:at + size])
        at += size
    rows, reader = read([*portions, data[at:]], DelimitedConfig())
    assert [list(row.cells) for row in rows] == table
    assert reader.columns == ("A", "B")


@pytest.mark.parametrize(("encoding", "safe"), [
    ("utf-8", True), ("cp1252", True), ("cp850", True), ("shift_jis", False), ("cp932", False), ("utf-16", False),
    ("utf-7", False), ("iso2022_jp", False), ("cp037", False), ("hz", False), ("gb18030", False),
])
def test_where_bytes_can_be_cut_at_line_ends(encoding: str, safe: bool) -> None:
    """Block compare may cut raw bytes only where ASCII bytes mean themselves."""
    assert line_safe(encoding) is safe
