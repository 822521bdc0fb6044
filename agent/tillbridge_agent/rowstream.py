"""Opens files of a feed as streams of mapped rows, and journals as segments of complete rows."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tillbridge_agent.core.feed import FeedConfig
from tillbridge_agent.core.mapping import RowMapper
from tillbridge_agent.core.rows import Mapped, Problem, Row
from tillbridge_agent.errors import ReadError
from tillbridge_agent.readers import Reader, ReaderConfig, open_reader
from tillbridge_agent.survey import encoding_of, portions

#: Read for the header alone, so that a look at the columns of a large file costs little.
_HEAD_BYTES = 16 * 1024


@dataclass(frozen=True)
class Head:
    """What stands before the first row: columns, and the byte offset at which rows begin (None: not at a byte).

    `complete` is False when the file ends inside or right after its header line without a line end.
    """

    columns: tuple[str, ...]
    body: int | None
    complete: bool


@dataclass(frozen=True)
class Segment:
    """The complete rows of a piece of a journal.

    `consumed` bytes of it were used up to the last row end; `columns` hold for what follows, whose first line is
    `next_line`. What was not consumed must be read again when more has come.
    """

    rows: tuple[Mapped, ...]
    problems: tuple[Problem, ...]
    consumed: int
    encoding: str
    columns: tuple[str, ...]
    next_line: int


class RowStream:
    """All rows of a file, mapped, in file order; after the last one `cut_off`, `ended` and `last` are known.

    Iterating raises ReadError, MappingError (the columns do not fit) or OSError.
    """

    def __init__(self, feed: FeedConfig, file: Path, encoding: str) -> None:
        self._feed = feed
        self._file = file
        self._reader = open_reader(feed.reader, encoding=encoding)
        #: The last row as read; None until there is one.
        self.last: Row | None = None
        #: Whether every row so far stands on one line.
        self.one_line = True

    @property
    def cut_off(self) -> int:
        """The first line of the row inside whose quotes the file ends, or 0."""
        return self._reader.cut_off

    @property
    def ended(self) -> bool:
        """Whether the last row has a line end."""
        return self._reader.ended

    def __iter__(self) -> Iterator[Mapped]:
        mapper: RowMapper | None = None
        kinds = frozenset(self._feed.mapping.kinds())
        reader = self._reader
        fed = itertools.chain.from_iterable(map(reader.feed, portions(self._file)))
        for row in itertools.chain(fed, _finish(reader)):
            if isinstance(row, Problem):
                yield Mapped(Row(row.line, row.text, ()), None, (), kinds, (row,), False)
                continue
            if mapper is None:
                mapper = RowMapper(self._feed, reader.columns)
            self.last = row
            if self.one_line and ("\n" in row.text or "\r" in row.text):
                self.one_line = False
            yield mapper.map(row)


def open_rows(feed: FeedConfig, file: Path, encoding: str) -> Iterator[Mapped]:
    """Every row of a file, mapped, in file order; problems are inside the rows. Raises as RowStream does."""
    return iter(RowStream(feed, file, encoding))


def read_head(file: Path, config: ReaderConfig, encoding: str) -> Head:
    """The columns of a file and where its rows begin. Raises ReadError, OSError."""
    reader = open_reader(config, encoding=encoding)
    taken = b""
    with file.open("rb") as handle:
        while not reader.begun and (portion := handle.read(_HEAD_BYTES)):
            taken += portion
            for _ in reader.feed(portion):
                pass
    complete = reader.begun
    if not complete:
        for _ in reader.finish():
            pass
    body = len(reader.preamble.encode(encoding))
    # Where the way back to bytes is not exact, rows are read in full instead of compared as bytes.
    exact = taken[:body].decode(encoding, "replace").lstrip("\ufeff") == reader.preamble.lstrip("\ufeff")
    return Head(reader.columns, body if exact else None, complete)


def read_segment(
    feed: FeedConfig, encoding: str | None, columns: tuple[str, ...] | None, data: bytes, first_line: int
) -> Segment:
    """The complete rows of a journal from `first_line` on; `columns` None: the header is in this segment.

    `encoding` None: the first configured one that fits the complete rows. Raises ReadError, MappingError.
    """
    nul = data.find(b"\0")
    cut = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    if nul >= 0:
        line = first_line + data.count(b"\n", 0, nul)
        raise ReadError(
            "binary", f"The journal holds bytes in line {line} that no text has.", line=line,
            hint="Something other than the till wrote into it, or it was cut while the till had it open. "
                 "Let the till begin a new journal.",
        )
    whole = data[:cut]
    used = encoding or encoding_of(whole, feed.reader)
    reader = open_reader(feed.reader, encoding=used, columns=columns, first_line=first_line)
    mapper: RowMapper | None = None
    rows: list[Mapped] = []
    for row in reader.feed(whole):
        assert isinstance(row, Row), "formats of journals tell problems in their rows"
        mapper = mapper or RowMapper(feed, reader.columns)
        rows.append(mapper.map(row))
    if reader.begun and mapper is None:
        RowMapper(feed, reader.columns)
    waiting = len(reader.pending.encode(used)) - len("".encode(used)) if reader.begun else len(whole)
    return Segment(
        rows=tuple(rows), problems=tuple(problem for mapped in rows for problem in mapped.problems),
        consumed=len(whole) - waiting, encoding=used, columns=reader.columns if reader.begun else (),
        next_line=reader.line if reader.begun else first_line,
    )


def _finish(reader: Reader) -> Iterator[Row | Problem]:
    """The last rows, asked for only when all portions are fed."""
    yield from reader.finish()
