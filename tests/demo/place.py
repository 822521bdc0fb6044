"""The demo's state folder: what lies where, its notes, and the agent's configuration; kept from run to run."""

import json
import os
import shutil
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

SETTLE_S = 0.5
SHOP_NAME = "Fennel & Forge"
LOCATION = "demo-store"
STOCK_FEED = "stock"
SALES_FEED = "sales"
CURRENCY = "CHF"
ZONE = "Europe/Zurich"

_AGENT_TOML = """\
state = "state"
server = "http://127.0.0.1:{port}"
allowed_roots = ["../till"]

# Web orders: the till imports such files, moves them away and writes an answer for each.
[orders]
format = "csv"
path = "../till/import"
name = "ORD{{sequence:05d}}.CSV"
encoding = "cp1252"
separator = ";"
decimal = ","
time_zone = "{zone}"

[[orders.records]]
each = "order"
columns = [
  {{ const = "H" }}, "order", {{ field = "placed_at", format = "%d.%m.%Y" }}, {{ field = "total", decimals = 2 }},
  "shopper.name", "shopper.city",
]

[[orders.records]]
each = "line"
columns = [
  {{ const = "L" }}, "order", "line", "code", {{ field = "quantity", decimals = 3 }},
  {{ field = "unit_price", decimals = 2 }}, {{ field = "title", max = 30 }},
]

[[orders.records]]
each = "order"
columns = [{{ const = "T" }}, "order", "lines"]

[orders.answers]
path = "../till/answers"
pattern = "*.ANS"
separator = ";"
encoding = "cp1252"
order = 1
state = 2
message = 3
accepted = ["OK"]
rejected = ["ERR"]
settle_s = 0.2

# The till rewrites BESTAND.CSV in place, slowly; everything it holds is in each export.
[[feeds]]
name = "{stock}"
numbering = "pos"
absence = "zero"

[feeds.source]
type = "folder"
path = "../till/export"
pattern = "BESTAND*.CSV"
style = "replace"
settle_s = {settle}
poll_s = 0.1

[feeds.reader]
format = "delimited"
separator = ";"
quote = "\\""
encodings = ["utf-8", "cp1252"]
header = true

[feeds.mapping]
key = ["ArtNr"]
decimal = ","
none = [""]
currency = "{currency}"
time_zone = "{zone}"

[feeds.mapping.stock_level]
on_hand = "Bestand"

[feeds.mapping.price]
list_price = "VK"
sale_price = "Aktion"

[feeds.mapping.product]
title = "Bezeichnung"
gtin = "EAN"
department = "Warengruppe"

# The journal only grows; lines taken back at the till carry Storno = 1.
[[feeds]]
name = "{sales}"
numbering = "pos"
absence = "nothing"

[feeds.source]
type = "folder"
path = "../till/export"
pattern = "JOURNAL*.CSV"
style = "journal"
settle_s = 0.1
poll_s = 0.1

[feeds.reader]
format = "delimited"
separator = ";"
quote = "\\""
encodings = ["utf-8", "cp1252"]
header = true

[feeds.mapping]
key = ["Kasse", "Datum", "Bon", "Zeile"]
code = "ArtNr"
decimal = ","
currency = "{currency}"
time_zone = "{zone}"
skip_when = [{{ column = "Storno", is = ["1"] }}]

[feeds.mapping.sale_line]
quantity = "Menge"
unit_price = "Preis"
till = "Kasse"
receipt = "Bon"
order = "Auftrag"
at = {{ column = "Zeit", format = "%d.%m.%Y %H:%M:%S" }}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Paths below the state folder, all absolute."""

    root: Path

    @property
    def server_toml(self) -> Path:
        """The server's configuration, made by `init`; its database and keys lie beside it."""
        return self.root / "server" / "server.toml"

    @property
    def agent_toml(self) -> Path:
        """The agent's configuration."""
        return self.root / "agent" / "agent.toml"

    @property
    def export(self) -> Path:
        """The till's export folder."""
        return self.root / "till" / "export"

    @property
    def imports(self) -> Path:
        """The till's import folder for web orders; it moves what it has taken to `done` in it."""
        return self.root / "till" / "import"

    @property
    def answers(self) -> Path:
        """Where the till answers."""
        return self.root / "till" / "answers"

    @property
    def stop_file(self) -> Path:
        """Ends the selling."""
        return self.root / "till" / "stop"

    @property
    def truth(self) -> Path:
        """What the simulator holds to be true."""
        return self.root / "truth.json"

    @property
    def notes(self) -> Path:
        """What the demo itself remembers between runs."""
        return self.root / "demo.json"

    def log(self, name: str) -> Path:
        """The log of one child."""
        return self.root / f"{name}.log"


@dataclass(slots=True)
class Notes:
    """Kept in demo.json: the port and how far the first run came."""

    port: int
    enrolled: bool = False


def command(name: str) -> str:
    """The path of one of our programs, installed beside this Python. Raises FileNotFoundError."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        raise FileNotFoundError(f"{name} is not installed beside {sys.executable}; run `make setup`.")
    return found


def load_notes(place: Place) -> Notes:
    """The kept notes; on the first run a port that is free now. Raises OSError when the kept port is taken.

    The agent knows its server by this address, so another port would be another server.
    """
    try:
        kept = Notes(**json.loads(place.notes.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Notes(port=_bound(0))
    try:
        _bound(kept.port)
    except OSError as error:
        raise OSError(
            f"Port {kept.port} of the demo in {place.root} is taken by another program. "
            "Stop that program, or choose another folder with --state.",
        ) from error
    return kept


def check_journal(place: Place) -> None:
    """Raises OSError when the kept till is of a version whose journal had no column for web orders."""
    for journal in place.export.glob("JOURNAL*.CSV"):
        with journal.open("rb") as file:
            header = file.readline()
        if header and b"Auftrag" not in header:
            raise OSError(
                f"The till in {place.root} is of an earlier version and cannot sell web orders. "
                "Forget it with `make clean`, or choose another folder with --state.",
            )


def save_notes(place: Place, notes: Notes) -> None:
    """Writes the notes in one step."""
    place.root.mkdir(parents=True, exist_ok=True)
    fresh = place.notes.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(notes)), encoding="utf-8")
    fresh.replace(place.notes)


def write_agent_configuration(place: Place, port: int) -> None:
    """Writes agent.toml anew in each run, so that a changed demo needs no hand work."""
    place.agent_toml.parent.mkdir(parents=True, exist_ok=True)
    for folder in (place.export, place.imports, place.answers):
        folder.mkdir(parents=True, exist_ok=True)
    place.agent_toml.write_text(_AGENT_TOML.format(
        port=port, currency=CURRENCY, zone=ZONE, stock=STOCK_FEED, sales=SALES_FEED, settle=SETTLE_S,
    ), encoding="utf-8")


def _bound(port: int) -> int:
    """The port that a moment's listening on `port` (0 = any) got. Raises OSError."""
    with socket.socket() as probe:
        if os.name == "posix":
            # Without this a port that has just been used looks taken for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])
