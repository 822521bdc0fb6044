"""A tiny export for tests of the delta: its own slow reader, its own mapping, and a generator of nasty versions."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from random import Random

from tillbridge_agent.core.delta import DeltaResult, counts_as_row, key_hash, row_hash
from tillbridge_agent.core.rows import Mapped, Row
from tillbridge_protocol.records import Price, Product, Record, SaleLine, StockLevel

HEADER = b"key;stock;price;title"
_ENDS = (b"\n", b"\r\n", b"\r")
#: When all sale lines of the tiny export happened.
AT = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)


def read_records(data: bytes, line: int = 1) -> list[tuple[int, bytes]]:
    """(line, record without line end), byte by byte; quotes count at the start of a cell only."""
    data = data.rstrip(b"\x1a")
    records = []
    at = start = 0
    first, quoted, cell_start = line, False, True
    while at < len(data):
        byte = data[at:at + 1]
        end = b"\r\n" if data[at:at + 2] == b"\r\n" else byte if byte in (b"\r", b"\n") else b""
        if end:
            line += 1
            at += len(end)
            if not quoted:
                records.append((first, data[start:at - len(end)]))
                start, first, cell_start = at, line, True
            continue
        if quoted and byte == b'"' and data[at + 1:at + 2] == b'"':
            at += 1
        elif quoted and byte == b'"':
            quoted = False
        elif not quoted and cell_start and byte == b'"':
            quoted = True
        cell_start = not quoted and byte == b";"
        at += 1
    if start < len(data):
        rest = data[start:]
        # An open quote took the last line end with it; a missing last line end is no difference.
        end = next((end for end in (b"\r\n", b"\n", b"\r") if rest.endswith(end)), b"")
        records.append((first, rest[:len(rest) - len(end)]))
    return records


def body_of(data: bytes) -> int:
    """Where the rows begin: behind the header's line end."""
    return len(HEADER) + (2 if data.startswith(b"\r\n", len(HEADER)) else 1)


def cells_of(record: bytes) -> tuple[str, ...]:
    """The cells of a record, unquoted."""
    cells: list[str] = []
    value, quoted, cell_start, at = "", False, True, 0
    text = record.decode("latin-1")
    while at < len(text):
        char = text[at]
        if quoted and char == '"' and text[at + 1:at + 2] == '"':
            value += char
            at += 1
        elif quoted and char == '"':
            quoted = False
        elif not quoted and cell_start and char == '"':
            quoted = True
        elif not quoted and char == ";":
            cells.append(value)
            value = ""
            cell_start = True
            at += 1
            continue
        else:
            value += char
        cell_start = False
        at += 1
    return (*cells, value)


def _number(text: str) -> Decimal | None:
    return Decimal(text) if text else None


@dataclass(frozen=True)
class Mapping:
    """Variant `plain`; `moved` reads stock from the price column and gives no price; `events` gives sale lines too."""

    variant: str = "plain"

    def map(self, line: int, record: bytes) -> Mapped:
        """One row; "#" keys are filtered, an empty key cannot be told, "x" is no number, nothing is unknown."""
        text = record.decode("latin-1")
        cells = cells_of(record)
        row = Row(line, text, cells)
        if not text or cells[0].startswith("#"):
            return Mapped(row, None, (), frozenset(), (), True)
        if not cells[0]:
            return Mapped(row, None, (), frozenset({"stock_level"}), (), False)
        stock, price, title = (*cells[1:], "", "", "")[:3]
        if self.variant == "moved":
            stock, price = price, ""
        records: list[Record] = []
        failed = set()
        made = {"stock_level": stock, "price": price} | ({"sale_line": stock} if self.variant == "events" else {})
        for kind, cell in made.items():
            try:
                number = _number(cell)
            except InvalidOperation:
                failed.add(kind)
                continue
            if number is not None:
                records.append(_record(kind, cells[0], number))
        if title:
            records.append(Product(code=cells[0], title=title))
        return Mapped(row, cells[0], tuple(records), frozenset(failed), (), False)

    def rows(self, data: bytes) -> list[Mapped]:
        """All rows below the header."""
        return [self.map(line, record) for line, record in read_records(data[body_of(data):], 2)]


def _record(kind: str, key: str, number: Decimal) -> Record:
    if kind == "stock_level":
        return StockLevel(code=key, on_hand=number)
    if kind == "price":
        return Price(code=key, list_price=number, currency="CHF")
    return SaleLine(id=key, code="A", quantity=number, at=AT)


@dataclass
class MemorySnapshot:
    """The snapshot of one feed as the store keeps it."""

    counts: dict[tuple[bytes, bytes], int] = field(default_factory=dict)
    keeping: dict[tuple[str, str], Record] = field(default_factory=dict)

    def rows(self, key: bytes) -> dict[bytes, int]:
        """Row hash to count for one key hash."""
        return {row: count for (known, row), count in self.counts.items() if known == key}

    def kept(self, kind: str, key: str) -> Record | None:
        """The last good record of a kind whose rows cannot be believed."""
        return self.keeping.get((kind, key))

    def apply(self, delta: DeltaResult) -> None:
        """What the capture transaction does with a delta."""
        if delta.replaces:
            self.counts.clear()
            self.keeping.clear()
        for key, row, by in delta.snapshot_updates:
            count = self.counts.get((key, row), 0) + by
            assert count >= 0
            if count:
                self.counts[key, row] = count
            else:
                del self.counts[key, row]
        for kind, row_key in delta.unkeep:
            del self.keeping[kind, row_key]
        for kind, row_key, record in delta.keep:
            self.keeping[kind, row_key] = record


def counts_of(rows: Iterable[Mapped]) -> dict[tuple[bytes, bytes], int]:
    """The snapshot that a file should leave behind."""
    return dict(Counter((key_hash(row.key), row_hash(row)) for row in rows if row.key and counts_as_row(row)))


def _cell(rng: Random) -> bytes:
    return rng.choice((b"1", b"2", b"2.0", b"", b"x", b"-1", b'"2"', b'"1"'))


def _title(rng: Random) -> bytes:
    return rng.choice((b"", b"", b"", b"ham", b'3" nail', b'"a;b"', b'"a\nb"', b'"a\r\nb"', b'"say ""x"""', b'""',
                       b'"a"b', b'"\n"', b'a"', b'";"', b'"\r"'))


def row_of(rng: Random, keys: bytes = b"ABCDE") -> bytes:
    """One row; sometimes filtered, without a key, or blank."""
    key = rng.choice([keys[i:i + 1] for i in range(len(keys))] + [b"#", b"", b'"A"'])
    if rng.random() < 0.04:
        return rng.choice((b"", b";;", key))
    return b";".join((key, _cell(rng), _cell(rng), _title(rng)))


def versions(rng: Random, count: int) -> Iterator[bytes]:
    """Successive versions of one export: edited, doubled, moved, shuffled, with other line ends."""
    keys = rng.choice((b"A", b"AB", b"ABCDE"))
    rows = [row_of(rng, keys) for _ in range(rng.choice((0, 1, 3, 6, 12)))]
    style = rng.choice((0, 1, 2, 3))
    for _ in range(count):
        ends = [rng.choice(_ENDS) if style == 3 else _ENDS[style] for _ in rows]
        body = b"".join(row + end for row, end in zip(rows, ends, strict=True))
        if body and rng.random() < 0.3:
            body = body[:-len(ends[-1])]
        # A header with \r before a body that begins with \n would be one line end, not two.
        head = _ENDS[0] if style == 3 else _ENDS[style]
        yield HEADER + head + body + (b"\x1a" if rng.random() < 0.03 else b"")
        rows = _edited(rng, rows, keys)
        if rng.random() < 0.1:
            style = rng.choice((0, 1, 2, 3))


def _edited(rng: Random, rows: list[bytes], keys: bytes) -> list[bytes]:
    rows = list(rows)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 6))):
        what = rng.choice(("insert", "insert", "delete", "delete", "change", "change", "double", "move", "shuffle"))
        at = rng.randrange(len(rows) + 1)
        if what == "insert":
            rows.insert(at, row_of(rng, keys))
        elif what == "shuffle":
            rng.shuffle(rows)
        elif rows:
            at %= len(rows)
            if what == "delete":
                del rows[at]
            elif what == "change":
                rows[at] = row_of(rng, keys)
            elif what == "double":
                rows.insert(rng.randrange(len(rows)), rows[at])
            else:
                rows.insert(rng.randrange(len(rows)), rows.pop(at))
    return rows
