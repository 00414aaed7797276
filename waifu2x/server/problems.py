"""Errors as answers: application/problem+json (RFC 9457) with the sentence of the command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import JSONResponse

from .._text import reason
from ..errors import (
    ArgumentError,
    CancelledError,
    DecodeError,
    EncodeError,
    LimitError,
    MissingExtraError,
    SkippedError,
    Waifu2xError,
)

#: Formats an error in one line, in the words of the command.
Words = Callable[[object], str]

#: The status of a request whose client has gone; no client sees the answer.
GONE: Final = 499

STOPPING: Final = "the server is stopping; try again later"

#: Statuses of errors, the first class that matches.
_STATUS: Final[tuple[tuple[type[Exception], int], ...]] = (
    (ArgumentError, 422),
    (SkippedError, 422),
    (LimitError, 413),
    (DecodeError, 415),
    (MissingExtraError, 501),
    (EncodeError, 422),
    (CancelledError, GONE),
    (Waifu2xError, 500),
)


class Problem(Exception):
    """An answer other than success.

    detail: one line, in the style of the messages of the package. headers: further ones.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})

    @property
    def facts(self) -> dict[str, Any]:
        """The members of the JSON object."""
        title = "Client Closed Request" if self.status == GONE else HTTPStatus(self.status).phrase
        return {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "detail": self.detail,
        }

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(
            self.facts,
            status_code=self.status,
            headers=self.headers,
            media_type="application/problem+json",
        )


def busy(detail: str, seconds: float) -> Problem:
    """An answer that the client may repeat its request after ``seconds``."""
    return Problem(503, detail, {"Retry-After": str(max(1, round(seconds)))})


def problem_of(error: BaseException, words: Words) -> Problem:
    """Describe any error; one that was not raised on purpose is a defect, with status 500."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, MemoryError):
        return Problem(413, "out of memory; a smaller scale needs less")
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return Problem(status, words(error))
    if isinstance(error, OSError):
        return Problem(500, f"the server cannot store the picture: {reason(error)}")
    return Problem(
        500, f"unexpected {type(error).__name__}: {reason(error)}; this is a defect of waifu2x"
    )
