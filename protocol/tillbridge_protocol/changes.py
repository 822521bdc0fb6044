"""Changes and the frozen, hash-chained batches that carry them.

A batch is frozen once: `freeze` makes its bytes, and every retry sends those bytes. `head` is the SHA-256
of the bytes as sent, the very digest the signature covers; each batch names its predecessor's head, so a
(epoch, seq, head) triple stands for everything sent in that epoch. Changes are decoded one by one, so that
an unknown kind becomes one dead letter and not a lost batch.
"""

import gzip
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.limits import BATCH_UNPACKED_BYTES_MAX, ROW_TEXT_BYTES_MAX
from tillbridge_protocol.records import AsOf, Instant, Record, Text, kind_of
from tillbridge_protocol.version import PROTOCOL_VERSION

#: `prev` of the first batch of an epoch.
NO_HEAD = ""


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a change was read: file name and hash, line (1 = first line of the file), raw row text (≤ 1 KB)."""

    file: str = ""
    sha256: str = ""
    line: int = 0
    text: str = ""
    captured_at: Instant | None = None


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One keyed difference of a feed: `put` carries the record, `gone` means absent."""

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

    numbering: Text
    config: str = ""
    absence: Literal["nothing", "zero", "retire"] = "zero"
    as_of: AsOf | None = None


class Batch(msgspec.Struct, frozen=True):
    """A decoded batch; `changes` are still raw, see `decode_change`."""

    v: int
    agent: Text
    location: Text
    epoch: Text
    seq: Annotated[int, msgspec.Meta(ge=1)]
    prev: str
    feeds: dict[str, FeedInfo]
    full: FullPart | None
    changes: list[msgspec.Raw]


class FrozenBatch(msgspec.Struct, frozen=True):
    """The immutable bytes of a batch and the position they lead to."""

    epoch: str
    seq: int
    head: str
    body: bytes


_BATCH = msgspec.json.Decoder(Batch)
_CHANGE = msgspec.json.Decoder(Change)
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
        plain = unpacker.decompress(body, BATCH_UNPACKED_BYTES_MAX)
    except zlib.error as error:
        raise ProtocolError("malformed", f"The batch is not gzip: {error}.") from error
    if unpacker.unconsumed_tail:
        raise ProtocolError("too_large", f"The batch unpacks to more than {BATCH_UNPACKED_BYTES_MAX} bytes.")
    if not unpacker.eof or unpacker.unused_data:
        raise ProtocolError("malformed", "The gzip bytes of the batch are cut off or have a tail.")
    try:
        batch = _BATCH.decode(plain)
    except msgspec.MsgspecError as error:
        raise ProtocolError("malformed", f"The batch does not decode: {error}.") from error
    if batch.v != PROTOCOL_VERSION:
        raise ProtocolError("version", f"This batch speaks version {batch.v}; {PROTOCOL_VERSION} is spoken here.")
    return batch


def encode_change(change: Change) -> bytes:
    """The change as JSON bytes; its row text is cut at ROW_TEXT_BYTES_MAX bytes of UTF-8."""
    text = change.source.text
    if len(text) > ROW_TEXT_BYTES_MAX // 4:
        cut = text.encode()[:ROW_TEXT_BYTES_MAX].decode(errors="ignore")
        change = msgspec.structs.replace(change, source=msgspec.structs.replace(change.source, text=cut))
    return _ENCODER.encode(change)


def decode_change(raw: bytes | msgspec.Raw) -> Change:
    """One change of a batch. Raises ProtocolError `change_unknown` or `change_malformed` (a dead letter)."""
    try:
        change = _CHANGE.decode(raw)
    except msgspec.ValidationError as error:
        code = "change_unknown" if "Invalid value" in str(error) and "kind" in str(error) else "change_malformed"
        raise ProtocolError(code, f"A change does not decode: {error}.") from error
    except msgspec.DecodeError as error:
        raise ProtocolError("change_malformed", f"A change is not JSON: {error}.") from error
    if change.op == "put" and (change.record is None or kind_of(change.record) != change.kind):
        raise ProtocolError("change_malformed", f"The record of {change.kind} {change.key} has another kind or is missing.")
    return change
