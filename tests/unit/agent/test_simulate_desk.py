"""The order desk of the simulated POS: one file, one import, whenever it is cut off; doubling is never hidden."""

import contextlib
import csv
import os
import random
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tillbridge_agent.simulate import desk, pos, writer
from tillbridge_agent.simulate.assortment import Variant
from tillbridge_agent.simulate.desk import DeskOptions
from tillbridge_agent.simulate.export import read_journal
from tillbridge_agent.simulate.pos import OldJournal, Pos, PosOptions
from tillbridge_agent.simulate.till import SoldLine
from tillbridge_agent.simulate.truth import Truth, load_truth


class Killed(BaseException):
    """The process is gone; nothing may catch it."""


class Shop:
    """A small shop whose runs last one export, its desk, and one more export."""

    def __init__(self, root: Path) -> None:
        """Everything lies below `root`; a new shop is opened by a first run without orders."""
        self.root = root
        self.folder, self.answers = root / "import", root / "answers"
        if not root.exists():
            self.run()

    def copy(self, name: str) -> "Shop":
        """The same shop in a folder beside."""
        shutil.copytree(self.root, self.root.with_name(name))
        return Shop(self.root.with_name(name))

    def pos(self, interval_s: float = 0.0, **chosen: Any) -> Pos:
        """A new process, as it were."""
        options = DeskOptions(self.folder, self.answers, **chosen)
        return Pos(PosOptions(
            folder=self.root / "export", truth=self.root / "truth.json", variants=12, seconds=0.0,
            interval_s=interval_s, desk=options,
        ), lambda _words: None)

    def run(self, **chosen: Any) -> Truth:
        """One whole run."""
        return self.pos(**chosen).run()

    @property
    def truth(self) -> Truth:
        """As an outsider reads it."""
        truth = load_truth(self.root / "truth.json")
        assert truth is not None
        return truth

    @property
    def journal(self) -> list[SoldLine]:
        """The lines of web orders in the journal."""
        lines, _ = read_journal((self.root / "export" / "JOURNAL.CSV").read_bytes())
        return [line for line in lines if line.order]

    def variants(self) -> list[Variant]:
        """The items, the best stocked first."""
        return sorted(self.pos()._till.variants.values(), key=lambda one: one.on_hand, reverse=True)

    def drop(self, name: str, order: str, *wanted: tuple[Variant, int], lines: int | None = None) -> None:
        """An import file as the agent writes it; `lines` = another number in the trailer."""
        total = sum(one.list_price * quantity for one, quantity in wanted)
        rows = [f"H;{order};23.11.2026;{comma(total)};Ada"]
        rows += [
            f"L;{order};{n};{one.code};{quantity},000;{comma(one.list_price)};x"
            for n, (one, quantity) in enumerate(wanted, start=1)
        ]
        rows.append(f"T;{order};{len(wanted) if lines is None else lines}")
        (self.folder / name).write_bytes("".join(f"{row}\r\n" for row in rows).encode("cp1252"))

    def names(self, folder: str) -> list[str]:
        """The files in a folder below the import folder ("" = itself)."""
        return sorted(path.name for path in (self.folder / folder).iterdir() if path.is_file())

    def said(self) -> dict[str, str]:
        """Every answer by file name."""
        return {path.name: path.read_text("cp1252") for path in self.answers.iterdir()}


def comma(amount: Decimal | int) -> str:
    """With a decimal comma."""
    return f"{amount:f}".replace(".", ",")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """An open shop in which nothing takes time."""
    monkeypatch.setattr(writer, "EXPORT_WRITE_S_MIN", 0.0)
    monkeypatch.setattr(desk, "PICKING_S", 0.0)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    return Shop(tmp_path / "shop")


def test_an_order_is_taken_recorded_answered_sold_and_counted(shop: Shop) -> None:
    """The whole way, and the stock export is lower by what was sold."""
    first, second = shop.variants()[:2]
    shop.drop("ORD00001.CSV", "W-1", (first, 2), (second, 1))
    before = {code: one.on_hand for code, one in shop.truth.variants.items()}
    left = shop.run()
    told = shop.truth.orders["W-1"]
    assert (told.imported, told.sold, told.lines) == (1, True, {first.code: Decimal(2), second.code: Decimal(1)})
    assert told.export == left.exports
    assert (shop.names(""), shop.names("done"), shop.names("rejected")) == ([], ["ORD00001.CSV"], [])
    assert shop.said() == {"ORD00001.ANS": "W-1;OK;\n"}
    assert [(line.order, line.code, line.quantity, line.unit_price) for line in shop.journal] == [
        ("W-1", first.code, Decimal(2), first.list_price), ("W-1", second.code, Decimal(1), second.list_price),
    ]
    assert before[first.code] - shop.truth.variants[first.code].on_hand == 2
    assert {line.id for line in shop.journal} <= set(left.sales)


def test_the_record_is_durable_before_the_answer(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of answering the truth on the disk already tells the import."""
    shop.drop("ORD00001.CSV", "W-1", (shop.variants()[0], 1))
    seen: list[int] = []

    def look(order: str, _reason: str) -> bytes:
        seen.append(shop.truth.orders[order].imported)
        return b"W-1;OK;\r\n"

    monkeypatch.setattr(desk, "render_answer", look)
    shop.run()
    assert seen == [1]


def test_what_is_no_order_is_refused_and_put_away(shop: Shop) -> None:
    """A wrong trailer, an unknown item and more than there is: each with its reason, none sold."""
    best = shop.variants()[0]
    shop.drop("ORD00001.CSV", "W-1", (best, 1), lines=2)
    shop.drop("ORD00002.CSV", "W-2", (Variant("none", "", "", "", Decimal(1), Decimal("1.00")), 1))
    shop.drop("ORD00003.CSV", "W-3", (best, int(best.on_hand) + 1))
    shop.run()
    assert shop.said() == {
        "ORD00001.ANS": "W-1;ERR;trailer count wrong\n", "ORD00002.ANS": "W-2;ERR;unknown item none\n",
        "ORD00003.ANS": "W-3;ERR;not in stock\n",
    }
    assert shop.names("rejected") == ["ORD00001.CSV", "ORD00002.CSV", "ORD00003.CSV"]
    assert (shop.names(""), shop.names("done"), shop.journal, shop.truth.orders) == ([], [], [], {})


def test_an_imported_order_cannot_be_sold_away_in_the_shop(shop: Shop) -> None:
    """What one order gets is put aside: neither the next order nor a customer takes it, and nothing goes below zero."""
    best = shop.variants()[0]
    machine = shop.pos()
    assert machine._desk is not None
    shop.drop("ORD00001.CSV", "W-1", (best, int(best.on_hand)))
    shop.drop("ORD00002.CSV", "W-2", (best, 1))
    for name in ("ORD00001.CSV", "ORD00002.CSV"):
        machine._desk._take(name)
    for _ in range(300):
        machine._serve()
    assert machine._till.variants[best.code].on_hand == best.on_hand
    machine._desk.close()
    assert machine._till.variants[best.code].on_hand == 0
    assert shop.said()["ORD00002.ANS"] == "W-2;ERR;not in stock\n"


def test_an_order_placed_twice_is_imported_and_sold_twice(shop: Shop) -> None:
    """Under another name, and under the name of a file that was taken before: both show in the truth."""
    best = shop.variants()[0]
    shop.drop("ORD00001.CSV", "W-1", (best, 1))
    shop.run()
    shop.drop("ORD00001.CSV", "W-1", (best, 1))
    shop.run()
    shop.drop("ORD00002.CSV", "W-1", (best, 1))
    shop.run()
    assert (shop.truth.orders["W-1"].imported, shop.truth.orders["W-1"].lines) == (3, {best.code: Decimal(3)})
    assert shop.names("done") == ["ORD00001.CSV", "ORD00001~2.CSV", "ORD00002.CSV"]
    assert len({(line.till, line.receipt) for line in shop.journal}) == 3
    assert sorted(shop.said()) == ["ORD00001.ANS", "ORD00001~2.ANS", "ORD00002.ANS"]


def test_what_is_recorded_is_not_judged_again(shop: Shop) -> None:
    """The order took the last piece; at the next start its file does not look like too much."""
    best = shop.variants()[0]
    shop.drop("ORD00001.CSV", "W-1", (best, int(best.on_hand)))
    machine = shop.pos()
    assert machine._desk is not None
    machine._desk.close()
    machine._save()
    machine = shop.pos()
    assert machine._till.variants[best.code].on_hand == 0
    machine.run()
    assert (shop.truth.orders["W-1"].imported, shop.names("done")) == (1, ["ORD00001.CSV"])


def test_the_last_export_starts_a_pause_after_the_last_web_order_was_sold(
    shop: Shop, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever reads the journal a little later than the till wrote it can still tell that the export is newer."""
    sold_at: list[datetime] = []
    sell = Pos._sell_order

    def noted(*order: Any) -> None:
        sell(*order)
        sold_at.append(datetime.now(UTC))

    monkeypatch.setattr(Pos, "_sell_order", noted)
    shop.drop("ORD00001.CSV", "W-1", (shop.variants()[0], 1))
    monkeypatch.setattr(desk, "PICKING_S", 60.0)
    left = shop.run(interval_s=0.3)
    assert left.orders["W-1"].export == left.exports
    assert (left.writes[-1].started_at - sold_at[0]).total_seconds() >= 0.3


def test_what_tests_can_ask_for(shop: Shop) -> None:
    """Every second one refused, none answered until answers are on again, and files left lying."""
    best = shop.variants()[0]
    for n in (1, 2, 3):
        shop.drop(f"ORD0000{n}.CSV", f"W-{n}", (best, 1))
    shop.run(slow_s=60.0)
    assert shop.names("") == ["ORD00001.CSV", "ORD00002.CSV", "ORD00003.CSV"]
    shop.run(refuse_every=2, answer=False)
    assert sorted(shop.truth.orders) == ["W-1", "W-3"]
    assert shop.said() == {}
    shop.run()
    assert shop.said() == {
        "ORD00001.ANS": "W-1;OK;\n", "ORD00002.ANS": "W-2;ERR;refused at the till\n", "ORD00003.ANS": "W-3;OK;\n",
    }


def test_a_journal_without_the_column_takes_no_orders(shop: Shop) -> None:
    """A shop of an earlier version goes on as it was; with orders it is told to open a new one."""
    path = shop.root / "export" / "JOURNAL.CSV"
    path.write_bytes(path.read_bytes().replace(b";Auftrag", b""))
    with pytest.raises(OldJournal, match="no column Auftrag"):
        shop.pos()
    machine = Pos(PosOptions(folder=path.parent, truth=shop.root / "truth.json", seconds=0.0), lambda _words: None)
    machine._serve()
    header, *rows = csv.reader(path.read_text("cp1252").splitlines(), delimiter=";")
    assert {len(row) for row in rows} == {len(header)} == {10}


def test_a_shop_that_was_killed_before_its_first_export_keeps_its_sales(tmp_path: Path) -> None:
    """What was sold before anything was kept is gone from the shelf all the same."""
    def open_shop() -> Pos:
        return Pos(PosOptions(folder=tmp_path / "export", truth=tmp_path / "truth.json", variants=5), lambda _: None)

    first = open_shop()
    first._serve()
    assert open_shop()._till.variants == first._till.variants


def cut_at(monkeypatch: pytest.MonkeyPatch, wanted: int) -> Callable[[], int]:
    """The process is gone before call number `wanted` of whatever makes something durable; returns the counter."""
    calls = 0

    def around(real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == wanted:
                raise Killed
            return real(*args, **kwargs)
        return counted

    monkeypatch.setattr(os, "fsync", around(os.fsync))
    monkeypatch.setattr(Path, "rename", around(Path.rename))
    monkeypatch.setattr(Path, "replace", around(Path.replace))
    monkeypatch.setattr(desk, "render_answer", around(desk.render_answer))
    return lambda: calls


def run_until(shop: Shop, point: int) -> int:
    """A run that is gone at `point`; returns how many points it passed."""
    with pytest.MonkeyPatch.context() as patch:
        passed = cut_at(patch, point)
        with contextlib.suppress(Killed):
            shop.run()
        return passed()


def test_cut_off_anywhere_each_order_is_imported_sold_and_answered_once(shop: Shop) -> None:
    """Every boundary between two durable steps, and a second cut somewhere in the run after it."""
    rng = random.Random(7)
    first, second = shop.variants()[:2]
    shop.drop("ORD00001.CSV", "W-1", (first, 2), (second, 1))
    shop.drop("ORD00002.CSV", "W-2", (first, 1), lines=9)
    shop.drop("ORD00003.CSV", "W-3", (second, 1))
    before = {code: one.on_hand for code, one in shop.truth.variants.items()}
    total = run_until(shop.copy("whole"), 0)
    assert total > 30
    for point in range(1, total + 1):
        again = shop.copy(f"cut{point}")
        assert run_until(again, point) == point
        run_until(again, rng.randint(1, total))
        truth = again.run()
        assert {key: (one.imported, one.sold) for key, one in truth.orders.items()} == {
            "W-1": (1, True), "W-3": (1, True),
        }, point
        assert all(one.export for one in truth.orders.values()), point
        assert sorted((line.order, line.code, line.quantity) for line in again.journal) == sorted([
            ("W-1", first.code, Decimal(2)), ("W-1", second.code, Decimal(1)), ("W-3", second.code, Decimal(1)),
        ]), point
        assert again.said() == {
            "ORD00001.ANS": "W-1;OK;\n", "ORD00002.ANS": "W-2;ERR;trailer count wrong\n", "ORD00003.ANS": "W-3;OK;\n",
        }, point
        assert (again.names(""), again.names("done"), again.names("rejected")) == (
            [], ["ORD00001.CSV", "ORD00003.CSV"], ["ORD00002.CSV"],
        ), point
        assert before[first.code] - truth.variants[first.code].on_hand == 2, point
        assert before[second.code] - truth.variants[second.code].on_hand == 2, point


def test_pos_module_sees_the_desk_only_when_asked(tmp_path: Path) -> None:
    """Without --orders nothing looks into a folder, and the truth tells no orders."""
    options = PosOptions(folder=tmp_path / "export", truth=tmp_path / "truth.json", variants=3, seconds=0.0)
    left = pos.Pos(options, lambda _words: None).run()
    assert (left.orders, left.imports) == ({}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "truth.json"]
