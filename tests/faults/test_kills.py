"""Kills: agent, server or both die at a named point; in the end shop window and ledger equal the till all the same.

`TILLBRIDGE_FAULT_BASE=7` deals other cards, `TILLBRIDGE_FAULT_DECKS=5` deals more of them, and
`TILLBRIDGE_FAULT_SEED=1003` plays one seed of a run again (the moments of a kill differ from run to run).
"""

import os
import queue
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from tests.faults.plan import Plan, plans
from tests.faults.seed import Hits, SeedFailed, play
from tests.faults.store import Store, free_port

from tillbridge_agent.crash import CRASH_POINTS as AGENT_POINTS
from tillbridge_server.crash import CRASH_POINTS as SERVER_POINTS

LANES = 2


@pytest.mark.slow
def test_kills(tmp_path: Path) -> None:
    """Every named point of both programs is died at, and every seed ends equal."""
    base, decks = int(os.environ.get("TILLBRIDGE_FAULT_BASE", "1")), int(os.environ.get("TILLBRIDGE_FAULT_DECKS", "1"))
    dealt = plans(base, decks, AGENT_POINTS, SERVER_POINTS)
    only = os.environ.get("TILLBRIDGE_FAULT_SEED")
    if only:
        dealt = [plan for plan in dealt if plan.seed == int(only)]
        assert dealt, f"base {base} deals no seed {only}"
    print(f"\nfaults: {len(dealt)} seeds from base {base}, {LANES} at a time")
    run = _Run(dealt, tmp_path)
    run.play()
    print(run.table())
    if run.failures:
        pytest.fail("\n".join(run.failures), pytrace=False)
    if not only:
        assert not run.missing(), f"never died at: {run.missing()}"


class _Run:
    """All seeds of a run over the lanes; each lane has its own address and its own store as template."""

    def __init__(self, dealt: list[Plan], folder: Path) -> None:
        self._folder, self._total = folder, len(dealt)
        self._waiting: queue.SimpleQueue[Plan] = queue.SimpleQueue()
        for plan in dealt:
            self._waiting.put(plan)
        self.hits: Hits = Counter()
        self.failures: list[str] = []
        self._lock = threading.Lock()

    def play(self) -> None:
        """Until no seed is left."""
        lanes = [threading.Thread(target=self._lane, args=(number,)) for number in range(LANES)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()

    def _lane(self, number: int) -> None:
        try:
            port = free_port()
            template = _template(self._folder / f"template-{number}", port)
            while True:
                self._seed(self._waiting.get_nowait(), template, port)
        except queue.Empty:
            return
        except BaseException as error:
            self.failures.append(f"lane {number}: {type(error).__name__}: {error}")

    def _seed(self, plan: Plan, template: Path, port: int) -> None:
        folder = self._folder / str(plan.seed)
        try:
            hits, seconds = play(plan, template, folder, port)
        except SeedFailed as failure:
            self.failures.append(f"seed {plan.seed} failed; its story stands above")
            self._say(f"seed {plan.seed} FAILED: {'; '.join(map(str, plan.cards))}\n{failure}")
            shutil.rmtree(folder, ignore_errors=True)
            return
        with self._lock:
            self.hits += hits
        self._say(f"seed {plan.seed} ok in {seconds:.0f} s: {'; '.join(map(str, plan.cards))}")

    def _say(self, words: str) -> None:
        with self._lock:
            print(f"faults: {words}", flush=True)

    def missing(self) -> list[str]:
        """Points that no process died at."""
        points = [("agent", name) for name in AGENT_POINTS] + [("server", name) for name in SERVER_POINTS]
        return [f"{program} {name}" for program, name in points if not self.hits[program, name]]

    def table(self) -> str:
        """How often each point was died at."""
        points = [("agent", name) for name in (*AGENT_POINTS, "kill -9")]
        points += [("server", name) for name in (*SERVER_POINTS, "kill -9")]
        lines = [f"  {program:<7} {name:<24} {self.hits[program, name]:>3}" for program, name in points]
        return "\n".join(["faults: died at", *lines])


def _template(folder: Path, port: int) -> Path:
    """A store that is set up and enrolled, and not running."""
    folder.mkdir()
    began = time.monotonic()
    store = Store(folder, port, Random(0))
    store.set_up()
    try:
        store.start_server()
        assert store.enroll(store.invite()) == 0, store.story.lines[-1]
        store.server.stop()
    finally:
        store.server.kill()
    print(f"faults: a store is set up in {time.monotonic() - began:.1f} s", flush=True)
    return folder
