"""Refuses requests without the token, and requests that another site makes a browser send."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from typing import Final
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .problems import Problem
from .settings import ServerSettings, is_loopback

#: What a browser shows when it prompts for the token.
_REALM: Final = "waifu2x"

#: Chromium reads only the first scheme.
_CHALLENGE: Final = ", ".join(
    f"{scheme} realm={json.dumps(_REALM)}" for scheme in ("Basic", "Bearer")
)


class Guard:
    """Checks the token, the host and the origin of each request.

    On loopback, the host must be a name of loopback: a site could point its own name there (DNS
    rebinding). A browser names the origin of a request; another site's is refused, because forms
    need no permission to be sent.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = self._problem(Headers(scope=scope))
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await problem.response()(scope, receive, send)

    def _problem(self, headers: Headers) -> Problem | None:
        token = self._settings.token
        if token is not None and not _carries(headers.get("authorization", ""), token):
            return Problem(
                401,
                "the token is missing or wrong; send it as Bearer, or as the password of Basic",
                {"WWW-Authenticate": _CHALLENGE},
            )
        host = headers.get("host", "")
        address = _split(f"//{host}")
        name = "" if address is None else address.hostname or ""
        if address is None or (self._settings.loopback and not is_loopback(name)):
            return Problem(403, f"host {host[:60]!r} is not this machine; use the printed address")
        origin = headers.get("origin")
        if origin is not None and getattr(_split(origin), "netloc", None) != host:
            return Problem(403, "the request comes from another site; open the page of this server")
        return None


def _split(address: str) -> SplitResult | None:
    """The parts of an address, or None if it is malformed."""
    try:
        return urlsplit(address)
    except ValueError:
        return None


def _carries(authorization: str, token: str) -> bool:
    scheme, _, value = authorization.partition(" ")
    given = value.strip().encode("utf-8", "replace")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given, token.encode())
