"""The admin door of a running server: CLI verbs ask here, so that nothing else opens the database.

127.0.0.1 on a free port; address and token stand in `door.json` in the state folder, readable by its owner only.
"""

import asyncio
import datetime as dt
import hmac
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog
from aiohttp import web

from tillbridge_server import crash
from tillbridge_server.config import ServerConfig
from tillbridge_server.errors import TillbridgeError
from tillbridge_server.store.database import Store

DOOR_FILE = "door.json"
log = structlog.get_logger()


@dataclass(frozen=True)
class Call:
    """What a verb is given: the arguments of the command line, the configuration and the instant (UTC)."""

    arguments: Mapping[str, Any]
    config: ServerConfig
    now: dt.datetime
    root: bytes


Verb = Callable[[sa.Connection, Call], Any]


class Door:
    """Serves verbs; `acted` is called after each, because an act may have made offers dirty or left mail."""

    def __init__(
        self, store: Store, config: ServerConfig, verbs: Mapping[str, Verb], *,
        root: bytes, clock: Callable[[], dt.datetime], acted: Callable[[], None],
    ) -> None:
        self._store, self._config, self._verbs = store, config, verbs
        self._root, self._clock, self._acted = root, clock, acted
        self._token = secrets.token_urlsafe(32)
        self._path = config.folder / DOOR_FILE

    async def open(self) -> web.AppRunner:
        """Listen, then write the door file."""
        app = web.Application()
        app.add_routes([web.post("/door/{verb}", self._handle)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        write_door(self._path, f"http://127.0.0.1:{port}", self._token)
        return runner

    def close(self) -> None:
        """Take the door file away."""
        self._path.unlink(missing_ok=True)

    async def _handle(self, request: web.Request) -> web.Response:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            return _refused(403, "Wrong token.", "Run the verb as the server's own user.")
        verb = self._verbs.get(request.match_info["verb"])
        if verb is None:
            return _refused(404, "No such verb.", "Server and command differ in version.")
        call = Call(await request.json(), self._config, self._clock(), self._root)
        try:
            document = await self._store.run(verb, call)
        except TillbridgeError as error:
            return _refused(422, error.message, error.hint)
        except Exception:
            log.exception("verb failed", verb=request.match_info["verb"])
            return _refused(500, "The server failed at this.", "Look into the server's log; send a report if it stays.")
        self._acted()
        return web.Response(body=msgspec.json.encode(document), content_type="application/json")


def _refused(status: int, message: str, hint: str) -> web.Response:
    return web.json_response({"message": message, "hint": hint}, status=status)


def write_door(path: Path, url: str, token: str) -> None:
    """Write the door file whole, for its owner only."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"url": url, "token": token, "pid": os.getpid()}, file)
    crash.reach("door.written")
    new.replace(path)


class NotRunning(Exception):
    """No server answers at the door."""


def ask(config: ServerConfig, verb: str, arguments: Mapping[str, Any]) -> Any:
    """Ask the running server. Raises NotRunning, or TillbridgeError with what the server said.

    A server that took the question and does not answer is running: nobody else may then open its database.
    """
    import aiohttp

    try:
        door = json.loads((config.folder / DOOR_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotRunning from error

    async def asked() -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {door['token']}"}
        timeout = aiohttp.ClientTimeout(total=120)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{door['url']}/door/{verb}", json=dict(arguments), headers=headers) as answer,
        ):
            return answer.status, await answer.read()

    try:
        status, body = asyncio.run(asked())
    except aiohttp.ClientConnectorError as error:
        raise NotRunning from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise TillbridgeError(
            f"The server did not say what became of `{verb}`.", "Look into its log, and see whether it was done."
        ) from error
    try:
        document = json.loads(body)
    except ValueError as error:  # somebody else listens there since our server is gone
        raise NotRunning from error
    if status != 200:
        raise TillbridgeError(document["message"], document["hint"])
    return document
