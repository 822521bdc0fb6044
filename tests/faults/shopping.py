"""The web orders of a fault test's store: a shopper at the shop window, the till's import, and a person in doubt."""

import http.client
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

from tests.fakes.import_till import ImportTill
from tests.fakes.pos_writer import PosWriter
from tests.faults.programs import Story, window

from tillbridge_server.errors import TillbridgeError

#: Bought and not yet sold at the till; a shopper waits while there are so many.
OPEN_MAX = 4
#: So many pieces must be free, so that shop and shopper do not fight for the last one.
ENOUGH = 4
_DOUBT = "uncertain"


@dataclass
class Shopping:
    """What was bought, and what became of it at the till; `ask` asks the running server."""

    till: ImportTill
    pos: PosWriter
    rng: Random
    story: Story
    port: int
    ask: Callable[..., Any]
    location: str
    #: By order number, for which the shop window said yes: code and pieces.
    bought: dict[str, tuple[str, int]] = field(default_factory=dict)
    #: Purchases whose answer nobody heard.
    unheard: int = 0
    #: Orders that a person was asked about, with the answer.
    decided: list[str] = field(default_factory=list)

    def buy(self) -> str | None:
        """Buy some pieces of something; the order's number, None when nothing was bought or nobody knows."""
        shown = window(self.port)
        free = [
            item for item in (shown["items"] if shown else [])
            if float(item["available"]) >= ENOUGH and self._free(item["codes"][0]) >= ENOUGH
        ]
        if not free:
            return None
        item, pieces = self.rng.choice(free), self.rng.randint(1, 2)
        code = str(item["codes"][0])
        self.pos.items[code].kept += pieces
        try:
            status, told = _post(self.port, {"variant": item["variant"], "quantity": str(pieces)})
        except (OSError, http.client.HTTPException, ValueError):
            self.unheard += 1
            self.story.tell(f"nobody heard whether {pieces} of {code} were bought")
            return None
        if status != http.client.CREATED:
            self.pos.items[code].kept -= pieces
            return None
        order = str(told["order"])
        self.bought[order] = (code, pieces)
        self.story.tell(f"bought {order}: {pieces} of {code}")
        return order

    def shop(self) -> None:
        """Buy something unless enough is open."""
        if len(self.bought) - sum(1 for order in self.till.imported() if order in self.bought) < OPEN_MAX:
            self.buy()

    def work(self, steps: int) -> None:
        """The till's import does so many steps, if there are any, and is killed."""
        for _ in range(steps):
            if not self.till.step():
                return

    def decide(self) -> None:
        """A person looks for each order in doubt at the till: it is there, or it is sent again."""
        for order in self.listed():
            if order["state"] == _DOUBT:
                mark = "imported" if self.till.holds(order["id"]) else "again"
                try:
                    self.ask("orders-mark", order=order["id"], mark=mark, why="looked at the till")
                except TillbridgeError as error:
                    if mark != "again" or "orders route" not in error.hint:
                        raise
                    # Its agent is revoked, and the hint says what to do instead.
                    self.ask("orders-route", order=order["id"], location=self.location, why="looked at the till")
                self.decided.append(f"{order['id']} {mark}")
                self.story.tell(f"a person marks {order['id']} {mark}: {order['message']}")

    def listed(self) -> list[dict[str, Any]]:
        """Every order as the command line lists it; empty while the server does not answer."""
        told = self.ask("orders-list", all=True)
        return [] if told is None else list(told["orders"])

    def differences(self) -> list[str]:
        """What is not at rest: every order bought is known, imported once, sold and counted, and no other."""
        told = {order["id"]: order for order in self.listed()}
        imported = self.till.imported()
        found = [f"{order} was bought and is not known" for order in self.bought if order not in told]
        found += [f"{order['id']} is {order['state']}: {order['message']}" for order in told.values()
                  if order["state"] not in ("counted", "cancelled")]
        found += [f"{order} was imported {imported[order]} times" for order in told if imported[order] != 1]
        found += [f"imported, and never bought: {order}" for order in imported if order not in told]
        return found

    def twice(self) -> list[str]:
        """What can never be put right any more."""
        return [f"{order} was imported {count} times" for order, count in self.till.imported().items() if count > 1]

    def settle(self, done: Callable[[], list[str]], within_s: float) -> list[str]:
        """Work at the till, and write exports, until `done` finds nothing more; returns what it found at last."""
        ends, export_at = time.monotonic() + within_s, 0.0
        while True:
            self.decide()
            self.work(8)
            if time.monotonic() > export_at:
                # Each one begins later than the journal lines before it, so that one of them counts them.
                self.pos.finish_journal()
                self.pos.export()
                export_at = time.monotonic() + 1.0
            found = self.twice() or self.differences() or done()
            if not found or self.twice() or time.monotonic() > ends:
                return found
            time.sleep(0.1)

    def _free(self, code: str) -> int:
        item = self.pos.items[code]
        return item.stock - item.kept


def reserved(database: Path) -> Counter[str]:
    """By order, how many reservations a stopped server's database holds open."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT order_id FROM reservation WHERE state = 'open'").fetchall()
    return Counter(str(row[0]) for row in rows)


def keep_book(before: Path, after: Path) -> None:
    """Put the shop window's own book into a restored database: it stands for a storefront, which nobody restores."""
    with closing(sqlite3.connect(before)) as old, closing(sqlite3.connect(after)) as new:
        for table in ("window_order", "window_order_line"):
            rows = old.execute(f"SELECT * FROM {table}").fetchall()
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                new.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)
        new.commit()


def _post(port: int, form: dict[str, str]) -> tuple[int, Any]:
    """Press the buy button. Raises OSError, HTTPException, ValueError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/shop/buy", urlencode(form), {
            "Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json",
        })
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
