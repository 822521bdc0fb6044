"""What needs a person, ranked: each cause as one sentence, its cause, what the web shows meanwhile, one link."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from tillbridge_server.dashboard.pages.order_words import mark_of, meaning, need_title, next_step, sentence, word_of
from tillbridge_server.dashboard.reads.fleet import LocationState
from tillbridge_server.dashboard.reads.orders import Promised, Waiting
from tillbridge_server.dashboard.reads.work import HoldRow
from tillbridge_server.dashboard.render import hold_url, order_url, store_url
from tillbridge_server.dashboard.say import NBSP, coarse, count, number, share

#: Agents that fell silent this close together most likely have one cause.
TOGETHER = timedelta(minutes=2)
GROUP_MIN = 3
SHOWN_MAX = 20


@dataclass(frozen=True)
class Need:
    """One row of the list; `share` is a percentage for the bar or None."""

    pill: str
    word: str
    title: str
    text: str
    effect: str
    effect_of: str
    share: int | None
    since: datetime | None
    href: str
    go: str
    wait_word: str = "waiting"


def needs_of(
    places: list[LocationState], holds: list[HoldRow], letters: list[Any], live: int, now: datetime,
    orders: Sequence[Waiting] = (), promised: Sequence[Promised] = (),
) -> list[Need]:
    """Every need, most urgent first: orders, decisions, silence, late feeds, promised stock, quarantine, refusals."""
    return [
        *[_order_need(waiting) for waiting in orders],
        *[_hold_need(hold, live) for hold in holds],
        *_offline_needs(places, now),
        *[_placing_need(place) for place in places if place.orders_problem],
        *[need for place in places for need in _feed_needs(place, now)],
        *[_promised_need(one) for one in promised],
        *[_quarantine_need(place) for place in places if place.quarantine],
        *[_letter_need(letter, places) for letter in letters],
    ]


def _order_need(waiting: Waiting) -> Need:
    """A shopper waits for it: what is known, why, and what to do; the buttons are on the order's page."""
    one, place = waiting.order, waiting.place
    reason = sentence(one.message) if one is not None and one.message else meaning(waiting.state)
    list_of = urlencode({"show": "waiting", **({"store": waiting.location} if waiting.location else {})})
    return Need(
        mark_of(waiting.state, overdue=True), word_of(waiting.state),
        need_title(waiting.state, place, waiting.n, one.id if one is not None else ""),
        f"{reason} {next_step(waiting.state, place)}", count(waiting.n, "order"),
        one.goods if one is not None else "of shoppers", None, waiting.since,
        order_url(one.id) if one is not None else f"/orders?{list_of}",
        "Open order" if one is not None else "Open orders", "in this state",
    )


def _placing_need(place: LocationState) -> Need:
    return Need(
        "stop", "Orders", f"{place.name} cannot place web orders",
        f"{sentence(place.orders_problem)} Orders for it wait; its stock and prices flow.", "no order",
        "reaches the till", None, place.last_seen_at, f"{store_url(place.id)}#orders", "Open store", "ago",
    )


def _promised_need(one: Promised) -> Need:
    n = len(one.orders)
    pieces = f"{number(one.pieces)}{NBSP}{'piece' if one.pieces == 1 else 'pieces'}"
    return Need(
        "late", "Reserved", f"{pieces} of {one.place or 'no store in particular'} stay reserved for "
        f"{count(n, 'order')} since yesterday or longer",
        "Either the till’s journal does not carry the order’s number, or no count has come since it was sold. "
        "The web offers that much less until then.",
        pieces, "not offered", None, one.since,
        order_url(one.orders[0]) if n == 1 else "/orders?" + urlencode({"show": "open", "store": one.location}),
        "Open order" if n == 1 else "Open orders", "reserved",
    )


def _hold_need(hold: HoldRow, live: int) -> Need:
    breaker = hold.what == "breaker"
    word, pill = {"breaker": ("Breaker tripped", "trip"), "file": ("Held file", "held")}.get(
        hold.what, ("Conflict", "trip"))
    meanwhile = "" if breaker else " The last accepted values stay in use."
    text = hold.message if breaker else f"{hold.where}. {hold.hint}{meanwhile}"
    return Need(
        pill, word, hold.title, text, count(hold.affected, hold.unit),
        f"of {live:,} on the web" if breaker else "touched", share(hold.affected, live) if breaker and live else None,
        hold.since, hold_url(hold.id), "Review",
    )


def _offline_needs(places: list[LocationState], now: datetime) -> list[Need]:
    """Silent stores; several that stopped at the same minute are one row."""
    silent = sorted((p for p in places if p.offline and p.last_seen_at), key=lambda p: str(p.last_seen_at))
    groups: list[list[LocationState]] = []
    for place in silent:
        last = groups[-1][-1].last_seen_at if groups else None
        if last is not None and place.last_seen_at is not None and place.last_seen_at - last <= TOGETHER:
            groups[-1].append(place)
        else:
            groups.append([place])
    needs = []
    for group in groups:
        if len(group) >= GROUP_MIN:
            needs.append(_group_need(group))
        else:
            needs += [_offline_need(place, now) for place in group]
    never = [p for p in places if p.offline and p.last_seen_at is None]
    return needs + [_offline_need(place, now) for place in never]


def _group_need(group: list[LocationState]) -> Need:
    names = ", ".join(place.name for place in group[:4]) + (" and others" if len(group) > 4 else "")
    return Need(
        "stop", "Offline", f"{len(group)} stores stopped at the same minute",
        f"{names}. One cause is likely, such as the line or the VPN. The web keeps their last counts.",
        count(len(group), "store"), "silent", None, group[0].last_seen_at, "/stores?show=offline", "Open stores",
        "silent",
    )


def _offline_need(place: LocationState, now: datetime) -> Need:
    seen = place.last_seen_at
    title = f"{place.name} has not called for {coarse(now - seen)}" if seen else f"{place.name} has never called"
    return Need(
        "stop", "Offline", title,
        "Nothing can be received. Its backlog is unknown, and the web keeps its last counts until it calls.",
        count(len(place.feeds), "feed"), "silent", None, seen, store_url(place.id), "Open store", "silent",
    )


def _feed_needs(place: LocationState, now: datetime) -> list[Need]:
    needs = []
    for feed in place.feeds:
        if feed.verdict == "late" and feed.at is not None:
            needs.append(Need(
                "late", "Late", f"{place.name} stopped writing {feed.name}",
                f"The agent is well; no new file came for {coarse(now - feed.at)}. {coarse(feed.allowed)} are allowed. "
                "The web keeps the last counts.",
                f"{feed.rows:,}{NBSP}rows", "of that age", None, feed.at, f"{store_url(place.id)}#feeds", "Open feed",
                "old",
            ))
        elif feed.verdict == "failing":
            needs.append(Need(
                "stop", "Failing", f"{place.name} cannot read {feed.name}",
                f"{feed.problem or 'The agent gives no reason.'} The web keeps the last counts.",
                f"{feed.rows:,}{NBSP}rows", "kept as they were", None, feed.at, f"{store_url(place.id)}#feeds",
                "Open feed", "old",
            ))
    return needs


def _quarantine_need(place: LocationState) -> Need:
    first = min(place.quarantine, key=lambda q: q.since)
    n = len(place.quarantine)
    rows = all(q.line for q in place.quarantine)
    what = count(n, "row") if rows else count(n, "file or row", "files or rows")
    return Need(
        "doubt", "Quarantine", f"{what} of {place.name} {'is' if n == 1 else 'are'} not readable",
        f"{first.message} What it is about keeps its last value; everything else flows.",
        what, "set aside", None, first.since, f"{store_url(place.id)}#quarantine", "Open",
    )


def _letter_need(letter: Any, places: list[LocationState]) -> Need:
    by = "the storefront" if letter.origin == "storefront" else "the server"
    where = next((p.name for p in places if any(a.id == letter.place for a in p.agents)), letter.place)
    return Need(
        "stop", "Refused", f"{count(letter.n, 'change')} of {where} refused",
        f"{letter.message} Finally refused by {by}; everything else was accepted.",
        count(letter.n, "change"), letter.code, None, letter.since, "/refused", "Open", "ago",
    )
