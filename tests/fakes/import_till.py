"""The order side of a till: imports the files of its folder one step at a time, answers, sells, and counts each import.

What it has done stands in files alone and each call of `step` does one thing, so whoever leaves it and comes back
later has killed and restarted the till's own import. A file that appears is an import, also the second one of an
order: `book` is appended to and never corrected.
"""

import os
from collections import Counter
from pathlib import Path
from random import Random

from tests.fakes.pos_writer import PosWriter, Sale

from tillbridge_agent.simulate.weborders import Unfit, read_import

#: The [orders] table of agent.toml for this till; `{folder}` is where its folders are.
ORDERS_TOML = """\

[orders]
format = "csv"
path = "{folder}/import"
decimal = ","
time_zone = "Europe/Zurich"
[[orders.records]]
each = "order"
columns = [
  {{ const = "H" }}, "order", {{ field = "placed_at", format = "%d.%m.%Y" }}, {{ field = "total", decimals = 2 }},
]
[[orders.records]]
each = "line"
columns = [
  {{ const = "L" }}, "order", "line", "code", {{ field = "quantity", decimals = 3 }},
  {{ field = "unit_price", decimals = 2 }}, {{ field = "title", max = 30 }},
]
[[orders.records]]
each = "order"
columns = [{{ const = "T" }}, "order", "lines"]
[orders.answers]
path = "{folder}/answers"
pattern = "*.ANS"
message = 3
accepted = ["OK"]
rejected = ["ERR"]
settle_s = 0.1
"""
_STAGES = ("taken", "booked", "answered", "sold")


class ImportTill:
    """Folders `import` (the agent's files), `answers`, and one for each stage of an import, below `folder`."""

    def __init__(self, folder: Path, pos: PosWriter, rng: Random) -> None:
        self.folder, self._pos, self._rng = folder, pos, rng
        self.drop, self.answers, self.book = folder / "import", folder / "answers", folder / "book.txt"
        for path in (self.drop, self.answers, *(folder / stage for stage in _STAGES)):
            path.mkdir(parents=True, exist_ok=True)

    def step(self) -> bool:
        """One step with one file; False when there is nothing to do."""
        steps = [(self._take, path) for path in self.waiting()]
        for stage, then in zip(_STAGES, (self._book, self._answer, self._sell), strict=False):
            steps += [(then, path) for path in sorted((self.folder / stage).iterdir())]
        if not steps:
            return False
        then, path = self._rng.choice(steps)
        then(path)
        return True

    def waiting(self) -> list[Path]:
        """What lies in the import folder; nothing while it cannot be reached."""
        return sorted(path for path in self.drop.iterdir() if path.is_file()) if self.drop.is_dir() else []

    def imported(self) -> Counter[str]:
        """How often each order was imported; a file that was no whole order counts under its own name."""
        book = self.book.read_text(encoding="utf-8").splitlines() if self.book.exists() else []
        return Counter(line.partition(" ")[0] for line in book)

    def holds(self, order: str) -> bool:
        """Whether a person who looks at the till and into its folders finds the order."""
        files = self.waiting() + list((self.folder / "taken").iterdir())
        return order in self.imported() or any(order.encode() in path.read_bytes() for path in files)

    def _take(self, path: Path) -> None:
        taken = sum(1 for stage in _STAGES for _ in (self.folder / stage).iterdir())
        path.rename(self.folder / "taken" / f"{taken:05d}-{path.name}")

    def _book(self, path: Path) -> None:
        try:
            order, _ = read_import(path.read_bytes())
        except Unfit as unfit:
            order = f"{path.name}:{unfit}".replace(" ", "-")
        with self.book.open("a", encoding="utf-8") as book:
            book.write(f"{order} {path.name}\n")
            book.flush()
            os.fsync(book.fileno())
        path.rename(self.folder / "booked" / path.name)

    def _answer(self, path: Path) -> None:
        order, _ = read_import(path.read_bytes())
        new = self.folder / "answer.new"
        new.write_bytes(f"{order};OK;\r\n".encode("cp1252"))
        new.rename(self.answers / f"{path.name}.ANS")
        path.rename(self.folder / "answered" / path.name)

    def _sell(self, path: Path) -> None:
        order, lines = read_import(path.read_bytes())
        self._pos.sell_order(order, [Sale(line.code, line.quantity.to_integral_value(), line.unit_price)
                                     for line in lines])
        path.rename(self.folder / "sold" / path.name)
