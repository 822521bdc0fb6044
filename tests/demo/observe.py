"""The independent observer: polls the shop window over HTTP every 20 ms and notes what it saw when."""

import http.client
import json
import threading
import time
from dataclasses import dataclass
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

    def read(self, since: int) -> "Look":
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
            raise OSError(f"the shop window answers {answer.status}: {body[:200]!r}")
        return look(json.loads(body))

    def close(self) -> None:
        """Drops the connection; the next `read` makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass(frozen=True, slots=True)
class Look:
    """One answer of the shop window; `whole` when it holds everything and not only what changed.

    `shown` is by variant: its codes and what a shopper sees of it.
    """

    version: int
    whole: bool
    shown: dict[str, tuple[tuple[str, ...], Value]]
    removed: tuple[str, ...]

    def by_code(self) -> dict[str, Value]:
        """What a shopper sees, by code."""
        return {code: value for codes, value in self.shown.values() for code in codes}


def look(document: dict[str, Any]) -> Look:
    """Reads an answer: pieces available and the price to pay now."""
    return Look(
        version=document["version"], whole=document["since"] == 0,
        shown={
            item["variant"]: (tuple(item["codes"]), Value(Decimal(item["available"]), Decimal(item["price"])))
            for item in document["items"]
        },
        removed=tuple(document["removed"]),
    )


class Observer:
    """Polls in a thread of its own; `sights` grow only at the end and may be read at any time."""

    def __init__(self, host: str, port: int) -> None:
        """Starts polling with `start`."""
        self._window = ShopWindow(host, port)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="observer", daemon=True)
        self._variants: dict[str, tuple[str, ...]] = {}
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
                seen = self._window.read(version)
            except OSError:
                self.misses += 1
            else:
                version = seen.version
                self.note(time.time(), seen)
                self.polls += 1
            due = max(due + POLL_S, time.monotonic())
            self._stop.wait(max(0.0, due - time.monotonic()))

    def note(self, at: float, seen: Look) -> None:
        """Adds what differs from what was seen before as sights of the moment `at`."""
        gone = set(seen.removed)
        if seen.whole:
            gone |= self._variants.keys() - seen.shown.keys()
        for variant in sorted(gone & self._variants.keys()):
            for code in self._variants.pop(variant):
                self._sight(at, code, None)
        for variant, (codes, value) in seen.shown.items():
            for code in set(self._variants.get(variant, ())) - set(codes):
                self._sight(at, code, None)
            self._variants[variant] = codes
            for code in codes:
                self._sight(at, code, value)
        if len(self.sights) > SIGHTS_MAX:
            del self.sights[: SIGHTS_MAX // 2]

    def _sight(self, at: float, code: str, value: Value | None) -> None:
        if self._shown.get(code) == value:
            return
        self.sights.append(Sight(at, code, value))
        if value is None:
            self._shown.pop(code, None)
        else:
            self._shown[code] = value
