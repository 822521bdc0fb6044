"""Judges a finished run: waits for quiet, compares truth, shop window and ledger, counts what the run added."""

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.demo.compare import Equal, differences
from tests.demo.observe import Observer, ShopWindow
from tests.demo.place import Place
from tests.demo.programs import agent_status, ledger_sales, open_orders
from tests.demo.report import Counts
from tests.demo.truth import Truth

QUIET_S = 30.0
LOOK_S = 0.25


def wait_for_quiet(place: Place, truth: Truth, observer: Observer, tick: Callable[[], None]) -> bool:
    """Whether within QUIET_S the window showed the truth, the outbox was empty, the ledger complete, no order open."""
    ends = time.monotonic() + QUIET_S
    while time.monotonic() < ends:
        tick()
        if (
            observer.shown == truth.variants
            and _outbox(agent_status(place)) == 0
            and sorted(ledger_sales(place)) == sorted(truth.sales)
            and not open_orders(place)
        ):
            return True
        time.sleep(LOOK_S)
    return False


def _outbox(status: dict[str, Any]) -> int:
    return int(status["outbox"]["changes"]) + int(status["outbox"]["events"])


def compare_now(place: Place, truth: Truth, window: ShopWindow, excess: Decimal) -> Equal:
    """One fresh look at everything, on a connection of its own."""
    shown = window.read(0).by_code()
    return differences(truth.variants, shown, truth.sales, ledger_sales(place), excess)


def count(
    before: dict[str, Any], after: dict[str, Any], truth: Truth, published: int, orders: tuple[int, int, int, int],
) -> Counts:
    """What this run added: differences of the agent's counters; `published` as the observer saw.

    `orders`: placed, imported, counted, open.
    """
    old, new = before["counters"], after["counters"]

    def more(name: str) -> int:
        return int(new.get(name, 0)) - int(old.get(name, 0))

    placed, imported, counted, still_open = orders
    kinds = ("stock_level", "price", "product", "sale_line")
    return Counts(
        files_written=truth.exports - truth.exports_before, files_accepted=more("files_accepted"),
        files_held=more("files_held"), files_quarantined=more("files_quarantined"),
        rows_read=more("rows_read"), rows_rejected=more("rows_rejected"),
        changes_captured=more("changes_captured"), **{f"changes_{kind}": more(f"changes_{kind}") for kind in kinds},
        batches_sent=more("batches_sent"), batches_repeated=more("batches_repeated"),
        batches_applied=_applied(before["position"], after["position"]), published=published,
        orders_placed=placed, orders_imported=imported, orders_counted=counted, orders_open=still_open,
    )


def _applied(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Batches the server has acked; a new epoch counts from its start."""
    same = before["epoch"] == after["epoch"]
    return int(after["seq"]) - (int(before["seq"]) if same else 0)
