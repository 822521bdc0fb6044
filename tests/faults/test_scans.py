"""Each label a scanner was told is kept stands in the ledger exactly once, whatever died in between.

`TILLBRIDGE_FAULT_BASE=7` draws other labels, accidents and moments.
"""

import json
import os
from pathlib import Path

import jsonschema
import pytest
from tests.faults.programs import agent_status
from tests.faults.scans import ScanRun
from tests.faults.store import free_port

SCHEMAS = Path(__file__).parents[1] / "golden" / "cli"


def _play(run: ScanRun, *, agent_deaths: int, server_deaths: int, within_s: float) -> None:
    try:
        took = run.play(agent_deaths=agent_deaths, server_deaths=server_deaths, within_s=within_s)
        status = agent_status(run.store.agent_state)
        delivered, ledger = run.delivered(), run.ledger()
    except BaseException:
        print("\n".join([*run.store.story.lines, *run.store.agent.last_lines(), *run.scanner.last_lines()]))
        raise
    finally:
        run.end()
    schema = json.loads((SCHEMAS / "agent-status.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(status, schema)
    counts = {name: status["devices"][0][name] for name in ("scans", "repeated", "noise")}
    print(f"scans: {len(delivered)} delivered in {took:.0f} s, {agent_deaths} deaths of the agent and "
          f"{server_deaths} of the server; the agent says {counts}; ledger {len(ledger)}")
    print(f"scans: {run.scanner.last_lines()[-1]}")
    assert len({entry["id"] for entry in ledger}) == len(ledger) == len(delivered) == run.count
    assert [entry["code"] for entry in ledger] == [one["text"] for one in delivered]
    assert status["devices"][0]["scans"] == run.count


def test_a_few_hundred_scans(tmp_path: Path) -> None:
    """The agent dies twice."""
    _play(ScanRun(tmp_path, free_port(), count=300, seed=3), agent_deaths=2, server_deaths=0, within_s=150)


@pytest.mark.slow
def test_ten_thousand_scans(tmp_path: Path) -> None:
    """Agent and server die again and again, the cable goes again and again."""
    seed = int(os.environ.get("TILLBRIDGE_FAULT_BASE", "1"))
    _play(ScanRun(tmp_path, free_port(), count=10_000, seed=seed), agent_deaths=12, server_deaths=3, within_s=300)
