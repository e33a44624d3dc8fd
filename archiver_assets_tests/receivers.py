"""Servers on loopback that notifications are sent to: a webhook over HTTP, and an SMTP server. Both keep what they got."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Webhook:
    """An HTTP server. `status` is what it answers; only what it answered with 200 counts as received."""

    port: int = 0
    status: int = 200
    tries: int = 0
    received: list[dict[str, str]] = field(default_factory=list)

    def url(self, secret: str = "token") -> str:  # noqa: S107 - of a test
        """Return the URL, as Apprise reads it, with patience for a busy machine."""
        return f"json://127.0.0.1:{self.port}/{secret}?cto=60&rto=60"

    @property
    def titles(self) -> list[str]:
        """The titles of what was received, without our name before them."""
        return [each["title"].removeprefix("Audit Archiver: ") for each in self.received]

    @property
    def texts(self) -> list[str]:
        """The texts of what was received."""
        return [each["message"] for each in self.received]


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Serve one webhook while the block runs."""
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.tries += 1
            if hook.status == 200:
                hook.received.append(json.loads(body))
            self.send_response(hook.status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the method that it replaces
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield hook
        server.shutdown()
        thread.join()


@contextmanager
def mailbox() -> Iterator[tuple[int, list[str]]]:
    """Serve SMTP while the block runs; yield the port, and the list of messages that came."""
    mails: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            for line in iter(self.rfile.readline, b""):
                if line.upper().startswith(b"DATA"):
                    self.wfile.write(b"354 go on\r\n")
                    mails.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
                self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 ok\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address[1], mails
        server.shutdown()
        thread.join()
