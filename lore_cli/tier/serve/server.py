"""Sockets, signals, and patience with clients: uvicorn, with what it leaves open closed.

uvicorn waits for ever for a client that connects and sends its request's head slowly or not at all (slow-loris), has no limit on connections that says
when to come back, and ends by the signal that it was stopped with; its quicker parser, httptools, reads heads of any length. Here a head must be there
within `head_s` and within 64 KiB, connections over the limit get the same 503 as any overload, and SIGTERM and SIGINT end in order: no new connections,
requests in flight answered, exit 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lore_cli.errors import Missing

_MOST_FRAMING = 65_536  # bytes of a request that are no body: its head, the sizes of its chunks, its trailers


def _reply(status: bytes, body: bytes) -> bytes:
    """A whole reply, after which the connection closes."""
    return b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


_REPLIES = {
    503: _reply(b"503 Service Unavailable\r\nretry-after: 1", b'{"error":"too many connections","next":"ask again in 1 s"}'),
    431: _reply(b"431 Request Header Fields Too Large", b'{"error":"the head is larger than 65536 bytes","next":"send fewer headers"}'),
}


@dataclass(frozen=True, slots=True)
class Patience:
    """head_s: seconds for a request's head. idle_s: that a connection is kept between requests. stop_s: for requests in flight when the server stops.

    connections: most of them open at once.
    """

    head_s: float = 10.0
    idle_s: int = 30
    stop_s: int = 30
    connections: int = 1000


@dataclass(frozen=True, slots=True)
class Hooks:
    """What is called when the server takes requests, when it is told to stop (SIGTERM, SIGINT), at SIGHUP, and with the status of a reply that the app never saw."""

    started: Callable[[], None]
    stopping: Callable[[], None]
    hangup: Callable[[], None]
    refused: Callable[[int], None]


class PatientProtocol(HttpToolsProtocol):
    """A connection whose requests must begin within a time."""

    patience: Patience
    refused: Callable[[int], None]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_due: asyncio.TimerHandle | None = None
        self._framing = 0
        if len(self.connections) > self.patience.connections:
            self._end_with(503)
            return
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._head_due is None and not self._in_request():
            self._expect_head()
        self._framing += len(data)
        super().data_received(data)
        if self._in_request():
            self._head_is_there()
        if self._framing > _MOST_FRAMING and not self.transport.is_closing():
            self._end_with(431)

    def on_headers_complete(self) -> None:
        if self.parser.get_http_version() == "1.1" and not any(name == b"host" for name, _ in self.headers):
            raise ValueError("no host")  # the parser makes a 400 of it, which RFC 9112, § 3.2, asks for
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._framing -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._framing = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self.refused(400)
        super().send_400_response(msg)

    def _end_with(self, status: int) -> None:
        self.refused(status)
        self.transport.write(_REPLIES[status])
        self.transport.close()

    def _in_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_head(self) -> None:
        self._head_due = self.loop.call_later(self.patience.head_s, self.transport.close)

    def _head_is_there(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None


class OrderlyServer(uvicorn.Server):
    """Ends by SIGTERM or SIGINT with what is in flight answered."""

    def __init__(self, config: uvicorn.Config, hooks: Hooks) -> None:
        super().__init__(config)
        self._hooks = hooks

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._hooks.started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._hooks.hangup)
        yield

    def _stop(self, number: int) -> None:
        self._hooks.stopping()
        self.handle_exit(number, None)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `Missing` when the address cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(found[4][:2], family=found[0], backlog=2048)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # taken over by connections; without it a reply waits 40 ms for the client's delayed ACK
        return listening
    except OSError as error:
        raise Missing(f"cannot listen on {host} port {port}: {error.strerror or error}", hint="pass another --host or --port; 0 takes any free port") from error


def run(app: Any, listening: socket.socket, patience: Patience, hooks: Hooks) -> None:
    """Serve until told to stop."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what clients do wrong is in the counters
    protocol = type("Protocol", (PatientProtocol,), {"patience": patience, "refused": staticmethod(hooks.refused)})
    config = uvicorn.Config(
        app, http=protocol, ws="none", loop="asyncio", lifespan="on", log_config=None, access_log=False, server_header=False, proxy_headers=False,
        timeout_keep_alive=patience.idle_s, timeout_graceful_shutdown=patience.stop_s,
    )  # fmt: skip
    OrderlyServer(config, hooks).run(sockets=[listening])
