"""The local door: status page and verbs on 127.0.0.1, on a free port, with a token file only its owner can read.

The same on Windows and Linux. The status page itself shows no file contents and needs no token, but answers
only to a loopback name, so that no web page elsewhere can read it through the browser.
"""

import hmac
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from aiohttp import web

from tillbridge_agent import crash, statuspage
from tillbridge_agent.errors import AgentError, Refused

DOOR_FILE = "door.json"
log = structlog.get_logger()
Verb = Callable[[Mapping[str, Any]], Awaitable[Any]]
_LOOPBACK = ("127.0.0.1", "localhost")


class LocalDoor:
    """Serves verbs to whoever can read the token file, and the status page to this machine."""

    def __init__(self, state: Path, verbs: Mapping[str, Verb]) -> None:
        self._path = state / DOOR_FILE
        self._verbs = verbs
        self._token = secrets.token_urlsafe(32)
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def open(self) -> None:
        """Listen on a free port, then write the door file."""
        app = web.Application()
        app.add_routes([
            web.get("/", self._page), web.get("/style.css", self._style), web.post("/verb/{verb}", self._verb),
        ])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"url": self.url, "token": self._token, "pid": os.getpid()}, file)
        crash.reach("door.written")
        new.replace(self._path)

    async def close(self) -> None:
        """Take the door file away and stop listening."""
        self._path.unlink(missing_ok=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _verb(self, request: web.Request) -> web.Response:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            return _refused(403, "Wrong token.", "Run the command as the user the agent runs as.")
        verb = self._verbs.get(request.match_info["verb"])
        if verb is None:
            return _refused(404, "No such verb.", "Agent and command differ in version.")
        try:
            document = await verb(await request.json())
        except AgentError as error:
            return _refused(422, error.message, error.hint)
        except Exception:
            log.exception("verb failed", verb=request.match_info["verb"])
            return _refused(500, "The agent failed at this.", "Look into its log; send a report if it stays.")
        return web.json_response(document)

    async def _page(self, request: web.Request) -> web.Response:
        if (request.url.host or "") not in _LOOPBACK:
            return web.Response(status=403, text="This page is for this machine only.")
        status = await self._verbs["status"]({})
        headers = {"content-security-policy": "default-src 'none'; style-src 'self'", "refresh": "5"}
        return web.Response(text=statuspage.render(status), content_type="text/html", headers=headers)

    async def _style(self, request: web.Request) -> web.Response:
        return web.Response(text=statuspage.STYLE, content_type="text/css")


async def ask(state: Path, verb: str, arguments: Mapping[str, Any]) -> Any:
    """Ask the running agent. Raises NotRunning, or Refused with what the agent said."""
    try:
        door = json.loads((state / DOOR_FILE).read_text(encoding="utf-8"))
        headers = {"authorization": f"Bearer {door['token']}"}
        timeout = aiohttp.ClientTimeout(total=120)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{door['url']}/verb/{verb}", json=dict(arguments), headers=headers) as answer,
        ):
            document = await answer.json()
            status = answer.status
    except (OSError, ValueError, KeyError, TimeoutError, aiohttp.ClientError) as error:
        raise NotRunning from error
    if status != 200:
        raise Refused(document["message"], hint=document["hint"])
    return document


class NotRunning(Exception):
    """No agent answers at the local door."""


def _refused(status: int, message: str, hint: str) -> web.Response:
    return web.json_response({"message": message, "hint": hint}, status=status)
