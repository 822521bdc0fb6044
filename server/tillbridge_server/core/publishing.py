"""Pure rules of publishing: what a push carries, what may come of it, how long to wait after trouble."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from tillbridge_server.core.offers import Shown

#: Waits after trouble grow from the first to at most the second (full jitter between nothing and the bound).
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 300.0


@dataclass(frozen=True, slots=True)
class Item:
    """One value for one variant; `shown` None takes it off the storefront. `key` is the same on every retry."""

    variant: str
    shown: Shown | None
    key: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a storefront finally refused one item."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a push did, by variant; what is in neither is kept and sent again."""

    accepted: frozenset[str] = frozenset()
    rejected: Mapping[str, Rejection] = field(default_factory=dict)


def pause_s(failures: int, rng: Random, asked_s: float | None = None) -> float:
    """Seconds to wait after this many failures in a row (1 = the first); never less than the storefront asked."""
    assert failures >= 1, failures
    bound = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(failures - 1, 20))
    return max(rng.uniform(0, bound), asked_s or 0.0)
