"""Changes and the frozen, hash-chained batches that carry them.

A batch is frozen once: `freeze` makes its bytes, and every retry sends those bytes. `head` is the SHA-256
of the bytes as sent, the very digest the signature covers; each batch names its predecessor's head, so a
(epoch, seq, head) triple stands for everything sent in that epoch. Changes are decoded one by one, so that
an unknown kind becomes one dead letter and not a lost batch.
"""

import gzip
import hashlib
import re
import typing
import zlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from tillbridge_protocol.errors import UNREADABLE, ProtocolError
from tillbridge_protocol.limits import (
    BATCH_UNPACKED_BYTES_MAX,
    COUNT_MAX,
    FILE_NAME_BYTES_MAX,
    KEY_CHARS_MAX,
    ROW_TEXT_BYTES_MAX,
)
from tillbridge_protocol.positions import Epoch, Head
from tillbridge_protocol.records import KINDS, AsOf, DecimalText, Instant, Record, Text, key_of, kind_of
from tillbridge_protocol.version import PROTOCOL_VERSION

#: `prev` of the first batch of an epoch.
NO_HEAD = ""
#: No colon: "<numbering>:<code>" must be one item only, and codes may hold colons.
Numbering = Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_CHARS_MAX, pattern=r"^[^:]+\Z")]


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a change was read: file name and hash, line (1 = first line of the file), raw row text (≤ 1 KB)."""

    file: Annotated[str, msgspec.Meta(max_length=FILE_NAME_BYTES_MAX)] = ""
    sha256: Annotated[str, msgspec.Meta(max_length=64)] = ""
    line: Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)] = 0
    text: Annotated[str, msgspec.Meta(max_length=ROW_TEXT_BYTES_MAX)] = ""
    captured_at: Instant | None = None


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One keyed difference of a feed: `put` carries the record, `gone` means absent.

    `kind` and `key` are those of the record, so that a `gone` names what its `put` brought.
    """

    feed: Text
    kind: Text
    key: Text
    op: Literal["put", "gone"]
    record: Record | None = None
    source: Source = Source()


class FullPart(msgspec.Struct, frozen=True):
    """Marks a batch as one part of a full state of one feed (DESIGN §5.5).

    The server collects the parts of `id` in a shadow set and swaps it in with the part that is `last`.
    `part` counts from 0. All changes of such a batch belong to `feed` and are `put`.
    """

    feed: Text
    id: Text
    part: Annotated[int, msgspec.Meta(ge=0)]
    last: bool


class FeedInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the server must know of a feed to join its facts: its numbering and what absence means.

    `as_of` is set when, with this batch applied, the server has everything of the last accepted file:
    every row of the feed, changed or not, is then confirmed for that interval.
    """

    numbering: Numbering
    config: str = ""
    absence: Literal["nothing", "zero", "retire"] = "zero"
    as_of: AsOf | None = None


class Batch(msgspec.Struct, frozen=True):
    """A decoded batch; `changes` are still raw, see `decode_change`."""

    v: int
    agent: Text
    location: Text
    epoch: Epoch
    seq: Annotated[int, msgspec.Meta(ge=1)]
    prev: Head
    feeds: dict[Text, FeedInfo]
    full: FullPart | None
    changes: list[msgspec.Raw]


class FrozenBatch(msgspec.Struct, frozen=True):
    """The immutable bytes of a batch and the position they lead to."""

    epoch: str
    seq: int
    head: str
    body: bytes


_AMOUNTS = sorted({
    spec.name for kind in KINDS.values() for spec in msgspec.structs.fields(kind)
    if Decimal in (spec.type, *typing.get_args(spec.type))
})
#: The decimals of a record as text: a Decimal alone would also take numbers, exponents, " 1 " and "1_000".
_AmountTexts = msgspec.defstruct("_AmountTexts", [(name, DecimalText | None, None) for name in _AMOUNTS])


class _Exact(msgspec.Struct):
    record: _AmountTexts | None = None  # type: ignore[valid-type]


class _Peek(msgspec.Struct):
    kind: str = ""


class _Version(msgspec.Struct):
    v: int


#: NUL ends a text in databases, C libraries and old systems, so none is let in. JSON can only write it so;
#: an even number of backslashes before it means the six characters themselves.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

_BATCH = msgspec.json.Decoder(Batch)
_CHANGE = msgspec.json.Decoder(Change)
_EXACT = msgspec.json.Decoder(_Exact)
_PEEK = msgspec.json.Decoder(_Peek)
_VERSION = msgspec.json.Decoder(_Version)
_ENCODER = msgspec.json.Encoder(decimal_format="string")


def freeze(
    *, agent: str, location: str, epoch: str, seq: int, prev: str,
    feeds: Mapping[str, FeedInfo], full: FullPart | None, changes: Sequence[bytes],
) -> FrozenBatch:
    """Make the bytes of a batch from changes already encoded with `encode_change`; deterministic."""
    batch = Batch(
        v=PROTOCOL_VERSION, agent=agent, location=location, epoch=epoch, seq=seq, prev=prev,
        feeds=dict(sorted(feeds.items())), full=full, changes=[msgspec.Raw(change) for change in changes],
    )
    body = gzip.compress(_ENCODER.encode(batch), compresslevel=6, mtime=0)
    return FrozenBatch(epoch=epoch, seq=seq, head=head_of(body), body=body)


def head_of(body: bytes) -> str:
    """The head a batch leads to: SHA-256 of its bytes as sent, in hex."""
    return hashlib.sha256(body).hexdigest()


def open_batch(body: bytes) -> Batch:
    """Decode verified bytes. Raises ProtocolError `malformed`, `version` or `too_large`."""
    try:
        unpacker = zlib.decompressobj(wbits=31)
        plain = unpacker.decompress(body, BATCH_UNPACKED_BYTES_MAX + 1)
    except zlib.error as error:
        raise ProtocolError("malformed", f"The batch is not gzip: {error}.") from error
    if len(plain) > BATCH_UNPACKED_BYTES_MAX:
        raise ProtocolError("too_large", f"The batch unpacks to more than {BATCH_UNPACKED_BYTES_MAX} bytes.")
    if not unpacker.eof or unpacker.unused_data:
        raise ProtocolError("malformed", "The gzip bytes of the batch are cut off or have a tail.")
    try:
        version = _VERSION.decode(plain).v
        if version != PROTOCOL_VERSION:
            raise ProtocolError("version", f"This batch speaks version {version}; {PROTOCOL_VERSION} is spoken here.")
        batch = _BATCH.decode(plain)
    except UNREADABLE as error:
        raise ProtocolError("malformed", f"The batch does not decode: {error}.") from error
    if _NUL.search(_ENCODER.encode(msgspec.structs.replace(batch, changes=[]))):
        raise ProtocolError("malformed", "A name in the batch holds a NUL character.")
    if batch.full is not None and batch.full.feed not in batch.feeds:
        raise ProtocolError("malformed", "The batch does not describe the feed it is a full state of.")
    return batch


def encode_change(change: Change) -> bytes:
    """The change as JSON bytes; file name and row text are cut at their bounds, at a border of UTF-8.

    NUL becomes U+2400 and a lone surrogate (a file name that is no UTF-8) a question mark: this is evidence
    for people, and a change must never be refused for it.
    """
    source = change.source
    text, file = _printable(source.text, ROW_TEXT_BYTES_MAX), _printable(source.file, FILE_NAME_BYTES_MAX)
    if (text, file) != (source.text, source.file):
        change = msgspec.structs.replace(change, source=msgspec.structs.replace(source, text=text, file=file))
    return _ENCODER.encode(change)


def decode_change(raw: bytes | msgspec.Raw) -> Change:
    """One change of a batch. Raises ProtocolError `change_unknown` or `change_malformed` (a dead letter)."""
    try:
        change = _CHANGE.decode(raw)
        _EXACT.decode(raw)
    except UNREADABLE as error:
        kind = _kind_in(raw)
        if kind and kind not in KINDS:
            raise ProtocolError("change_unknown", f"The kind {kind[:40]!r} is not known here.") from error
        raise ProtocolError("change_malformed", f"A change does not decode: {error}.") from error
    if change.kind not in KINDS:
        raise ProtocolError("change_unknown", f"The kind {change.kind[:40]!r} is not known here.")
    if b"\\u0000" in bytes(raw) and _NUL.search(bytes(raw)):
        raise ProtocolError("change_malformed", "A text of the change holds a NUL character.")
    if change.op == "put":
        _check_record(change)
    return change


def _check_record(change: Change) -> None:
    name = f"{change.kind} {change.key}"
    if change.record is None:
        raise ProtocolError("change_malformed", f"The record of {name} is missing.")
    if (kind_of(change.record), key_of(change.record)) != (change.kind, change.key):
        other = f"{kind_of(change.record)} {key_of(change.record)}"
        raise ProtocolError("change_malformed", f"The change of {name} carries the record of {other}.")


def _kind_in(raw: bytes | msgspec.Raw) -> str:
    """The kind of a change that does not decode; empty when not even that can be read."""
    try:
        return _PEEK.decode(raw).kind
    except UNREADABLE:
        return ""


def _printable(text: str, bytes_max: int) -> str:
    data = text[:bytes_max].replace("\0", "\u2400").encode(errors="replace")
    return data[:bytes_max].decode(errors="ignore")
