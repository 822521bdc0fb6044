"""The last line of an unattended demo run and the minimums it has to reach; pure."""

from dataclasses import asdict, dataclass, field
from typing import Any

from tests.demo.compare import Equal, Latency

ACCEPTED_MIN = 5
QUARANTINED_MIN = 1
LATENCIES_MIN = 50
SALE_LINES_MIN = 30
P95_MS_MAX = 1500
ORDERS = 3


@dataclass(frozen=True, slots=True)
class Counts:
    """What this run alone added to the counters of agent, server and simulator."""

    files_written: int = 0
    files_accepted: int = 0
    files_held: int = 0
    files_quarantined: int = 0
    rows_read: int = 0
    rows_rejected: int = 0
    changes_captured: int = 0
    changes_stock_level: int = 0
    changes_price: int = 0
    changes_product: int = 0
    changes_sale_line: int = 0
    batches_sent: int = 0
    batches_applied: int = 0
    batches_repeated: int = 0
    published: int = 0
    orders_placed: int = 0
    orders_imported: int = 0
    orders_counted: int = 0
    orders_open: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """What was asked for, and what went wrong beside the numbers: names for `failed`."""

    seed: int
    seconds: float
    settle_s: float
    troubles: tuple[str, ...] = field(default=())


def build(run: Run, counts: Counts, latency: Latency, equal: Equal) -> dict[str, Any]:
    """The JSON document; `ok` only when every minimum holds, `failed` names those that do not."""

    def group(prefix: str, *names: str) -> dict[str, int]:
        return {name: getattr(counts, f"{prefix}_{name}") for name in names}

    document: dict[str, Any] = {
        "v": 1, "demo": "tillbridge", "ok": False, "failed": [],
        "seed": run.seed, "seconds": run.seconds, "settle_s": run.settle_s,
        "latency_ms": asdict(latency),
        "files": group("files", "written", "accepted", "held", "quarantined"),
        "rows": group("rows", "read", "rejected"),
        "changes": group("changes", "captured", "stock_level", "price", "product", "sale_line"),
        "batches": group("batches", "sent", "applied", "repeated"),
        "published": counts.published,
        "orders": group("orders", "placed", "imported", "counted", "open"),
        "equal": asdict(equal) | {"max_excess": f"{equal.max_excess.normalize():f}"},
    }
    document["failed"] = [*run.troubles, *failed_minimums(document)]
    document["ok"] = not document["failed"]
    return document


def failed_minimums(document: dict[str, Any]) -> list[str]:
    """The minimums that do not hold, by their path in the document."""
    equal, orders = document["equal"], document["orders"]
    broken = {f"equal.{name}": equal[name] != 0 for name in ("stock", "price", "missing", "extra", "sales")}
    broken |= {
        "equal.max_excess": equal["max_excess"] != "0",
        "files.accepted": document["files"]["accepted"] < ACCEPTED_MIN,
        "files.quarantined": document["files"]["quarantined"] < QUARANTINED_MIN,
        "latency_ms.n": document["latency_ms"]["n"] < LATENCIES_MIN,
        "latency_ms.p95": document["latency_ms"]["p95"] > P95_MS_MAX,
        "changes.sale_line": document["changes"]["sale_line"] < SALE_LINES_MIN,
    }
    broken |= {f"orders.{name}": orders[name] != ORDERS for name in ("placed", "imported", "counted")}
    broken["orders.open"] = orders["open"] != 0
    return [name for name, is_broken in broken.items() if is_broken]
