"""A scanner at a real agent and a real server that are killed again and again; in the end the ledger is its log."""

import json
import time
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.programs import READY_S, Program, agent_status, command, run, until
from tests.faults.store import Store

_AGENT_TOML = """\
server = "http://127.0.0.1:{port}"
heartbeat_s = 1.0

[[devices]]
name = "counter"
numbering = "pos"
port = {{ path = "../scanner" }}
protocol = {{ type = "line_scanner", prefix = "\\u0002", aim = true, ack = "\\u0006", ack_wait_ms = 2000 }}
"""
#: Points just before and just behind a commit: between keeping a label and answering it.
_ARMED = ("store.committing", "store.committed")


class ScanRun:
    """`count` labels scanned as fast as they are taken, while the programs die at moments drawn from `seed`."""

    def __init__(self, folder: Path, port: int, *, count: int, seed: int) -> None:
        """Sets up and enrolls; nothing runs yet."""
        self.count, self.rng = count, Random(seed)
        self.store = Store(folder, port, self.rng)
        self.store.set_up()
        (folder / "agent" / "agent.toml").write_text(_AGENT_TOML.format(port=port), encoding="utf-8")
        self.log = folder / "delivered.jsonl"
        self.log.touch()
        self.scanner = Program("scanner", [
            command("tillbridge-agent"), "simulate", "scanner", "--link", str(folder / "scanner"), "--log",
            str(self.log), "--count", str(count), "--rate", "0", "--seed", str(seed), "--prefix", "\\x02", "--aim",
            "--ack", "--unplug", "0.02", "--noise", "0.02",
        ], folder / "scanner.log", self.store.story)

    def play(self, *, agent_deaths: int, server_deaths: int, within_s: float) -> float:
        """Until every label is in the ledger; returns how many seconds the scanning took."""
        store = self.store
        store.start_server()
        assert store.enroll(store.invite()) == 0, store.story.lines[-1]
        began = time.monotonic()
        store.agent.start()
        self.scanner.start()
        moments = self.rng.sample(range(self.count // 20, self.count * 19 // 20), agent_deaths + server_deaths)
        victims = ["agent"] * agent_deaths + ["server"] * server_deaths
        self.rng.shuffle(victims)
        for moment, victim in zip(sorted(moments), victims, strict=True):
            self._pass(moment, began + within_s)
            self._die(victim)
        self._pass(self.count, began + within_s)
        took = time.monotonic() - began
        assert until(lambda: self.scanner.code == 0, 10), f"the scanner ended with {self.scanner.code}"
        assert until(self._sent, READY_S), "the agent has not sent everything"
        return took

    def delivered(self) -> list[dict[str, Any]]:
        """What the scanner holds for delivered, in order."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def ledger(self) -> list[dict[str, Any]]:
        """What the command line tells, in the order in which it was read."""
        told = run(self.store.verb("server", "ledger", "--kind", "scan", "--json"))
        assert told.returncode == 0, told.stderr
        entries: list[dict[str, Any]] = json.loads(told.stdout)["entries"]
        return sorted(entries, key=lambda entry: str(entry["at"]))

    def end(self) -> None:
        """Whatever still runs, does so no more."""
        for program in (self.scanner, self.store.agent, self.store.server):
            program.kill()

    def _pass(self, labels: int, ends: float) -> None:
        """Until so many labels are delivered. An agent that was armed to die is started again when it did."""
        while self.log.read_bytes().count(b"\n") < labels:
            assert time.monotonic() < ends, f"too slow: {len(self.delivered())} of {self.count}"
            if not self.store.agent.running:
                self.store.agent.start()
            time.sleep(0.02)

    def _die(self, victim: str) -> None:
        program = self.store.program(victim)
        self.store.story.tell(f"kill -9 {victim} after {len(self.delivered())} labels")
        program.kill()
        if victim == "server":
            self.store.start_server()
        elif self.rng.random() < 0.5:
            program.start(f"{self.rng.choice(_ARMED)}:{self.rng.randint(3, 60)}")
        else:
            program.start()

    def _sent(self) -> bool:
        status = agent_status(self.store.agent_state)
        return status is not None and status["outbox"]["changes"] + status["outbox"]["events"] == 0
