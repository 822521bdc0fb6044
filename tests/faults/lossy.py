"""A proxy in front of the server that loses answers: the server has done what was asked, and nobody hears of it."""

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Headers that belong to one connection.
_OF_ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
POLL_S = 120.0


class LossyProxy:
    """Listens at `port`, asks the server at `inner`; `loses` says of (path, body) that nobody hears the answer."""

    def __init__(self, port: int, inner: int, loses: Callable[[str, bytes], bool]) -> None:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            """One request of an agent or a shopper."""

            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy.pass_on(self, b"")

            def do_POST(self) -> None:
                proxy.pass_on(self, self.rfile.read(int(self.headers.get("Content-Length", "0"))))

            def log_message(self, *args: Any) -> None:
                """Nobody reads it."""

        self._inner, self._loses = inner, loses
        self.lost = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def pass_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Ask the server; then answer, or close the connection without a word."""
        connection = http.client.HTTPConnection("127.0.0.1", self._inner, timeout=POLL_S)
        handler.close_connection = True
        try:
            connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()
        if self._loses(handler.path, body):
            self.lost += 1
            return
        try:
            handler.send_response_only(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in _OF_ONE_HOP:
                    handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(content)))
            handler.send_header("Connection", "close")
            handler.end_headers()
            handler.wfile.write(content)
        except OSError:
            return

    def close(self) -> None:
        """Nobody is answered any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
