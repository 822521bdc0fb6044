"""Hypothesis strategies for records, changes and feeds, as any mapping could make them."""

import datetime as dt
from decimal import Decimal

from hypothesis import strategies as st

from tillbridge_protocol.changes import Change, Source
from tillbridge_protocol.limits import KEY_CHARS_MAX
from tillbridge_protocol.orders import STATES
from tillbridge_protocol.records import (
    AsOf,
    Cost,
    OrderState,
    Price,
    Product,
    Record,
    SaleLine,
    Scan,
    StockLevel,
    key_of,
    kind_of,
)

#: Any text without NUL and lone surrogates: what a strict decoding of a file can give.
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.text(letters, max_size=60)
ids = st.text(letters, min_size=1, max_size=KEY_CHARS_MAX)
decimals = st.builds(
    Decimal, st.from_regex(r"-?(0|[1-9][0-9]{0,13})(\.[0-9]{1,6})?", fullmatch=True)
)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
instants = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2090, 1, 1), timezones=zones)  # noqa: DTZ001
currencies = st.from_regex(r"[A-Z]{3}", fullmatch=True)
days = st.none() | st.dates().map(dt.date.isoformat)
as_ofs = st.builds(AsOf, instants, instants, st.sampled_from(["data", "file_name", "sequence", "observed"]))

states: st.SearchStrategy[Record] = st.one_of(
    st.builds(Product, code=ids, title=st.none() | texts, gtin=st.none() | texts, brand=st.none() | texts,
              department=st.none() | texts, unit=st.none() | texts, description=st.none() | texts,
              group=st.none() | texts),
    st.builds(StockLevel, code=ids, on_hand=decimals, as_of=st.none() | as_ofs),
    st.builds(Price, code=ids, list_price=decimals, currency=currencies, sale_price=st.none() | decimals,
              sale_from=days, sale_to=days),
    st.builds(Cost, code=ids, cost=decimals, currency=currencies),
)
events: st.SearchStrategy[Record] = st.one_of(
    st.builds(SaleLine, id=ids, code=ids, quantity=decimals, at=instants, unit_price=st.none() | decimals,
              list_price=st.none() | decimals, currency=st.none() | currencies, till=st.none() | texts,
              receipt=st.none() | texts, order=st.none() | texts, reason=st.none() | texts),
    st.builds(Scan, id=ids, text=ids, at=instants, device=st.none() | texts, symbology=st.none() | texts),
    st.builds(OrderState, id=ids, order=ids, revision=st.integers(1, 99), state=st.sampled_from(sorted(STATES)),
              at=instants, sequence=st.none() | st.integers(1, 10**6), file=st.none() | texts,
              code=st.none() | texts, message=st.none() | texts),
)
records = states | events
sources = st.builds(
    Source, file=texts, sha256=st.from_regex(r"([0-9a-f]{64})?", fullmatch=True), line=st.integers(0, 10**7),
    text=texts, captured_at=st.none() | instants.map(lambda at: at.astimezone(dt.UTC)),
)


def put(record: Record, feed: str = "stock", source: Source | None = None) -> Change:
    """The change that brings this record."""
    return Change(feed, kind_of(record), key_of(record), "put", record, source or Source())


changes = st.one_of(
    st.builds(put, records, ids, sources),
    states.map(lambda record: Change("stock", kind_of(record), key_of(record), "gone")),
)
