"""Both programs whole, in this process: a held file is shown at head office, decided there, and the window follows."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from tillbridge_agent import identity as identities
from tillbridge_agent.app import Agent, utc_now
from tillbridge_agent.config import load_agent_config
from tillbridge_agent.enrolling import enroll
from tillbridge_agent.transport import Clock
from tillbridge_server.app import Server
from tillbridge_server.cli import cli
from tillbridge_server.config import ServerConfig, load_config
from tillbridge_server.door import ask

WAIT_S = 60.0
ITEMS = 30


class Chain:
    """One head office and one store, both running."""

    def __init__(self, config: ServerConfig, agent: Agent, export: Path, session: aiohttp.ClientSession) -> None:
        """Everything runs already."""
        self._config, self.agent, self._export, self._session = config, agent, export, session

    def write(self, stock: dict[str, int]) -> None:
        """What the till has now."""
        rows = "".join(f"{code};{count};9.90\n" for code, count in stock.items())
        new = self._export / "new"
        new.write_text("ArtNr;Bestand;VK\n" + rows, encoding="utf-8")
        new.replace(self._export / "STOCK.CSV")

    async def window(self) -> dict[str, int]:
        """code → pieces the shop window shows."""
        async with self._session.get(f"{self._config.public_url}/shop/items.json") as answer:
            return {item["codes"][0]: int(item["available"]) for item in json.loads(await answer.read())["items"]}

    async def verb(self, verb: str, **arguments: Any) -> Any:
        """What the server's command line would be told."""
        return await asyncio.to_thread(ask, self._config, verb, arguments)

    async def until(self, wanted: dict[str, int]) -> None:
        """Wait until the window shows exactly this."""
        async with asyncio.timeout(WAIT_S):
            while await self.window() != wanted:
                await asyncio.sleep(0.05)

    async def hold(self) -> Any:
        """The one hold that head office is asked about."""
        async with asyncio.timeout(WAIT_S):
            while not (holds := (await self.verb("holds"))["holds"]):
                await asyncio.sleep(0.05)
        assert len(holds) == 1
        return holds[0]

    async def nothing_held(self) -> None:
        """Wait until neither side asks anybody."""
        async with asyncio.timeout(WAIT_S):
            while (await self.verb("holds"))["holds"] or any(
                feed["holds"] for feed in (await self.agent.status())["feeds"]
            ):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Chain]:
    """Set up, enroll and run both; stop them in order."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = CliRunner().invoke(cli, [
        "init", "--config", str(folder / "office" / "server.toml"), "--listen", f"127.0.0.1:{port}",
        "--currency", "CHF", "--activate", "auto",
    ], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    config = load_config(folder / "office" / "server.toml")
    server = Server(config)
    await server.start(None)
    (folder / "export").mkdir()
    (folder / "store").mkdir()
    toml = folder / "store" / "agent.toml"
    toml.write_text(f"""\
server = "{config.public_url}"
allowed_roots = [".."]
heartbeat_s = 1.0
[[feeds]]
name = "stock"
source = {{ type = "folder", path = "../export", pattern = "STOCK*.CSV", settle_s = 0.05, poll_s = 0.05 }}
reader = {{ format = "delimited", separator = ";", encodings = ["utf-8"] }}
[feeds.mapping]
key = ["ArtNr"]
currency = "CHF"
stock_level = {{ on_hand = "Bestand" }}
price = {{ list_price = "VK" }}
""", encoding="utf-8")
    invitation = await asyncio.to_thread(
        ask, config, "invite", {"location": "mallow", "name": "", "phase": "everything", "time_zone": ""}
    )
    local = load_agent_config(toml)
    await enroll(config.public_url, invitation["code"], local.state, version="1", clock=Clock(utc_now))
    async with aiohttp.ClientSession() as session, aiohttp.ClientSession() as watching:
        agent = Agent(local, identities.load(local.state))
        await agent.start(session)
        try:
            yield Chain(config, agent, folder / "export", watching)
        finally:
            await agent.stop()
            await server.stop()


def full(count: int = 5) -> dict[str, int]:
    """Every item with so many pieces."""
    return {f"{number:03}": count for number in range(ITEMS)}


@pytest.mark.parametrize(("verdict", "shown"), [
    ("approve", lambda: {code: 5 if code < "020" else 0 for code in full()}),  # absence means zero in this feed
    ("reject", full),
])
async def test_decided_by_mail(tmp_path: Path, verdict: str, shown: Callable[[], dict[str, int]]) -> None:
    """A third of the rows is lost: held at the till, decided at head office, done at the till."""
    async with running(tmp_path) as chain:
        chain.write(full())
        await chain.until(full())
        chain.write({code: 5 for code in full() if code < "020"})
        hold = await chain.hold()
        assert (hold["what"], hold["where"], hold["reason"]["code"]) == ("file", "mallow/stock", "rows_lost")
        assert await chain.window() == full(), "nothing moves before somebody has answered"
        await chain.verb("decide", hold=hold["id"], verdict=verdict, why="looked at the shelf")
        if verdict == "approve":
            # Ten items are sold out at once: the server's own breaker asks too.
            breaker = await chain.hold()
            assert breaker["what"] == "breaker"
            await chain.verb("decide", hold=breaker["id"], verdict="approve", why="they are gone")
        await chain.until(shown())
        await chain.nothing_held()
        chain.write(full(6))
        await chain.until(full(6))
