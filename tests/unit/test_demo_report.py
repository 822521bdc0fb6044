"""The judge of the demo run: each minimum, broken alone, is named and fails the run."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.demo.compare import Equal, Latency
from tests.demo.report import Counts, Run, build

SCHEMA = json.loads((Path(__file__).parents[1] / "golden/cli/demo.schema.json").read_text(encoding="utf-8"))
RUN = Run(seed=1, seconds=20.0, settle_s=0.5)
#: Exactly at every minimum.
COUNTS = Counts(files_written=6, files_accepted=5, files_quarantined=1, changes_captured=90, changes_stock_level=40,
                changes_price=20, changes_sale_line=30, batches_sent=9, batches_applied=9, published=60,
                orders_placed=3, orders_imported=3, orders_counted=3)
LATENCY = Latency(n=50, p50=300, p95=1500, max=4000)
EQUAL = Equal(variants=200, stock=0, price=0, missing=0, extra=0, sales=0, max_excess=Decimal("0.000"))


def checked(document: dict[str, Any]) -> dict[str, Any]:
    """The document as a reader of its JSON gets it, checked against the schema."""
    read: dict[str, Any] = json.loads(json.dumps(document))
    jsonschema.validate(read, SCHEMA)
    return read


def test_at_the_minimums_the_run_is_ok() -> None:
    """All keys there, nothing failed, the excess told as "0"."""
    document = checked(build(RUN, COUNTS, LATENCY, EQUAL))
    assert (document["ok"], document["failed"]) == (True, [])
    assert document["equal"]["max_excess"] == "0"
    assert document["files"] == {"written": 6, "accepted": 5, "held": 0, "quarantined": 1}
    assert document["latency_ms"] == {"n": 50, "p50": 300, "p95": 1500, "max": 4000}


BROKEN = [
    ("files.accepted", {"files_accepted": 4}, {}, {}),
    ("files.quarantined", {"files_quarantined": 0}, {}, {}),
    ("changes.sale_line", {"changes_sale_line": 29}, {}, {}),
    ("latency_ms.n", {}, {"n": 49}, {}),
    ("latency_ms.p95", {}, {"p95": 1501}, {}),
    ("equal.stock", {}, {}, {"stock": 1}),
    ("equal.price", {}, {}, {"price": 1}),
    ("equal.missing", {}, {}, {"missing": 1}),
    ("equal.extra", {}, {}, {"extra": 1}),
    ("equal.sales", {}, {}, {"sales": 1}),
    ("equal.max_excess", {}, {}, {"max_excess": Decimal("0.5")}),
    ("orders.placed", {"orders_placed": 4}, {}, {}),
    ("orders.imported", {"orders_imported": 2}, {}, {}),
    ("orders.counted", {"orders_counted": 0}, {}, {}),
    ("orders.open", {"orders_open": 1}, {}, {}),
]


@pytest.mark.parametrize(("name", "counts", "latency", "equal"), BROKEN, ids=[case[0] for case in BROKEN])
def test_each_minimum_fails_the_run_by_its_name(
    name: str, counts: dict[str, Any], latency: dict[str, Any], equal: dict[str, Any],
) -> None:
    """One broken minimum: not ok, and exactly this name."""
    document = checked(build(RUN, replace(COUNTS, **counts), replace(LATENCY, **latency), replace(EQUAL, **equal)))
    assert (document["ok"], document["failed"]) == (False, [name])


def test_a_run_without_orders_is_not_ok() -> None:
    """Nothing placed is nothing proved."""
    none = replace(COUNTS, orders_placed=0, orders_imported=0, orders_counted=0)
    assert build(RUN, none, LATENCY, EQUAL)["failed"] == ["orders.placed", "orders.imported", "orders.counted"]


def test_a_trouble_fails_the_run_even_with_perfect_numbers() -> None:
    """A child that died is named beside the minimums."""
    document = checked(build(replace(RUN, troubles=("agent ended",)), COUNTS, LATENCY, EQUAL))
    assert (document["ok"], document["failed"]) == (False, ["agent ended"])
