"""How the server listens, what it accepts, and how much it keeps."""

from __future__ import annotations

import ipaddress
from dataclasses import field
from typing import Any, Final

from .._record import record
from ..errors import ArgumentError
from ..pipeline.arguments import check, optional, positive, secret, text, whole
from ..pipeline.options import UpscalerOptions
from .jobs import KEPT_JOBS

#: Pixels of all frames of an animation, as a multiple of those of a picture.
_FRAMES: Final = 64

#: The name that stands for the loopback addresses.
LOCALHOST: Final = "localhost"

_SETTINGS: Final = {
    "host": text("it must be the name or the address of a network interface", r"[^\s/]+"),
    "port": whole("it must be a whole number from 0 to 65535", least=0, most=65535),
    "token": secret(
        optional(
            text("it must be 8 or more letters, digits and signs, without spaces", r"[!-~]{8,}")
        )
    ),
    "queue": whole("it must be a whole number of at least 1, for example 64", least=1, most=10_000),
    "max_bytes": whole("it must be a number of bytes, 1 or more", least=1),
    "max_animation": optional(whole("it must be a whole number of pixels, 1 or more", least=1)),
    "memory": optional(whole("it must be a whole number of bytes, 1 or more", least=1)),
    "cache": whole("it must be a number of bytes, 0 for none", least=0),
    "stall_seconds": positive("it must be a number of seconds above 0"),
    "body_seconds": positive("it must be a number of seconds above 0"),
    "page_seconds": positive("it must be a number of seconds above 0"),
    "keep_seconds": positive("it must be a number of seconds above 0"),
    "keep_bytes": whole("it must be a number of bytes, 1 or more", least=1),
}


@record(kw_only=True)
class ServerSettings:
    """The settings of a server.

    upscaler: the default model and how every model runs; ``max_pixels`` limits pictures.
    host: the name or address to listen on. Any but loopback needs a ``token``.
    port: the TCP port; 0 lets the system choose a free one.
    token: the secret that every request must carry, or None.
    queue: pictures that may wait, uploads included. A request beyond gets status 503.
    max_bytes: limit for the body of a request in bytes.
    max_animation: limit for the pixels of all frames of an animation, or of all animations of an
        archive; None is 64 times ``max_pixels``.
    memory: as for `BatchOptions`.
    cache: bytes of results to keep on disk, 0 for none.
    stall_seconds: a client that sends nothing of a body for so long is dropped.
    body_seconds: the longest time for the body of a request.
    page_seconds: the longest time for a request to /page, whose client waits 30 seconds.
    keep_seconds: how long an asynchronous job and its result are kept after its end.
    keep_bytes: limit for all results of asynchronous jobs; the oldest go first.

    Raises `ArgumentError` for a value that is not allowed, and for a host that needs a token.
    """

    upscaler: UpscalerOptions = field(default_factory=UpscalerOptions)
    host: str = "127.0.0.1"
    port: int = 8760
    token: str | None = field(default=None, repr=False)
    queue: int = 64
    max_bytes: int = 64 << 20
    max_animation: int | None = None
    memory: int | None = None
    cache: int = 0
    stall_seconds: float = 20
    body_seconds: float = 300
    page_seconds: float = 25
    keep_seconds: float = 600
    keep_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        check(self, _SETTINGS)
        if self.token is None and not self.loopback:
            raise ArgumentError(
                f"host is {self.host!r}, which other machines may reach, and no token is given; "
                "give `token=`, or `host='127.0.0.1'`"
            )

    @property
    def animation_limit(self) -> int:
        """``max_animation``, or what takes its place."""
        return self.max_animation or _FRAMES * self.upscaler.limit

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is an address of this machine that no other machine can reach."""
    if host.lower() == LOCALHOST:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def facts(settings: ServerSettings) -> dict[str, Any]:
    """The limits of a server, as clients see them."""
    return {
        "max_bytes": settings.max_bytes,
        "max_pixels": settings.upscaler.limit,
        "max_animation": settings.animation_limit,
        "keep_seconds": settings.keep_seconds,
        "keep_bytes": settings.keep_bytes,
        "keep_jobs": KEPT_JOBS,
    }
