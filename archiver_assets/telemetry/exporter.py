"""Serving the figures over HTTP: `/metrics` for Prometheus, `/healthz` for Kubernetes.

What belongs here: answering requests. What does not: the content of the answer (`exposition.py`), and keeping it current
(`log_follower.py`).

Until the exporter has read the whole log, `/metrics` has only its own metrics: counters that rise while it reads the past would look like
work that is done now.
"""

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from archiver_assets.errors import ConfigError
from archiver_assets.telemetry.exposition import own_metrics, run_metrics, table_metrics
from archiver_assets.telemetry.log_follower import Keeper

_SLOWEST_CLIENT: Final = 30.0
"""Seconds that a client may take for its request, so that none holds a thread for ever."""
_NO_PATH = "expected /metrics or /healthz\n"

log = logging.getLogger("archiver.metrics")

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


@dataclass(eq=False)
class Exporter(Collector):
    """A WSGI application, and the collector behind it."""

    keeper: Keeper
    scrapes: int = 0
    scrape_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Register with a registry of its own: that of the process would add metrics of Python's."""
        registry = CollectorRegistry()
        registry.register(self)
        self._metrics = make_wsgi_app(registry)
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering must not collect."""
        return ()

    def collect(self) -> list[Metric]:
        """Return all metrics, of one moment."""
        with self.keeper.figures() as figures:
            counted = [*table_metrics(figures), *run_metrics(figures)] if self.keeper.caught_up else []
        own = own_metrics(
            ready=not self.keeper.trouble,
            events_read=self.keeper.events_read,
            last_event_at=self.keeper.last_event_at,
            scrapes=self.scrapes,
            scrape_seconds=self.scrape_seconds,
        )
        return [*counted, *own]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if environ["PATH_INFO"] == "/metrics":
            return self._scraped(environ, start_response)
        if environ["PATH_INFO"] == "/healthz":
            trouble = self.keeper.trouble
            return _text(start_response, "503 Service Unavailable" if trouble else "200 OK", f"{trouble or 'ok'}\n")
        return _text(start_response, "404 Not Found", _NO_PATH)

    def _scraped(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        started = time.monotonic()
        answer: Iterable[bytes] = self._metrics(environ, start_response)
        with self._lock:
            self.scrapes, self.scrape_seconds = self.scrapes + 1, self.scrape_seconds + time.monotonic() - started
        return answer


def _text(start_response: StartResponse, status: str, text: str) -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64

    def server_bind(self) -> None:
        """Bind without asking the DNS for the name of the host, as HTTPServer does, for as long as the DNS likes."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the library's own names
        """Say which error ended a request: mostly of a client that went away."""
        log.info("a request was not answered: %s", type(sys.exc_info()[1]).__name__)


class _Handler(WSGIRequestHandler):
    timeout = _SLOWEST_CLIENT

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own name
        """Say nothing: a line for each probe would be most of the log."""


@contextmanager
def serving(exporter: Exporter, host: str, port: int) -> Iterator[str]:
    """Answer requests and read on, in threads, while the block lasts; yield the address. Port 0 means any that is free.

    Raises ConfigError if the port cannot be had.
    """
    stopped = threading.Event()
    with _bound(exporter, host, port) as server:
        threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True),
            threading.Thread(target=exporter.keeper.read_on, args=(stopped,), name="reader", daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            shown = f"[{host}]" if ":" in host else host
            yield f"http://{shown}:{server.server_port}"
        finally:
            stopped.set()
            server.shutdown()
            # A storage that hangs must not keep the process from ending: the reader only reads.
            for thread in threads:
                thread.join(timeout=5)


def _bound(exporter: Exporter, host: str, port: int) -> WSGIServer:
    class _OfFamily(_Server):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        return make_server(host, port, exporter, _OfFamily, _Handler)
    except OSError as error:
        message = f"expected to listen on port {port} of {host}, found: {error.strerror or error}"
        raise ConfigError(message, hint="choose another --port, or --host, or stop what listens there") from error
