"""The simulated POS at work: keeps selling, rewrites its export, appends to its journal, keeps its truth.

Order of writing: the journal first (a sale is a sale once it is on the disk), then the export, then the truth.
Whatever is cut off in between is found again from the journal at the next start. How web orders come in between
is the desk's affair.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tillbridge_agent.simulate.assortment import make_assortment
from tillbridge_agent.simulate.desk import Desk, DeskOptions
from tillbridge_agent.simulate.export import ORDER_COLUMN, render_export
from tillbridge_agent.simulate.till import TILLS, OrderedLine, SoldLine, Till
from tillbridge_agent.simulate.truth import (
    Truth,
    after_export,
    empty_truth,
    load_truth,
    save_truth,
    variants_of,
    with_orders,
    with_sales,
)
from tillbridge_agent.simulate.writer import (
    BROKEN_NAME,
    EXPORT_NAME,
    JOURNAL_NAME,
    Journal,
    write_broken,
    write_in_place,
)

STOP_NAME = "stop"
TICK_S = 0.02
SALE_EVERY_S = 0.45
#: How long a broken file stays the newest one in the folder: long enough to settle and to be judged.
BROKEN_ALONE_S = 2.0


class OldJournal(Exception):
    """The journal of an earlier version cannot hold web orders."""


@dataclass(frozen=True, slots=True)
class PosOptions:
    """What `simulate pos` was asked for; times in seconds, `seconds` None = until it is stopped."""

    folder: Path
    truth: Path
    seed: int = 1
    variants: int = 200
    seconds: float | None = None
    interval_s: float = 1.2
    settle_s: float = 0.5
    broken: bool = False
    desk: DeskOptions | None = None

    @property
    def stop_file(self) -> Path:
        """The file that, once it is there, ends the selling; it lies beside the export folder."""
        return self.folder.resolve().parent / STOP_NAME


class Pos:
    """One run of the simulated POS in this process; `say` is told in words what happens."""

    def __init__(self, options: PosOptions, say: Callable[[str], None]) -> None:
        """Continues from the kept truth and journal, or opens a new shop."""
        options.folder.mkdir(parents=True, exist_ok=True)
        options.truth.parent.mkdir(parents=True, exist_ok=True)
        self._options = options
        self._say = say
        self._truth = load_truth(options.truth) or empty_truth(options.seed, options.settle_s)
        self._truth.settle_s = options.settle_s
        self._journal = Journal(options.folder / JOURNAL_NAME, time.sleep)
        self._sales = merge_sales(self._truth.sales, self._journal.lines)
        self._rng = random.Random(f"till/{options.seed}/{self._truth.exports}/{len(self._sales)}")
        self._till = self._open_till()
        self._desk = None if options.desk is None else self._open_desk(options.desk)
        self._selling = True
        self._interrupted = False
        self._next_sale = time.monotonic()
        self._ends_at: float | None = None

    def interrupt(self) -> None:
        """Ends the run as soon as the write under way is complete; no further export is written."""
        self._interrupted = True
        self._selling = False

    def run(self) -> Truth:
        """Works until stopped; returns the truth it leaves behind."""
        options = self._options
        options.stop_file.unlink(missing_ok=True)
        if self._desk is not None:
            self._desk.resume()
        if options.broken:
            write_broken(options.folder / BROKEN_NAME, self._rng)
            self._say(f"Dropped a broken file: {BROKEN_NAME}.")
            self._idle(BROKEN_ALONE_S)
        if options.seconds is not None:
            self._ends_at = time.monotonic() + options.seconds
        while self._selling:
            self._export()
            self._idle(options.interval_s)
        if not self._interrupted:
            self._say("Selling has stopped; writing the last export.")
            self._close_desk()
            self._export()
        self._save()
        return self._truth

    def _open_till(self) -> Till:
        variants = variants_of(self._truth)
        if not variants:
            self._say(f"A new shop with {self._options.variants} variants from seed {self._options.seed}.")
            variants = make_assortment(self._options.seed, self._options.variants)
        else:
            self._say(
                f"Continuing the shop of seed {self._truth.seed}: {len(variants)} variants, "
                f"{len(self._sales)} sale lines, {self._truth.exports} exports so far."
            )
        till = Till(variants, self._rng, last_receipts(self._sales))
        shown = frozenset(self._truth.sales[: self._truth.shown])
        till.catch_up(line for line in self._journal.lines if line.id not in shown)
        return till

    def _open_desk(self, options: DeskOptions) -> Desk:
        if not self._journal.with_order:
            raise OldJournal(
                f"{self._options.folder / JOURNAL_NAME} is of an earlier version and has no column {ORDER_COLUMN}",
            )
        return Desk(
            options, self._truth.imports, self._till,
            sold=lambda: self._journal.lines, save=self._save, sell=self._sell_order,
        )

    def _close_desk(self) -> None:
        """Sells what is imported; the last export then starts late enough to be known to include those sales."""
        if self._desk is None:
            return
        self._desk.close()
        self._save()
        if any(order.export is None for order in self._truth.orders.values()):
            self._idle(self._options.interval_s)

    def _export(self) -> None:
        self._till.restock()
        self._till.reprice()
        variants, shown = self._till.variants, len(self._sales)
        data = render_export(variants.values())
        started, ended = write_in_place(self._options.folder / EXPORT_NAME, data, self._pass)
        self._truth = after_export(self._truth, variants, shown, started, ended)
        self._save()

    def _save(self) -> None:
        self._truth = with_orders(with_sales(self._truth, self._sales), self._journal.lines)
        save_truth(self._options.truth, self._truth)

    def _idle(self, seconds: float) -> None:
        """Lets `seconds` pass, less when interrupted; customers keep coming while the shop is open.

        The pause is kept after closing too, so that the export before the last one can settle.
        """
        self._pass(seconds, hurry=True)

    def _pass(self, seconds: float, *, hurry: bool = False) -> None:
        ends = time.monotonic() + seconds
        while True:
            self._look_for_stop()
            if self._selling and time.monotonic() >= self._next_sale:
                self._serve()
            if self._desk is not None and not self._interrupted:
                self._desk.look()
            left = ends - time.monotonic()
            if left <= 0 or (hurry and self._interrupted):
                return
            time.sleep(min(TICK_S, left))

    def _look_for_stop(self) -> None:
        over = self._ends_at is not None and time.monotonic() >= self._ends_at
        if over or self._options.stop_file.exists():
            self._selling = False

    def _serve(self) -> None:
        self._write_down(self._till.sell(datetime.now(UTC).replace(microsecond=0)))
        self._next_sale = time.monotonic() + self._rng.uniform(0.4, 1.6) * SALE_EVERY_S

    def _sell_order(self, order: str, lines: list[OrderedLine]) -> None:
        self._write_down(self._till.sell_order(datetime.now(UTC).replace(microsecond=0), order, lines))
        self._say(f"Sold the web order {order}.")

    def _write_down(self, lines: tuple[SoldLine, ...]) -> None:
        if lines:
            self._journal.append(lines)
            self._sales += [line.id for line in lines if not line.void]


def merge_sales(kept: list[str], lines: list[SoldLine]) -> list[str]:
    """The natural ids of the truth and, behind them, those only the journal knows; void lines are no sales."""
    known = set(kept)
    return [*kept, *(line.id for line in lines if not line.void and line.id not in known)]


def last_receipts(sales: list[str]) -> dict[str, int]:
    """The highest receipt number of each till among natural ids."""
    last = dict.fromkeys(TILLS, 0)
    for natural_id in sales:
        till, _, receipt, _ = natural_id.split("/")
        last[till] = max(last.get(till, 0), int(receipt))
    return last
