"""Serves an application: static files with security headers, signals, and uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .._signals import SIGNALED, handled
from .._text import reason
from ..errors import EngineError

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

#: Connections at once; a further one gets status 503.
_CONNECTIONS: Final = 512

#: Seconds for the head of a request, and for what is left of a request after its answer.
HEAD_SECONDS: Final = 15

#: Seconds that a client may take nothing of an answer.
STALL_SECONDS: Final = 20

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


class _Protocol(H11Protocol):
    """Drops a client that begins a request and does not go on, or takes nothing of its answer.

    uvicorn limits only the time between two requests. Closing would wait until the client has
    taken what is buffered, so the connection is aborted.
    """

    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._at_work():
            self._end_wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._at_work() and not self.transport.is_closing():
            self._wait_for_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._end_stall()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_wait()
        self._end_stall()
        super().connection_lost(exc)

    def _at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._end_wait()
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _end_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _end_wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


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
            listener.listen(_CONNECTIONS)
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
        limit_concurrency=_CONNECTIONS,
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
