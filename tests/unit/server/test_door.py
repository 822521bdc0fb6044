"""The admin door from outside: who is running, and who only seems to be."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tillbridge_server.config import ServerConfig
from tillbridge_server.door import DOOR_FILE, NotRunning, ask
from tillbridge_server.errors import TillbridgeError


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Somebody listens where the door file says."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        opened.listen()
        url = f"http://127.0.0.1:{opened.getsockname()[1]}"
        (tmp_path / DOOR_FILE).write_text(json.dumps({"url": url, "token": "t", "pid": 1}))
        yield opened


def _answer(listener: socket.socket, answer: bytes) -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()


def _ask(folder: Path) -> object:
    return ask(ServerConfig("t", path=str(folder / "server.toml")), "person", {})


def test_nobody_listens(tmp_path: Path, listener: socket.socket) -> None:
    """The server is gone: whoever needs its database may open it."""
    listener.close()
    with pytest.raises(NotRunning):
        _ask(tmp_path)


def test_a_stranger_listens(tmp_path: Path, listener: socket.socket) -> None:
    """The port of a server that is gone belongs to another program now."""
    _answer(listener, b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
    with pytest.raises(NotRunning):
        _ask(tmp_path)


def test_no_answer_is_not_nobody(tmp_path: Path, listener: socket.socket) -> None:
    """It took the question and hung up: it may have done it, and its database must not be opened beside it."""
    _answer(listener, b"")
    with pytest.raises(TillbridgeError, match="did not say"):
        _ask(tmp_path)
