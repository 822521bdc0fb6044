"""Formats: bytes in any portions become rows. One folder per format, looked up in one literal dict."""

from collections.abc import Iterator
from typing import Protocol

from tillbridge_agent.core.rows import Problem, Row
from tillbridge_agent.readers.delimited import DelimitedConfig, DelimitedReader

#: The `reader` table of a feed, told apart by its `format`.
ReaderConfig = DelimitedConfig


class Reader(Protocol):
    """Reads one file: `feed` it portions in order, then `finish`; raises ReadError when it cannot go on."""

    #: Names of the columns; empty until the header was read.
    columns: tuple[str, ...]
    #: Encoding the bytes are decoded with.
    encoding: str
    #: After `finish`: the first line of the row inside which the file ends, or 0.
    cut_off: int
    #: After `finish`: whether the last row ended with a line end.
    ended: bool
    #: The raw text before the first row (byte order mark, skipped lines, header), complete once `columns` is known.
    preamble: str

    @property
    def pending(self) -> str:
        """The text taken in that is not yet a complete row."""
        ...

    @property
    def begun(self) -> bool:
        """Whether everything before the first row was read: columns and preamble are then known."""
        ...

    @property
    def line(self) -> int:
        """The line on which the next row begins."""
        ...

    def row(self, line: int, data: bytes) -> Row:
        """One raw row by itself, as block compare cuts them out; `line` is the first one it stands on."""
        ...

    def feed(self, data: bytes) -> Iterator[Row | Problem]:
        """The rows that are complete with these further bytes."""
        ...

    def finish(self) -> Iterator[Row | Problem]:
        """The rows that end with the file."""
        ...


READERS: dict[str, type[DelimitedReader]] = {
    "delimited": DelimitedReader,
}


def open_reader(
    config: ReaderConfig, *, encoding: str, columns: tuple[str, ...] | None = None, first_line: int = 1
) -> Reader:
    """A reader of one file, or, with `columns`, of a slice that starts at a row on line `first_line`."""
    kind = str(type(config).__struct_config__.tag)
    return READERS[kind](config, encoding=encoding, columns=columns, first_line=first_line)
