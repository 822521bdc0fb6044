"""Enrollment over TLS: the code vouches for the server, the agent pins its authority, nobody else is believed."""

import asyncio
import datetime as dt
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from tillbridge_agent import cli as agent_cli
from tillbridge_agent import identity as identities
from tillbridge_agent.enrolling import enroll
from tillbridge_agent.errors import Refused, TryLater
from tillbridge_agent.transport import Clock, Transport
from tillbridge_protocol.changes import NO_HEAD
from tillbridge_protocol.enrollment import make_code
from tillbridge_protocol.heartbeat import Heartbeat, HeartbeatAnswer
from tillbridge_protocol.positions import Position
from tillbridge_server.agents import enrollment
from tillbridge_server.agents.keys import load_keys
from tillbridge_server.app import Server
from tillbridge_server.cli import cli as server_cli
from tillbridge_server.config import ServerConfig, load_config
from tillbridge_server.store.database import make_engine
from tillbridge_server.store.tables import agent, invite


def now() -> dt.datetime:
    """The machine's clock."""
    return dt.datetime.now(dt.UTC)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def made(folder: Path, port: int) -> ServerConfig:
    """A server set up by `init` with an https address."""
    url = f"https://127.0.0.1:{port}"
    told = CliRunner().invoke(
        server_cli, ["init", "--config", str(folder / "server.toml"), "--listen", f"127.0.0.1:{port}",
                     "--public-url", url], catch_exceptions=False,
    )
    assert told.exit_code == 0, told.output
    return load_config(folder / "server.toml")


@asynccontextmanager
async def serving(config: ServerConfig) -> AsyncIterator[None]:
    """The whole server as `serve` starts it, on its certificate."""
    server = Server(config)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(config.folder / config.tls_cert, config.folder / config.tls_key)
    await server.start(context)
    try:
        yield
    finally:
        await server.stop()


def a_code(config: ServerConfig) -> str:
    """A one-time code of this server, made while it is stopped."""
    return _in_database(config, lambda conn: _invite(conn, load_keys(config.folder / config.keys).root)).text()


def _invite(conn: sa.Connection, root: bytes) -> Any:
    enrollment.ensure_location(
        conn, location_id="mallow", name="", phase="observe", time_zone="UTC", by="test", now=now()
    )
    return enrollment.make_invite(
        conn, location_id="mallow", random_bytes=secrets.token_bytes(16), root=root, by="test", now=now()
    )


def _in_database(config: ServerConfig, call: Callable[[sa.Connection], Any]) -> Any:
    engine = make_engine(config.database_url)
    try:
        with engine.begin() as conn:
            return call(conn)
    finally:
        engine.dispose()


def used_codes(config: ServerConfig) -> int:
    """How many codes of this stopped server became an identity."""
    query = sa.select(sa.func.count()).select_from(invite).where(invite.c.used_key.is_not(None))
    return int(_in_database(config, lambda conn: conn.execute(query).scalar_one()))


async def beat(identity: identities.Identity) -> Any:
    """One heartbeat of the real transport, on its own connection."""
    async with aiohttp.ClientSession() as session:
        await asyncio.sleep(1.1)  # `created` has whole seconds: within its first second a server refuses
        heartbeat = Heartbeat("1", now(), 0, 0, None, [], [], [], 1, {})
        answer = await Transport(identity, Clock(now), session).heartbeat(heartbeat, Position("epoch-1", 0, NO_HEAD))
        await asyncio.sleep(0.05)  # let the TLS connection close before the loop does
        return answer


async def test_enrolls_over_tls_and_pins_the_authority(tmp_path: Path) -> None:
    """The real server with its own certificate; afterwards the same address with other keys is nobody."""
    port = free_port()
    first, second = made(tmp_path / "first", port), made(tmp_path / "second", port)
    url, code = first.public_url, a_code(first)
    async with serving(first):
        identity = await enroll(url, code, tmp_path / "state", version="1", clock=Clock(now))
        assert identity.tls_ca == (first.folder / "keys" / "ca.pem").read_text()
        assert identities.load(tmp_path / "state") == identity
        assert isinstance(await beat(identity), HeartbeatAnswer)
        again = await enroll(url, code, tmp_path / "state", version="1", clock=Clock(now))
        assert again == identity, "the same code on the same machine is the same identity"
    async with serving(second):
        with pytest.raises(TryLater, match="cannot be reached"):
            await beat(identity)
    assert used_codes(second) == 0


async def test_another_server_never_learns_the_secret(tmp_path: Path) -> None:
    """A code names its server by the root key: another one at the same address is told nothing and believed nothing."""
    port = free_port()
    first, second = made(tmp_path / "first", port), made(tmp_path / "second", port)
    code = a_code(first)
    async with serving(second):
        with pytest.raises(Refused) as caught:
            await enroll(second.public_url, code, tmp_path / "state", version="1", clock=Clock(now))
    assert caught.value.code == "code_wrong"
    assert not (tmp_path / "state").exists(), "not even a key was made"
    assert _in_database(second, lambda conn: conn.execute(sa.select(agent)).all()) == []


async def test_a_stranger_with_the_certificate_is_not_the_server(tmp_path: Path) -> None:
    """Even behind the pinned certificate, answers must be signed by the server's key."""
    port = free_port()
    first, second = made(tmp_path / "first", port), made(tmp_path / "second", port)
    code = a_code(first)
    async with serving(first):
        identity = await enroll(first.public_url, code, tmp_path / "state", version="1", clock=Clock(now))
    for name in ("tls.pem", "tls.key"):
        (second.folder / "keys" / name).write_bytes((first.folder / "keys" / name).read_bytes())
    async with serving(second):
        with pytest.raises(TryLater, match="not signed by our server"):
            await beat(identity)


async def test_plain_http_at_a_tls_server(tmp_path: Path) -> None:
    """http:// to the TLS port is no answer, and no secret leaves in the open."""
    port = free_port()
    config = made(tmp_path / "first", port)
    code = a_code(config)
    async with serving(config):
        with pytest.raises(TryLater):
            await enroll(f"http://127.0.0.1:{port}", code, tmp_path / "state", version="1", clock=Clock(now))
    assert used_codes(config) == 0


@pytest.mark.parametrize("url", ["http://office.example:8080", "http://192.0.2.7", "ftp://127.0.0.1", "office.example"])
def test_only_encrypted_addresses(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str],
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Off loopback only https: exit 2, and the message names file and key."""
    code = make_code(secrets.token_bytes(16), secrets.token_bytes(32)).text()
    line = ["tillbridge-agent", "enroll", url, code, "--config", str(tmp_path / "agent.toml")]
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(SystemExit) as caught:
        agent_cli.main()
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert "agent.toml: server:" in said
    assert "https://" in said


def test_private_key_of_an_agent_is_private(tmp_path: Path) -> None:
    """What enrollment keeps is readable by its owner only."""
    identities.pending_key(tmp_path / "state", "some code")
    kept = tmp_path / "state" / "enrolling.json"
    assert kept.stat().st_mode & 0o077 == 0
    assert "private_key" in msgspec.json.decode(kept.read_bytes())
