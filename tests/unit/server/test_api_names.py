"""The names by which agents may call the server."""

import datetime as dt
from typing import Any

import pytest

from tillbridge_server.agents.api import AgentApi
from tillbridge_server.config import ServerConfig


def names(**config: Any) -> set[str]:
    """What a server of this configuration answers to."""
    return AgentApi(
        store=None, keys=None, config=ServerConfig("t", **config), clock=lambda: dt.datetime.now(dt.UTC),  # type: ignore[arg-type]
        new_agent_id=str, applied=lambda: None, started=dt.datetime.now(dt.UTC),
    ).names()


@pytest.mark.parametrize(("url", "host"), [
    ("https://hq.example.com", "hq.example.com"), ("https://HQ.example.com:8443", "hq.example.com:8443"),
    ("https://hq.example.com:443", "hq.example.com"), ("http://localhost:80", "localhost"),
])
def test_the_public_address(url: str, host: str) -> None:
    """As a Host header has it: without the scheme's own port, in small letters."""
    assert host in names(public_url=url, listen="0.0.0.0:8443")


def test_nothing_else() -> None:
    """A name nobody configured is not ours, also when it leads here."""
    assert names(public_url="https://hq.example.com", public_names=("alt.example.com",), listen="10.0.0.1:8443") == {
        "hq.example.com", "alt.example.com", "10.0.0.1:8443",
    }
