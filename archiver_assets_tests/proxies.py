"""Loopback proxies that do harm: to the connections of PostgreSQL, byte by byte, and to the requests of S3, one by one.

What belongs here: the ways in which a network, a server or a store misbehaves. What does not: assertions, and which fault a test wants.

The HTTP proxy takes each request whole, passes it on over a connection of its own, and takes the answer whole, so that a fault knows what
it cuts. The `Host` header is passed on as it came: the signature (SigV4) covers it, and neither `Connection` nor `Expect`.
"""

import asyncio
import base64
import hashlib
import re
import socket
import struct
import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self, TypeVar

LOOPBACK = "127.0.0.1"
CHUNK = 1 << 16
LONGEST_HEAD = 1 << 20
STOP_TIMEOUT = 10.0
HEAD_END = b"\r\n\r\n"

Result = TypeVar("Result")


class LoopbackProxy(ABC):
    """A server on a free loopback port, in a thread of its own, that passes connections on to `port` of loopback."""

    def __init__(self, upstream_port: int) -> None:
        self.port = 0
        self._upstream_port = upstream_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._held: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        """Start to listen."""
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Cut what is open, and end the thread."""
        self._wait_for(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_TIMEOUT)
        self._loop.close()
        if self._held is not None:
            self._held.close()

    def accept(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._wait_for(self._listen())

    def refuse(self) -> None:
        """Refuse new connections, as a port does on which nobody listens; those that are open stay."""
        self._wait_for(self._close_port())

    def cut_all(self) -> None:
        """End every open connection with RST, as a server does that is gone."""
        self._wait_for(self._cut_open())

    def _wait_for(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STOP_TIMEOUT)

    async def _listen(self) -> None:
        if self._held is None:
            # Bound and never listening: while the proxy refuses, nobody else gets the port.
            self._held = socket.socket()
            self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._held.bind((LOOPBACK, 0))
            self.port = self._held.getsockname()[1]
        self._server = await asyncio.start_server(self._accepted, LOOPBACK, self.port, limit=LONGEST_HEAD, reuse_port=True)

    async def _close_port(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None

    async def _cut_open(self) -> None:
        for writer in tuple(self._open):
            reset(writer)

    async def _end(self) -> None:
        await self._close_port()
        await self._cut_open()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted is closed in the next turn of the loop

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve_and_close(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_and_close(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            self._forget(writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(LOOPBACK, self._upstream_port, limit=LONGEST_HEAD)
        self._open.add(writer)
        return reader, writer

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.close()

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST: what is on its way is lost."""
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class TcpProxy(LoopbackProxy):
    """Passes bytes on. `delay` is in seconds, before a new connection is made."""

    def __init__(self, upstream_port: int) -> None:
        super().__init__(upstream_port)
        self.delay = 0.0
        self.cuts = 0
        """How many connections have been cut by `cut_after`."""
        self._limit = 0
        self._cuts_left = 0

    def cut_after(self, size: int, *, times: int = 1) -> None:
        """Cut the next `times` connections on which the server sends `size` bytes, after just these; those that are open count too."""
        self._limit, self._cuts_left = size, times

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.delay)
        server_reader, server_writer = await self._connect()
        upward = self._loop.create_task(self._pass_up(reader, server_writer))
        try:
            await self._pass_down(server_reader, writer, server_writer)
        finally:
            upward.cancel()
            await asyncio.gather(upward, return_exceptions=True)
            self._forget(server_writer)

    async def _pass_up(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            server.write(data)
            await server.drain()
        server.write_eof()

    async def _pass_down(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        done = 0
        while data := await reader.read(CHUNK):
            if self._cuts_left and done + len(data) >= self._limit:
                self._cuts_left -= 1
                self.cuts += 1
                await _send(client, data[: max(self._limit - done, 0)])
                reset(client)
                reset(server)
                return
            done += len(data)
            await _send(client, data)


class Pooler(TcpProxy):
    """Gives its clients a process id of its own making, as poolers do."""

    async def _pass_down(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        del server
        while data := await reader.read(CHUNK):
            await _send(client, re.sub(rb"K\x00\x00\x00\x0c.{4}", b"K\x00\x00\x00\x0c\x00\x00\x00\x07", data, count=1, flags=re.DOTALL))


class Fault(Enum):
    """What can go wrong with a request."""

    STATUS = auto()
    """The answer is `status` with `code`, and the store never hears of the request."""
    DELAY = auto()
    """The request is passed on `seconds` late."""
    RESET = auto()
    """The connection is reset, and the store never hears of the request."""
    CUT_REQUEST = auto()
    """The store gets `after` bytes of the body, then both connections are reset."""
    TRUNCATE = auto()
    """The client gets the head and `after` bytes of the body of the answer, then the end of the stream."""
    DROP_ANSWER = auto()
    """The store does what it is asked for, and the client's connection is reset in place of the answer."""
    WRONG_BYTE = auto()
    """One bit in the middle of the answer's body is another, and no header with a checksum says so."""
    WRONG_BYTE_TOLD = auto()
    """The same, and `x-amz-checksum-crc32` is that of the body as it was."""
    IGNORE_CONDITION = auto()
    """If the store refuses the request by its `If-None-Match` (412), the answer is a success, as of a store that ignores it."""


@dataclass
class Rule:
    """A fault for requests whose method matches and whose path, with the query, contains a match of `path`.

    Of those requests the first `skip` pass, then `times` are harmed, all for None; `hits` counts the harmed.
    """

    fault: Fault
    method: str = ".*"
    path: str = ""
    times: int | None = 1
    skip: int = 0
    status: int = 503
    code: str = "SlowDown"
    seconds: float = 0.0
    after: int = 0
    hits: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False)

    def takes(self, request: "Message") -> bool:
        """Tell whether it harms this request, and count it."""
        if not (re.fullmatch(self.method, request.method) and re.search(self.path, request.target)):
            return False
        self._seen += 1
        taken = self._seen > self.skip and (self.times is None or self.hits < self.times)
        self.hits += taken
        return taken


@dataclass(frozen=True)
class Message:
    """A request or an answer: its first line and headers, without the empty line, and its body."""

    head: bytes
    body: bytes

    @property
    def method(self) -> str:
        """The method of a request."""
        return self.head.split(b" ", 1)[0].decode("latin-1")

    @property
    def target(self) -> str:
        """The path and the query of a request."""
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.head.split(b" ", 2)[1])

    @property
    def whole(self) -> bytes:
        """The bytes on the wire."""
        return self.head + HEAD_END + self.body

    def header(self, name: str) -> str | None:
        """Return the value of a header."""
        found = re.search(rb"(?im)^" + re.escape(name.encode()) + rb":[ \t]*([^\r\n]*)", self.head)
        return found[1].decode("latin-1").strip() if found else None

    def without(self, pattern: bytes) -> "Message":
        """Return it without the headers whose whole names match."""
        return Message(re.sub(rb"(?i)\r\n(?:" + pattern + rb"):[^\r\n]*", b"", self.head), self.body)

    def closing(self) -> "Message":
        """Return it as the last of its connection."""
        bare = self.without(b"connection|keep-alive")
        return Message(bare.head + b"\r\nConnection: close", self.body)


class HttpProxy(LoopbackProxy):
    """Passes requests on, and harms those that the first matching of `rules` takes."""

    def __init__(self, upstream_port: int, *rules: Rule) -> None:
        super().__init__(upstream_port)
        self.rules = list(rules)
        self.log: list[tuple[str, str]] = []
        """Method and target of every request so far."""

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{LOOPBACK}:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _read_request(reader, writer)
        self.log.append((request.method, request.target))
        rule = next((each for each in self.rules if each.takes(request)), None)
        fault = rule.fault if rule else None
        if rule is None:
            await _send(writer, (await self._ask(request)).whole)
        elif fault is Fault.STATUS:
            await _send(writer, refusal(request, rule).whole)
        elif fault is Fault.RESET:
            reset(writer)
        elif fault is Fault.CUT_REQUEST:
            await self._cut_request(request, rule.after)
            reset(writer)
        else:
            await asyncio.sleep(rule.seconds)
            await self._answer_with(rule, request, await self._ask(request), writer)

    async def _answer_with(self, rule: Rule, request: Message, answer: Message, writer: asyncio.StreamWriter) -> None:
        if rule.fault is Fault.DROP_ANSWER:
            reset(writer)
        elif rule.fault is Fault.TRUNCATE:
            await _send(writer, Message(answer.head, answer.body[: rule.after]).whole)
        elif rule.fault is Fault.WRONG_BYTE:
            await _send(writer, damaged(answer).whole)
        elif rule.fault is Fault.WRONG_BYTE_TOLD:
            await _send(writer, with_checksum(damaged(answer), of=answer.body).whole)
        elif rule.fault is Fault.IGNORE_CONDITION and answer.status == 412 and request.header("If-None-Match"):
            await _send(writer, accepted(request).whole)
        else:
            await _send(writer, answer.whole)

    async def _ask(self, request: Message) -> Message:
        reader, writer = await self._connect()
        try:
            await _send(writer, request.closing().whole)
            head, _, body = (await reader.read(-1)).partition(HEAD_END)
        finally:
            self._forget(writer)
        if not head:
            message = "the store closed the connection without an answer"
            raise ConnectionError(message)
        return Message(head, body).closing()

    async def _cut_request(self, request: Message, after: int) -> None:
        _, writer = await self._connect()
        try:
            whole = request.closing()
            await _send(writer, Message(whole.head, whole.body[:after]).whole)
            reset(writer)
        finally:
            self._forget(writer)


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message:
    head = (await reader.readuntil(HEAD_END)).removesuffix(HEAD_END)
    bare = Message(head, b"")
    if (bare.header("Expect") or "").lower() == "100-continue":
        await _send(writer, b"HTTP/1.1 100 Continue" + HEAD_END)
    body = await reader.readexactly(int(bare.header("Content-Length") or 0))
    return Message(bare.without(b"expect").head, body)


def refusal(request: Message, rule: Rule) -> Message:
    """Return the error that a rule wants; an answer to HEAD has no body."""
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{rule.code}</Code><Message>injected</Message></Error>'.encode()
    head = f"HTTP/1.1 {rule.status} Injected\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}".encode()
    return Message(head, b"" if request.method == "HEAD" else body).closing()


def accepted(request: Message) -> Message:
    """Return the success of a PUT that stored the request's body."""
    etag = hashlib.md5(request.body, usedforsecurity=False).hexdigest()
    return Message(f'HTTP/1.1 200 OK\r\nETag: "{etag}"\r\nContent-Length: 0'.encode(), b"").closing()


def damaged(answer: Message) -> Message:
    """Return the answer with one bit in the middle of its body turned over, and without headers that would tell."""
    if not answer.body:
        return answer
    body = bytearray(answer.body)
    body[len(body) // 2] ^= 1
    return Message(answer.without(b"x-amz-checksum-[a-z0-9-]+|content-md5").head, bytes(body))


def with_checksum(answer: Message, *, of: bytes) -> Message:
    """Return the answer with the header that S3 sends with an object whose CRC it was given, of other content."""
    checksum = base64.b64encode(zlib.crc32(of).to_bytes(4, "big"))
    return Message(answer.head + b"\r\nx-amz-checksum-crc32: " + checksum, answer.body)
