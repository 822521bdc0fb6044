"""A store of a fault test whose databases are put back, whose agent is copied, or whose answers are lost."""

import re
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.faults.programs import Program, until
from tests.faults.shopping import keep_book
from tests.faults.store import Store, free_port

from tillbridge_protocol.orders import ACCEPTED, CANCELLED, COUNTED, EXPIRED, REJECTED, SOLD, UNCERTAIN, UNROUTED

WITHIN_S = 60.0
LOOK_S = 0.1
_ALARM = (UNCERTAIN, UNROUTED, REJECTED, EXPIRED)
#: Where an order stays by itself: it is in the till, or a person was asked.
_AT_REST = (ACCEPTED, SOLD, COUNTED, CANCELLED, *_ALARM)
#: Until all this has been the same for so many looks, something may still be under way.
SAME_LOOKS = 15


class Restoring:
    """Plays with a running store; every wait is bounded, and what must happen in it is asserted."""

    def __init__(self, store: Store) -> None:
        self.store, self.order, self.clone = store, "", _second_agent(store)
        self.away = store.till.drop.with_name("import.away")

    def open(self) -> None:
        """Both programs run, and the shop window shows what the till has."""
        self.store.pos.export()
        self.store.start_server()
        self.store.agent.start()
        assert until(lambda: not self.store.window_differences(), WITHIN_S), self.store.window_differences()

    def close(self) -> None:
        """Everything that was started is ended."""
        for program in (self.store.agent, self.clone, self.store.server):
            program.kill()

    # -- what happens ------------------------------------------------------------------------------------------------

    def buy(self) -> None:
        """The shopper buys the one order of this store."""
        self.order = self.store.shopping.buy() or ""
        assert self.order, "nothing was bought"

    def reach(self, *states: str) -> None:
        """Until head office has the order in one of these states."""
        assert until(lambda: self.state() in states, WITHIN_S), f"{self.state()} instead of {states}"

    def hide_folder(self) -> None:
        """The till's import folder cannot be reached; orders wait."""
        self.store.till.drop.rename(self.away)

    def show_folder(self) -> None:
        """It is back."""
        if self.away.exists():
            self.away.rename(self.store.till.drop)

    def sell_at_till(self) -> None:
        """The till imports, answers and sells, and head office has heard all of it."""
        self.reach("published")
        while self.store.till.step():
            pass
        self.store.pos.finish_journal()
        self.reach(SOLD, COUNTED)

    def copy_agent(self) -> Path:
        """The stopped agent's state folder as a backup would have it."""
        self.store.agent.stop()
        kept = self.store.folder / "kept"
        shutil.copytree(self.store.agent_state, kept)
        return kept

    def put_agent_back(self, kept: Path) -> None:
        """The state folder is the backup's; the agent is killed for it, and starts."""
        self.store.agent.kill()
        shutil.rmtree(self.store.agent_state)
        shutil.copytree(kept, self.store.agent_state)
        self.store.agent.start()

    def lose_agent_database(self) -> None:
        """Only who the agent is has been saved."""
        self.store.agent.kill()
        for path in self.store.agent_state.glob("agent.db*"):
            path.unlink()
        self.store.agent.start()

    def lose_agent(self) -> None:
        """The whole state folder is gone: the old agent is revoked, a new one enrolled, as the runbook says."""
        store = self.store
        store.agent.kill()
        shutil.rmtree(store.agent_state)
        (old,) = [one["id"] for one in store.ask("agents")["agents"] if one["status"] == "active"]
        store.ask("revoke", agent=old, why="its machine is gone")
        assert store.enroll(store.invite()) == 0, store.story.lines[-1]
        store.agent.start()

    def copy_server(self) -> Path:
        """The running server's database as it is now, without its verb `backup`: no agent hears of it."""
        kept = self.store.folder / "kept.db"
        with closing(sqlite3.connect(self.database)) as now, closing(sqlite3.connect(kept)) as copy:
            now.backup(copy)
        return kept

    def put_server_back(self, kept: Path) -> None:
        """The server is killed, its database is the backup's; a storefront keeps its own book of orders."""
        self.store.server.kill()
        newest = self.store.folder / "newest.db"
        with closing(sqlite3.connect(self.database)) as now, closing(sqlite3.connect(newest)) as copy:
            now.backup(copy)
        for path in (self.database, *self.database.parent.glob("tillbridge.db-*")):
            path.unlink(missing_ok=True)
        shutil.copyfile(kept, self.database)
        keep_book(newest, self.database)
        self.store.start_server()

    def without_backup(self) -> None:
        """The server is one that makes no backups: agents forget what it has acked."""
        text = self.store.server_toml.read_text(encoding="utf-8")
        cut, found = re.subn(r"\n\[backup\]\n(?:[^\[\n][^\n]*\n)*", "\n", text)
        assert found == 1
        self.store.server_toml.write_text(cut, encoding="utf-8")

    def behind_proxy(self) -> int:
        """The server listens at another port than agents know; returns that port."""
        inner = free_port()
        text = self.store.server_toml.read_text(encoding="utf-8")
        old = f'listen = "127.0.0.1:{self.store.port}"'
        assert old in text
        self.store.server_toml.write_text(text.replace(old, f'listen = "127.0.0.1:{inner}"'), encoding="utf-8")
        return inner

    def copy_machine(self, heartbeat_s: float) -> None:
        """The machine is copied with everything on it; both run, on the same folders of the till."""
        store = self.store
        store.agent.stop()
        path = store.folder / "agent" / "agent.toml"
        text = path.read_text(encoding="utf-8")
        assert "heartbeat_s = 1.0\n" in text
        path.write_text(text.replace("heartbeat_s = 1.0\n", f"heartbeat_s = {heartbeat_s}\n"), encoding="utf-8")
        shutil.copytree(store.folder / "agent", store.folder / "clone")
        store.agent.start()
        self.clone.start()

    def until_frozen(self) -> None:
        """Head office has noticed that two machines speak as one."""
        assert until(lambda: self.alarm().startswith("hold clone"), WITHIN_S), "two machines, and nobody noticed"

    # -- how it ends -------------------------------------------------------------------------------------------------

    @property
    def database(self) -> Path:
        """The server's."""
        return self.store.folder / "server" / "tillbridge.db"

    def shown(self) -> dict[str, Any] | None:
        """The order as `orders list` has it; None when the server does not know it, or does not answer."""
        return next((one for one in self.store.shopping.listed() if one["id"] == self.order), None)

    def state(self) -> str:
        """Where head office has the order."""
        shown = self.shown()
        return "unknown" if shown is None else str(shown["state"])

    def imports(self) -> int:
        """How often the till has imported it."""
        return self.store.till.imported()[self.order]

    def come_to_rest(self) -> str:
        """The till works on, the agents start once more, until nothing changes; the alarm, empty without one.

        Asserts that no order was imported twice, and that one that was not imported has an alarm.
        """
        self.show_folder()
        alarm = self._rest()
        self.store.story.tell(f"at rest: {self.state()}, {self.imports()} imports; {alarm}; the agents start again")
        for program in (self.store.agent, self.clone):
            if program.running and "clone" not in alarm:  # a start is when an agent asks what it may place
                program.stop()
                program.start()
        alarm = self._rest() or alarm
        assert not self.store.shopping.twice(), self.store.shopping.twice()
        assert set(self.store.till.imported()) <= {self.order}, self.store.till.imported()
        assert self.imports() == 1 or alarm, f"never imported, {self.state()}, and nobody is told"
        return alarm

    def decide(self) -> None:
        """A person does what the alarm asks for: looks at the till, and says so. Then it was imported once."""
        self.store.shopping.decide()
        self._rest()
        assert self.imports() == 1, f"{self.imports()} imports after a person has decided; {self.state()}"

    def alarm(self) -> str:
        """What a person is told: the order in the list of those that wait, or a frozen clone."""
        shown = self.shown()
        holds = (self.store.ask("holds") or {"holds": []})["holds"]
        clones = [hold["reason"]["message"] for hold in holds if hold["reason"]["code"] == "clone"]
        if clones:
            return f"hold clone: {clones[0]}"
        if shown is not None and shown["overdue"] and shown["state"] in _ALARM:
            return f"{shown['state']}: {shown['message']}"
        return ""

    def _rest(self) -> str:
        """Until the order is where it stays by itself, or a clone is frozen, and nothing has changed for a while."""
        ends, before, same = time.monotonic() + WITHIN_S, None, 0
        while same < SAME_LOOKS and time.monotonic() < ends:
            while self.store.till.step():
                pass
            self.store.pos.finish_journal()
            now = (self.state(), self.imports(), self.alarm())
            # Agents that are waited for after a restore tell what they have by themselves, and soon.
            rests = (now[0] in _AT_REST and "is waited for" not in now[2]) or now[2].startswith("hold clone")
            same = same + 1 if rests and now == before else 0
            before = now
            time.sleep(LOOK_S)
        assert same >= SAME_LOOKS, f"not at rest: {before}"
        return self.alarm()


def _second_agent(store: Store) -> Program:
    line = store.verb("agent", "run")
    line[-1] = str(store.folder / "clone" / "agent.toml")
    return Program("clone", line, store.folder / "clone.log", store.story)
