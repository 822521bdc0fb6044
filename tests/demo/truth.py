"""Reads the simulator's truth.json as any outsider would: plain JSON, no code of the simulator."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Value:
    """What a shopper should see of one variant: pieces on hand and the price to pay."""

    stock: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class Write:
    """One completed export: seconds since 1970 of its begin and end, and the values it changed."""

    n: int
    started_at: float
    ended_at: float
    changed: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Ordered:
    """One web order at the till: how many of its import files, whether sold, and the first export that counts it."""

    imported: int
    sold: bool
    export: int | None
    lines: dict[str, Decimal]


@dataclass(slots=True)
class Truth:
    """Everything the simulator has told so far; `base` is what it held when this run began."""

    base: dict[str, Value] = field(default_factory=dict)
    exports_before: int = 0
    sales_before: int = 0
    variants: dict[str, Value] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    sales: list[str] = field(default_factory=list)
    exports: int = 0
    orders: dict[str, Ordered] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)


class TruthFile:
    """Follows truth.json during a run; it keeps the last 200 writes only, so they are collected as they come."""

    def __init__(self, path: Path) -> None:
        """Takes what is kept from earlier runs as the base, nothing if there is none."""
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self.truth = Truth()
        self.refresh()
        truth = self.truth
        truth.base, truth.exports_before, truth.sales_before = dict(truth.variants), truth.exports, len(truth.sales)
        truth.writes.clear()

    def refresh(self) -> bool:
        """Reads the file if it changed; says whether it did."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp == self._stamp:
            return False
        self._take(json.loads(self._path.read_text(encoding="utf-8")))
        self._stamp = stamp
        return True

    def _take(self, data: dict[str, Any]) -> None:
        truth, known = self.truth, self.truth.exports
        truth.variants = {
            code: Value(Decimal(v["on_hand"]), Decimal(v["sale_price"] or v["list_price"]))
            for code, v in data["variants"].items()
        }
        truth.titles = {code: v["title"] for code, v in data["variants"].items()}
        truth.sales, truth.exports = data["sales"], data["exports"]
        truth.orders = {order: _ordered(told) for order, told in data.get("orders", {}).items()}
        for write in data["writes"]:
            if write["n"] > known:
                truth.writes.append(_write(write))


def _write(data: dict[str, Any]) -> Write:
    changed = {code: Value(Decimal(v["on_hand"]), Decimal(v["price"])) for code, v in data["changed"].items()}
    return Write(data["n"], _seconds(data["started_at"]), _seconds(data["ended_at"]), changed)


def _ordered(data: dict[str, Any]) -> Ordered:
    lines = {code: Decimal(pieces) for code, pieces in data["lines"].items()}
    return Ordered(data["imported"], data["sold"], data["export"], lines)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
