"""The judge's arithmetic: first sights, superseded values, differences."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.demo.compare import (
    Equal,
    Latency,
    Sight,
    differences,
    latencies_ms,
    shows_only,
    states,
    summary,
)
from tests.demo.truth import TruthFile, Value, Write


def value(stock: int, price: str = "9.95") -> Value:
    """What a shopper should see."""
    return Value(Decimal(stock), Decimal(price))


def write(n: int, ended_at: float, **changed: Value) -> Write:
    """An export that took 0.3 s to write."""
    return Write(n, ended_at - 0.3, ended_at, changed)


BASE = {"a": value(9), "b": value(5)}


def found(writes: list[Write], *sights: Sight, since: float = 0.0) -> list[float]:
    """Latencies with a settle time of half a second, rounded."""
    return [round(ms, 3) for ms in latencies_ms(BASE, writes, sights, settle_s=0.5, since=since)]


def test_latency_is_first_sight_minus_end_of_write_minus_settle() -> None:
    """Stock and price count each; a value that did not change does not count; seeing it twice neither."""
    writes = [write(1, 10.0, a=value(8), b=value(5, "7.00"))]
    assert found(
        writes, Sight(10.75, "a", value(8)), Sight(11.0, "b", value(5, "7.00")), Sight(12.0, "a", value(8)),
    ) == [250.0, 500.0]


def test_a_superseded_value_counts_as_seen_with_the_later_one() -> None:
    """Skipping an export makes its values late, not fast."""
    writes = [write(1, 10.0, a=value(8)), write(2, 11.5, a=value(7))]
    assert found(writes, Sight(12.25, "a", value(7))) == [1750.0, 250.0]


def test_a_value_that_comes_back_is_matched_in_order() -> None:
    """9 → 8 → 9 → 8: each sight belongs to the earliest write it can belong to; none is used twice."""
    writes = [write(1, 10.0, a=value(8)), write(2, 12.0, a=value(9)), write(3, 14.0, a=value(8))]
    sights = [Sight(10.6, "a", value(8)), Sight(12.7, "a", value(9)), Sight(14.8, "a", value(8))]
    assert found(writes, *sights) == [100.0, 200.0, 300.0]


def test_what_was_seen_before_the_write_began_is_no_sight_of_it() -> None:
    """An old value that equals the new one, a vanished variant and a value never written say nothing."""
    writes = [write(1, 10.0, a=value(8))]
    assert found(writes, Sight(9.0, "a", value(8)), Sight(10.6, "a", None), Sight(10.7, "a", value(77))) == []


def test_only_writes_begun_since_the_start_of_measuring_count() -> None:
    """The first load is no latency."""
    writes = [write(1, 10.0, a=value(8)), write(2, 12.0, a=value(7))]
    assert found(writes, Sight(11.0, "a", value(8)), Sight(12.6, "a", value(7)), since=11.0) == [100.0]


def test_reserved_stock_is_not_timed_but_its_price_is() -> None:
    """What is bought and not counted yet keeps the shown stock below the export's."""
    writes = [write(1, 10.0, a=value(8, "7.00"), b=value(4))]
    sights = [Sight(10.6, "a", value(7, "7.00")), Sight(10.7, "b", value(4)), Sight(19.0, "a", value(8, "7.00"))]
    timed = latencies_ms(BASE, writes, sights, settle_s=0.5, since=0.0, reserved={"a"})
    assert [round(ms, 3) for ms in timed] == [200.0, 100.0]


def test_summary_uses_the_nearest_rank() -> None:
    """Known percentiles of 1 to 100."""
    assert summary([float(n) for n in range(100, 0, -1)]) == Latency(100, 50, 95, 100)
    assert summary([7.4]) == Latency(1, 7, 7, 7)
    assert summary([]) == Latency(0, 0, 0, 0)


def test_differences_count_each_kind() -> None:
    """Stock, price, missing, extra, and sale lines lost or doubled."""
    truth = {"a": value(9), "b": value(5), "c": value(1)}
    shown = {"a": value(8), "b": value(5, "1.00"), "d": value(1)}
    assert differences(truth, truth, ["1", "2"], ["2", "1"], Decimal(0)) == Equal(3, 0, 0, 0, 0, 0, Decimal(0))
    assert differences(truth, shown, ["1", "2"], ["2", "2", "3"], Decimal(1)) == Equal(3, 1, 1, 1, 1, 3, Decimal(1))


def test_first_publication_is_a_shop_window_that_shows_only_this_run() -> None:
    """All variants, each with a value of one of this run's exports."""
    held = states(BASE, [write(1, 5.0, a=value(8)), write(2, 6.0, b=value(4))])
    assert shows_only({"a": value(8), "b": value(5)}, held)
    assert not shows_only({"a": value(9), "b": value(5)}, held)
    assert not shows_only({"a": value(8)}, held)
    assert not shows_only({}, [])


def truth_json(exports: int, stock: str, sales: list[str]) -> dict[str, Any]:
    """A truth file with one variant, changed by every export."""
    stamp = "2026-11-23T08:00:00.250000Z"
    return {
        "v": 1, "seed": 1, "settle_s": 0.5, "sold": len(sales), "sales": sales, "exports": exports,
        "variants": {"a": {"on_hand": stock, "list_price": "9.95", "sale_price": "8.00", "title": "A"}},
        "writes": [
            {"n": n, "started_at": stamp, "ended_at": stamp, "changed": {"a": {"on_hand": stock, "price": "8.00"}}}
            for n in range(max(1, exports - 1), exports + 1)
        ],
    }


def test_the_truth_file_is_followed_from_the_kept_state_on(tmp_path: Path) -> None:
    """Writes of earlier runs are the base; later ones are collected although the file forgets them."""
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth_json(4, "9", ["x"])))
    follower = TruthFile(path)
    assert follower.truth.base == {"a": Value(Decimal(9), Decimal("8.00"))}
    assert (follower.truth.exports_before, follower.truth.sales_before, follower.truth.writes) == (4, 1, [])
    assert not follower.refresh()
    for exports in (6, 8):
        (tmp_path / "new").write_text(json.dumps(truth_json(exports, str(exports), ["x", "y"])))
        (tmp_path / "new").replace(path)
        assert follower.refresh()
    assert [w.n for w in follower.truth.writes] == [5, 6, 7, 8]
    assert follower.truth.writes[0].ended_at == pytest.approx(1795420800.25)
    assert follower.truth.variants["a"].stock == 8


def test_a_missing_truth_file_is_an_empty_shop(tmp_path: Path) -> None:
    """Before the first export there is nothing to compare with."""
    follower = TruthFile(tmp_path / "truth.json")
    assert not follower.refresh()
    assert follower.truth.variants == {}
