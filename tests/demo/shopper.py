"""The demo's own shopper: chooses variants with enough stock and presses the buy button of the shop window."""

import http.client
import json
import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from urllib.parse import urlencode

from tests.demo.excess import Purchase
from tests.demo.observe import Look
from tests.demo.truth import Ordered

#: How many pieces each purchase has; as many purchases are made.
PIECES = (1, 2, 3)
#: When each is made, as a share of the selling time: early enough that later exports count the last one.
MOMENTS = (0.08, 0.25, 0.45)
#: So many pieces must be shown that customers in the shop do not buy the last ones meanwhile.
ENOUGH = Decimal(12)
TRIES = 5
TIMEOUT_S = 5.0


class NotBought(Exception):
    """The shop window did not take the order; the message holds what it said."""


@dataclass(frozen=True, slots=True)
class Bought:
    """An order the shop window has taken: our number for it and what was bought."""

    order: str
    purchase: Purchase


def candidates(seen: Look, taken: Collection[str], rng: random.Random) -> list[tuple[str, str]]:
    """(variant, code) of what there is enough of, without codes bought before, in a random order."""
    found = [
        (variant, codes[0]) for variant, (codes, value) in sorted(seen.shown.items())
        if len(codes) == 1 and codes[0] not in taken and value.stock >= ENOUGH
    ]
    rng.shuffle(found)
    return found


def buy(host: str, port: int, variant: str, pieces: int) -> str:
    """Presses the button; returns our number of the order. Raises NotBought, OSError."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request(
            "POST", "/shop/buy", urlencode({"variant": variant, "quantity": pieces}),
            {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
        )
        answer = connection.getresponse()
        body = answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"the shop window does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != http.client.CREATED:
        raise NotBought(f"the shop window answers {answer.status} to the buy button: {body[:200]!r}")
    return str(json.loads(body)["order"])


class Shopper:
    """Makes its purchases one after the other, each at its moment; `bought` are those the shop window took."""

    def __init__(self, host: str, port: int, seed: int, started_at: float, seconds: float) -> None:
        """The moments are shares of `seconds` from `started_at` (seconds since 1970) on."""
        self._host, self._port = host, port
        self._rng = random.Random(f"shopper/{seed}")
        self._moments = [started_at + share * seconds for share in MOMENTS]
        self.bought: list[Bought] = []

    def is_due(self, now: float) -> bool:
        """Whether there is something to buy now."""
        done = len(self.bought)
        return done < len(PIECES) and now >= self._moments[done]

    def buy_next(self, seen: Look) -> Bought:
        """Makes the next purchase from what the window shows. Raises NotBought, OSError."""
        pieces = PIECES[len(self.bought)]
        taken = {one.purchase.code for one in self.bought}
        why = NotBought(f"the shop window shows nothing there are {ENOUGH} of")
        for variant, code in candidates(seen, taken, self._rng)[:TRIES]:
            try:
                order = buy(self._host, self._port, variant, pieces)
            except NotBought as error:
                why = error
                continue
            self.bought.append(Bought(order, Purchase(time.time(), code, Decimal(pieces))))
            return self.bought[-1]
        raise why


def purchases(bought: Sequence[Bought], orders: Mapping[str, Ordered]) -> list[Purchase]:
    """What was bought, each with the export that counts it."""
    return [
        replace(one.purchase, export=orders[one.order].export) if one.order in orders else one.purchase
        for one in bought
    ]


def outcome(bought: Sequence[Bought], orders: Mapping[str, Ordered]) -> tuple[int, int, int]:
    """(placed, imported exactly once, counted in an export with exactly these pieces) of what was bought."""
    told = [(one.purchase, orders[one.order]) for one in bought if one.order in orders]
    once = [(purchase, order) for purchase, order in told if order.imported == 1]
    counted = [
        order for purchase, order in once
        if order.sold and order.export is not None and order.lines == {purchase.code: purchase.pieces}
    ]
    return len(bought), len(once), len(counted)
