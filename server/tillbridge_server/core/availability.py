"""How many pieces a storefront may sell of a variant, as terms that sum to the number.

Available = count − movements surely after it − open reservations − buffer, over the locations of the pool
(DESIGN §5.11). Unknown, absent and zero are three values: a location that never listed the variant adds no
term and stays unknown; one that listed it and no longer does counts zero by the feed's declaration; zero is
zero. Counts below zero are kept as they are and lower the sum, because goods moved without booking show up as
a minus in one place and a plus in another; only the sum is clamped at zero. If unsure, undersell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tillbridge_server.core.facts import OBSERVE, Fact, Known, Movement, Source, plain, stock_of, total
from tillbridge_server.core.ownership import Claim, Conflict, settle

COUNT, MOVEMENT, RESERVATION, BUFFER, CLAMP = "count", "movement", "reservation", "buffer", "clamp"

#: Rules by name and version, as they stand in explanations.
RULE_ABSENT = {"zero": "absence_zero v1", "retire": "absence_retire v1"}
RULE_AFTER = "sold_after_count v1"
RULE_SCANNED = "scanned_out_after_count v1"
RULE_AMBIGUOUS = "ambiguous_until_next_count v1"
RULE_RESERVED = "open_reservation v1"
RULE_BUFFER = "storefront_buffer v1"
RULE_CLAMP = "never_below_zero v1"


@dataclass(frozen=True, slots=True)
class Term:
    """One signed part of the sum, in pieces, with the rule that made it and the row it came from."""

    term: str
    value: Decimal
    location: str = ""
    order: str | None = None
    rule: str | None = None
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What one location contributes: `state` is counted, absent, unknown, observes or outside_pool."""

    location: str
    state: str
    count: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Availability:
    """The number, what it would be without the clamp, its terms and the state of every location.

    `value` and `unclamped` are None when no location of the pool knows the variant; then there are no terms.
    """

    value: Decimal | None
    unclamped: Decimal | None
    terms: tuple[Term, ...]
    places: tuple[Place, ...]
    conflict: Conflict | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources of all terms."""
        return tuple(term.source for term in self.terms if term.source is not None)


def in_pool(pool: Sequence[str], location: str) -> bool:
    """Whether the pool may sell from this location; "*" means all."""
    return "*" in pool or location in pool


def available(
    known: Known, *, pool: Sequence[str], phases: Mapping[str, str], buffer: Decimal,
    owners: Mapping[str, Sequence[str]], moving: Sequence[str] = (),
) -> Availability:
    """The availability of a variant over a pool; `phases` has every location of the chain."""
    terms: list[Term] = []
    places: list[Place] = []
    conflict: Conflict | None = None
    for location in sorted(phases):
        if not in_pool(pool, location) or phases[location] == OBSERVE:
            places.append(Place(location, "observes" if in_pool(pool, location) else "outside_pool"))
            continue
        counted = _counted(known, location, owners)
        if isinstance(counted, Conflict):
            conflict = conflict or counted
            places.append(Place(location, "unknown"))
            continue
        places.append(_place(location, counted))
        terms += [_count_term(fact) for fact in counted]
        terms += _movement_terms(known, location, counted, moving)
    if not any(term.term == COUNT for term in terms):
        return Availability(None, None, (), tuple(places), conflict)
    terms += [
        Term(RESERVATION, plain(one.quantity.copy_negate()), one.location, one.order, RULE_RESERVED)
        for one in sorted(known.reservations, key=lambda one: (one.location, one.order, one.line))
        if not one.location or in_pool(pool, one.location)  # an order without a place yet is promised by all
    ]
    if buffer:
        terms.append(Term(BUFFER, plain(buffer.copy_negate()), rule=RULE_BUFFER))
    return _summed(terms, places, conflict)


def _summed(terms: list[Term], places: list[Place], conflict: Conflict | None) -> Availability:
    unclamped = total(term.value for term in terms)
    value = max(unclamped, Decimal(0))
    if value != unclamped:
        terms.append(Term(CLAMP, plain(unclamped.copy_negate()), rule=RULE_CLAMP))
    assert total(term.value for term in terms) == value, "terms sum to the number"
    return Availability(value, unclamped, tuple(terms), tuple(places), conflict)


def _counted(known: Known, location: str, owners: Mapping[str, Sequence[str]]) -> tuple[Fact, ...] | Conflict:
    """The stock facts that hold at one location: all codes of one feed add up, feeds must agree or have an owner."""
    by_feed: dict[str, list[Fact]] = {}
    for fact in known.facts:
        if fact.kind == "stock_level" and fact.location == location and fact.record is not None:
            by_feed.setdefault(fact.feed, []).append(fact)
    claims = [
        Claim(location, feed, total(stock_of(fact) for fact in facts))
        for feed, facts in by_feed.items()
    ]
    settled = settle("stock_level", claims, owners)
    if settled is None or isinstance(settled, Conflict):
        return settled or ()
    return tuple(sorted(by_feed[settled.feed], key=lambda fact: fact.code))


def _place(location: str, counted: tuple[Fact, ...]) -> Place:
    if not counted:
        return Place(location, "unknown")
    count = total(stock_of(fact) for fact in counted)
    return Place(location, "absent" if all(fact.absent for fact in counted) else "counted", count)


def _count_term(fact: Fact) -> Term:
    rule = RULE_ABSENT[fact.absent] if fact.absent else None
    return Term(COUNT, plain(stock_of(fact)), fact.location, rule=rule, source=fact.source)


def _movement_terms(known: Known, location: str, counted: tuple[Fact, ...], moving: Sequence[str]) -> list[Term]:
    """Sales that the count cannot include lower it; what may be in it already is subtracted but never added."""
    as_ofs = [fact.source.as_of for fact in counted if fact.source.as_of is not None]
    if not as_ofs:
        return []
    begin, end = min(as_of[0] for as_of in as_ofs), max(as_of[1] for as_of in as_ofs)
    terms = []
    for one in sorted(known.movements, key=lambda movement: (movement.at, movement.id)):
        if one.location != location or not _moves(one, moving) or one.at < begin:
            continue
        surely = one.at > end
        if surely or one.quantity > 0:
            after = RULE_SCANNED if one.scanned else RULE_AFTER
            rule = after if surely else RULE_AMBIGUOUS
            terms.append(Term(MOVEMENT, plain(one.quantity.copy_negate()), location, rule=rule, source=one.source))
    return terms


def _moves(movement: Movement, moving: Sequence[str]) -> bool:
    """A scan is a proposal: it moves stock only where scanner and location are named together."""
    if movement.scanned:
        return f"{movement.location}/{movement.source.feed}" in moving
    return is_moving(movement.location, movement.source.feed, moving)


def is_moving(location: str, feed: str, moving: Sequence[str]) -> bool:
    """Whether the sale lines of this feed lower counts, by what a storefront lists as its moving journals."""
    return feed in moving or f"{location}/{feed}" in moving
