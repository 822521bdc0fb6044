"""What makes two rows or records the same: one spelling per value, and 16-byte hashes that the snapshot stores.

The hashes are on disk at every till: another value for the same row would make every row look changed once.
"""

from datetime import UTC, datetime
from decimal import Context, Decimal
from hashlib import blake2b

import msgspec

from tillbridge_agent.core.rows import Mapped
from tillbridge_protocol.records import Record, kind_of

HASH_BYTES = 16
#: Digits enough that normalizing a number never rounds it.
_EXACT = Context(prec=10_000)
_ENCODER = msgspec.msgpack.Encoder()


def key_hash(key: str) -> bytes:
    """16 bytes that stand for a row key in the snapshot."""
    return blake2b(key.encode(errors="surrogatepass"), digest_size=HASH_BYTES).digest()


def row_hash(mapped: Mapped) -> bytes:
    """16 bytes that stand for what a row says: its records without `as_of`, and the kinds it failed to give."""
    said = sorted((kind_of(record), sorted(_canonical(record).items())) for record in mapped.records)
    return blake2b(_ENCODER.encode((said, sorted(mapped.failed))), digest_size=HASH_BYTES).digest()


def equal_records(one: Record, other: Record) -> bool:
    """Whether two records say the same, `as_of` aside; 5 and 5.00 are the same number."""
    return type(one) is type(other) and _canonical(one) == _canonical(other)


def _canonical(record: Record) -> dict[str, str]:
    """Fields that are set, as text with one spelling per value.

    Unset fields are left out so that a field added in a later version leaves the hashes of old rows alone.
    """
    canonical: dict[str, str] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if value is None or name == "as_of":
            continue
        if isinstance(value, Decimal):
            value = str(_EXACT.normalize(value)) if value else "0"
        elif isinstance(value, datetime):
            value = value.astimezone(UTC).isoformat()
        canonical[name] = value
    return canonical
