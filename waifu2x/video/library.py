"""PyAV, which brings FFmpeg's libraries; an optional dependency."""

from __future__ import annotations

from types import ModuleType

from .._text import reason, shortened, shown
from ..errors import MissingExtraError


def library() -> ModuleType:
    """Import PyAV; raises `MissingExtraError` without it."""
    try:
        import av
        import av.error
        import av.filter
        import av.logging
    except ImportError as error:
        raise MissingExtraError("videos need PyAV; run `pip install av`") from error
    av.logging.set_level(None)  # the libraries print nothing; errors are raised
    return av


def why(error: BaseException) -> str:
    """The reason in an error of the library, on one short line."""
    text = getattr(error, "strerror", None)
    return shortened(shown(text), 160) if text else reason(error)
