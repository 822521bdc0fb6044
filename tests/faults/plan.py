"""Which crash every seed goes through: a deck with every point of both programs, shuffled and dealt. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from tillbridge_agent.crash import ORDER_POINTS

#: Cards a seed is dealt: so often its programs die before it must come to rest.
CARDS_A_SEED = 4
#: What must happen for a point to be passed; all others are passed by a store that simply goes on.
NEEDS = {
    "agent": {
        "hold.committed": "hold", "quarantine.committed": "broken", "seen_again.committed": "same",
        "resync.committed": "restore", "mail.received": "approve", "mail.dealt": "approve",
        **dict.fromkeys((name for name in ORDER_POINTS if not name.startswith("standings.")), "orders"),
    },
    "server": {
        "backup.written": "backup", "backup.renamed": "backup",
        "standings.committed": "restart",
        **dict.fromkeys(("mail.collected", "order.swept", "order.taken_in", "order.routed", "order.mailed"), "orders"),
    },
}
#: Needs that business as usual brings again and again, so that a point can be passed more than once.
_GOES_ON = ("trade", "orders")
#: Passed while a machine is enrolled, in an order in which one enrollment passes them all.
ENROLL_POINTS = {
    "agent": ("identity.written", "identity.renamed", "enroll.sending", "enroll.answered"),
    "server": ("enroll.received", "enroll.committed"),
}
#: Any commit may be the one: the count is drawn from a wider range.
_ANY_COMMIT = {"store.committing", "store.committed"}
#: Passed once per start.
_ONCE = {"door.written", "standings.writing", "standings.applied"}


@dataclass(frozen=True)
class Card:
    """One death: the points ("name:n") armed in agent and server, or a kill -9 of `victims` at a random moment.

    `need` is what the store does meanwhile; `again` arms the same point once more in the restart.
    """

    agent: str = ""
    server: str = ""
    need: str = "trade"
    again: bool = False
    victims: tuple[str, ...] = ()

    def point(self, program: str) -> str:
        """What is armed in this program; empty for nothing."""
        return self.agent if program == "agent" else self.server

    def __str__(self) -> str:
        """As the run prints it."""
        if self.victims:
            return f"kill -9 {' and '.join(self.victims)}"
        armed = " and ".join(f"{name} at {self.point(name)}" for name in ("agent", "server") if self.point(name))
        return armed + (", again in the restart" if self.again else "")


@dataclass(frozen=True)
class Plan:
    """One seed: its number, its cards, and whether it also enrolls through every point of enrollment."""

    seed: int
    cards: tuple[Card, ...]
    enrolls: bool = False


def plans(base: int, decks: int, agent_points: Sequence[str], server_points: Sequence[str]) -> list[Plan]:
    """The seeds of a run; the first one enrolls. The same `base` deals the same cards."""
    rng = Random(base)
    cards: list[Card] = []
    for _ in range(decks):
        deck = _deck(rng, {"agent": agent_points, "server": server_points})
        rng.shuffle(deck)
        cards += deck
    hands = [tuple(cards[at : at + CARDS_A_SEED]) for at in range(0, len(cards), CARDS_A_SEED)]
    return [Plan(base * 1000 + number, hand, enrolls=number == 0) for number, hand in enumerate(hands)]


def _deck(rng: Random, points: dict[str, Sequence[str]]) -> list[Card]:
    """One card per point, some of them twice in a row, some for both programs at once, and random kills."""
    deck = []
    for program, names in points.items():
        for name in names:
            if name in ENROLL_POINTS[program]:
                continue
            need = NEEDS[program].get(name, "trade")
            card = Card(**{program: f"{name}:{_count(rng, name, need)}"}, need=need)
            deck.append(replace(card, again=need in _GOES_ON and rng.random() < 0.3))
    free = {
        program: [name for name in names if name not in NEEDS[program] and name not in ENROLL_POINTS[program]]
        for program, names in points.items()
    }
    for _ in range(6):
        agent, server = rng.choice(free["agent"]), rng.choice(free["server"])
        deck.append(Card(f"{agent}:{_count(rng, agent, 'trade')}", f"{server}:{_count(rng, server, 'trade')}"))
    deck += [Card(victims=victims) for victims in (("agent",), ("server",), ("agent", "server")) for _ in range(3)]
    return deck


def _count(rng: Random, name: str, need: str) -> int:
    """The how-manieth passing is the last one."""
    if need not in _GOES_ON or name in _ONCE:
        return 1
    return rng.randint(1, 25 if name in _ANY_COMMIT else 3)
