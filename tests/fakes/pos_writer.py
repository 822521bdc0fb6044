"""A till in a few lines: sells from a small assortment, rewrites its export as tills do, appends to a torn journal.

It stands for a POS while programs around it are killed, so it must be quick and must know the truth: `truth` is what
the last finished export says, `sales` every line of the journal. What it writes of an export before it is finished
always ends inside a row, as a file does that is still being written; a cut at the end of a row cannot be told from a
shorter file by anybody.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import BinaryIO

CENT = Decimal("0.01")
#: At most so many items are sold out at once, so that guards and breakers sleep unless a test wakes them.
SOLD_OUT_MAX = 3
_WORDS = ("Gießkanne", "Spaten", "Übertopf", "Café-Stuhl", "Rechen", "Blähton", "Säge", "Crème brûlée-Set")


@dataclass
class Item:
    """One item on the shelves; `sale` is the reduced price, None without one, `kept` is for web orders only."""

    title: str
    stock: int
    price: Decimal
    sale: Decimal | None = None
    kept: int = 0


@dataclass(frozen=True)
class Sale:
    """One line of the journal as the till wrote it; `order` is the web order it was sold for."""

    code: str
    quantity: Decimal
    price: Decimal
    order: str = field(default="", compare=False)


class PosWriter:
    """Writes STOCK.CSV and SALES.TXT in `folder`; everything random comes from `rng`."""

    def __init__(self, folder: Path, rng: Random, items: int = 40) -> None:
        """Shelves are full and nothing is written yet."""
        self._folder, self._rng = folder, rng
        self.items = {f"{1000 + n:06d}": self._new_item(n) for n in range(items)}
        self.truth: dict[str, tuple[Decimal, Decimal]] = {}
        self.sales: dict[str, Sale] = {}
        self._torn = b""
        self._now = datetime(2026, 11, 23, 8, 0)  # noqa: DTZ001 - tills write local time
        self._order = list(self.items)
        self._last = b""
        (folder / "SALES.TXT").write_bytes(b"Beleg;Zeile;Zeit;ArtNr;Menge;Preis;Auftrag\r\n")

    def trade(self) -> None:
        """A moment in a store: some sales, perhaps a delivery or a new price."""
        for _ in range(self._rng.randint(1, 3)):
            self.sell()
        if self._rng.random() < 0.3:
            self.items[self._rng.choice(self._order)].stock += self._rng.randint(1, 20)
        if self._rng.random() < 0.3:
            self._reprice(self.items[self._rng.choice(self._order)])

    def sell(self) -> None:
        """One receipt of one to three lines, in the journal at once, perhaps with its last line torn."""
        lines = []
        for _ in range(self._rng.randint(1, 3)):
            code = self._rng.choice(self._order)
            item = self.items[code]
            lines.append(Sale(code, Decimal(self._quantity(item)), item.sale or item.price))
            item.stock -= int(lines[-1].quantity)
        self._receipt(lines)

    def sell_order(self, order: str, lines: Sequence[Sale]) -> None:
        """The receipt of a web order under its number; what was kept for it is gone."""
        for line in lines:
            item = self.items[line.code]
            item.stock -= int(line.quantity)
            item.kept -= int(line.quantity)
        self._receipt([Sale(line.code, line.quantity, line.price, order) for line in lines])

    def _receipt(self, lines: Sequence[Sale]) -> None:
        self._now += timedelta(seconds=self._rng.randint(1, 90))
        receipt, text = len(self.sales) + 1, ""
        for number, line in enumerate(lines, 1):
            self.sales[f"{receipt}/{number}"] = line
            text += f"{receipt};{number};{self._now:%d.%m.%Y %H:%M:%S};{line.code};{line.quantity};"
            text += f"{_comma(line.price)};{line.order}\r\n"
        data = text.encode("cp1252")
        cut = self._rng.randrange(1, len(data)) if self._rng.random() < 0.5 else len(data)
        self._append(self._torn + data[:cut])
        self._torn = data[cut:]

    def finish_journal(self) -> None:
        """Write what is left of a torn line."""
        self._append(self._torn)
        self._torn = b""

    def export(self) -> None:
        """Rewrite the export, in place or by renaming, sometimes in another order of rows."""
        if self._rng.random() < 0.3:
            self._rng.shuffle(self._order)
        rows = ["ArtNr;Bezeichnung;Bestand;VK;Aktion"]
        for code in self._order:
            item = self.items[code]
            sale = "" if item.sale is None else _comma(item.sale)
            rows.append(f"{code};{item.title};{item.stock};{_comma(item.price)};{sale}")
        self._last = ("\r\n".join(rows) + "\r\n").encode("cp1252")
        self._write()
        self.truth = {
            code: (Decimal(item.stock), item.price if item.sale is None else item.sale)
            for code, item in self.items.items()
        }

    def export_again(self) -> None:
        """The same content once more, as a till does that exports by the clock."""
        self._write()

    def drop_broken(self) -> None:
        """A file that fits the pattern and is no text at all."""
        (self._folder / "STOCK-OLD.CSV").write_bytes(b"PK\x03\x04" + self._rng.randbytes(400) + b"\0" * 40)

    def empty_shelves(self, count: int) -> list[str]:
        """So many items are sold out at once; returns their codes."""
        codes = self._rng.sample([code for code, item in self.items.items() if item.stock > 0 and not item.kept], count)
        for code in codes:
            self.items[code].stock = 0
        return codes

    def refill(self) -> None:
        """No shelf is empty."""
        for item in self.items.values():
            item.stock = item.stock if item.stock > item.kept else item.kept + self._rng.randint(5, 30)

    def _write(self) -> None:
        path = self._folder / "STOCK.CSV"
        if self._rng.random() < 0.5:
            new = self._folder / "STOCK.TMP"
            new.write_bytes(self._last)
            os.replace(new, path)
            return
        with path.open("wb") as file:
            at = 0
            for cut in [*self._cuts(), len(self._last)]:
                _flushed(file, self._last[at:cut])
                at = cut
                time.sleep(self._rng.uniform(0, 0.02))

    def _cuts(self) -> list[int]:
        """Up to three places inside a title."""
        borders = [place for place, byte in enumerate(self._last) if byte == 0x0A][:-1]
        return sorted(border + 1 + len("001000;Gi") for border in self._rng.sample(borders, self._rng.randint(0, 3)))

    def _append(self, data: bytes) -> None:
        with (self._folder / "SALES.TXT").open("ab") as file:
            _flushed(file, data)

    def _quantity(self, item: Item) -> int:
        sold_out = sum(one.stock <= 0 for one in self.items.values())
        free = item.stock - item.kept
        most = free if sold_out < SOLD_OUT_MAX else free - 1
        return min(self._rng.randint(1, 4), most) if most > 0 else -1  # nothing to sell: a customer brings one back

    def _reprice(self, item: Item) -> None:
        item.price = max(CENT, (item.price * Decimal(self._rng.randint(92, 110)) / 100).quantize(CENT))
        item.sale = (item.price * Decimal("0.9")).quantize(CENT) if self._rng.random() < 0.3 else None

    def _new_item(self, number: int) -> Item:
        title = f"{_WORDS[number % len(_WORDS)]} {number}"
        return Item(title, self._rng.randint(5, 60), Decimal(self._rng.randint(500, 9000)) / 100)


def _comma(amount: Decimal) -> str:
    return f"{amount:.2f}".replace(".", ",")


def _flushed(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()
