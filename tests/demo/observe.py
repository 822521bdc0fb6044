"""The independent observer: polls the shop window over HTTP every 20 ms and notes what it saw when."""

import http.client
import json
import threading
import time
from decimal import Decimal
from typing import Any

from tests.demo.compare import Sight
from tests.demo.truth import Value

POLL_S = 0.02
TIMEOUT_S = 5.0
#: Sights kept of an attended run, whose older ones nobody asks for any more.
SIGHTS_MAX = 200_000


class ShopWindow:
    """One HTTP connection to the shop window; everything read anew on each connection."""

    def __init__(self, host: str, port: int) -> None:
        """Connects at the first `read`."""
        self._host, self._port = host, port
        self._connection: http.client.HTTPConnection | None = None

    def read(self, since: int) -> tuple[int, dict[str, Value | None]]:
        """The window's version and what changed after version `since`. Raises OSError when it does not answer."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
            self._connection.request("GET", f"/shop/items.json?since={since}")
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise OSError(f"the shop window does not answer: {error}") from error
        if answer.status != http.client.OK:
            self.close()
            raise OSError(f"the shop window answers {answer.status}")
        return items(json.loads(body))

    def close(self) -> None:
        """Drops the connection; the next `read` makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def items(document: dict[str, Any]) -> tuple[int, dict[str, Value | None]]:
    """The version and, per code, what a shopper sees: pieces available and the price to pay."""
    shown: dict[str, Value | None] = {}
    for item in document["items"]:
        stock, price = item["available"], item["price_now"]
        value = None if stock is None or price is None else Value(Decimal(stock), Decimal(price))
        for code in item["codes"]:
            shown[code] = value
    return document["version"], shown


class Observer:
    """Polls in a thread of its own; `sights` grow only at the end and may be read at any time."""

    def __init__(self, host: str, port: int) -> None:
        """Starts polling with `start`."""
        self._window = ShopWindow(host, port)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="observer", daemon=True)
        self._shown: dict[str, Value] = {}
        self.sights: list[Sight] = []
        self.polls = 0
        self.misses = 0

    @property
    def shown(self) -> dict[str, Value]:
        """What the shop window shows now, by code."""
        return dict(self._shown)

    def start(self) -> None:
        """Begins to poll."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join()
        self._window.close()

    def _watch(self) -> None:
        version, due = 0, time.monotonic()
        while not self._stop.is_set():
            try:
                version, changed = self._window.read(version)
                self._note(time.time(), changed)
                self.polls += 1
            except OSError:
                self.misses += 1
            due = max(due + POLL_S, time.monotonic())
            self._stop.wait(max(0.0, due - time.monotonic()))

    def _note(self, at: float, changed: dict[str, Value | None]) -> None:
        for code, value in changed.items():
            if self._shown.get(code) == value:
                continue
            self.sights.append(Sight(at, code, value))
            if value is None:
                self._shown.pop(code, None)
            else:
                self._shown[code] = value
        if len(self.sights) > SIGHTS_MAX:
            del self.sights[: SIGHTS_MAX // 2]
