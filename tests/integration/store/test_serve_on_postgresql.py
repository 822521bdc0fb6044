"""The real server on PostgreSQL: made by `init`, two processes on one database, batches over HTTP, kills, restarts."""

import asyncio
import datetime as dt
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import aiohttp
import msgspec
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from tests.engines import Postgres
from tests.faults.programs import Program, Story, command, run, server_verb, until, window
from tests.integration.office import Office, Till

from tillbridge_protocol.enrollment import EnrollAnswer, read_code
from tillbridge_protocol.mailbox import Mail, MarkOrder, Poll
from tillbridge_protocol.positions import Ack
from tillbridge_protocol.records import Price, SaleLine, StockLevel
from tillbridge_server.agents import mailbox
from tillbridge_server.agents.keys import load_keys
from tillbridge_server.config import ServerConfig, load_config
from tillbridge_server.errors import ConfigError, TryLater
from tillbridge_server.store.opening import open_database

pytestmark = pytest.mark.postgresql
WITHIN_S = 60.0


class Now:
    """The machine's clock, read as the tests' one is."""

    @property
    def now(self) -> dt.datetime:
        """What time it is."""
        return dt.datetime.now(dt.UTC)


@dataclass
class Served(Office):
    """A server that runs as a process, in the clothes in which a till of the tests knows head office."""

    key: Ed25519PublicKey

    @property
    def server_key(self) -> Ed25519PublicKey:
        """The key its answers are signed with."""
        return self.key


def made(folder: Path, database: str) -> Path:
    """A server set up by `init` with this database."""
    toml = folder / "one" / "server.toml"
    done = run([command("tillbridge-server"), "init", "--config", str(toml), "--listen", f"127.0.0.1:{_port()}",
                "--currency", "CHF", "--activate", "auto", "--database", database])
    assert done.returncode == 0, done.stderr
    assert "pg_dump" in done.stdout
    assert load_config(toml).backup is None
    return toml


def copied(toml: Path) -> Path:
    """A second server of the same chain: the same keys and settings, another address."""
    folder = toml.parent.parent / "two"
    shutil.copytree(toml.parent, folder)
    text = (folder / "server.toml").read_text(encoding="utf-8")
    (folder / "server.toml").write_text(
        text.replace(f":{load_config(toml).port}", f":{_port()}"), encoding="utf-8"
    )
    return folder / "server.toml"


@pytest.fixture
def chain(postgres: Postgres, tmp_path: Path) -> Iterator[tuple[list[Path], list[Program], sa.Engine]]:
    """Two running servers on one database."""
    url = postgres.make()
    first = made(tmp_path, url)
    tomls = [first, copied(first)]
    programs = [
        Program("server", [command("tillbridge-server"), "serve", "--config", str(toml)], toml.parent / "log", Story())
        for toml in tomls
    ]
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    for program in programs:
        program.start()
    assert until(lambda: all(window(load_config(toml).port) is not None for toml in tomls), WITHIN_S), [
        program.last_lines() for program in programs
    ]
    time.sleep(1.1)  # a request made in the very second in which a server started is refused, and agents ask again
    yield tomls, programs, engine
    for program in programs:
        program.stop()
    postgres.drop(url)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """For the till's requests."""
    async with aiohttp.ClientSession() as opened:
        yield opened


async def shown(ports: list[int], pieces: str) -> bool:
    """Whether every server's window shows so many pieces before the time is over."""
    def same() -> bool:
        windows = [window(port) for port in ports]
        return all(one and [str(item["available"]) for item in one["items"]] == [pieces] for one in windows)

    return await asyncio.to_thread(until, same, WITHIN_S)


async def test_main_job(
    chain: tuple[list[Path], list[Program], sa.Engine], session: aiohttp.ClientSession,
) -> None:
    """Enrolled at one server, batches to both by turns, shown by both; one is killed, the other goes on."""
    tomls, programs, engine = chain
    configs = [load_config(toml) for toml in tomls]
    key = load_keys(configs[0].folder / "keys").key.public_key()
    offices = [Served(None, None, one.port, session, Now(), None, key) for one in configs]  # type: ignore[arg-type]
    told = await asyncio.to_thread(
        server_verb, tomls[0], "invite", location="mallow", name="", phase="everything", time_zone=""
    )
    till = Till(offices[1], Ed25519PrivateKey.generate())
    enrolled = (await till.enroll(read_code(told["code"]))).answer
    assert isinstance(enrolled, EnrollAnswer)
    till.agent, till.key_id = enrolled.agent, enrolled.key_id

    for number, pieces in enumerate(("5", "4", "3")):
        till.office = offices[number % 2]
        sale = SaleLine(f"R{number}", "1028", Decimal(1), dt.datetime.now(dt.UTC))
        came = await till.send(till.batch(StockLevel("1028", Decimal(pieces)), Price("1028", Decimal(9), "CHF"), sale))
        assert isinstance(came.answer, Ack), came
        assert came.answer.durable_seq == came.answer.seq == number + 1
    poll = msgspec.json.encode(Poll(wait_s=20.0))
    waiting = asyncio.create_task(offices[0].send(till.request("/v1/mailbox", poll), poll))
    await asyncio.sleep(0.2)
    with engine.begin() as conn:  # as the other server does
        mailbox.put(conn, till.agent, "m1", MarkOrder("W-1", 1, "imported", "x", "x"), dt.datetime.now(dt.UTC))
    mail = (await waiting).answer
    assert isinstance(mail, Mail)
    assert [message.id for message in mail.messages] == ["m1"]
    assert await shown([one.port for one in configs], "3"), await asyncio.to_thread(window, configs[0].port)

    # What a killed server has taken out of the queue is free again after a minute; this test does not wait for it.
    assert await asyncio.to_thread(until, lambda: _count(engine, "publish_task") == 0, WITHIN_S)
    programs[0].kill()
    till.office = offices[1]
    came = await till.send(till.batch(StockLevel("1028", Decimal(2))))
    assert isinstance(came.answer, Ack), came
    assert await shown([configs[1].port], "2")
    programs[0].start()
    assert await shown([one.port for one in configs], "2")
    counts = {table: _count(engine, table) for table in ("ledger", "batch_log", "dirty_touch")}
    assert counts == {"ledger": 3, "batch_log": 4, "dirty_touch": 0}
    for program in programs:
        program.stop()
        assert program.code == 0, program.last_lines()


@pytest.mark.parametrize(("database", "error", "words"), [
    ("postgresql+psycopg://nobody@127.0.0.1:1/none", TryLater, "cannot be used now"),
    ("postgresql+unknown://x/y", ConfigError, "is no address"),
    ("tillbridge.db", ConfigError, "is no address"),
    ("mysql+pymysql://x/y", ConfigError, "is no address"),
])
def test_a_database_that_cannot_be_used(database: str, error: type[Exception], words: str) -> None:
    """One sentence with the key, and what to do."""
    with pytest.raises(error, match=words) as refused:
        open_database(ServerConfig(name="x", database=database, path="server.toml"))
    assert "database" in str(refused.value)
    assert getattr(refused.value, "hint", "")


def test_a_database_of_another_encoding(postgres: Postgres) -> None:
    """It could not keep every name of an article."""
    postgres.tell("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(ConfigError, match="LATIN1"):
        open_database(ServerConfig(name="x", database=postgres.url("latin"), path="server.toml"))


def _count(engine: sa.Engine, table: str) -> int:
    """Rows of a table."""
    with engine.connect() as conn:
        return int(conn.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


def _port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
