"""The order desk of the simulated POS: takes import files, records them, answers, and sells them a little later.

Order of writing: the file is taken (moved to `done` under a name never used before), then recorded in the truth,
then answered, then sold in the journal. Whoever is cut off in between goes on from what lies there: a file in
`done` without a record is recorded now, a record without an answer is answered, what the journal lacks is sold.
One file is thus imported once; a second file with the same order number is a second import, as at a real till.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tillbridge_agent.simulate.till import OrderedLine, SoldLine, Till
from tillbridge_agent.simulate.weborders import Imported, Unfit, owed, pieces, read_import, render_answer
from tillbridge_agent.sources.folder import fsync_folder

PATTERN = "ORD*.CSV"
LOOK_EVERY_S = 0.1
#: From the import to the sale: somebody picks the goods first.
PICKING_S = 2.0
#: How long an answer file stays half written.
TORN_S = 0.01

Sell = Callable[[str, list[OrderedLine]], None]


@dataclass(frozen=True, slots=True)
class DeskOptions:
    """Where orders come from and where answers go; `refuse_every` 0 = none, `slow_s` = how long a file lies there."""

    folder: Path
    answers: Path
    refuse_every: int = 0
    answer: bool = True
    slow_s: float = 0.0

    @property
    def done(self) -> Path:
        """Where taken files go."""
        return self.folder / "done"

    @property
    def rejected(self) -> Path:
        """Where refused files end."""
        return self.folder / "rejected"


class Desk:
    """Works on one import folder; it alone changes `imports`, and what it records is durable when `save` returns."""

    def __init__(
        self, options: DeskOptions, imports: dict[str, Imported], till: Till, *,
        sold: Callable[[], list[SoldLine]], save: Callable[[], None], sell: Sell,
    ) -> None:
        """Goes on from `imports`, the record by file name, and from what lies in the folders."""
        for folder in (options.folder, options.done, options.rejected, options.answers):
            folder.mkdir(parents=True, exist_ok=True)
        self.imports = imports
        self._options = options
        self._till = till
        self._sold = sold
        self._save = save
        self._sell = sell
        self._seen: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._next_look = 0.0
        self._put_aside()

    def resume(self) -> None:
        """Finishes what an earlier run began; called once, before the first `look`."""
        for file in self.imports:
            self._answer(file)
        for path in _files(self._options.done):
            if path.name not in self.imports:
                self._record(path.name)
        self._due |= dict.fromkeys(owed(self.imports, self._sold()), 0.0)

    def look(self) -> None:
        """Takes the files that lie there and sells what is due; to be called often."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            for name in self._ready(now):
                self._take(name)
        for file in [file for file, due in self._due.items() if due <= now]:
            self._sell_file(file)

    def close(self) -> None:
        """At the end of the day: takes what lies there and sells everything that is imported."""
        self._next_look = 0.0
        self.look()
        for file in list(self._due):
            self._sell_file(file)

    def _ready(self, now: float) -> list[str]:
        names = [path.name for path in _files(self._options.folder)]
        self._seen = {name: self._seen.get(name, now) for name in names}
        return [name for name in names if now - self._seen[name] >= self._options.slow_s]

    def _take(self, name: str) -> None:
        """Moves a file to `done`. Two files of one name are two files: the later one gets a name of its own."""
        taken = self._free_name(name)
        (self._options.folder / name).rename(self._options.done / taken)
        fsync_folder(self._options.done)
        fsync_folder(self._options.folder)
        self._record(taken)

    def _free_name(self, name: str) -> str:
        stem, dot, end = name.rpartition(".")
        candidate, number = name, 1
        while (
            candidate in self.imports or (self._options.done / candidate).exists()
            or (self._options.rejected / candidate).exists()
        ):
            number += 1
            candidate = f"{stem}~{number}{dot}{end}"
        return candidate

    def _record(self, file: str) -> None:
        self.imports[file] = self._judged((self._options.done / file).read_bytes())
        self._save()
        if not self.imports[file].reason:
            self._due[file] = time.monotonic() + PICKING_S
            self._put_aside()
        self._answer(file)

    def _judged(self, data: bytes) -> Imported:
        try:
            order, lines = read_import(data)
        except Unfit as error:
            return Imported(error.order, [], error.reason)
        known = self._till.variants
        wanted = pieces(lines)
        unknown = sorted(wanted.keys() - known.keys())
        every = self._options.refuse_every
        if unknown:
            reason = f"unknown item {unknown[0]}"
        elif every and (len(self.imports) + 1) % every == 0:
            reason = "refused at the till"
        elif any(self._till.free(code) < quantity for code, quantity in wanted.items()):
            reason = "not in stock"
        else:
            reason = ""
        return Imported(order, lines, reason)

    def _answer(self, file: str) -> None:
        """Puts a refused file away and answers, if that is still to be done; the same answer twice does no harm."""
        one = self.imports[file]
        if one.reason and (self._options.done / file).exists():
            (self._options.done / file).rename(self._options.rejected / file)
        if one.answered or not self._options.answer:
            return
        path = self._options.answers / f"{file.rpartition('.')[0]}.ANS"
        data = render_answer(one.order, one.reason)
        with path.open("wb", buffering=0) as out:
            out.write(data[: len(data) // 2])
            time.sleep(TORN_S)
            out.write(data[len(data) // 2 :])
            os.fsync(out.fileno())
        one.answered = True

    def _sell_file(self, file: str) -> None:
        lines = owed(self.imports, self._sold()).get(file, [])
        if lines:
            self._sell(self.imports[file].order, lines)
        del self._due[file]
        self._put_aside()

    def _put_aside(self) -> None:
        """Customers in the shop cannot take what an imported order still has to get."""
        rest = owed(self.imports, self._sold())
        self._till.put_aside(pieces(line for lines in rest.values() for line in lines))


def _files(folder: Path) -> Iterator[Path]:
    """The import files in a folder, sorted by name."""
    return iter(sorted(path for path in folder.glob(PATTERN) if path.is_file()))
