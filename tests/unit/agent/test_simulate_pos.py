"""The simulated POS as a whole: its truth equals its files, a continued shop loses nothing, it stops cleanly."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tillbridge_agent.simulate.export import read_journal
from tillbridge_agent.simulate.pos import Pos, PosOptions, last_receipts, merge_sales
from tillbridge_agent.simulate.truth import load_truth, save_truth

QUICK = {"variants": 40, "interval_s": 0.05}


def options(tmp_path: Path, **more: Any) -> PosOptions:
    """A small, quick shop below `tmp_path`."""
    return PosOptions(folder=tmp_path / "till" / "export", truth=tmp_path / "truth.json", **(QUICK | more))


def silent(_words: str) -> None:
    """Nobody listens."""


def exported(folder: Path) -> dict[str, tuple[Decimal, Decimal, Decimal | None]]:
    """code → stock, list price, sale price as the export file says now."""
    text = (folder / "BESTAND.CSV").read_bytes().decode("cp1252")
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=";")
    return {
        row["ArtNr"]: (
            Decimal(row["Bestand"]), Decimal(row["VK"].replace(",", ".")),
            Decimal(row["Aktion"].replace(",", ".")) if row["Aktion"] else None,
        )
        for row in rows
    }


def assert_truth_equals_files(chosen: PosOptions) -> dict[str, Any]:
    """Variants = last export, sales = journal without void lines, and nothing twice; returns the truth's JSON."""
    truth: dict[str, Any] = json.loads(chosen.truth.read_text())
    assert exported(chosen.folder) == {
        code: (Decimal(v["on_hand"]), Decimal(v["list_price"]), v["sale_price"] and Decimal(v["sale_price"]))
        for code, v in truth["variants"].items()
    }
    lines, _ = read_journal((chosen.folder / "JOURNAL.CSV").read_bytes())
    ids = [line.id for line in lines if not line.void]
    assert truth["sales"] == ids
    assert truth["sold"] == len(ids) == len(set(ids))
    return truth


def test_two_runs_make_one_story(tmp_path: Path) -> None:
    """Runs continue each other: every export's changes and every sale add up from the opening to the end."""
    chosen = options(tmp_path, seconds=0.8)
    Pos(chosen, silent).run()
    first = assert_truth_equals_files(chosen)
    assert first["exports"] >= 2
    Pos(options(tmp_path, seconds=0.8, seed=7), silent).run()
    second = assert_truth_equals_files(chosen)
    assert second["seed"] == 1
    assert second["exports"] > first["exports"]
    assert second["sales"][: len(first["sales"])] == first["sales"]
    assert [write["n"] for write in second["writes"]] == list(range(1, second["exports"] + 1))
    shown: dict[str, Any] = {}
    for write in second["writes"]:
        shown |= write["changed"]
        assert write["started_at"] < write["ended_at"]
        assert write["ended_at"].endswith("Z")
    assert {code: value["on_hand"] for code, value in shown.items()} == {
        code: variant["on_hand"] for code, variant in second["variants"].items()
    }


def test_a_sale_the_truth_missed_is_found_in_the_journal(tmp_path: Path) -> None:
    """Killed between journal and truth: the kept journal gives the sale back, and the stock goes down by it."""
    chosen = options(tmp_path, seconds=0.0)
    Pos(chosen, silent).run()
    lost = load_truth(chosen.truth)
    assert lost is not None
    Pos(options(tmp_path, seconds=1.0), silent).run()
    sold = assert_truth_equals_files(chosen)["sales"]
    assert len(sold) > len(lost.sales)
    save_truth(chosen.truth, lost)

    machine = Pos(options(tmp_path, seconds=0.0), silent)
    machine.interrupt()
    left = machine.run()
    assert left.sales == sold
    lines, _ = read_journal((chosen.folder / "JOURNAL.CSV").read_bytes())
    later = [line for line in lines if not line.void and line.id not in lost.sales]
    for code, variant in machine._till.variants.items():
        gone = sum((line.quantity for line in later if line.code == code), Decimal(0))
        assert variant.on_hand == max(lost.variants[code].on_hand - gone, Decimal(0))


def test_the_stop_file_ends_the_selling_with_a_last_export(tmp_path: Path) -> None:
    """After the file appears no sale is made any more, and the last export shows all of them."""
    chosen = options(tmp_path)
    machine = Pos(chosen, silent)
    running = threading.Thread(target=machine.run)
    running.start()
    time.sleep(0.5)
    chosen.stop_file.touch()
    running.join(timeout=20)
    assert not running.is_alive()
    truth = assert_truth_equals_files(chosen)
    assert truth["shown"] == truth["sold"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_after_the_write_under_way(tmp_path: Path, name: str) -> None:
    """The process ends with 0 and leaves whole files that agree."""
    chosen = options(tmp_path)
    code = "from tillbridge_agent.simulate.cli import simulate; simulate()"
    command = [sys.executable, "-c", code, "pos", "--folder", str(chosen.folder), "--truth", str(chosen.truth)]
    with subprocess.Popen([*command, "--interval", "0.1", "--broken"], stderr=subprocess.PIPE, text=True) as process:
        while not chosen.truth.exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, getattr(signal, name))
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Dropped a broken file: BESTAND_DEFEKT.CSV." in said
    assert_truth_equals_files(chosen)


def test_a_foreign_truth_file_is_refused(tmp_path: Path) -> None:
    """What is not our truth is never overwritten; the run says what to do."""
    chosen = options(tmp_path)
    chosen.truth.write_text('{"v": 1, "mine": true}')
    with pytest.raises(msgspec.ValidationError):
        Pos(chosen, silent)
    assert chosen.truth.read_text() == '{"v": 1, "mine": true}'


def test_ids_of_truth_and_journal_are_merged_once() -> None:
    """Order stays, nothing twice; the receipt numbers go on behind the highest one."""
    assert merge_sales(["01/23.11.2026/000002/1"], []) == ["01/23.11.2026/000002/1"]
    assert last_receipts(["01/23.11.2026/000002/1", "02/22.11.2026/000011/3"]) == {"01": 2, "02": 11}
