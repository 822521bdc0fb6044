"""One small store of a fault test: its folders, its till, its two programs, and what must be equal in the end."""

import json
import shutil
import socket
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from tests.fakes.import_till import ORDERS_TOML, ImportTill
from tests.fakes.pos_writer import PosWriter, Sale
from tests.faults.programs import (
    READY_S,
    Program,
    Story,
    agent_status,
    command,
    get,
    run,
    server_verb,
    until,
    window,
)
from tests.faults.shopping import Shopping, keep_book, reserved

LOCATION = "mallow"
QUIET_S = 60.0
_AGENT_TOML = """\
server = "http://127.0.0.1:{port}"
allowed_roots = [".."]
heartbeat_s = 1.0

[[feeds]]
name = "stock"
source = {{ type = "folder", path = "../export", pattern = "STOCK*.CSV", settle_s = 0.1, poll_s = 0.05 }}
reader = {{ format = "delimited", separator = ";", encodings = ["cp1252"] }}
guards = {{ stock_to_zero = {{ share = 0.05, at_least = 4 }} }}
[feeds.mapping]
key = ["ArtNr"]
decimal = ","
currency = "CHF"
product = {{ title = "Bezeichnung" }}
stock_level = {{ on_hand = "Bestand" }}
price = {{ list_price = "VK", sale_price = "Aktion" }}

[[feeds]]
name = "sales"
source = {{ type = "folder", path = "../export", pattern = "SALES*.TXT", style = "journal", poll_s = 0.05 }}
reader = {{ format = "delimited", separator = ";", encodings = ["cp1252"] }}
[feeds.mapping]
key = ["Beleg", "Zeile"]
code = "ArtNr"
decimal = ","
currency = "CHF"
time_zone = "Europe/Zurich"
[feeds.mapping.sale_line]
quantity = "Menge"
unit_price = "Preis"
order = "Auftrag"
at = {{ column = "Zeit", format = "%d.%m.%Y %H:%M:%S" }}
"""


@dataclass
class Store:
    """Everything of one seed; `port` is where its server listens."""

    folder: Path
    port: int
    rng: Random
    story: Story = field(default_factory=Story)
    restored: bool = False

    def __post_init__(self) -> None:
        """Nothing runs yet; the folder holds a server and an agent that were set up before."""
        export = self.folder / "export"
        export.mkdir(exist_ok=True)
        self.pos = PosWriter(export, self.rng)
        self.till = ImportTill(self.folder / "till", self.pos, self.rng)
        self.shopping = Shopping(self.till, self.pos, self.rng, self.story, self.port, self.ask, LOCATION)
        self.server = Program("server", self.verb("server", "serve"), self.folder / "server.log", self.story)
        self.agent = Program("agent", self.verb("agent", "run"), self.folder / "agent.log", self.story)

    @property
    def server_toml(self) -> Path:
        """The server's configuration."""
        return self.folder / "server" / "server.toml"

    @property
    def agent_state(self) -> Path:
        """The agent's own folder."""
        return self.folder / "agent" / "state"

    def program(self, name: str) -> Program:
        """agent or server."""
        return self.agent if name == "agent" else self.server

    def verb(self, program: str, *arguments: str) -> list[str]:
        """The command line of a verb."""
        config = self.server_toml if program == "server" else self.folder / "agent" / "agent.toml"
        return [command(f"tillbridge-{program}"), *arguments, "--config", str(config)]

    def ask(self, verb: str, **arguments: Any) -> Any:
        """What the running server says; None when it is not there."""
        return server_verb(self.server_toml, verb, **arguments)

    def server_answers(self) -> bool:
        """Whether somebody answers at the server's address."""
        try:
            return get(self.port, "/v1/hello")[0] == 200
        except OSError:
            return False

    def start_server(self, crash_at: str = "") -> None:
        """Start it and wait until it answers, or died as it should."""
        self.server.start(crash_at)
        assert until(lambda: self.server_answers() or not self.server.running, READY_S), "the server does not answer"
        assert self.server.running or crash_at, f"the server ended by itself with {self.server.code}"

    def sell(self) -> None:
        """A moment of business, then time for the programs to see it."""
        self.pos.trade()
        if self.rng.random() < 0.2:
            self.shopping.shop()
        self.shopping.work(self.rng.randint(0, 3))
        if self.rng.random() < 0.6:
            self.pos.export()
        time.sleep(self.rng.uniform(0.02, 0.25))

    # -- set-up ----------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """A new server with its keys, and an agent that is not enrolled yet."""
        made = run(self.verb(
            "server", "init", "--listen", f"127.0.0.1:{self.port}", "--activate", "auto", "--currency", "CHF",
            "--demo",
        ))
        assert made.returncode == 0, made.stderr
        (self.folder / "agent").mkdir()
        text = _AGENT_TOML.format(port=self.port) + ORDERS_TOML.format(folder="../till")
        (self.folder / "agent" / "agent.toml").write_text(text, encoding="utf-8")

    def invite(self) -> str:
        """A one-time code for this store."""
        invitation = self.ask("invite", location=LOCATION, name="", phase="everything", time_zone="")
        return str(invitation["code"])

    def enroll(self, code: str, crash_at: str = "") -> int:
        """Run `enroll` with this code; its exit code."""
        done = run(self.verb("agent", "enroll", f"http://127.0.0.1:{self.port}", code), crash_at)
        self.story.tell(f"enroll ended with {done.returncode} {done.stderr.strip()[-200:]}")
        return done.returncode

    # -- a server restored from its backup -----------------------------------------------------------------------

    def back_up(self) -> Path | None:
        """A verified backup now; None when the server died over it."""
        made = self.ask("backup", folder="")
        return None if made is None else Path(made["file"])

    def restore(self, backup: Path) -> None:
        """The database of the stopped server is what it was at the backup."""
        database = self.folder / "server" / "tillbridge.db"
        before = self.folder / "server.before.db"
        with closing(sqlite3.connect(database)) as old, closing(sqlite3.connect(before)) as copy:
            old.backup(copy)
        for path in (database, *database.parent.glob("tillbridge.db-*")):
            path.unlink(missing_ok=True)
        shutil.copyfile(backup, database)
        keep_book(before, database)
        self.restored = True
        self.story.tell("the server's database is restored from the backup")

    # -- the end -------------------------------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        """The till closes: a last export, the journal complete. Then everything must be equal, and stay so.

        Every order that was bought is imported once, sold and counted by then; a person was asked about one only
        where a database had been restored.
        """
        self.pos.refill()
        self.pos.trade()
        self.story.tell("the till is closed")
        left = self.shopping.settle(self.differences, QUIET_S)
        assert not left, "not at rest: " + "; ".join(left[:5])
        assert not self.differences()
        assert not self.ledger_differences()
        assert self.restored or not self.shopping.decided, f"in doubt without a restore: {self.shopping.decided}"

    def known_position(self) -> dict[str, Any] | None:
        """Where the server has our agent; None when it does not answer."""
        identity = json.loads((self.agent_state / "identity.json").read_text(encoding="utf-8"))
        told = self.ask("agents")
        if told is None:
            return None
        return next(agent["position"] for agent in told["agents"] if agent["id"] == identity["agent"])

    def window_differences(self) -> list[str]:
        """Where the shop window is not what the till has; five at most."""
        shown = window(self.port)
        if shown is None:
            return ["the server does not answer"]
        items = {item["codes"][0]: (Decimal(item["available"]), Decimal(item["price"])) for item in shown["items"]}
        return [
            f"{code}: shop window {items.get(code)}, till {self.pos.truth.get(code)}"
            for code in sorted(items.keys() | self.pos.truth.keys()) if items.get(code) != self.pos.truth.get(code)
        ][:5]

    def differences(self) -> list[str]:
        """What is not as it must be; empty at rest."""
        found = self.window_differences()
        if found:
            return found
        status = agent_status(self.agent_state)
        if status is None:
            return ["the agent does not answer"]
        waiting, at = status["outbox"], status["position"]
        if waiting["changes"] or waiting["events"]:
            found.append(f"outbox {waiting}")
        held = sum(feed["holds"] for feed in status["feeds"])
        found += [f"{held} files are held at the agent"] if held else []
        holds, dead, known = self.ask("holds"), self.ask("dead-letters"), self.known_position()
        if holds is None or dead is None or known is None:
            return ["the server does not answer"]
        found += [f"hold: {hold['reason']['message']}" for hold in holds["holds"]]
        found += [f"dead letter {letter['code']}: {letter['message']}" for letter in dead["dead_letters"]]
        if (known["epoch"], known["seq"], known["head"]) != (at["epoch"], at["seq"], at["head"]):
            found.append(f"positions differ: agent {at}, server {known}")
        return found

    def ledger_differences(self) -> list[str]:
        """The ledger, as the command line tells it, against the till's journal: each line once, nothing else."""
        told = run(self.verb("server", "ledger", "--kind", "sale_line", "--json"))
        assert told.returncode == 0, told.stderr
        entries = json.loads(told.stdout)["entries"]
        ids = [entry["id"] for entry in entries]
        assert len(ids) == len(set(ids)), "a sale line stands twice in the ledger"
        ledger = {
            entry["id"]: Sale(entry["code"], Decimal(entry["quantity"]), Decimal(entry["price"])) for entry in entries
        }
        assert ledger == self.pos.sales, (
            f"missing {sorted(self.pos.sales.keys() - ledger.keys())[:5]}, "
            f"invented {sorted(ledger.keys() - self.pos.sales.keys())[:5]}"
        )
        return []

    def check_files(self) -> None:
        """Both databases are sound, and the agent keeps no copy it does not need. Nothing runs any more."""
        promised = reserved(self.folder / "server" / "tillbridge.db")
        assert not promised, f"still promised: {promised}"
        for path in (self.folder / "server" / "tillbridge.db", self.agent_state / "agent.db"):
            connection = sqlite3.connect(path)
            try:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), path
            finally:
                connection.close()
        copies = sorted(path.name for path in (self.agent_state / "copies").iterdir())
        connection = sqlite3.connect(self.agent_state / "agent.db")
        try:
            known = {row[0] for row in connection.execute("SELECT sha256 FROM feed")}
            known |= {row[0] for row in connection.execute("SELECT sha256 FROM quarantine WHERE state = 'open'")}
        finally:
            connection.close()
        assert set(copies) <= known, f"copies nobody refers to: {set(copies) - known}"


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
