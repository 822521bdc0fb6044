"""Where raw records end: at a line end outside a quoted cell, by the same rules as the delimited reader.

A line ends with \\n, \\r\\n or \\r. A cell is quoted only when the quote is its first byte; a doubled quote inside is
one quote; a quote anywhere else is an ordinary byte (inch marks). Works on bytes of encodings in which
separator, quote and line ends are bytes that never occur inside another character.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LONE_CR = re.compile(rb"\r(?!\n)")
#: A \r that is the last byte seen may be the first half of \r\n, so it ends nothing yet.
_END = rb"(?:\r\n|\n|\r(?=[\s\S]))"


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive records without line ends, the line each begins on (0 = first of the block), and their bytes."""

    records: list[bytes]
    lines: Sequence[int]
    text: bytes

    def size(self, count: int) -> int:
        """Bytes of the first `count` records, line ends included."""
        if count == len(self.records):
            return len(self.text)
        at = 0
        for record in self.records[:count]:
            at += len(record)
            at += 2 if self.text.startswith(b"\r\n", at) else 1
        return at

    def line_after(self, count: int) -> int:
        """How many line ends the first `count` records have, counting those inside quoted cells."""
        if count < len(self.records):
            return self.lines[count]
        return line_count(self.text, len(self.text))


def line_count(text: bytes, end: int) -> int:
    """How many line ends are in text[:end], which must not end between \\r and \\n."""
    count = text.count(b"\n", 0, end)
    if text.find(b"\r", 0, end) >= 0 and _LONE_CR.search(text, 0, end):
        count += text.count(b"\r", 0, end) - text.count(b"\r\n", 0, end)
    return count


def last_line_end(text: bytes, end: int) -> int:
    """Position after a late line end in text[:end], 0 when there is none; all lines before it are complete."""
    cut = text.rfind(b"\n", 0, end) + 1
    return cut or text.rfind(b"\r", 0, max(end - 1, 0)) + 1


class RecordSplitter:
    """Finds record ends; `quote` None or empty: quotes have no meaning."""

    def __init__(self, quote: bytes | None, separator: bytes) -> None:
        self._quote = quote or b""
        if self._quote:
            self._one_line = _record(self._quote, separator, in_quotes=_but(self._quote, lines=False))
            self._any = _record(self._quote, separator, in_quotes=_but(self._quote, lines=True))
            self._suspect = _suspect(self._quote, separator)

    def last_end(self, text: bytes, end: int) -> int:
        """Position after a late record end in text[:end], 0 when there is none. Text begins outside quotes."""
        spans, stop = self._spans(text, end)
        if stop < end:
            return stop
        return max(last_line_end(text, end), spans[-1][1] if spans else 0)

    def complete(self, text: bytes) -> Block:
        """The complete records at the start of a text that goes on; none when the first does not end in it."""
        spans, stop = self._spans(text, len(text))
        if stop == len(text):
            stop = max(last_line_end(text, stop), spans[-1][1] if spans else 0)
        return _block(text[:stop], spans)

    def final(self, text: bytes) -> Block:
        """All records of a text with which the file ends; the last may lack its line end or never close a quote."""
        spans, stop = self._spans(text, len(text))
        if stop < len(text):
            spans.append((stop, len(text)))
        return _block(text, spans)

    def _spans(self, text: bytes, end: int) -> tuple[list[tuple[int, int]], int]:
        """Start and end of each complete record on several lines, and where an incomplete one starts (else `end`).

        A line can only end inside quotes when its last quote opens a cell or follows another quote; such lines
        are rare and found by one search, so most text is never taken apart here.
        """
        spans: list[tuple[int, int]] = []
        at = 0
        if not self._quote or text.find(self._quote, 0, end) < 0:
            return spans, end
        while True:
            found = self._suspect.search(text, at, end)
            if found is None:
                return spans, end
            quote_at = found.start()
            start = max(text.rfind(b"\n", at, quote_at) + 1, text.rfind(b"\r", at, quote_at) + 1, at)
            record = self._one_line.match(text, start, end)
            if record is None:
                record = self._any.match(text, start, end)
                if record is None:
                    return spans, start
                spans.append((start, record.end()))
            at = record.end()


def _block(text: bytes, spans: list[tuple[int, int]]) -> Block:
    """Cut at every line end outside the spans, each of which is one record."""
    if not spans:
        records = text.splitlines()
        return Block(records, range(len(records)), text)
    records = []
    lines: list[int] = []
    line = at = 0
    for start, end in [*spans, (len(text), len(text))]:
        plain = text[at:start].splitlines()
        records += plain
        lines += range(line, line + len(plain))
        line += len(plain)
        if start < end:
            record = text[start:end]
            lines.append(line)
            line += line_count(record, len(record))
            records.append(_without_end(record))
        at = end
    return Block(records, lines, text)


def _without_end(record: bytes) -> bytes:
    if record.endswith(b"\r\n"):
        return record[:-2]
    return record[:-1] if record.endswith((b"\n", b"\r")) else record


def _but(unit: bytes, *, lines: bool) -> bytes:
    """Pattern of a longest run without `unit`, with or without line ends; never gives bytes back."""
    if len(unit) == 1:
        return b"[^" + re.escape(unit) + (b"" if lines else rb"\r\n") + b"]"
    return b"(?:(?!" + re.escape(unit) + (b")[\\s\\S])" if lines else rb")[^\r\n])")


def _record(quote: bytes, separator: bytes, *, in_quotes: bytes) -> re.Pattern[bytes]:
    """One complete record; `in_quotes` says what a quoted cell may hold."""
    mark, gap = re.escape(quote), re.escape(separator)
    cell = mark + b"(?:" + in_quotes + b"++|" + mark + mark + b")*+" + mark + _but(separator, lines=False) + b"*+"
    other = _but(quote, lines=False) + b"++"
    # The first cell by itself; then plain runs, cells quoted after a separator, and quotes that mean nothing.
    return re.compile(b"(?:" + cell + b"|(?!" + mark + b"))(?:" + other + b"|(?<=" + gap + b")" + cell
                      + b"|(?<!" + gap + b")" + mark + b")*+" + _END)


def _suspect(quote: bytes, separator: bytes) -> re.Pattern[bytes]:
    """The last quote of a line, where it may open a cell or be the second of two."""
    mark = re.escape(quote)
    if len(quote) == len(separator) == 1:
        # Said twice negatively, it also holds at the very start of the text, where nothing stands before.
        before = b"(?<![^" + re.escape(separator) + mark + rb"\r\n]" + mark + b")"
    else:
        units = (re.escape(separator), mark, rb"\n", rb"\r", rb"\A")
        before = b"(?:" + b"|".join(b"(?<=" + unit + mark + b")" for unit in units) + b")"
    return re.compile(mark + before + _but(quote, lines=False) + rb"*+[\r\n]")
