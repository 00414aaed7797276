"""One line of JSON for each request, without names of files."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import GONE

#: The logger of the lines; the command prints them.
requests: Final = logging.getLogger("waifu2x.server.requests")


class RequestLog:
    """Logs each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status, sent = GONE, 0

        async def counted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        scope["waifu2x.facts"] = {}
        try:
            await self._app(scope, receive, counted)
        finally:
            log(scope, status, sent, time.perf_counter() - began)


def log(scope: Mapping[str, Any], status: int, sent: int, seconds: float = 0.0) -> None:
    """Log a request; ``scope`` lacks the method and the path of one that could not be parsed."""
    client = scope.get("client")
    facts: dict[str, Any] = {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "client": client[0] if client else None,
        "method": scope.get("method"),
        "path": scope.get("path"),
        "status": status,
        "sent": sent,
        "seconds": round(seconds, 4),
        **scope.get("waifu2x.facts", {}),
    }
    requests.info(json.dumps(facts))
