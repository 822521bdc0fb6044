"""The judge's arithmetic, pure: latencies and differences from writes and sights; no I/O.

A sight is the moment the observer first saw a variant with certain values in the shop window. Exports may
supersede each other before anybody sees them; then the older value counts as seen when a later one is, so
that skipping exports never looks fast.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil

from tests.demo.truth import Value, Write

State = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Sight:
    """From `at` (seconds since 1970) on the shop window shows `code` so; None = not any more."""

    at: float
    code: str
    value: Value | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds over `n` changed values; zeros when there are none."""

    n: int
    p50: int
    p95: int
    max: int


@dataclass(frozen=True, slots=True)
class Equal:
    """Counts of differences between truth, shop window and ledger; `max_excess` in pieces."""

    variants: int
    stock: int
    price: int
    missing: int
    extra: int
    sales: int
    max_excess: Decimal


def latencies_ms(
    base: State, writes: Sequence[Write], sights: Iterable[Sight], *, settle_s: float, since: float,
    reserved: Collection[str] = (),
) -> list[float]:
    """One latency per changed stock and per changed price of the writes begun at or after `since`.

    The stock of `reserved` codes is not timed: the shop window rightly shows less than their exports hold.
    """
    seen: dict[str, list[Sight]] = {}
    for sight in sights:
        seen.setdefault(sight.code, []).append(sight)
    found: list[float] = []
    for attribute in ("stock", "price"):
        for code, steps in _steps(base, writes, attribute).items():
            if attribute == "stock" and code in reserved:
                continue
            values = [(s.at, getattr(s.value, attribute)) for s in seen.get(code, ()) if s.value is not None]
            found += [
                (at - write.ended_at - settle_s) * 1000
                for write, at in _first_sights(steps, values) if write.started_at >= since
            ]
    return found


def _steps(base: State, writes: Sequence[Write], attribute: str) -> dict[str, list[tuple[Write, Decimal]]]:
    """code → the writes in which this attribute really changed, in order."""
    now = {code: getattr(value, attribute) for code, value in base.items()}
    steps: dict[str, list[tuple[Write, Decimal]]] = {}
    for write in writes:
        for code, value in write.changed.items():
            new = getattr(value, attribute)
            if now.get(code) != new:
                steps.setdefault(code, []).append((write, new))
                now[code] = new
    return steps


def _first_sights(
    steps: Sequence[tuple[Write, Decimal]], values: Iterable[tuple[float, Decimal]],
) -> Iterable[tuple[Write, float]]:
    """Pairs each write with the first sight of its value or of a later one's."""
    waiting = 0
    for at, value in values:
        for place in range(waiting, len(steps)):
            write, written = steps[place]
            if write.started_at > at:
                break
            if written == value:
                yield from ((step, at) for step, _ in steps[waiting : place + 1])
                waiting = place + 1
                break


def summary(values_ms: Sequence[float]) -> Latency:
    """n, median, 95th percentile (nearest rank) and maximum, in whole milliseconds."""
    if not values_ms:
        return Latency(0, 0, 0, 0)
    ordered = sorted(values_ms)

    def rank(share: float) -> int:
        return round(ordered[max(0, ceil(share * len(ordered)) - 1)])

    return Latency(len(ordered), rank(0.5), rank(0.95), round(ordered[-1]))


def differences(
    truth: State, shown: State, sales: Iterable[str], ledger: Iterable[str], max_excess: Decimal,
) -> Equal:
    """Compares what should be with what is; a sale line the ledger has twice is a difference, too."""
    both = truth.keys() & shown.keys()
    should, has = Counter(sales), Counter(ledger)
    return Equal(
        variants=len(truth),
        stock=sum(truth[code].stock != shown[code].stock for code in both),
        price=sum(truth[code].price != shown[code].price for code in both),
        missing=len(truth.keys() - shown.keys()),
        extra=len(shown.keys() - truth.keys()),
        sales=sum(((should - has) + (has - should)).values()),
        max_excess=max_excess,
    )


def states(base: State, writes: Sequence[Write]) -> list[dict[str, Value]]:
    """What each write held as a whole, in order."""
    now, found = dict(base), []
    for write in writes:
        now = now | write.changed
        found.append(now)
    return found


def shows_only(shown: State, held: Sequence[State]) -> bool:
    """Whether the shop window shows all variants of the last of these states, each as one of them has it."""
    if not held:
        return False
    return all(code in shown and any(state.get(code) == shown[code] for state in held) for code in held[-1])
