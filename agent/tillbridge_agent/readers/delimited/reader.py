"""Reads delimited text: bytes in any portions become rows; strict in encoding, quotes only at the start of a cell."""

import codecs
import re
from collections.abc import Iterator
from typing import ClassVar

from tillbridge_agent.core.limits import COLUMNS_MAX, ROW_BYTES_MAX
from tillbridge_agent.core.rows import Problem, Row
from tillbridge_agent.errors import ReadError
from tillbridge_agent.readers.delimited.config import DelimitedConfig

_LINES = re.compile(r"([^\r\n]*)(\r\n|\r|\n)")
_DOS_END = "\x1a"
_BOM = "\ufeff"


class DelimitedReader:
    """One file, or with `columns` a slice of one; the attributes are those of `readers.Reader`."""

    config_type: ClassVar = DelimitedConfig

    def __init__(
        self, config: DelimitedConfig, *, encoding: str, columns: tuple[str, ...] | None = None, first_line: int = 1
    ) -> None:
        self.encoding = encoding
        self.cut_off = 0
        self.ended = True
        self.preamble = ""
        given = columns if columns is not None else (None if config.header else config.columns)
        self.columns: tuple[str, ...] = given or ()
        self._at_start = columns is None
        self._skip = config.skip_lines if columns is None else 0
        self._separator = config.separator
        self._quote = config.quote
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._rest = ""
        self._line = first_line
        #: Of a row whose quotes are still open: its lines with their ends, their size, its cells, the open cell.
        self._open: list[str] = []
        self._open_chars = 0
        self._cells: list[str] = []
        self._value: list[str] | None = None

    def feed(self, data: bytes) -> Iterator[Row | Problem]:
        """The rows that are complete with these further bytes. Raises ReadError."""
        yield from self._take(self._decode(data, final=False))

    def finish(self) -> Iterator[Row | Problem]:
        """The last row, where it has no line end. Raises ReadError when the file ends inside a character."""
        yield from self._take(self._decode(b"", final=True))
        rest = self._rest
        self._rest = ""
        if rest.endswith("\r"):
            yield from self._rows([rest[:-1]], "\r")
        elif rest.strip(_DOS_END):
            self.ended = False
            yield from self._rows([rest.rstrip(_DOS_END)], "")
        if self._open:
            self.cut_off = self._line - len(self._open)
            self._open = []

    @property
    def pending(self) -> str:
        """The text taken in that is not yet a complete row."""
        return "".join(self._open) + self._rest

    @property
    def begun(self) -> bool:
        """Whether everything before the first row was read: columns and preamble are then known."""
        return not self._at_start and not self._skip and bool(self.columns)

    @property
    def line(self) -> int:
        """The line on which the next row begins."""
        return self._line - len(self._open)

    def row(self, line: int, data: bytes) -> Row:
        """One raw row by itself, as block compare cuts them out; `line` is the first one it stands on."""
        text = data.decode(self.encoding).removesuffix("\n").removesuffix("\r")
        if self._quote and (text.startswith(self._quote) or self._separator + self._quote in text):
            cells: list[str] = []
            value = split_quoted(text, self._separator, self._quote, cells)
            if value is not None:
                cells.append("".join(value))
            return Row(line, text, tuple(cells))
        return Row(line, text, tuple(text.split(self._separator)))

    def _decode(self, data: bytes, *, final: bool) -> str:
        try:
            text = self._decoder.decode(data, final)
        except UnicodeError as error:
            raise ReadError(
                "wrong_encoding", f"After line {self._line} the file is not {self.encoding} text.",
                hint="Add the encoding the till writes to `reader.encodings`.", line=self._line,
            ) from error
        if self._at_start and text:
            self._at_start = False
            if text[0] == _BOM:
                self.preamble = _BOM
                return text[1:]
        return text

    def _take(self, text: str) -> Iterator[Row]:
        """Cuts decoded text into complete lines; what follows the last line end waits."""
        if not text:
            return
        text = self._rest + text
        if "\r" not in text:
            lines = text.split("\n")
            self._rest = lines.pop()
            self._check_length(self._rest)
            if lines:
                yield from self._rows(lines, "\n")
            return
        # A carriage return at the very end may be the first half of a line end that is still coming.
        tail = "\r" if text.endswith("\r") else ""
        body = text[:-1] if tail else text
        if body.count("\r\n") == body.count("\r") == body.count("\n"):
            lines = body.split("\r\n")
            self._rest = lines.pop() + tail
            yield from self._rows(lines, "\r\n")
        else:
            end = 0
            for match in _LINES.finditer(body):
                end = match.end()
                yield from self._rows([match[1]], match[2])
            self._rest = body[end:] + tail
        self._check_length(self._rest)

    def _rows(self, lines: list[str], end: str) -> Iterator[Row]:
        """Rows of complete lines that all end with `end`."""
        if self._skip or not self.columns:
            lines = self._pass_preamble(lines, end)
        separator, quote, line = self._separator, self._quote, self._line
        opening = separator + quote
        for text in lines:
            # Most rows open no quoted cell: those are split at the speed of str.split.
            if self._open or (quote and (opening in text or text.startswith(quote))):
                self._line = line
                row = self._quoted(text, end)
                if row is not None:
                    yield row
            else:
                yield Row(line, text, tuple(text.split(separator)))
            line += 1
        self._line = line

    def _pass_preamble(self, lines: list[str], end: str) -> list[str]:
        """Takes skipped lines and the header off; leaves the rest."""
        for number, text in enumerate(lines):
            if not self._skip and self.columns:
                return lines[number:]
            self.preamble += text + end
            if self._skip:
                self._skip -= 1
            elif self._open or (self._quote and self._quote in text):
                row = self._quoted(text, end)
                self.columns = column_names(row.cells) if row else ()
            else:
                self.columns = column_names(tuple(text.split(self._separator)))
            self._line += 1
        return []

    def _quoted(self, text: str, end: str) -> Row | None:
        """The row that this line completes, or None while a quoted cell is still open."""
        if not self._open:
            self._cells = []
            self._value = None
        self._value = split_quoted(text, self._separator, self._quote, self._cells, self._value)
        if self._value is not None:
            self._value.append(end)
            self._open.append(text + end)
            self._open_chars += len(text) + len(end)
            if self._open_chars > ROW_BYTES_MAX:
                raise too_long(self._line - len(self._open) + 1, quote=self._quote)
            return None
        first = self._line - len(self._open)
        whole = "".join([*self._open, text]) if self._open else text
        self._open = []
        self._open_chars = 0
        return Row(first, whole, tuple(self._cells))

    def _check_length(self, rest: str) -> None:
        if len(rest) > ROW_BYTES_MAX:
            raise too_long(self._line, quote="")


def split_quoted(
    text: str, separator: str, quote: str, cells: list[str], value: list[str] | None = None
) -> list[str] | None:
    """Appends the cells of a line to `cells`; returns the parts of the quoted cell still open at its end, or None.

    `value` is what the line before returned. A cell is quoted only when the quote is its first character; a quote
    elsewhere is an ordinary character (inch marks). Inside a quoted cell a doubled quote is one quote; text after
    the closing quote is kept.
    """
    at = 0
    while True:
        if value is None and text.startswith(quote, at):
            value = []
            at += 1
        if value is not None:
            while True:
                stop = text.find(quote, at)
                if stop < 0:
                    value.append(text[at:])
                    return value
                value.append(text[at:stop])
                at = stop + 1
                if not text.startswith(quote, at):
                    break
                value.append(quote)
                at += 1
        stop = text.find(separator, at)
        plain = text[at:] if stop < 0 else text[at:stop]
        cells.append(plain if value is None else "".join(value) + plain)
        if stop < 0:
            return None
        value = None
        at = stop + len(separator)


def column_names(cells: tuple[str, ...]) -> tuple[str, ...]:
    """Header cells as names that are never ambiguous: blank ones become "#3", the second "Name" becomes "Name#2"."""
    if len(cells) > COLUMNS_MAX:
        raise ReadError(
            "columns_many", f"The header has {len(cells)} columns; no export has more than {COLUMNS_MAX}.",
            hint="Look at `reader.separator`: the file surely uses another one.", line=1,
        )
    names: list[str] = []
    used: set[str] = set()
    for position, cell in enumerate(cells, start=1):
        plain = cell.strip()
        name = plain or f"#{position}"
        copy = 2
        while name in used:
            name = f"{plain or '#'}#{copy}"
            copy += 1
        used.add(name)
        names.append(name)
    return tuple(names)


def too_long(line: int, *, quote: str) -> ReadError:
    """The error of a row longer than ROW_BYTES_MAX."""
    hint = (
        f'A quote mark opens in line {line} and never closes. If quote marks have no meaning here, set quote = "".'
        if quote else "Look at the file: it may not be a text export at all."
    )
    return ReadError(
        "row_long", f"The row that begins in line {line} is longer than {ROW_BYTES_MAX:,} characters.",
        hint=hint, line=line,
    )
