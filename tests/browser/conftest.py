"""A browser and served chains for the browser tests; where there is no Chromium they say NOT RUN and why."""

import asyncio
import re
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar

import pytest
from aiohttp import web
from tests.browser.driver import Browser, find_browser
from tests.browser.seed import NOW, Chain, busy_chain, make_app, memory_store

from tillbridge_server.store.database import Store

PASSWORD = "three plain words"
#: What the console may say: answers that a test asks for, and a page that polls once more when its server has ended.
_EXPECTED = ("status of 404", "status of 401", "net::ERR_CONNECTION_REFUSED", "htmx:error: Failed to fetch")


@dataclass(frozen=True)
class House:
    """A served chain: its address and its store."""

    url: str
    store: Store

    def set_password(self, name: str = "Mara Keller") -> None:
        """Set the first password, with forms alone and no browser."""
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        page = opener.open(f"{self.url}/setup", timeout=30).read().decode()
        token = re.search(r'name="csrf" value="([^"]+)"', page)
        assert token is not None
        form = {"csrf": token[1], "name": name, "password": PASSWORD, "again": PASSWORD}
        opener.open(f"{self.url}/setup", urllib.parse.urlencode(form).encode(), timeout=30)


class _Served:
    """One application in a thread of its own."""

    def __init__(self, app: web.Application) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner = web.AppRunner(app, access_log=None)
        self.port: int = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)

    async def _start(self) -> int:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="session")
def _window() -> Iterator[Browser]:
    """One browser for all tests of a worker."""
    found = find_browser()
    if found is None:
        pytest.skip("NOT RUN: no Chromium with its chromedriver is installed here")
    browser = Browser(*found)
    yield browser
    browser.close()


@pytest.fixture
def browser(_window: Browser) -> Iterator[Browser]:
    """The browser at 1280 px, without cookies; a test that leaves complaints in the console fails."""
    _window.open("about:blank")
    _window.console()
    _window.size(1280)
    yield _window
    complaints = [line for line in _window.console() if not any(known in line for known in _EXPECTED)]
    _window.forget()
    assert complaints == []


@pytest.fixture
def serve() -> Iterator[Callable[[Chain | None], House]]:
    """Serves chains for the length of a test."""
    running: list[tuple[_Served, Store]] = []

    def start(chain: Chain | None) -> House:
        store = memory_store(chain)
        served = _Served(make_app(store, NOW))
        running.append((served, store))
        return House(f"http://127.0.0.1:{served.port}", store)

    yield start
    for served, store in running:
        served.stop()
        store.close()


@pytest.fixture
def busy(serve: Callable[[Chain | None], House]) -> House:
    """Twelve places with every trouble there is, no password set."""
    return serve(busy_chain)
