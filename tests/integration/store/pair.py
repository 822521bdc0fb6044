"""Two databases that are told the same: every call is made on SQLite and on PostgreSQL, and must answer alike.

An operation is a function that gets the pair and makes one or a few calls by `pair.both`; the decorator `operation`
makes it known to the sequences. What it needs by chance it takes from `pair.rng`, so that a seed is one sequence.
"""

import datetime as dt
import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from tillbridge_protocol.changes import FrozenBatch
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.positions import Position
from tillbridge_server.core.settings import BreakerLimit, BreakersConfig, DropLimit, PlainRules, StorefrontConfig
from tillbridge_server.errors import TillbridgeError
from tillbridge_server.store.database import transact
from tillbridge_server.store.tables import metadata

NOW = dt.datetime(2026, 11, 23, 8, 0, tzinfo=dt.UTC)
#: Letters that languages, LIKE and careless comparisons treat otherwise than a code point each.
CODES = ("001", "002", "A1", "a1", "Ä1", "ä1", "a_1", "100%", "x y", "Z", "é")
SHOPS = (
    StorefrontConfig("window", "Window", "shop_window", "CHF", activate="auto", time_zone="Europe/Zurich"),
    StorefrontConfig("trade", "Trade", "shop_window", "CHF", pool=("mallow", "Sorrel"), moving_journals=("sales",)),
)
BREAKERS = BreakersConfig(to_zero=BreakerLimit(0.2, 3), price_drop=DropLimit(0.2, 3, 0.4))

Operation = Callable[["Pair"], None]
OPERATIONS: list[Operation] = []


def operation(often: int) -> Callable[[Operation], Operation]:
    """Make an operation known; one of twice the number comes twice as often."""
    def known(made: Operation) -> Operation:
        OPERATIONS.extend([made] * often)
        return made
    return known


@dataclass
class Till:
    """An agent as the server hears it; `last` is its latest batch that was acked."""

    agent: str
    location: str
    position: Position
    boot: str = "boot-1"
    requests: int = 0
    epochs: int = 1
    last: FrozenBatch | None = None
    mail: list[str] = field(default_factory=list)


class Pair:
    """SQLite and PostgreSQL side by side, and what a sequence has to remember to go on sensibly."""

    def __init__(self, seed: int, *engines: sa.Engine) -> None:
        self.rng, self.engines, self.now = random.Random(seed), engines, NOW
        self.rules = PlainRules(SHOPS, BREAKERS, {})
        self.tills: list[Till] = []
        self.orders: list[str] = []
        self.numbers = iter(range(1, 1_000_000))
        self.told: list[str] = []

    def step(self) -> None:
        """Time passes, and something is done."""
        self.now += dt.timedelta(seconds=self.rng.choice((1, 1, 2, 30, 61, 600, 40_000)))
        chosen = self.rng.choice(OPERATIONS)
        self.told.append(chosen.__name__)
        chosen(self)

    def both(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What both answer; None when both refuse, with the same words."""
        answers = [_answer(engine, call, args, kwargs) for engine in self.engines]
        self.told.append(f"  {getattr(call, '__name__', call)} → {str(answers[0])[:200]}")
        assert answers[0] == answers[1], f"{answers[0]}\n{answers[1]}\n{self.story()}"
        answer = answers[0]
        return None if isinstance(answer, Refusal) else answer

    def compare(self) -> int:
        """Every row of every table is the same on both; returns how many there are."""
        first, second = (_rows(engine) for engine in self.engines)
        for name, rows in first.items():
            assert rows == second[name], f"{name}\n{self.story()}"
        return sum(len(rows) for rows in first.values())

    def new_id(self, prefix: str) -> str:
        """A name that was not there yet."""
        return f"{prefix}{next(self.numbers)}"

    def codes(self, most: int) -> list[str]:
        """A few codes."""
        return self.rng.sample(CODES, self.rng.randint(1, most))

    def till(self) -> Till:
        """One of the agents."""
        return self.rng.choice(self.tills)

    def story(self) -> str:
        """What was done last."""
        return "\n".join(self.told[-12:])


@dataclass(frozen=True)
class Refusal:
    """An operating error as its caller hears it."""

    kind: str
    code: str
    message: str


def _answer(engine: sa.Engine, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    def told(conn: sa.Connection) -> Any:
        answer = call(conn, *args, **kwargs)
        if isinstance(answer, Generator | Iterator):
            return list(answer)
        # A pair of a list of database rows and a number is equal to another one only as plain values.
        return [tuple(one) for one in answer] if isinstance(answer, list) and _are_rows(answer) else answer

    try:
        return transact(engine, told)
    except (TillbridgeError, ProtocolError) as error:
        return Refusal(type(error).__name__, getattr(error, "code", ""), str(error))


def _are_rows(answer: list[Any]) -> bool:
    return all(isinstance(one, sa.Row) for one in answer)


def _rows(engine: sa.Engine) -> dict[str, list[Any]]:
    """Rows by table: in the order in which they were numbered, without the number, else sorted."""
    found: dict[str, list[Any]] = {}
    with engine.begin() as conn:
        for table in metadata.sorted_tables:
            counted = table.autoincrement_column
            if counted is not None and counted.autoincrement is True:
                columns = [column for column in table.columns if column is not counted]
                found[table.name] = [tuple(row) for row in conn.execute(sa.select(*columns).order_by(counted))]
            else:
                found[table.name] = sorted((tuple(row) for row in conn.execute(sa.select(table))), key=repr)
    return found
