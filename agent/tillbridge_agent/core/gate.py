"""The trust gate: whether a file is believed, as pure folds over its delta and its row counts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from tillbridge_agent.core.delta import KeyedChange
from tillbridge_agent.core.feed import FeedConfig, Guard, PriceDropGuard
from tillbridge_agent.core.rows import Problem
from tillbridge_protocol.records import Price, StockLevel

#: Reasons to hold that a person may overrule; each is a key of `guards`.
GUARD_CODES = frozenset({"rows_lost", "rows_unreadable", "stock_to_zero", "price_drop"})
#: accept: believed · hold: believable, waits for a person · quarantine: unreadable · nothing: nothing to do
#: · pending: not complete yet, looked at again when it changes.
Verdict = Literal["accept", "hold", "quarantine", "nothing", "pending"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a verdict: `code` is explained in agent/README.md, `message` says what and where, `hint` what to do."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows of one file by what became of them; read = accepted + rejected + filtered."""

    read: int = 0
    accepted: int = 0
    rejected: int = 0
    filtered: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFacts:
    """What the gate judges: `known` are the counts of the last accepted file, None when there is none.

    `unreadable` are rows of which a record could not be read, `elsewhere` rows of another location (`example` is
    the first), `gone` row keys that are no longer in the file, `changes` what would be queued.
    """

    rows: RowCounts
    known: RowCounts | None = None
    unreadable: int = 0
    elsewhere: int = 0
    example: Problem | None = None
    gone: int = 0
    changes: Sequence[KeyedChange] = ()


def judge(feed: FeedConfig, facts: GateFacts) -> tuple[Verdict, tuple[Reason, ...]]:
    """The verdict on a complete, readable file, with every reason for it."""
    if facts.elsewhere:
        return "hold", (_wrong_location(facts),)
    if facts.rows.read == facts.rows.filtered and not (facts.known and facts.known.accepted):
        return "nothing", (Reason(
            "no_rows", "The file has no rows, and none were known before.",
            "Nothing to do. If rows were expected, look at the export in the till.",
        ),)
    reasons = [*_rows_lost(feed, facts), *_rows_unreadable(feed.guards.rows_unreadable, facts)]
    if facts.known:
        known = facts.known.accepted
        reasons += _stock_to_zero(feed.guards.stock_to_zero, known, facts.changes)
        reasons += _price_drop(feed.guards.price_drop, known, facts.changes)
    return ("hold" if reasons else "accept"), tuple(reasons)


def trips(guard: Guard | PriceDropGuard, touched: int, known: int) -> bool:
    """At least `at_least` are touched, and more than `share` of what is known."""
    return touched >= guard.at_least and touched > guard.share * known


def _wrong_location(facts: GateFacts) -> Reason:
    assert facts.example is not None, "a row of another location is told as a problem"
    rows = "One row is" if facts.elsewhere == 1 else f"{facts.elsewhere:,} rows are"
    return Reason(
        "wrong_location",
        f"{rows} of another store, the first in line {facts.example.line}: {facts.example.message}",
        facts.example.hint,
    )


def _rows_lost(feed: FeedConfig, facts: GateFacts) -> Iterable[Reason]:
    if facts.known is None or not facts.known.accepted or feed.absence == "nothing":
        return
    before, now = facts.known.accepted, facts.rows.accepted
    hint = "If the export was cut short, run it again. If the items are really gone, approve the file."
    if facts.rows.read == facts.rows.filtered:
        yield Reason("rows_lost", f"The file has its header but no rows; the last accepted one had {before:,}.", hint)
        return
    lost = max(facts.gone, before - now)
    if trips(feed.guards.rows_lost, lost, before):
        yield Reason("rows_lost", f"{lost:,} of {before:,} rows are no longer in the file.", hint)


def _rows_unreadable(guard: Guard, facts: GateFacts) -> Iterable[Reason]:
    read = facts.rows.read - facts.rows.filtered
    nothing_left = read > 0 and facts.rows.accepted == 0
    if nothing_left or trips(guard, facts.unreadable, read):
        count = "None" if nothing_left else f"{facts.unreadable:,}"
        can = "can be read" if nothing_left else "cannot be read in full"
        yield Reason(
            "rows_unreadable", f"{count} of {read:,} rows {can}.",
            "Look at the problems listed: the till may now write its columns or numbers in another way.",
        )


def _stock_to_zero(guard: Guard, known: int, changes: Iterable[KeyedChange]) -> Iterable[Reason]:
    count = sum(_falls_to_zero(change) for change in changes)
    if trips(guard, count, known):
        yield Reason(
            "stock_to_zero", f"The stock of {count:,} items would go to zero, of {known:,} rows known.",
            "Look at the stock column in the file. Approve it if the pieces are really gone.",
        )


def _price_drop(guard: PriceDropGuard, known: int, changes: Iterable[KeyedChange]) -> Iterable[Reason]:
    kept_part = 1 - Decimal(str(guard.by))
    count = sum(_falls_below(change, kept_part) for change in changes)
    if trips(guard, count, known):
        yield Reason(
            "price_drop", f"{count:,} prices would fall by more than {guard.by:.0%}, of {known:,} rows known.",
            "Look at the price column in the file: the decimal mark may be lost. Approve it if the prices are right.",
        )


def _falls_to_zero(change: KeyedChange) -> bool:
    before, after = change.before, change.record
    return isinstance(before, StockLevel) and isinstance(after, StockLevel) and before.on_hand > 0 >= after.on_hand


def _falls_below(change: KeyedChange, kept_part: Decimal) -> bool:
    before, after = change.before, change.record
    if not (isinstance(before, Price) and isinstance(after, Price)) or before.currency != after.currency:
        return False
    return _lowest(after) < _lowest(before) * kept_part


def _lowest(price: Price) -> Decimal:
    return price.list_price if price.sale_price is None else min(price.list_price, price.sale_price)
