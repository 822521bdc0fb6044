"""The demo from outside: a person's run that ends with Ctrl-C, and an unattended one that continues it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "tests/golden/cli/demo.schema.json").read_text(encoding="utf-8"))
#: What a few seconds on a busy machine cannot promise.
TAKES_TIME = {"files.accepted", "latency_ms.n", "latency_ms.p95", "changes.sale_line"}
PATIENCE_S = 150


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state folder of both runs."""
    return tmp_path / "state"


def demo(state: Path, *arguments: str) -> list[str]:
    """The command line of a run."""
    return [sys.executable, "-m", "tests.demo", "--state", str(state), *arguments]


def judged(state: Path, *arguments: str) -> dict[str, Any]:
    """Runs unattended and returns the checked last line."""
    done = subprocess.run(
        demo(state, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    jsonschema.validate(report, SCHEMA)
    assert set(report["failed"]) <= TAKES_TIME, done.stdout
    assert done.returncode == (0 if report["ok"] else 1)
    return report


def press_buy(window: re.Match[str] | None) -> str:
    """Buys one piece of the best stocked variant, as the demo invites to; returns our number of the order."""
    assert window is not None, "no address of the shop window was told"
    with urllib.request.urlopen(f"{window[0]}/items.json?since=0") as answer:
        best = max(json.load(answer)["items"], key=lambda item: float(item["available"]))
    form = urllib.parse.urlencode({"variant": best["variant"], "quantity": 1}).encode()
    asked = urllib.request.Request(f"{window[0]}/buy", form, {"Accept": "application/json"})
    with urllib.request.urlopen(asked) as answer:
        return str(json.load(answer)["order"])


def left_running(state: Path) -> list[int]:
    """Processes whose command line names the state folder."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(state) in line.read_text(errors="replace"):
                found.append(int(line.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(os.name != "posix", reason="NOT RUN: Ctrl-C is sent as a POSIX signal")
def test_a_persons_run_ends_with_ctrl_c_and_an_unattended_one_continues_it(state: Path) -> None:
    """Every export and every order is told, nothing is left running; the judge then finds nothing lost or doubled.

    The person presses the buy button and leaves at once; that order is finished by the run that continues.
    """
    with subprocess.Popen(demo(state), cwd=ROOT, stdout=subprocess.PIPE, text=True) as person:
        assert person.stdout is not None
        ends = time.monotonic() + PATIENCE_S
        told = ""
        for line in person.stdout:
            assert time.monotonic() < ends, line
            told += line
            if "changes → synced" in line:
                break
        order = press_buy(re.search(r"http://\S+/shop$", told, re.MULTILINE))
        person.send_signal(signal.SIGINT)
        rest, _ = person.communicate(timeout=PATIENCE_S)
    assert person.returncode == 0, rest
    assert "press Buy in the shop window" in told
    assert "the next run continues from it" in rest
    assert left_running(state) == []
    before = json.loads((state / "truth.json").read_text(encoding="utf-8"))

    report = judged(state, "--seconds", "3", "--seed", "6")
    truth = json.loads((state / "truth.json").read_text(encoding="utf-8"))
    assert report["equal"] == dict.fromkeys(report["equal"], 0) | {"variants": 200, "max_excess": "0"}
    assert report["orders"] == {"placed": 3, "imported": 3, "counted": 3, "open": 0}
    assert report["files"]["quarantined"] >= 1
    assert report["files"]["written"] == truth["exports"] - before["exports"] > 0
    assert truth["seed"] == before["seed"] == 1
    assert truth["sales"][: len(before["sales"])] == before["sales"]
    assert len(truth["orders"]) == 4
    assert (truth["orders"][order]["imported"], truth["orders"][order]["sold"]) == (1, True)
    assert {path.name for path in (state / "till" / "import").glob("ORD*")} == set()
    assert left_running(state) == []
