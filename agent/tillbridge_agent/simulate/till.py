"""The tills of the simulated shop as a state machine: sell, receive, change prices; no clock, no disk.

Law of conservation, for every code at every moment: opening + received - sold = on hand, never below zero.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from tillbridge_agent.simulate.assortment import Variant, rounded

SHOP_ZONE = ZoneInfo("Europe/Zurich")
TILLS = ("01", "02")
DATE_FORMAT = "%d.%m.%Y"
TIME_FORMAT = "%H:%M:%S"
RECEIPT_DIGITS = 6

LINES_MAX = 4
PIECES_MAX = 3
LOW_STOCK = Decimal(2)
VOID_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class SoldLine:
    """One receipt line. A void one was taken back at the till: it is in the journal but moved nothing.

    `order` is the number of the web order it belongs to, empty for a customer in the shop.
    """

    till: str
    receipt: str
    line: int
    at: datetime
    code: str
    title: str
    quantity: Decimal
    unit_price: Decimal
    void: bool = False
    order: str = ""

    @property
    def date_text(self) -> str:
        """The day as the till prints it, in the shop's own time zone."""
        return self.at.astimezone(SHOP_ZONE).strftime(DATE_FORMAT)

    @property
    def id(self) -> str:
        """The natural id: till/date/receipt/line, the journal's own texts."""
        return f"{self.till}/{self.date_text}/{self.receipt}/{self.line}"


@dataclass(frozen=True, slots=True)
class OrderedLine:
    """One line of a web order; the price is that of one piece."""

    code: str
    title: str
    quantity: Decimal
    unit_price: Decimal


class Till:
    """Holds the stock of the shop and its receipt numbers; every step is decided by `rng`."""

    def __init__(
        self, variants: Iterable[Variant], rng: random.Random, receipts: Mapping[str, int] | None = None,
    ) -> None:
        """`receipts`: the last receipt number of each till, so that a continued shop repeats none."""
        self._variants = {variant.code: variant for variant in variants}
        self._codes = sorted(self._variants)
        self._rng = rng
        self._receipts = dict.fromkeys(TILLS, 0) | dict(receipts or {})
        self._aside: dict[str, Decimal] = {}

    @property
    def variants(self) -> dict[str, Variant]:
        """The state now, by code; a copy."""
        return dict(self._variants)

    def put_aside(self, aside: Mapping[str, Decimal]) -> None:
        """From now on these pieces, and no others, are kept for web orders: on hand, but not for sale in the shop."""
        self._aside = dict(aside)

    def free(self, code: str) -> Decimal:
        """The pieces of a code that are not put aside, never below zero."""
        return max(self._variants[code].on_hand - self._aside.get(code, Decimal(0)), Decimal(0))

    def sell(self, now: datetime) -> tuple[SoldLine, ...]:
        """One customer at one till: at least one line unless nothing at all is in stock."""
        till = self._rng.choice(TILLS)
        codes = self._rng.sample(self._codes, min(self._rng.randint(1, LINES_MAX), len(self._codes)))
        codes = [code for code in codes if self.free(code) > 0]
        if not codes:
            codes = [code for code in self._codes if self.free(code) > 0][:1]
        if not codes:
            return ()
        receipt = self._next_receipt(till)
        return tuple(self._sell_line(till, receipt, line, now, code) for line, code in enumerate(codes, start=1))

    def sell_order(self, now: datetime, order: str, lines: Iterable[OrderedLine]) -> tuple[SoldLine, ...]:
        """One receipt with the lines of a web order, at its prices; the pieces were put aside for it.

        A run that was cut off can have forgotten the delivery they came from; then they are received now.
        """
        till = self._rng.choice(TILLS)
        receipt = self._next_receipt(till)
        sold = tuple(
            SoldLine(
                till=till, receipt=receipt, line=number, at=now, code=line.code,
                title=line.title or self._variants[line.code].title, quantity=line.quantity,
                unit_price=line.unit_price, order=order,
            )
            for number, line in enumerate(lines, start=1)
        )
        self.catch_up(sold)
        return sold

    def _next_receipt(self, till: str) -> str:
        self._receipts[till] += 1
        return f"{self._receipts[till]:0{RECEIPT_DIGITS}d}"

    def _sell_line(self, till: str, receipt: str, line: int, now: datetime, code: str) -> SoldLine:
        variant = self._variants[code]
        quantity = min(Decimal(self._rng.choices((1, 2, PIECES_MAX), (8, 2, 1))[0]), self.free(code))
        void = self._rng.random() < VOID_SHARE
        if not void:
            self._variants[code] = replace(variant, on_hand=variant.on_hand - quantity)
        return SoldLine(
            till=till, receipt=receipt, line=line, at=now, code=code, title=variant.title,
            quantity=quantity, unit_price=variant.price_now, void=void,
        )

    def restock(self) -> dict[str, Decimal]:
        """A delivery for about two in three of the items that run low; returns what was received, by code."""
        received: dict[str, Decimal] = {}
        for code in self._codes:
            variant = self._variants[code]
            if variant.on_hand <= LOW_STOCK and self._rng.random() < 0.65:
                received[code] = Decimal(self._rng.randrange(8, 31))
                self._variants[code] = replace(variant, on_hand=variant.on_hand + received[code])
        return received

    def reprice(self) -> frozenset[str]:
        """Now and then one item gets another price; none falls by more than 30 % at once."""
        if self._rng.random() > 0.4:
            return frozenset()
        code = self._rng.choice(self._codes)
        variant = self._variants[code]
        if variant.sale_price is not None:
            changed = replace(variant, sale_price=None)
        elif self._rng.random() < 0.5:
            share = Decimal(100 - self._rng.randrange(10, 31)) / 100
            changed = replace(variant, sale_price=rounded(variant.list_price * share))
        else:
            share = Decimal(100 + self._rng.randrange(-15, 16)) / 100
            changed = replace(variant, list_price=rounded(variant.list_price * share))
        self._variants[code] = changed
        return frozenset({code} if changed != variant else ())

    def catch_up(self, lines: Iterable[SoldLine]) -> dict[str, Decimal]:
        """Applies lines of a kept journal that no export has shown yet; returns what had to be received for them.

        A stop in the middle can leave sales of pieces whose delivery was never written down; those pieces
        were there, so they are received now and the stock never goes below zero.
        """
        received: dict[str, Decimal] = {}
        for line in lines:
            if line.void or line.code not in self._variants:
                continue
            variant = self._variants[line.code]
            short = max(line.quantity - variant.on_hand, Decimal(0))
            if short:
                received[line.code] = received.get(line.code, Decimal(0)) + short
            self._variants[line.code] = replace(variant, on_hand=variant.on_hand + short - line.quantity)
        return received
