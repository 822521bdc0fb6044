"""Everything that runs during a demo: server, agent, simulator, observer; opened in order, always closed."""

import json
import signal
import time
from collections.abc import Callable
from typing import Any

from tests.demo.children import Child
from tests.demo.console import say
from tests.demo.observe import Observer, ShopWindow
from tests.demo.place import (
    CURRENCY,
    LOCATION,
    SETTLE_S,
    SHOP_NAME,
    ZONE,
    Notes,
    Place,
    check_journal,
    command,
    load_notes,
    save_notes,
    write_agent_configuration,
)
from tests.demo.programs import CallError, agent, agent_status, call, call_json, server
from tests.demo.shopper import Shopper

START_S = 60.0
LOOK_S = 0.1
SELLING_ENDS_S = 30.0


class Trouble(Exception):
    """The run cannot go on; `child` is whose log may tell why."""

    def __init__(self, name: str, words: str, child: Child | None = None) -> None:
        """`name` is what `failed` of the report says, `words` what a person reads."""
        super().__init__(words)
        self.name = name
        self.child = child


class Stage:
    """The running processes and the observer of one demo."""

    def __init__(self, place: Place, seed: int, lock: int | None) -> None:
        """Nothing runs yet; `open` starts everything."""
        self.place = place
        self._seed = seed
        self._keep_open = () if lock is None else (lock,)
        self._children: list[Child] = []
        check_journal(place)
        self._notes: Notes = load_notes(place)
        self.observer = Observer("127.0.0.1", self._notes.port)
        self._observing = False
        self.before: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self._notes.port}"

    def agent_address(self) -> str:
        """The agent's status page, as its door file tells."""
        door = json.loads((self.place.agent_toml.parent / "state" / "door.json").read_text(encoding="utf-8"))
        return str(door["url"]) + "/"

    def child(self, name: str) -> Child:
        """The running process of this name."""
        return next(child for child in self._children if child.name == name)

    def window(self) -> ShopWindow:
        """A new connection to the shop window."""
        return ShopWindow("127.0.0.1", self._notes.port)

    def shopper(self, seed: int, started_at: float, seconds: float) -> Shopper:
        """Somebody who buys in the shop window."""
        return Shopper("127.0.0.1", self._notes.port, seed, started_at, seconds)

    def open(self) -> None:
        """Starts server, observer and agent, on the first run with what they need. Raises Trouble, CallError."""
        place = self.place
        if not place.server_toml.exists():
            self._make_server()
        write_agent_configuration(place, self._notes.port)
        self._start("server", server(place, "serve"))
        self._until("server", "the server answers", self._server_answers)
        if not self._notes.enrolled:
            self._enroll()
        self.observer.start()
        self._observing = True
        self._start("agent", agent(place, "run"))
        self._until("agent", "the agent answers", self._agent_answers)
        self._until("server", "the observer sees the shop window", lambda: self.observer.polls > 0)

    def open_till(self) -> None:
        """Starts the simulated POS, which drops its broken file first."""
        place = self.place
        place.stop_file.unlink(missing_ok=True)
        self._start("simulator", [
            command("tillbridge-agent"), "simulate", "pos", "--folder", str(place.export), "--truth", str(place.truth),
            "--seed", str(self._seed), "--settle", str(SETTLE_S), "--broken",
            "--orders", str(place.imports), "--answers", str(place.answers),
        ])

    def close_till(self, tick: Callable[[], None]) -> None:
        """Stops the selling and waits for the last export. Raises Trouble."""
        self.place.stop_file.touch()
        till = self._children.pop()
        ends = time.monotonic() + SELLING_ENDS_S
        while till.exit_code() is None:
            if time.monotonic() > ends:
                till.stop()
                raise Trouble("simulator", "The simulated POS did not write its last export.", till)
            tick()
            time.sleep(LOOK_S)
        if till.exit_code() != 0:
            raise Trouble("simulator", f"The simulated POS ended with {till.exit_code()}.", till)

    def check_children(self) -> None:
        """Raises Trouble if a process that should run has ended."""
        for child in self._children:
            code = child.exit_code()
            if code is not None:
                raise Trouble(child.name, f"The {child.name} has ended by itself with exit code {code}.", child)

    def close(self) -> list[str]:
        """Ends everything, the till first, the server last; returns who had to be forced or failed."""
        if self._observing:
            self.observer.stop()
            self._observing = False
        bad = []
        while self._children:
            child = self._children.pop()
            already = child.exit_code()
            code = child.stop()
            # A process that was asked to end while it was still starting ends by the signal itself.
            if already is None and code not in (0, -signal.SIGTERM):
                bad.append(f"{child.name} ended with {code} when asked to stop")
        return bad

    def _start(self, name: str, line: list[str]) -> None:
        self._children.append(Child(name, line, self.place.log(name), self._keep_open))

    def _make_server(self) -> None:
        say(f"demo: first run, making a server in {self.place.server_toml.parent}")
        save_notes(self.place, self._notes)
        call(server(
            self.place, "init", "--name", SHOP_NAME, "--listen", self.address.removeprefix("http://"),
            "--currency", CURRENCY, "--time-zone", ZONE, "--activate", "auto", "--demo",
        ))

    def _enroll(self) -> None:
        say(f"demo: inviting the location {LOCATION} and enrolling its agent")
        invitation = call_json(server(self.place, "invite", "--location", LOCATION, "--phase", "everything", "--json"))
        call(agent(self.place, "enroll", self.address, invitation["code"]))
        self._notes.enrolled = True
        save_notes(self.place, self._notes)

    def _until(self, name: str, words: str, done: Callable[[], bool]) -> None:
        ends = time.monotonic() + START_S
        while not done():
            self.check_children()
            if time.monotonic() > ends:
                raise Trouble(name, f"Waited {START_S:.0f} s until {words}.", self.child(name))
            time.sleep(LOOK_S)

    def _server_answers(self) -> bool:
        try:
            self.window().read(0)
        except OSError:
            return False
        return True

    def _agent_answers(self) -> bool:
        try:
            self.before = agent_status(self.place)
        except CallError:
            return False
        return True
