"""Block compare against a byte-by-byte reader: the same records, the same lines, whatever the file looks like."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from tests.fakes.tables import HEADER, body_of, read_records, versions

from tillbridge_agent.core import blockcompare
from tillbridge_agent.core.blockcompare import Added, ByteView, RecordTooLong, Removed, Slice, compare, first_difference
from tillbridge_agent.core.partition import MemorySpill, Partition
from tillbridge_agent.core.recordsplit import RecordSplitter, line_count
from tillbridge_agent.store.spill import DiskSpill

CASES = 1_200


def view(data: bytes) -> ByteView:
    """Bytes as a file that is read at offsets."""
    return ByteView(lambda at, size: data[at:at + size], len(data))


def differ(old: bytes, new: bytes, **options: object) -> list[Removed | Added]:
    """The differences of two files of the tiny export, with small windows."""
    settings: dict[str, object] = {
        "quote": b'"', "separator": b";", "body_old": body_of(old), "body_new": body_of(new), "window": 16, **options
    }
    return list(compare(view(old), view(new), **settings))  # type: ignore[arg-type]


def check(old: bytes, new: bytes, **options: object) -> list[Removed | Added]:
    """Compare, and hold it against the multisets of a reader that knows no tricks."""
    found = differ(old, new, **options)
    before, after = (read_records(data[body_of(data):], 2) for data in (old, new))
    had, has = (Counter(record for _, record in records) for records in (before, after))
    for kind, expected, records in ((Removed, had - has, before), (Added, has - had, after)):
        slices = [difference.slice for difference in found if type(difference) is kind]
        assert Counter(piece.data for piece in slices) == Counter(
            {record + b"\n": count for record, count in expected.items()}
        )
        lines = [(piece.line, piece.data[:-1]) for piece in slices]
        assert set(lines) <= set(records), "each stands on the line it names"
        assert len(set(lines)) == len(lines), "no row is named twice"
    return found


def garbage(rng: Random) -> bytes:
    """Bytes that no till wrote: quotes and line ends anywhere."""
    return HEADER + b"\n" + b"".join(
        rng.choice((b"A", b"B", b";", b'"', b'"', b"\n", b"\r", b"\r\n", b'";"', b'\n"', b"\x1a", b"12345678"))
        for _ in range(rng.randrange(40))
    )


def mangled(rng: Random, data: bytes) -> bytes:
    """The same file with a small wound."""
    at = rng.randrange(len(HEADER) + 1, len(data) + 1)
    return data[:at] + rng.choice((b"", b'"', b"\n", b"A;1\n", b'"\n"', b"\r")) + data[at + rng.randrange(3):]


def options(rng: Random) -> dict[str, object]:
    """Windows and bounds small enough that every path is taken."""
    return {
        "window": rng.choice((1, 3, 8, 16, 64)),
        "leftover_bytes": rng.choice((0, 600, 10_000)),
        "shard": rng.choice((None, lambda record: record.split(b";")[0])),
    }


@pytest.mark.parametrize("seed", range(4))
def test_versions_of_a_table(seed: int) -> None:
    """Edited, doubled, moved and shuffled tables with all line ends."""
    rng = Random(seed)
    for _ in range(CASES // 4):
        old, *later = versions(rng, 5)
        for new in later:
            one_line = all(b"\n" not in record and b"\r" not in record for _, record in read_records(old))
            check(old, new, **options(rng), one_line_old=one_line and rng.random() < 0.5)
            old = new


@pytest.mark.parametrize("seed", range(4))
def test_garbage(seed: int) -> None:
    """Nothing that stands in a file makes it lose or invent a record."""
    rng = Random(seed)
    for _ in range(CASES):
        old = garbage(rng)
        check(old, rng.choice((garbage(rng), mangled(rng, old), mangled(rng, old))), **options(rng))


def test_no_quotes_at_all() -> None:
    """Where quotes have no meaning, every line is a record."""
    rng = Random(7)
    for _ in range(CASES // 4):
        old, new = versions(rng, 2)
        found = differ(old, new, quote=None, window=8)
        lines = [Counter(data[body_of(data):].rstrip(b"\x1a").splitlines()) for data in (old, new)]
        assert Counter(d.slice.data[:-1] for d in found if isinstance(d, Removed)) == lines[0] - lines[1]
        assert Counter(d.slice.data[:-1] for d in found if isinstance(d, Added)) == lines[1] - lines[0]


def table(rows: list[bytes], end: bytes = b"\n") -> bytes:
    """A file of these rows."""
    return end.join([HEADER, *rows, b""])


def test_a_changed_row_is_named_with_both_lines() -> None:
    """Removed rows carry lines of the old file, added ones of the new."""
    assert differ(table([b"A;1", b"B;2", b"C;3"]), table([b"N;0", b"A;1", b"B;5", b"C;3"])) == [
        Removed(Slice(3, b"B;2\n")), Added(Slice(2, b"N;0\n")), Added(Slice(4, b"B;5\n")),
    ]


@pytest.mark.parametrize(("old", "new"), [
    (table([b"A;1", b"B;2"]), table([b"A;1", b"B;2"])[:-1]),
    (table([b"A;1", b"B;2"]), table([b"A;1", b"B;2"], b"\r\n")),
    (table([b"A;1", b"B;2"], b"\r"), table([b"A;1", b"B;2"], b"\r\n")),
    (table([b"A;1", b"B;2"]), table([b"B;2", b"A;1"])),
    (table([b"A;1"]), table([b"A;1"]) + b"\x1a"),
    (table([]), table([])),
])
def test_what_is_no_difference(old: bytes, new: bytes) -> None:
    """Order, line ends and the last line end do not matter."""
    assert check(old, new) == []
    assert check(new, old) == []


def test_an_inch_mark_opens_no_cell() -> None:
    """A quote inside a cell is text, as for the reader."""
    old, new = table([b'A;pipe 3";1', b"B;2", b"C;3"]), table([b'A;pipe 3";1', b"B;9", b"C;3"])
    assert differ(old, new) == [Removed(Slice(3, b"B;2\n")), Added(Slice(3, b"B;9\n"))]


def test_lines_inside_quotes_are_counted() -> None:
    """Lines are those an editor shows."""
    old = table([b'A;"1\r\n2\n3"', b"B;2"])
    assert differ(old, old + b"C;3") == [Added(Slice(6, b"C;3\n"))]


def test_one_of_two_equal_rows_is_a_difference() -> None:
    """It is a difference of multisets, not of sets."""
    assert differ(table([b"A;1", b"A;1"]), table([b"A;1"])) == [Removed(Slice(3, b"A;1\n"))]


def shuffled(count: int) -> tuple[bytes, bytes]:
    """A table, and the same reordered with one row gone and one new."""
    rng = Random(3)
    rows = [b'%d;%d;"text; %d"' % (i, i * 7, i) for i in range(count)]
    moved = rng.sample(rows, len(rows))
    return table(rows), table([b"new;1", *moved[5:], *moved[:4]])


def test_a_shuffled_file_goes_through_the_spill(tmp_path: Path) -> None:
    """Reordered files are compared by buckets on disk, and the disk is clean after."""
    old, new = shuffled(4_000)
    with DiskSpill(tmp_path) as spill:
        found = check(old, new, window=64, leftover_bytes=20_000, spill=spill)
        assert any(True for _ in spill.read(0)), "the partition was used"
    assert len(found) == 2
    assert list(tmp_path.iterdir()) == []


def test_memory_stays_bounded_when_nothing_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leftovers stop at their bound however long the files are."""
    seen: list[int] = []
    take = blockcompare.Leftovers.take

    def watched(self: blockcompare.Leftovers, *args: object) -> None:
        take(self, *args)  # type: ignore[arg-type]
        seen.append(self.cost)

    monkeypatch.setattr(blockcompare.Leftovers, "take", watched)
    old = table([b"%d;1" % i for i in range(3_000)])
    new = table([b"%d;2" % i for i in range(3_000)])
    assert len(differ(old, new, window=64, leftover_bytes=20_000)) == 6_000
    # One widest look (16 windows on each side) may be taken beyond the bound, never more.
    assert max(seen) < 20_000 + 2 * 16 * 64 * 50 < 3_000 * 250


def test_pieces_of_a_row_come_out_together_with_a_shard() -> None:
    """Both versions of a row come out of one bucket."""
    old = table([b"%d;1" % i for i in range(5_000)])
    new = table([b"%d;2" % i for i in range(5_000)])
    found = differ(old, new, leftover_bytes=0, shard=lambda record: record.split(b";")[0])
    waiting: set[bytes] = set()
    for difference in found:
        waiting ^= {difference.slice.data.split(b";")[0]}
    assert not waiting
    assert len(found) == 10_000


def test_a_quote_that_never_closes_ends_at_the_bound() -> None:
    """It is told with its line instead of reading the rest of the file into memory."""
    old = table([b"A;1"] * 50)
    new = table([b'A;"1'] + [b"A;1"] * 200)
    with pytest.raises(RecordTooLong, match="line 2 is longer than 100 bytes"):
        differ(old, new, record_bytes=100)


def test_a_file_that_shrinks_while_it_is_compared_is_our_bug() -> None:
    """Only private copies are compared."""
    data = table([b"A;1"])
    short = ByteView(lambda at, size: data[at:at + size], len(data) + 5)
    with pytest.raises(ValueError, match="instead of"):
        list(compare(short, view(data), quote=None, separator=b";", body_old=0, body_new=0))


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_spill_gives_back_what_it_got(on_disk: bool, tmp_path: Path) -> None:
    """Pieces keep their order and boundaries, however often they are read."""
    with DiskSpill(tmp_path) as disk:
        spill = disk if on_disk else MemorySpill()
        for bucket, piece in ((1, b"one"), (0, b"zero"), (1, b""), (1, b"more")):
            spill.append(bucket, piece)
        for _ in range(2):
            assert list(spill.read(1)) == [b"one", b"", b"more"]
            assert list(spill.read(0)) == [b"zero"]
            assert list(spill.read(5)) == []


def test_records_with_line_ends_survive_a_partition() -> None:
    """Quoted line ends do not cut a record in two on its way through the spill."""
    partition = Partition(MemorySpill(), 1 << 24, None)
    partition.add(0, [b'a;"x\ny"', b"", b"b"], [4, 6, 7])
    partition.add(1, [b"b", b"b", b""], [2, 3, 4])
    assert sorted(partition.differences()) == [(0, [(4, b'a;"x\ny"')]), (1, [(2, b"b")])]


@pytest.mark.parametrize(("text", "count"), [
    (b"", 0), (b"a\nb\n", 2), (b"a\r\nb\r\n", 2), (b"a\rb\r", 2), (b"a\r\n\rb\n\r", 4), (b"a\r\nb\rc\nd", 3),
])
def test_line_count(text: bytes, count: int) -> None:
    """Each of the three line ends counts once."""
    assert line_count(text, len(text)) == count


@pytest.mark.parametrize(("separator", "quote"), [(b"||", b'"'), (b"\t", b"'"), (b";", "«".encode())])
def test_longer_separators_and_quotes(separator: bytes, quote: bytes) -> None:
    """Separators and quotes of several bytes work too."""
    text = separator.join((b"a", quote + b"x\n" + quote * 2 + separator + b"y" + quote, b"b" + quote)) + b"\nnext\n"
    block = RecordSplitter(quote, separator).complete(text + separator + quote + b"open\n")
    assert block.records == [text[:-6], b"next"]
    assert list(block.lines) == [0, 2]


def test_first_difference() -> None:
    """The length of the common prefix."""
    assert [first_difference(*pair) for pair in ((b"", b""), (b"ab", b"ab"), (b"ab", b"abc"), (b"xb", b"ab"))] == [
        0, 2, 2, 0]
