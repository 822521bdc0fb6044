"""Changes and batches: frozen once, opened within bounds, and each change that cannot be read is one dead letter."""

import gzip
import hashlib
import json
import tracemalloc
import zlib
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol import made
from tests.unit.protocol.make_vectors import stored_gzip

from tillbridge_protocol import changes as c
from tillbridge_protocol.errors import CODES, ProtocolError
from tillbridge_protocol.limits import BATCH_UNPACKED_BYTES_MAX, FILE_NAME_BYTES_MAX, KEY_CHARS_MAX, ROW_TEXT_BYTES_MAX
from tillbridge_protocol.records import Price, StockLevel

STOCK = c.Change("stock", "stock_level", "0001", "put", StockLevel("0001", Decimal(3)))
FEEDS = {"stock": c.FeedInfo("pos"), "journal": c.FeedInfo("pos", config="ab", absence="nothing")}


def frozen(*raw: bytes, seq: int = 1, prev: str = c.NO_HEAD, full: c.FullPart | None = None) -> c.FrozenBatch:
    """A batch of these encoded changes."""
    return c.freeze(
        agent="agent", location="bern", epoch="epoch-1", seq=seq, prev=prev, feeds=FEEDS, full=full, changes=raw
    )


def packed(**fields: Any) -> bytes:
    """A batch as another agent may send it; None leaves a field out."""
    plain = {
        "v": 1, "agent": "agent", "location": "bern", "epoch": "e", "seq": 1, "prev": "",
        "feeds": {"stock": {"numbering": "pos"}}, "full": None, "changes": [],
    } | fields
    return gzip.compress(json.dumps({name: value for name, value in plain.items() if value != "absent"}).encode())


def batch_code(body: bytes) -> str:
    """The code with which a batch as a whole is refused."""
    with pytest.raises(ProtocolError) as caught:
        c.open_batch(body)
    assert caught.value.code in CODES
    return caught.value.code


def dead(raw: bytes | dict[str, Any]) -> str:
    """The code of the dead letter a change becomes."""
    with pytest.raises(ProtocolError) as caught:
        c.decode_change(raw if isinstance(raw, bytes) else json.dumps(raw).encode())
    return caught.value.code


def as_json(change: c.Change) -> dict[str, Any]:
    """The change as JSON, for a test to break."""
    plain: dict[str, Any] = json.loads(c.encode_change(change))
    return plain


def zeros(size: int) -> bytes:
    """So many NUL bytes as gzip, made without holding them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    portion = bytes(1024 * 1024)
    parts = [packer.compress(portion[: min(len(portion), size - at)]) for at in range(0, size, len(portion))]
    return b"".join(parts) + packer.flush()


def short(value: object) -> str:
    """A test's name, not its megabytes."""
    return repr(value)[:40]


# -- batches -----------------------------------------------------------------------------------------------------

@given(st.lists(made.changes, max_size=5), st.integers(1, 10**9), st.booleans())
def test_what_was_frozen_is_opened(changes: list[c.Change], seq: int, is_full: bool) -> None:
    """Every change comes back as it was captured, in its order; the head is the hash of the bytes."""
    full = c.FullPart(feed="stock", id="f1", part=0, last=True) if is_full else None
    prev = hashlib.sha256(b"before").hexdigest()
    batch = frozen(*(c.encode_change(change) for change in changes), seq=seq, prev=prev, full=full)
    opened = c.open_batch(batch.body)
    assert [c.decode_change(raw) for raw in opened.changes] == changes
    assert (opened.epoch, opened.seq, opened.prev, opened.full) == ("epoch-1", seq, prev, full)
    assert opened.feeds == FEEDS
    assert batch.head == c.head_of(batch.body) == hashlib.sha256(batch.body).hexdigest()


def test_freezing_is_deterministic() -> None:
    """The same input gives the same bytes, whatever order the feeds came in and whatever the time."""
    again = c.freeze(
        agent="agent", location="bern", epoch="epoch-1", seq=1, prev="", feeds=dict(reversed(FEEDS.items())), full=None,
        changes=[c.encode_change(STOCK)],
    )
    first = frozen(c.encode_change(STOCK))
    assert first == again
    assert first.body[4:8] == b"\0\0\0\0"  # no time in the gzip header


def test_everything_before_a_batch_is_in_its_head() -> None:
    """The chain: one other byte in an earlier batch changes every later head."""
    heads = []
    for count in (3, 4):
        change = c.encode_change(msgspec.structs.replace(STOCK, record=StockLevel("0001", Decimal(count))))
        first = frozen(change)
        heads.append((first.head, frozen(seq=2, prev=first.head).head))
    assert heads[0][0] != heads[1][0]
    assert heads[0][1] != heads[1][1]


def test_a_bomb_is_not_unpacked() -> None:
    """A megabyte that would become a gigabyte is refused, and the memory stays within the bound."""
    bomb = zeros(4 * BATCH_UNPACKED_BYTES_MAX)
    assert len(bomb) < 1024 * 1024
    tracemalloc.start()
    try:
        assert batch_code(bomb) == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 2.5 * BATCH_UNPACKED_BYTES_MAX
    finally:
        tracemalloc.stop()


def test_the_bound_itself_is_allowed() -> None:
    """Exactly the bound unpacks (and is then no JSON), one byte more does not."""
    assert batch_code(zeros(BATCH_UNPACKED_BYTES_MAX)) == "malformed"
    assert batch_code(zeros(BATCH_UNPACKED_BYTES_MAX + 1)) == "too_large"


GOOD = frozen(c.encode_change(STOCK)).body


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_a_cut_batch_is_malformed(length: int) -> None:
    """At whatever byte it was cut."""
    assert batch_code(GOOD[:length]) == "malformed"


@pytest.mark.parametrize("body", [GOOD + b"\0", GOOD + b"junk", GOOD + GOOD, zlib.compress(b"{}"), b"{}"], ids=short)
def test_a_tail_or_no_gzip_is_malformed(body: bytes) -> None:
    """One gzip member and nothing else."""
    assert batch_code(body) == "malformed"


@pytest.mark.parametrize("fields", [
    {"seq": 0}, {"seq": "1"}, {"seq": 1.5}, {"prev": "abc"}, {"prev": "A" * 64}, {"prev": "a" * 64 + "\n"},
    {"epoch": ""}, {"epoch": 'a"b'}, {"epoch": "e\n"}, {"agent": ""}, {"agent": "absent"}, {"feeds": "absent"},
    {"feeds": {"stock": {}}}, {"feeds": {"": {"numbering": "pos"}}}, {"feeds": {"stock": {"numbering": "po\0s"}}},
    {"feeds": {"stock": {"numbering": "a:b"}}},
    {"feeds": {"stock": {"numbering": "pos", "absence": "delete"}}}, {"changes": "absent"}, {"changes": {}},
    {"v": "1"}, {"v": "absent"}, {"full": {"feed": "stock", "id": "f", "part": -1, "last": True}},
    {"full": {"feed": "prices", "id": "f", "part": 0, "last": True}}, {"full": {"feed": "stock"}}, {"location": "b\0"},
])
def test_a_batch_of_another_form_is_malformed(fields: dict[str, Any]) -> None:
    """The frame of a batch is checked as a whole, before any change is looked at."""
    assert c.open_batch(packed()).seq == 1
    assert batch_code(packed(**fields)) == "malformed"


@pytest.mark.parametrize("plain", [
    b"", b"[]", b"null", b"\xff", b'{"v":1', b'{"v":1} {"v":1}', b'{"v":1,"x":' + b"[" * 100_000,
], ids=short)
def test_hostile_json_is_malformed(plain: bytes) -> None:
    """Nesting without end, bad UTF-8, cut and doubled documents: a refusal, never a crash."""
    assert batch_code(stored_gzip(plain)) == "malformed"


def test_another_version_is_told_first() -> None:
    """Also when the rest of the batch has changed its form since."""
    assert batch_code(packed(v=2)) == "version"
    assert batch_code(packed(v=2, seq="absent", changes={"by": "feed"})) == "version"


def test_fields_a_later_agent_added_are_tolerated() -> None:
    """In the frame, in the feeds, in a change and in its source."""
    extra = {"new": {"thing": [1, 2]}}
    change = as_json(STOCK) | {"source": {"file": "A", **extra}, **extra}
    opened = c.open_batch(packed(**extra, feeds={"stock": {"numbering": "pos", **extra}}, changes=[change]))
    assert c.decode_change(opened.changes[0]) == msgspec.structs.replace(STOCK, source=c.Source(file="A"))


# -- single changes ----------------------------------------------------------------------------------------------

def test_a_change_nobody_knows_is_one_dead_letter() -> None:
    """The others of its batch decode."""
    unknown = b'{"feed":"stock","kind":"colour_card","key":"7","op":"put","record":{"kind":"colour_card","code":"7"}}'
    batch = c.open_batch(frozen(c.encode_change(STOCK), unknown, b"5", c.encode_change(STOCK)).body)
    outcomes = []
    for raw in batch.changes:
        try:
            outcomes.append(c.decode_change(raw).kind)
        except ProtocolError as error:
            outcomes.append(error.code)
    assert outcomes == ["stock_level", "change_unknown", "change_malformed", "stock_level"]


@pytest.mark.parametrize("change", [
    {"feed": "f", "kind": "colour_card", "key": "7", "op": "gone"},
    {"feed": "f", "kind": "colour_card", "key": "7", "op": "put", "record": {"kind": "colour_card"}},
    {"feed": "f", "kind": "colour_card", "key": "7", "op": "put", "record": {"kind": "price", "code": "7"}},
    {"feed": "f", "kind": "colour_card", "key": "7", "op": "merge", "with": "8"},
    {"kind": "colour_card"},
])
def test_an_unknown_kind_is_unknown_whatever_else_it_holds(change: dict[str, Any]) -> None:
    """The kind decides, because a new kind may bring a new form."""
    assert dead(change) == "change_unknown"


MALFORMED: dict[str, dict[str, Any]] = {
    "no feed": {"feed": "absent"}, "empty feed": {"feed": ""}, "no key": {"key": "absent"}, "empty key": {"key": ""},
    "endless key": {"key": "x" * (KEY_CHARS_MAX + 1)}, "number as key": {"key": 1}, "no kind": {"kind": "absent"},
    "unknown op": {"op": "merge"}, "no record": {"record": None}, "record left out": {"record": "absent"},
    "record of another kind": {"record": {"kind": "cost", "code": "0001", "cost": "1", "currency": "CHF"}},
    "record of an unknown kind": {"record": {"kind": "colour_card", "code": "0001"}},
    "record of another key": {"record": {"kind": "stock_level", "code": "1", "on_hand": "1"}},
    "record without its number": {"record": {"kind": "stock_level", "code": "0001"}},
    "NUL in a name": {"feed": "st\0ck"}, "NUL in the text": {"source": {"text": "a\0b"}},
    "endless text": {"source": {"text": "x" * (ROW_TEXT_BYTES_MAX + 1)}},
    "endless file name": {"source": {"file": "x" * (FILE_NAME_BYTES_MAX + 1)}},
    "endless hash": {"source": {"sha256": "x" * 65}}, "line before the first": {"source": {"line": -1}},
    "naive time": {"source": {"captured_at": "2026-03-14T09:26:53"}},
    "before the calendar": {"record": {
        "kind": "stock_level", "code": "0001", "on_hand": "1",
        "as_of": {"from": "0001-01-01T00:00:00+05:00", "to": "2026-03-14T09:26:53Z", "kind": "data"},
    }},
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_change_is_a_dead_letter(what: str) -> None:
    """What cannot be a change of this protocol is set aside with its reason."""
    change = {name: value for name, value in (as_json(STOCK) | MALFORMED[what]).items() if value != "absent"}
    assert dead(change) == "change_malformed"


@pytest.mark.parametrize("number", [
    '"NaN"', '"sNaN"', '"Infinity"', '"-Infinity"', '"1E+3"', '"1e5"', '"1E-2"', '"1_000"', '" 1"', '"1 "', '"+1"',
    '".5"', '"5."', '"1,5"', '"\u0661"', '""', '"0x10"', '"' + "9" * 31 + '"', "3", "1.5", "1e400", "NaN", "true",
    "null", "[]", '"1\\n"',
])
def test_a_number_that_is_no_plain_decimal_text_is_a_dead_letter(number: str) -> None:
    """Money and quantities are strings in plain notation: nothing to round, nothing to guess."""
    text = json.dumps(as_json(STOCK)).replace('"on_hand": "3"', f'"on_hand": {number}')
    assert f'"on_hand": {number}' in text
    assert dead(text.encode()) == "change_malformed"


@pytest.mark.parametrize("raw", [
    b"", b"{", b"[]", b"null", b'"put"', b"\xff", b'{"feed":"\xff"}', b'{"feed":"\\ud800"}',
    b'{"feed":' + b"[" * 100_000, b'{"feed":"f","kind":"price","key":"k","op":"gone"} x',
], ids=short)
def test_hostile_json_in_a_change_is_a_dead_letter(raw: bytes) -> None:
    """Nothing in one change can stop the batch it came in."""
    assert dead(raw) == "change_malformed"


@given(st.binary(max_size=120))
def test_no_bytes_are_a_crash(raw: bytes) -> None:
    """Any bytes end in a documented code, as a change and as a batch."""
    assert dead(raw) == "change_malformed"
    assert batch_code(raw) == "malformed"


def test_a_backslash_is_no_nul() -> None:
    """The six characters \\u0000 in a row are text like any other."""
    text = r"C:\u0000 and \\u0000"
    change = msgspec.structs.replace(STOCK, source=c.Source(text=text))
    assert c.decode_change(c.encode_change(change)).source.text == text


def test_no_exponent_or_nan_leaves_the_agent() -> None:
    """Decimals are written plain, and what cannot be written never becomes a record."""
    price = Price("1", Decimal("1E+2"), "CHF", sale_price=Decimal("9.5E+1"))
    assert b"E+" not in c.encode_change(made.put(price))
    assert c.decode_change(c.encode_change(made.put(price))).record == Price("1", Decimal(100), "CHF", Decimal(95))
    with pytest.raises(ValueError, match="NaN"):
        msgspec.structs.replace(price, list_price=Decimal("NaN"))


# -- evidence ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "kept"), [
    ("", 0), ("a" * ROW_TEXT_BYTES_MAX, ROW_TEXT_BYTES_MAX), ("a" * (ROW_TEXT_BYTES_MAX + 1), ROW_TEXT_BYTES_MAX),
    ("\u00e4" * 512, 512), ("\u00e4" * 600, 512), ("a" + "\u00e4" * 600, 512), ("\U0001f528" * 300, 256),
    ("abc" + "\U0001f528" * 300, 258), ("a" * 10_000_000, ROW_TEXT_BYTES_MAX),
], ids=short)
def test_row_text_is_cut_at_a_border_of_utf8(text: str, kept: int) -> None:
    """At most so many bytes, never half a character, and always the beginning of the row."""
    change = msgspec.structs.replace(STOCK, source=c.Source(text=text, line=7))
    source = c.decode_change(c.encode_change(change)).source
    assert source == c.Source(text=text[:kept], line=7)
    assert len(source.text.encode()) <= ROW_TEXT_BYTES_MAX


@given(st.text(max_size=400), st.text(max_size=2_000))
def test_evidence_never_makes_a_change_unreadable(file: str, text: str) -> None:
    """File names that are no UTF-8 and texts with NUL are kept as well as they can be shown."""
    change = msgspec.structs.replace(STOCK, source=c.Source(file=file, text=text))
    back = c.decode_change(c.encode_change(change))
    assert (back.key, back.record) == (STOCK.key, STOCK.record)
    assert len(back.source.text.encode()) <= ROW_TEXT_BYTES_MAX
    assert len(back.source.file.encode()) <= FILE_NAME_BYTES_MAX


def test_what_cannot_be_shown_is_marked() -> None:
    """A shopkeeper sees that something stood there."""
    change = msgspec.structs.replace(STOCK, source=c.Source(file="Pr\udce9is.csv", text="1\x002"))
    assert c.decode_change(c.encode_change(change)).source == c.Source(file="Pr?is.csv", text="1\u24002")
