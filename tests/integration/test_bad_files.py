"""Every line of the table in agent/README.md: the file is made, judged after a good one, and told as written."""

import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.fakes.tables import MemorySnapshot

from tillbridge_agent.core.delta import full_delta
from tillbridge_agent.core.feed import FeedConfig
from tillbridge_agent.evaluate import Evaluation, KnownFile, evaluate, open_rows

README = Path(__file__).resolve().parents[2] / "agent" / "README.md"
NOW = dt.datetime(2026, 3, 14, 9, 26, tzinfo=dt.UTC)
WORDS = {"accepted": "accept", "held": "hold", "quarantined": "quarantine", "pending": "pending", "nothing": "nothing"}
FEED = msgspec.convert({
    "name": "stock", "reader": {"format": "delimited", "encodings": ["utf-8", "cp1252"]},
    "mapping": {
        "key": ["ArtNr"], "decimal": ",", "currency": "CHF", "location": {"column": "Filiale", "is": ["01"]},
        "product": {"title": "Name"}, "stock_level": {"on_hand": "Bestand"}, "price": {"list_price": "VK"},
    },
}, FeedConfig)
HEADER = "ArtNr;Name;Filiale;VK;Notiz;Bestand\r\n"


def rows(count: int = 200, stock: str = "7", price: str = "12,90") -> list[str]:
    """The rows of a good file."""
    return [f"{number:05};Käse {number};01;{price};;{stock}\r\n" for number in range(count)]


def file_of(lines: list[str], header: str = HEADER) -> bytes:
    """A whole file in UTF-8."""
    return (header + "".join(lines)).encode()


GOOD = file_of(rows())
LAST = rows()[-1].encode()


def _other_columns(old: str, new: str) -> bytes:
    return GOOD.replace(old.encode(), new.encode(), 1)


#: What the file of the first column is; a line of the table without a maker fails, and a maker without a line too.
MAKERS: dict[str, Callable[[], bytes]] = {
    "half-written: its last row is cut": lambda: GOOD[:-len(";;7\r\n") - 2],
    "half-written: cut inside the last number": lambda: file_of(rows(stock="60"))[:-3],
    "half-written: cut inside a quoted text": lambda: GOOD + b'90001;"Brie',
    "half-written: cut inside the header": lambda: b"ArtNr;Name;Fil",
    "half-written: cut inside a character": lambda: GOOD + "90001;Kä".encode()[:-1],
    "empty": lambda: b"",
    "blank: line ends only": lambda: b"\r\n\r\n",
    "header only": HEADER.encode,
    "header only, nothing known before": HEADER.encode,
    "in a wrong encoding": lambda: GOOD.replace("ä".encode(), b"\x81"),
    "in an encoding its byte order mark denies": lambda: GOOD.decode().encode("utf-16"),
    "binary: NUL bytes": lambda: GOOD + b"\0" * 512,
    "binary: a workbook": lambda: b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0" + bytes(range(256)) * 9,
    "one huge line": lambda: GOOD + b"9" * (1 << 20) + b"99\r\n",
    "without a mapped column": lambda: _other_columns(";VK;", ";Farbe;"),
    "with a mapped column renamed": lambda: _other_columns(";VK;", ";VK brutto;"),
    "with an unexpected extra column": lambda: GOOD.replace(b"\r\n", b";\r\n").replace(b"nd;\r\n", b"nd;Neu\r\n", 1),
    "without a column nobody reads": lambda: GOOD.replace(b"Notiz;", b"").replace(b";;", b";"),
    "of a wrong location": lambda: GOOD.replace(b";01;", b";02;"),
    "short of many rows": lambda: file_of(rows()[:100]),
    "written another way: its numbers cannot be read": lambda: file_of(rows(price="12.90", stock="7 St.")),
    "emptying the shelves": lambda: file_of(rows(stock="0")),
    "dropping its prices": lambda: file_of(rows(price="1,29")),
    "with some bad rows": lambda: GOOD + b"90001;x;01\r\n;x;01;1,00;;1\r\n90002;x;01;1,0,0;;1\r\n",
    "with two rows of one item that differ": lambda: GOOD + LAST.replace(b";7\r\n", b";8\r\n"),
}


def _table() -> list[tuple[str, str, str, str]]:
    text = README.read_text(encoding="utf-8").split("| the file is |")[1].split("\n\n")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    return [(kind, WORDS[verdict], code.strip("`"), told) for kind, verdict, code, told in lines]


class Believed:
    """A feed with one accepted file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.snapshot = MemorySnapshot()
        path = folder / "good.csv"
        path.write_bytes(GOOD)
        first = self.judge(GOOD, None)
        assert (first.verdict, first.rows.accepted) == ("accept", 200)
        self.snapshot.apply(full_delta((), open_rows(FEED, path, "utf-8")))
        self.known = first.known_at(path, FEED)

    def judge(self, data: bytes, known: KnownFile | None) -> Evaluation:
        """The evaluation of these bytes."""
        path = self.folder / "next.csv"
        path.write_bytes(data)
        return evaluate(FEED, path, name="STOCK.CSV", old=known, snapshot=self.snapshot if known else None, now=NOW)


def test_the_table_and_the_makers_are_the_same() -> None:
    """No line of the table goes untested, and no tested kind goes untold."""
    assert [kind for kind, *_ in _table()] == list(MAKERS)


@pytest.mark.parametrize(("kind", "verdict", "code", "told"), _table(), ids=lambda value: value.replace(" ", "-")[:40])
def test_a_bad_file_is_told_as_the_page_says(tmp_path: Path, kind: str, verdict: str, code: str, told: str) -> None:
    """Verdict, code and the words the shopkeeper reads are those of agent/README.md."""
    believed = Believed(tmp_path)
    result = believed.judge(MAKERS[kind](), None if "nothing known" in kind else believed.known)
    assert result.verdict == verdict
    assert [reason.code for reason in result.reasons] == ([code] if code else [])
    words = " ".join(f"{reason.message} {reason.hint}" for reason in result.reasons)
    at = 0
    for part in told.split("…"):
        at = words.find(part.strip(), at)
        assert at >= 0, f"“{part.strip()}” is not in “{words}”"
    if verdict == "hold":
        assert result.approvable is (code in {"rows_lost", "rows_unreadable", "stock_to_zero", "price_drop"})
    if verdict in ("quarantine", "pending", "nothing"):
        assert not result.delta.changes


def test_bad_rows_do_not_hold_the_good_ones_up(tmp_path: Path) -> None:
    """Three bad rows: three problems, nothing else changes, and the counts tell it."""
    believed = Believed(tmp_path)
    result = believed.judge(MAKERS["with some bad rows"](), believed.known)
    assert [problem.code for problem in result.problems] == ["cells_few", "key_empty", "number_two_marks"]
    assert (result.rows.read, result.rows.accepted, result.rows.rejected) == (203, 201, 2)
    assert [(change.kind, change.key) for change in result.delta.changes] == [
        ("product", "90002"), ("stock_level", "90002"),
    ]


def test_rows_that_differ_keep_what_was_known(tmp_path: Path) -> None:
    """Two rows of one item that say different things: both are told, nothing changes."""
    believed = Believed(tmp_path)
    result = believed.judge(MAKERS["with two rows of one item that differ"](), believed.known)
    assert [problem.code for problem in result.problems] == ["duplicate_key", "duplicate_key"]
    assert result.delta.changes == []


def test_every_reason_and_problem_is_explained() -> None:
    """Each code that reading can give stands on the operator's page."""
    room = README.parent / "tillbridge_agent"
    files = ["core/values.py", "core/mapping.py", "core/gate.py", "core/delta.py", "survey.py", "filedelta.py",
             "evaluate.py", "rowstream.py", "readers/delimited/reader.py"]
    source = "".join((room / file).read_text(encoding="utf-8") for file in files)
    carriers = "Unreadable|Reason|ReadError|MappingError"
    codes = set(re.findall(rf'(?:{carriers})\(\s*f?"([a-z_]+)"', source)) | set(re.findall(r'code="([a-z_]+)"', source))
    codes |= set(re.findall(r'"(cells_(?:few|many))"', source))
    assert len(codes) > 30
    page = README.read_text(encoding="utf-8")
    assert {code for code in codes if f"`{code}`" not in page} == set()
