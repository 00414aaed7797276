"""Serves an application: static files with security headers, signals, and uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import h11
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .._signals import SIGNALED, handled
from .._text import reason
from ..errors import EngineError
from .logs import RequestLog, log
from .problems import Problem, busy

#: Only files of this server, pictures in memory, and nothing in frames.
_POLICY: Final = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

#: Connections at once, of all clients and of one address.
CONNECTIONS: Final = 512
CONNECTIONS_EACH: Final = CONNECTIONS // 4

_CROWDED: Final = busy("there are too many connections; try again later", 5)
_CROWDED.headers["Connection"] = "close"
_MALFORMED: Final = Problem(400, "the request is not HTTP")

#: The head of the struct tcp_info of Linux, up to tcpi_bytes_acked.
_TCP_INFO: Final = struct.Struct("=120xQ")

#: Seconds for the head of a request, and for what is left of a request after its answer.
HEAD_SECONDS: Final = 15

#: Seconds that a client may take nothing of an answer, and the bytes per second on average that
#: excuse a longer pause. curl with --limit-rate pauses for 50 s after 4 MB at once.
STALL_SECONDS: Final = 20
LEAST_RATE: Final = 16 << 10

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


def static_files(folder: Path) -> dict[str, Response]:
    """Return an answer for each file in ``folder``, by its name; read once."""
    return {
        path.name: Response(
            path.read_bytes(),
            media_type=_TYPES[path.suffix],
            headers={"Cache-Control": "no-cache"},
        )
        for path in sorted(folder.glob("*"))
        if path.suffix in _TYPES
    }


class SecurityHeaders:
    """Adds `SECURITY_HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [(n.lower().encode(), v.encode()) for n, v in SECURITY_HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._headers]}
            await send(message)

        await self._app(scope, receive, secured)


async def _refused(scope: Scope, receive: Receive, send: Send) -> None:
    await _CROWDED.response()(scope, receive, send)


_crowded: Final = RequestLog(SecurityHeaders(_refused))


class _Protocol(H11Protocol):
    """Bounds the time and the number of connections.

    A client is dropped that begins a request and does not go on, or takes nothing of its answer;
    uvicorn limits only the time between two requests. Closing would wait until the client has
    taken what is buffered, so the connection is aborted.

    A connection beyond a limit of number takes the place of the oldest without a request at work.
    If there is none, its requests get status 503.
    """

    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _since = 0.0
    _begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()
        own = [each for each in self._others() if each.client_host == self.client_host]
        for group, limit in ((own, CONNECTIONS_EACH), (self._others(), CONNECTIONS)):
            if len(group) >= limit and not self._make_room(group):
                self.app = _crowded

    @property
    def client_host(self) -> str:
        """The address of the client."""
        return self.client[0] if self.client else ""

    def data_received(self, data: bytes) -> None:
        self._begun = True
        super().data_received(data)
        if self._at_work():
            self._end_wait()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request of HTTP; called by uvicorn."""
        self._answer(_MALFORMED)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._watch()
        if not self._at_work() and not self.transport.is_closing():
            self._wait_for_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_wait()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def _at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # --- the number of connections

    def _others(self) -> list[_Protocol]:
        return [each for each in self.connections if isinstance(each, _Protocol) and each != self]

    def _make_room(self, group: list[_Protocol]) -> bool:
        """Drop the connection of ``group`` that has waited longest; returns whether one waits."""
        idle = [each for each in group if not each._at_work()]
        if not idle:
            return False
        oldest = min(idle, key=lambda each: each._since)
        # An answer without a request would confuse a client that keeps its connection.
        if oldest._begun:
            oldest._answer(_CROWDED)
        if oldest.transport.get_write_buffer_size():
            oldest.transport.abort()
        oldest.transport.close()
        self.connections.discard(oldest)
        return True

    def _answer(self, problem: Problem) -> None:
        """Answer a request that has no head, and close the connection."""
        if self._at_work() and self.cycle.response_started:
            self.transport.abort()
            return
        answer = problem.response()
        headers = [
            *((name, value) for name, value in answer.raw_headers if name != b"connection"),
            *((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()),
            (b"connection", b"close"),
        ]
        head = h11.Response(
            status_code=problem.status, headers=headers, reason=problem.facts["title"]
        )
        for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        log({"client": self.client}, problem.status, len(answer.body))
        self.transport.close()

    # --- time

    def _wait_for_head(self) -> None:
        self._end_wait()
        self._begun, self._since = False, self.loop.time()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._end_of_time)

    def _end_of_time(self) -> None:
        if self.transport.get_write_buffer_size():  # the client still takes the last answer
            self._timer = self.loop.call_later(HEAD_SECONDS, self._end_of_time)
        else:
            self.transport.abort()

    def _watch(self) -> None:
        """Abort the connection once the client has taken nothing for `STALL_SECONDS`."""
        if self._stalled is None:
            self._check_later(self.loop.time(), _bytes_taken(self.transport))

    def _check_later(self, began: float, before: int) -> None:
        """began, before: time and bytes taken at the begin of the watch."""
        taken = _bytes_taken(self.transport)

        def check() -> None:
            self._stalled = None
            now = _bytes_taken(self.transport)
            excused = now - before >= LEAST_RATE * (self.loop.time() - began)
            if not self.transport.get_write_buffer_size():
                return
            if now == taken and not excused:
                self.transport.abort()
            else:
                self._check_later(began, before)

        self._stalled = self.loop.call_later(STALL_SECONDS, check)

    def _end_wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _bytes_taken(transport: asyncio.Transport) -> int:
    """A number that changes whenever the client has taken something.

    On Linux, these are the bytes that the system of the client has acknowledged
    (tcpi_bytes_acked in linux/tcp.h): the buffer of this system may be larger than a slow client
    empties in a long time.
    """
    connection = transport.get_extra_info("socket")
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            facts = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            if len(facts) == _TCP_INFO.size:
                return int(_TCP_INFO.unpack(facts)[0])
    return -transport.get_write_buffer_size()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `run`."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on ``host`` and ``port``; 0 chooses a free port.

    Raises `EngineError` if the address cannot be used.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name != "nt":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(CONNECTIONS)
        except BaseException:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        raise EngineError(
            f"the server cannot listen on {host} port {port}: {reason(error)}; "
            "choose another `port=`"
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def run(
    app: ASGIApp,
    listener: socket.socket,
    *,
    stop: Callable[[], object] = lambda: None,
    abandon: Callable[[], object] = lambda: None,
) -> int:
    """Serve ``app`` until a signal; returns the exit code of that signal.

    stop: called at the first signal, on another thread: begin nothing more. Requests that have
        begun are answered.
    abandon: called at the second signal, before the process exits at once.
    """
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    server = _Server(config)
    codes: list[int] = []

    def react(number: int, frame: object) -> None:
        codes.append(SIGNALED + number)
        server.should_exit = True
        # The interrupted thread may hold any lock.
        again = len(codes) > 1
        threading.Thread(target=_abandon if again else stop, daemon=True).start()

    def _abandon() -> None:
        abandon()
        os._exit(codes[-1])

    with handled(react):
        server.run(sockets=[listener])
    return codes[0] if codes else 0
