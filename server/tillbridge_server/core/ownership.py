"""Which feed owns which field: agreement needs no owner, a disagreement without one is a conflict for a person."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V", bound=Hashable)

OWNER_MISSING = "owner_missing"


@dataclass(frozen=True, slots=True)
class Claim(Generic[V]):
    """What one feed of one location says a field is."""

    location: str
    feed: str
    value: V

    @property
    def place(self) -> str:
        """ "<location>/<feed>" ."""
        return f"{self.location}/{self.feed}"


@dataclass(frozen=True, slots=True)
class Conflict:
    """Feeds disagree about a field and none of them owns it; `values` are (place, text) sorted by place."""

    field: str
    values: tuple[tuple[str, str], ...]
    owners_tried: tuple[str, ...] = ()


def owners_of(owners: Mapping[str, Sequence[str]], field: str) -> tuple[str, ...]:
    """The ordered owners of "product.title": those of the field, else those of its kind, else none."""
    if field in owners:
        return tuple(owners[field])
    return tuple(owners.get(field.partition(".")[0], ()))


def settle(field: str, claims: Sequence[Claim[V]], owners: Mapping[str, Sequence[str]]) -> Claim[V] | Conflict | None:
    """The claim that holds, a Conflict, or None when nobody claims anything.

    The first owner that says something decides alone; if it is one feed in several locations that disagree,
    nobody owns the field. The outcome does not depend on the order of `claims`.
    """
    if not claims:
        return None
    ordered = sorted(claims, key=lambda claim: (claim.location, claim.feed))
    asked = owners_of(owners, field)
    for owner in asked:
        owned = [claim for claim in ordered if owner in {claim.feed, claim.place}]
        if owned:
            ordered = owned
            break
    if len({claim.value for claim in ordered}) == 1:
        return ordered[0]
    return Conflict(field, tuple((claim.place, str(claim.value)) for claim in ordered), asked)
