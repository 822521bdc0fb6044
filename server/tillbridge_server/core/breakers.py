"""Breakers: what changes too much at once is held and asked about, the rest goes.

A shift is one offer moving in a dangerous direction (to zero, or down in price by a lot). Shifts are counted
per storefront and source file, over all batches of that file. When a file's shifts reach `at_least` and are
more than `share` of what the storefront shows, those not yet let go are held together. A person then approves
(these very values pass, once) or rejects (these very values stay suppressed until the facts say otherwise).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from tillbridge_server.core.facts import Source, plain
from tillbridge_server.core.offers import PRICE, STOCK, TEXT, VISIBLE, Offer, Shown, fingerprint
from tillbridge_server.core.ownership import OWNER_MISSING
from tillbridge_server.core.settings import BreakerLimit, BreakersConfig, DropLimit
from tillbridge_server.core.visibility import HIDDEN

TO_ZERO, PRICE_DROP = "to_zero", "price_drop"
APPROVED, REJECTED = "approved", "rejected"
SAMPLE_MAX = 20


@dataclass(frozen=True, slots=True, order=True)
class Cause:
    """The file behind a shift; for a conflict `file` names the field and the rest is empty."""

    location: str = ""
    feed: str = ""
    sha256: str = ""
    file: str = ""

    @property
    def key(self) -> str:
        """The text under which this cause is counted."""
        return f"{self.location}/{self.feed}/{self.sha256 or self.file}"

    @property
    def where(self) -> str:
        """ "<location>/<feed>", or empty for a conflict."""
        return f"{self.location}/{self.feed}" if self.location else ""


@dataclass(frozen=True, slots=True)
class Shift:
    """One part of one offer that would change in a way a breaker watches; before and after are texts for people."""

    variant: str
    breaker: str
    part: str
    fingerprint: str
    cause: Cause
    title: str | None
    before: str
    after: str

    @property
    def key(self) -> tuple[str, str]:
        """(variant, breaker)."""
        return self.variant, self.breaker


@dataclass(frozen=True, slots=True)
class HeldItem:
    """A shift held before: in which hold, with which fingerprint, and what a person said (None: nothing yet)."""

    hold_id: str
    fingerprint: str
    verdict: str | None


@dataclass(frozen=True, slots=True)
class Tally:
    """What one cause has done so far: shifts let go, holds made, the hold still open."""

    passed: int = 0
    holds: int = 0
    hold_id: str | None = None


@dataclass(slots=True)
class Judgement:
    """What to do with a storefront's shifts.

    `held` are kept back and wait; `rejected` are kept back by a person's word; all others pass. `hold_of`
    says which hold each waiting shift belongs to (None: a new one of its cause), `spent` are earlier items
    whose matter is closed, `tallies` the new counts.
    """

    held: list[Shift] = field(default_factory=list)
    rejected: list[Shift] = field(default_factory=list)
    hold_of: dict[tuple[str, str], str | None] = field(default_factory=dict)
    spent: list[tuple[str, str]] = field(default_factory=list)
    tallies: dict[tuple[str, Cause], Tally] = field(default_factory=dict)


def shifts_of(offer: Offer, shown: Shown | None, limits: BreakersConfig) -> list[Shift]:
    """The dangerous shifts from what is shown (or on its way) to this offer; one per breaker at most."""
    shifts = [] if offer.visibility.state == HIDDEN else _conflict_shifts(offer)
    if shown is None:
        return shifts
    if shown.available > 0:
        shifts += _to_zero(offer, shown)
    if offer.visibility.state != HIDDEN:
        shifts += _price_drop(offer, shown, limits.price_drop)
    return shifts


def judge(
    shifts: Sequence[Shift], *, items: Mapping[tuple[str, str], HeldItem], tallies: Mapping[tuple[str, str], Tally],
    shown_now: Mapping[str, int], limits: BreakersConfig,
) -> Judgement:
    """Judge all shifts of one storefront in one decision.

    `items` are the earlier items of the decided variants by (variant, breaker), `tallies` by (breaker, cause
    key), `shown_now` how many offers the storefront shows that could shift, by breaker.
    """
    out = Judgement()
    fresh: dict[tuple[str, Cause], list[Shift]] = {}
    for shift in sorted(shifts, key=lambda shift: shift.key):
        item = items.get(shift.key)
        if item is None or (item.verdict is not None and item.fingerprint != shift.fingerprint):
            fresh.setdefault((shift.breaker, shift.cause), []).append(shift)
        elif item.verdict == REJECTED:
            out.rejected.append(shift)
        elif item.verdict is None:
            out.held.append(shift)
            out.hold_of[shift.key] = item.hold_id
    going_on = {shift.key for shift in (*out.held, *out.rejected)}
    out.spent = sorted(key for key in items if key not in going_on)
    for (breaker, cause), group in sorted(fresh.items()):
        _judge_group(out, breaker, cause, group, tallies.get((breaker, cause.key), Tally()), shown_now, limits)
    return out


def kept_parts(shifts: Iterable[Shift]) -> frozenset[str]:
    """The parts that stay as shown because of these shifts."""
    return frozenset(shift.part for shift in shifts)


def sample_of(shift: Shift) -> dict[str, str | None]:
    """A shift as one line of a hold's sample."""
    return {"variant": shift.variant, "title": shift.title, "before": shift.before, "after": shift.after}


def _judge_group(
    out: Judgement, breaker: str, cause: Cause, group: list[Shift], tally: Tally,
    shown_now: Mapping[str, int], limits: BreakersConfig,
) -> None:
    # Offers that went to zero are no longer among those shown; prices that fell still are.
    before = shown_now.get(breaker, 0) + (tally.passed if breaker == TO_ZERO else 0)
    trips = _trips(_limit(breaker, limits), tally.passed + len(group), before)
    if tally.hold_id is None and not trips:
        out.tallies[breaker, cause] = replace(tally, passed=tally.passed + len(group))
        return
    out.held += group
    out.hold_of.update({shift.key: tally.hold_id for shift in group})
    if tally.hold_id is None:
        out.tallies[breaker, cause] = replace(tally, holds=tally.holds + 1)


def _trips(limit: BreakerLimit | DropLimit | None, count: int, shown: int) -> bool:
    """Whether `count` of `shown` is too much at once; no limit means that nothing passes."""
    return limit is None or (count >= limit.at_least and count > Decimal(str(limit.share)) * shown)


def _limit(breaker: str, limits: BreakersConfig) -> BreakerLimit | DropLimit | None:
    return {TO_ZERO: limits.to_zero, PRICE_DROP: limits.price_drop, OWNER_MISSING: None}[breaker]


def _to_zero(offer: Offer, shown: Shown) -> list[Shift]:
    hidden = offer.visibility.state == HIDDEN
    if not hidden and (offer.availability.conflict is not None or offer.availability.value != 0):
        return []
    after = "hidden: " + ", ".join(offer.visibility.why) if hidden else "0"
    cause = _latest(offer.availability.sources if not hidden else _all_sources(offer))
    return [Shift(
        offer.variant, TO_ZERO, VISIBLE if hidden else STOCK, fingerprint(after), cause, shown.title,
        f"{shown.available:f}", after,
    )]


def _price_drop(offer: Offer, shown: Shown, limit: DropLimit) -> list[Shift]:
    now = offer.pricing.price_now
    if now is None or offer.pricing.currency != shown.currency:
        return []
    if now >= shown.price_now * (1 - Decimal(str(limit.by))):
        return []
    source = offer.pricing.source
    mark = fingerprint(f"{plain(now):f} {offer.pricing.currency}")
    return [Shift(
        offer.variant, PRICE_DROP, PRICE, mark, _latest((source,) if source else ()), shown.title,
        f"{shown.price_now:f}", f"{now:f}",
    )]


def _conflict_shifts(offer: Offer) -> list[Shift]:
    """The first conflict of an offer that would otherwise be shown; its parts all stay as they are."""
    shifts = []
    for part, conflict in offer.conflicts[:1]:
        said = "; ".join(f"{place}: {value}" for place, value in conflict.values)
        assert part in {STOCK, PRICE, TEXT}, part
        shifts.append(Shift(
            offer.variant, OWNER_MISSING, part, fingerprint(said), Cause(file=conflict.field), offer.title, "", said,
        ))
    return shifts


def _all_sources(offer: Offer) -> tuple[Source, ...]:
    return (*offer.availability.sources, *((offer.pricing.source,) if offer.pricing.source else ()))


def _latest(sources: Iterable[Source]) -> Cause:
    """The file that came last: what was shown was right before it."""
    last = max(sources, key=lambda one: (one.applied_at, one.location, one.feed), default=None)
    return Cause() if last is None else Cause(last.location, last.feed, last.sha256, last.file)
