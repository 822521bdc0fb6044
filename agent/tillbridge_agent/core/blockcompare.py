"""Block compare: the raw records by which two versions of a file differ, at the speed of comparing bytes.

Equal stretches are skipped by comparing windows. At a difference both files are cut into records, the last
common record becomes the point from which both go on together, and the records before it are left over. Equal
leftovers cancel, so moved rows cost nothing. When leftovers pass a bound, the file was reordered: what remains of
both goes to a partition by hash. Memory is bounded either way and does not grow with the files.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tillbridge_agent.core.leftovers import Leftovers, in_line_order
from tillbridge_agent.core.limits import ROW_BYTES_MAX
from tillbridge_agent.core.partition import MemorySpill, Partition, Shard, Spill
from tillbridge_agent.core.recordsplit import Block, RecordSplitter, last_line_end, line_count

ReadAt = Callable[[int, int], bytes]

WINDOW_BYTES = 64 << 10
#: First width in which a common record is looked for; most differences are one row.
_NEAR_BYTES = 2 << 10
#: Widest such width, in windows.
_WIDEST_WINDOWS = 16
LEFTOVER_BYTES = 12 << 20
_PARTITION_BYTES = 1 << 20
#: Some DOS programs end a text file with this byte; it is not a record.
_DOS_END = b"\x1a"


class RecordTooLong(Exception):
    """A record is longer than the bound: no text export, or a quote that never closes."""

    hint = "Read the file in full: the reader tells which line begins the row that does not end."

    def __init__(self, line: int, bound: int) -> None:
        super().__init__(f"The record that begins in line {line} is longer than {bound:,} bytes.")
        self.line = line


@dataclass(frozen=True, slots=True)
class ByteView:
    """A file that does not change while it is compared: `read(offset, size)` gives exactly `size` bytes of it."""

    read: ReadAt
    size: int


class Slice(NamedTuple):
    """One raw record: the file line it begins on (1 = first line of the file), its bytes with one \\n as line end."""

    line: int
    data: bytes


class Removed(NamedTuple):
    """A record the old file has and the new one has not (or not as often)."""

    slice: Slice


class Added(NamedTuple):
    """A record the new file has and the old one has not (or not as often)."""

    slice: Slice


Difference = Removed | Added


def compare(
    old: ByteView, new: ByteView, *, quote: bytes | None, separator: bytes, body_old: int, body_new: int,
    window: int = WINDOW_BYTES, one_line_old: bool = False, spill: Spill | None = None, shard: Shard | None = None,
    leftover_bytes: int = LEFTOVER_BYTES, record_bytes: int = ROW_BYTES_MAX,
) -> Iterator[Difference]:
    """The multiset difference of the records of two files, whatever their order; `body_*` are offsets after the header.

    Line ends are not part of a record, so neither their style nor a missing last one is a difference. Give
    `one_line_old` when it is known that every record of the old file stands on one line: equal stretches then
    need no look at quotes. `spill` (default: memory) is used for reordered files. `shard` maps a record to bytes
    that differing versions of one row share, such as its key cell; those then come out near each other.
    Raises RecordTooLong.
    """
    splitter = RecordSplitter(quote, separator)
    walk = _Walk(
        _Side(old, body_old, splitter, record_bytes), _Side(new, body_new, splitter, record_bytes),
        cut=last_line_end if one_line_old else splitter.last_end, window=window,
    )
    while walk.next_difference():
        walk.meet_again()
        if walk.left.cost > leftover_bytes:
            yield from _partitioned(walk, spill or MemorySpill(), shard)
            return
    for line, record in in_line_order(walk.left.old):
        yield Removed(Slice(line, record + b"\n"))
    for line, record in in_line_order(walk.left.new):
        yield Added(Slice(line, record + b"\n"))


class _Side:
    """A position in one file: always at the start of a record."""

    def __init__(self, view: ByteView, body: int, splitter: RecordSplitter, record_bytes: int) -> None:
        self._read = view.read
        self._splitter = splitter
        self.record_bytes = record_bytes
        self.end = view.size
        while self.end > body and view.read(self.end - 1, 1) == _DOS_END:
            self.end -= 1
        head = view.read(0, body)
        self.at = body
        self.line = 1 + line_count(head, len(head))

    def peek(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""
        size = min(size, self.end - self.at)
        data = self._read(self.at, size)
        if len(data) != size:
            raise ValueError(f"The file gave {len(data)} bytes at {self.at} instead of {size}.")
        return data

    def ends_with(self, data: bytes) -> bool:
        """Whether nothing follows the peeked bytes."""
        return self.at + len(data) >= self.end

    def block(self, width: int) -> Block:
        """The complete records in the next `width` bytes, at least one unless the file is at its end."""
        while True:
            data = self.peek(width)
            if self.ends_with(data):
                return self._splitter.final(data)
            block = self._splitter.complete(data)
            if block.records:
                return block
            width = self.wider(width)

    def wider(self, width: int) -> int:
        """Twice the width, because one record does not fit. Raises RecordTooLong."""
        if width > self.record_bytes:
            raise RecordTooLong(self.line, self.record_bytes)
        return width * 2

    def advance(self, size: int, lines: int) -> None:
        """Go on behind bytes that hold this many line ends."""
        self.at += size
        self.line += lines

    def numbered(self, block: Block, start: int, stop: int) -> list[int]:
        """The file lines of some records of a block that begins here."""
        return [self.line + line for line in block.lines[start:stop]]

    def pass_block(self, block: Block, count: int) -> None:
        """Go on behind the first `count` records of a block that begins here."""
        self.advance(block.size(count), block.line_after(count))


class _Walk:
    """Goes through both files side by side and collects what is left over."""

    def __init__(self, old: _Side, new: _Side, *, cut: Callable[[bytes, int], int], window: int) -> None:
        self.old = old
        self.new = new
        self.left = Leftovers()
        self._cut = cut
        self._window = window
        self._stride = window
        self._near = min(_NEAR_BYTES, window)
        self._width = self._near

    def next_difference(self) -> bool:
        """Skip what is equal; False when both files end there."""
        size = self._stride
        while True:
            old, new = self.old.peek(size), self.new.peek(size)
            if old != new:
                self._skip(old, self._cut(old, first_difference(old, new)))
                return True
            at_end = self.old.ends_with(old), self.new.ends_with(new)
            if all(at_end):
                return False
            cut = self._cut(old, len(old))
            if cut:
                self._skip(old, cut)
                size = min(size * 2, self._window)
            elif any(at_end):
                return True
            else:
                size = self.old.wider(size)

    def _skip(self, data: bytes, cut: int) -> None:
        lines = line_count(data, cut)
        self.old.advance(cut, lines)
        self.new.advance(cut, lines)

    def meet_again(self) -> None:
        """Go on behind the last common record ahead, or behind all that was looked at when there is none."""
        widest = self._window * _WIDEST_WINDOWS
        while True:
            old, new = self.old.block(self._width), self.new.block(self._width)
            place = {record: number for number, record in enumerate(new.records, start=1)}
            for number in range(len(old.records), 0, -1):
                other = place.get(old.records[number - 1])
                if other is not None:
                    self._width = self._stride = self._near
                    self._leave(old, number, new, other)
                    return
            at_end = self.old.ends_with(old.text) and self.new.ends_with(new.text)
            if self._width >= widest or at_end:
                # The next try starts this wide: files that differ here usually differ for a while.
                self._leave(old, len(old.records), new, len(new.records))
                return
            self._width = min(self._width * 4, widest)

    def _leave(self, old: Block, old_count: int, new: Block, new_count: int) -> None:
        fewer = min(old_count, new_count)
        same = 0
        while same < fewer and old.records[same] == new.records[same]:
            same += 1
        # From here on counted from behind: the common record itself and equal ones before it.
        old_stop, new_stop = old_count, new_count
        while min(old_stop, new_stop) > same and old.records[old_stop - 1] == new.records[new_stop - 1]:
            old_stop -= 1
            new_stop -= 1
        self.left.take(
            old.records[same:old_stop], self.old.numbered(old, same, old_stop),
            new.records[same:new_stop], self.new.numbered(new, same, new_stop),
        )
        self.old.pass_block(old, old_count)
        self.new.pass_block(new, new_count)


def first_difference(one: bytes, other: bytes) -> int:
    """Length of the common prefix, found by halving."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _partitioned(walk: _Walk, spill: Spill, shard: Shard | None) -> Iterator[Difference]:
    """What is left over and what remains of both files, compared by buckets."""
    size = walk.old.end - walk.old.at + walk.new.end - walk.new.at + walk.left.cost
    partition = Partition(spill, size, shard)
    for number, (side, waiting) in enumerate(((walk.old, walk.left.old), (walk.new, walk.left.new))):
        pairs = list(in_line_order(waiting))
        waiting.clear()
        partition.add(number, [record for _, record in pairs], [line for line, _ in pairs])
        while side.at < side.end:
            block = side.block(_PARTITION_BYTES)
            partition.add(number, block.records, block.lines, side.line)
            side.pass_block(block, len(block.records))
    for number, found in partition.differences():
        kind = Added if number else Removed
        for line, record in found:
            yield kind(Slice(line, record + b"\n"))
