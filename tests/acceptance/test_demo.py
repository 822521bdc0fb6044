"""The demo from outside: a person's run that ends with Ctrl-C, and an unattended one that continues it."""

import json
import os
import signal
import subprocess
import sys
import time
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
    """Every export is told, nothing is left running; the judge then finds nothing lost and nothing doubled."""
    with subprocess.Popen(demo(state), cwd=ROOT, stdout=subprocess.PIPE, text=True) as person:
        assert person.stdout is not None
        ends = time.monotonic() + PATIENCE_S
        for line in person.stdout:
            assert time.monotonic() < ends, line
            if "changes → synced" in line:
                break
        person.send_signal(signal.SIGINT)
        rest, _ = person.communicate(timeout=PATIENCE_S)
    assert person.returncode == 0, rest
    assert "the next run continues from it" in rest
    assert left_running(state) == []
    before = json.loads((state / "truth.json").read_text(encoding="utf-8"))

    report = judged(state, "--seconds", "3", "--seed", "6")
    truth = json.loads((state / "truth.json").read_text(encoding="utf-8"))
    assert report["equal"] == dict.fromkeys(report["equal"], 0) | {"variants": 200, "max_excess": "0"}
    assert report["files"]["quarantined"] >= 1
    assert report["files"]["written"] == truth["exports"] - before["exports"] > 0
    assert truth["seed"] == before["seed"] == 1
    assert truth["sales"][: len(before["sales"])] == before["sales"]
    assert left_running(state) == []
