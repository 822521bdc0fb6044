"""Calls the programs' command lines as a person would, and reads their JSON."""

import json
import subprocess
from typing import Any

from tests.demo.place import LOCATION, Place, command

CALL_S = 60.0


class CallError(Exception):
    """A command ended with an error; the message holds what it said."""


def server(place: Place, verb: str, *arguments: str) -> list[str]:
    """The command line of a verb of the demo's server."""
    return [command("tillbridge-server"), verb, *arguments, "--config", str(place.server_toml)]


def agent(place: Place, verb: str, *arguments: str) -> list[str]:
    """The command line of a verb of the demo's agent."""
    return [command("tillbridge-agent"), verb, *arguments, "--config", str(place.agent_toml)]


def call(line: list[str], *, fine: tuple[int, ...] = (0,)) -> str:
    """Runs a command to its end and returns its stdout. Raises CallError at an exit code that is not `fine`."""
    try:
        done = subprocess.run(line, capture_output=True, text=True, encoding="utf-8", timeout=CALL_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise CallError(f"`{_short(line)}` did not end within {CALL_S:.0f} s.") from error
    if done.returncode not in fine:
        said = (done.stderr or done.stdout).strip() or "nothing"
        raise CallError(f"`{_short(line)}` ended with {done.returncode} and said: {said}")
    return done.stdout


def call_json(line: list[str], *, fine: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Runs a command and reads the one JSON document on its stdout. Raises CallError."""
    text = call(line, fine=fine)
    try:
        document = json.loads(text)
    except ValueError as error:
        raise CallError(f"`{_short(line)}` printed no JSON but: {text[:200]!r}") from error
    assert isinstance(document, dict)
    return document


def agent_status(place: Place) -> dict[str, Any]:
    """`tillbridge-agent status --json` of the running agent. Raises CallError."""
    # 1 means that something needs a person, and the broken file of the demo does.
    return call_json(agent(place, "status", "--json"), fine=(0, 1))


def ledger_sales(place: Place) -> list[str]:
    """The natural ids of the sale lines in the server's ledger. Raises CallError."""
    document = call_json(server(place, "ledger", "--kind", "sale_line", "--json"))
    return [entry["id"] for entry in document["entries"] if entry["location"] == LOCATION]


def open_orders(place: Place) -> list[str]:
    """The web orders that head office does not know to be at rest, and what state each is in. Raises CallError."""
    line = [command("tillbridge-server"), "orders", "--config", str(place.server_toml), "list", "--json"]
    # 1 means that one of them waits for a person.
    return [f"{order['id']} {order['state']}" for order in call_json(line, fine=(0, 1))["orders"]]


def _short(line: list[str]) -> str:
    return " ".join([line[0].rpartition("/")[2], *line[1:]])
