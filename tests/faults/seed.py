"""Plays one seed: every card until its programs are dead, restart, business goes on, and then all must be equal."""

import shutil
import time
from collections import Counter
from collections.abc import Container
from pathlib import Path
from random import Random

from tests.faults.plan import ENROLL_POINTS, Card, Plan
from tests.faults.programs import CRASHED, Program, until
from tests.faults.store import QUIET_S, Store

REACH_S = 45.0
#: When one of two armed programs is dead for so long, it comes back, because the other may be waiting for it.
ALONE_S = 2.0
EMPTIED = 5
ASKED_S = 8.0

Hits = Counter[tuple[str, str]]


class SeedFailed(Exception):
    """A seed did not end as it must; the message is its whole story."""


def play(plan: Plan, template: Path, folder: Path, port: int) -> tuple[Hits, float]:
    """All of one seed; what was hit, and its seconds. Raises SeedFailed with the story."""
    began = time.monotonic()
    shutil.copytree(template, folder)
    store = Store(folder, port, Random(plan.seed))
    player = _Player(plan, store)
    try:
        player.play()
    except BaseException as error:
        story = [f"seed {plan.seed} failed: {type(error).__name__}: {error}", *store.story.lines]
        for program in (store.agent, store.server):
            story += [f"last lines of the {program.name}:", *(f"    {line}" for line in program.last_lines())]
        raise SeedFailed("\n".join(story)) from error
    finally:
        store.agent.kill()
        store.server.kill()
    shutil.rmtree(folder)
    return player.hits, time.monotonic() - began


class _Player:
    """One seed under way."""

    def __init__(self, plan: Plan, store: Store) -> None:
        """Nothing runs yet."""
        self.plan, self.store, self.hits = plan, store, Hits()

    def play(self) -> None:
        """The whole life of the store."""
        store = self.store
        if self.plan.enrolls:
            self._enroll()
        store.pos.export()
        for card in self.plan.cards:
            store.story.tell(f"card: {card}")
            if card.victims:
                self._kill(card)
            else:
                self._crash(card)
            for _ in range(store.rng.randint(0, 3)):
                store.sell()
        self._all_up()
        store.come_to_rest()
        store.agent.stop()
        store.server.stop()
        store.check_files()

    # -- kill -9 at a random moment --------------------------------------------------------------------------

    def _kill(self, card: Card) -> None:
        self._all_up()
        ends = time.monotonic() + self.store.rng.uniform(0.0, 1.5)
        while time.monotonic() < ends:
            self.store.sell()
        for name in card.victims:
            self.store.program(name).kill()
            self.hits[name, "kill -9"] += 1
        self.store.story.tell(f"killed {' and '.join(card.victims)}")
        self.store.sell()
        self._all_up()

    # -- a named point -------------------------------------------------------------------------------------------

    def _crash(self, card: Card) -> None:
        rounds = 2 if card.again else 1
        for number in range(rounds):
            armed = card if number == 0 else Card(*(_first(point) for point in (card.agent, card.server)))
            if card.need in ("hold", "approve"):
                self._settle_first()
            self._prepare(armed)
            self._provoke(armed)
        self._all_up()
        if card.need == "approve":
            # No export before the held one is taken: it would be held as well.
            assert until(self._is_approved, REACH_S), "the approved file was not taken"
        if card.need in ("hold", "approve"):
            self.store.pos.refill()
            self.store.pos.export()

    def _prepare(self, card: Card) -> None:
        """Both programs run and are armed; for `restore` the server has forgotten what the agent has acks for."""
        store = self.store
        if card.need == "restore":
            self._forget()
        for name in ("server", "agent"):
            program, point = store.program(name), card.point(name)
            if program.running and program.armed != point:
                program.stop()
            if not program.running:
                self._start(program, point)

    def _forget(self) -> None:
        """A backup, more business, and the server is what it was at the backup."""
        store = self.store
        self._all_up()
        assert until(lambda: bool(self._seq()), REACH_S), "nothing was ever sent"
        backup, seq = store.back_up(), self._seq()
        assert backup is not None, "no backup was made"
        ends = time.monotonic() + REACH_S
        while self._seq() <= seq and time.monotonic() < ends:
            store.sell()
        store.server.kill()
        store.restore(backup)

    def _seq(self) -> int:
        position = self.store.known_position()
        return int(position["seq"]) if position else 0

    def _provoke(self, card: Card) -> None:
        """Go on as the card needs it until everything armed is dead."""
        store, waiting = self.store, {name for name in ("agent", "server") if card.point(name)}
        ends, alone_since = time.monotonic() + REACH_S, 0.0
        if card.need in ("hold", "approve"):
            store.pos.empty_shelves(EMPTIED)
            store.pos.export()
        elif card.need == "broken":
            store.pos.drop_broken()
        while waiting:
            assert time.monotonic() < ends, f"never reached: {', '.join(card.point(name) for name in waiting)}"
            for name in [name for name in waiting if not store.program(name).running]:
                program = store.program(name)
                assert program.code == CRASHED, f"the {name} ended by itself with {program.code}"
                self.hits[name, card.point(name).partition(":")[0]] += 1
                store.story.tell(f"{name} died at {program.armed}")
                waiting.discard(name)
                alone_since = time.monotonic()
            if waiting and alone_since and time.monotonic() - alone_since > ALONE_S:
                self._all_up(but=waiting)
            self._go_on(card)

    def _go_on(self, card: Card) -> None:
        """A moment of business of the kind the card needs."""
        store = self.store
        if card.need == "backup":
            store.back_up()
        elif card.need == "same":
            store.pos.export_again()
            time.sleep(0.3)
        elif card.need == "restart":
            store.agent.stop()
            store.agent.start()
            until(lambda: not store.server.running, ASKED_S)  # what it tells and asks at its start takes a while
        elif card.need == "orders":
            store.shopping.shop()
            store.sell()
        elif card.need in ("hold", "approve"):
            if card.need == "approve":
                self._approve()
            store.pos.sell()
            time.sleep(0.1)
        else:
            store.sell()

    def _settle_first(self) -> None:
        """What is known now must be what the till has, so that only the emptied shelves are news; no order is open."""
        self._all_up()
        self.store.pos.refill()
        left = self.store.shopping.settle(self.store.window_differences, QUIET_S)
        assert not left, f"the shop window never got there: {left}"

    def _is_approved(self) -> bool:
        self._approve()
        return not self.store.window_differences()

    def _approve(self) -> None:
        """Head office says yes to every file it is shown."""
        for hold in (self.store.ask("holds") or {"holds": []})["holds"]:
            self.store.story.tell(f"head office approves {hold['id']}")
            self.store.ask("decide", hold=hold["id"], verdict="approve", why="counted by hand")

    # -- starting ----------------------------------------------------------------------------------------------------

    def _all_up(self, but: Container[str] = ()) -> None:
        """Whoever is dead starts again, and lives; those of `but` are left as they are."""
        for name in ("server", "agent"):
            program = self.store.program(name)
            if not program.running and name not in but:
                self._start(program, "")

    def _start(self, program: Program, point: str) -> None:
        if program.name == "server":
            self.store.start_server(point)
        else:
            program.start(point)

    # -- enrollment --------------------------------------------------------------------------------------------------

    def _enroll(self) -> None:
        """One code, and a death at every point on the way; it must lead to one identity all the same."""
        store = self.store
        for path in store.agent_state.iterdir():
            path.unlink()
        store.start_server()
        code = store.invite()
        for point in ("identity.written", "identity.renamed", "enroll.sending", "enroll.answered"):
            assert store.enroll(code, f"{point}:1") == CRASHED, point
            self.hits["agent", point] += 1
        for point in ENROLL_POINTS["server"]:
            store.server.stop()
            store.start_server(f"{point}:1")
            assert store.enroll(code) == 3, "the server was gone"
            assert until(lambda: not store.server.running, REACH_S)
            assert store.server.code == CRASHED
            self.hits["server", point] += 1
            store.start_server()
        assert store.enroll(code, "identity.renamed:1") == CRASHED
        assert store.enroll(code) == 0
        known = [one for one in store.ask("agents")["agents"] if one["status"] == "active"]
        assert len(known) == 2, "one code became one identity, beside the one of the template"


def _first(point: str) -> str:
    return f"{point.partition(':')[0]}:1" if point else ""
