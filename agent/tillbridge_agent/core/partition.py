"""Multiset difference of reordered files in bounded memory: records go to buckets, buckets are compared one by one.

A bucket holds all equal records of both files, so buckets can be judged by themselves. Pieces of a bucket are
spilled with the line of each record.
"""

import struct
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import filterfalse
from typing import Protocol
from zlib import crc32

BUCKET_BYTES = 4 << 20
BUCKETS_MAX = 1024
_HEAD = struct.Struct("<QII?")

Shard = Callable[[bytes], bytes]


class Spill(Protocol):
    """A place for pieces of bytes by bucket number, given by the shell; used once and then thrown away."""

    def append(self, bucket: int, data: bytes) -> None:
        """Add a piece to a bucket."""

    def read(self, bucket: int) -> Iterable[bytes]:
        """The pieces of a bucket, in the order and with the boundaries in which they were appended; repeatable."""


class MemorySpill:
    """Keeps the pieces in memory: for small files and tests; memory grows with what is appended."""

    def __init__(self) -> None:
        self._pieces: dict[int, list[bytes]] = {}

    def append(self, bucket: int, data: bytes) -> None:
        """Add a piece to a bucket."""
        self._pieces.setdefault(bucket, []).append(data)

    def read(self, bucket: int) -> Iterable[bytes]:
        """The pieces of a bucket as appended."""
        return self._pieces.get(bucket, [])


class Partition:
    """Spreads the records of two files over buckets of about BUCKET_BYTES; `size` is what is expected in all."""

    def __init__(self, spill: Spill, size: int, shard: Shard | None) -> None:
        self._spill = spill
        self._shard = shard
        self._buckets = 1
        while self._buckets < BUCKETS_MAX and self._buckets * BUCKET_BYTES < size:
            self._buckets *= 2

    def add(self, side: int, records: Sequence[bytes], lines: Sequence[int], first: int = 0) -> None:
        """Spill records of the old (0) or the new (1) file; `lines` are their file lines, counted from `first`."""
        # Nearly always each record is one line: a place in the block then says the line as well.
        counted = lines == range(len(records))
        mask = self._buckets - 1
        hashed: Iterable[bytes] = records if self._shard is None else map(self._shard, records)
        members: list[list[int]] = [[] for _ in range(self._buckets)]
        for position, number in enumerate(map(crc32, hashed)):
            members[number & mask].append(position)
        for number, positions in enumerate(members):
            if positions:
                part = [records[position] for position in positions]
                numbers = positions if counted else [lines[position] for position in positions]
                self._spill.append(2 * number + side, _pack(part, numbers, first))

    def differences(self) -> Iterator[tuple[int, list[tuple[int, bytes]]]]:
        """Side, and (line, record) of records that the other file has less often, some at a time."""
        for bucket in range(self._buckets):
            old, new = self._counted(2 * bucket), self._counted(2 * bucket + 1)
            # Removed and added stay together so that whoever pairs them has little to remember.
            yield from self._lines_of(0, 2 * bucket, _surplus(old, new))
            yield from self._lines_of(1, 2 * bucket + 1, _surplus(new, old))

    def _counted(self, place: int) -> Counter[bytes]:
        counts: Counter[bytes] = Counter()
        for piece in self._spill.read(place):
            counts.update(_unpack(piece)[0])
        return counts

    def _lines_of(self, side: int, place: int, more: dict[bytes, int]) -> Iterator[tuple[int, list[tuple[int, bytes]]]]:
        if not more:
            return
        for piece in self._spill.read(place):
            records, lines, first = _unpack(piece)
            if more.keys().isdisjoint(records):
                continue
            found: list[tuple[int, bytes]] = []
            for line, record in zip(lines, records, strict=True):
                left = more.get(record)
                if left:
                    more[record] = left - 1
                    found.append((first + line, record))
            yield side, found


def _surplus(mine: Counter[bytes], other: Counter[bytes]) -> dict[bytes, int]:
    """How many more of each record are in `mine`."""
    if mine.total() == len(mine):
        return dict.fromkeys(filterfalse(other.__contains__, mine), 1)
    return {record: count - other[record] for record, count in mine.items() if count > other[record]}


def _pack(records: list[bytes], lines: list[int], first: int) -> bytes:
    """One piece: lengths only where a record holds the byte that joins them."""
    joined = b"\n".join(records)
    plain = joined.count(b"\n") == len(records) - 1
    sizes = b"" if plain else array("Q", map(len, records)).tobytes()
    head = _HEAD.pack(first, len(records), len(sizes), plain)
    return head + array("Q", lines).tobytes() + sizes + (joined if plain else b"".join(records))


def _unpack(piece: bytes) -> tuple[list[bytes], "array[int]", int]:
    """Records, their lines, and what these are counted from."""
    first, count, size_bytes, plain = _HEAD.unpack_from(piece)
    at = _HEAD.size
    lines = array("Q")
    lines.frombytes(piece[at:at + 8 * count])
    at += 8 * count
    if plain:
        return piece[at:].split(b"\n"), lines, first
    sizes = array("Q")
    sizes.frombytes(piece[at:at + size_bytes])
    at += size_bytes
    records: list[bytes] = []
    for size in sizes:
        records.append(piece[at:at + size])
        at += size
    return records, lines, first
