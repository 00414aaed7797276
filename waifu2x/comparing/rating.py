"""The page on which a rater votes, and the server behind the page.

The server runs on loopback only. The page learns neither the names of the methods nor those of the
pictures: a question has a random name, and its two images are called left and right.
"""

from __future__ import annotations

import contextlib
import json
import random
import secrets
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .._record import record
from ..errors import EncodeError
from ..pipeline.auto_noise import Noise
from ..server.web import SecurityHeaders, static_files
from .gallery import Gallery, OnProblem
from .methods import Method
from .questions import Chooser, Question
from .sheet import SheetOptions
from .votes import ANSWERS, Vote, VoteFile

HOST: Final = "127.0.0.1"

_PAGE: Final = Path(__file__).parent / "page"
_FILES: Final = {
    "/": "index.html",
    "/page/rate.css": "rate.css",
    "/page/rate.js": "rate.js",
}
#: Most bytes of a vote.
_MOST_BYTES: Final = 1000


@record
class RatingOptions:
    """What a rater sees: the scale and noise level of all results, and the side of the crops.

    Raises `ArgumentError` for a value that is not allowed.
    """

    scale: float
    noise: Noise
    side: int

    def __post_init__(self) -> None:
        SheetOptions(scale=self.scale, noise=self.noise, side=self.side)


class Rating:
    """The present question and the votes so far; safe to use from several threads."""

    def __init__(
        self,
        gallery: Gallery,
        methods: Sequence[Method],
        file: VoteFile,
        options: RatingOptions,
        generator: random.Random,
    ) -> None:
        self._gallery, self._file, self._options = gallery, file, options
        self._chooser = Chooser([method.name for method in methods], generator)
        self._lock = threading.Lock()
        self._question: Question | None = None
        self._name = ""
        self._began = 0.0

    def state(self) -> dict[str, Any]:
        """Return the present question as the page gets it, or that there is none now."""
        with self._lock:
            count = len(self._file.votes)
            finished = self._gallery.finished
            samples = self._gallery.samples
            # The crop of a repeated question may have been dropped meanwhile.
            if self._question is None or self._question.sample not in samples:
                self._question = self._chooser.choose(samples, self._file.votes)
                self._name, self._began = secrets.token_urlsafe(9), time.monotonic()
            if self._question is None:
                return {"status": "done" if finished else "preparing", "votes": count}
            crop = self._question.sample.crop
            return {
                "status": "question",
                "id": self._name,
                "width": crop.width,
                "height": crop.height,
                "votes": count,
            }

    def image(self, name: str, side: str) -> bytes | None:
        """Return one image of the present question as PNG; None for another question."""
        with self._lock:
            question = self._question
            if question is None or name != self._name or side not in ("left", "right"):
                return None
        method = question.left if side == "left" else question.right
        with contextlib.suppress(KeyError):
            return self._gallery.image(question.sample, method)
        return None

    def vote(self, name: str, answer: Any, *, face: bool) -> bool:
        """Record a vote; returns False for another question than the present one.

        Raises `EncodeError` if the vote cannot be written; the question then stays.
        """
        with self._lock:
            question = self._question
            if question is None or name != self._name:
                return False
            now = datetime.now(timezone.utc)
            vote = Vote(
                picture=question.sample.picture,
                crop=question.sample.crop,
                left=question.left,
                right=question.right,
                answer=answer,
                kind=question.sample.kind,
                face=face,
                repeat=question.repeat,
                seconds=round(time.monotonic() - self._began, 2),
                scale=self._options.scale,
                noise=self._options.noise,
                time=now.isoformat(timespec="seconds"),
            )
            self._file.append(vote)
            self._question = None
        self._gallery.voted(question.sample)
        return True


def rating_app(rating: Rating, on_problem: OnProblem) -> Starlette:
    """Create the application of the page; on_problem: receives why a vote cannot be written."""
    files = static_files(_PAGE)

    def page(request: Request) -> Response:
        return files[_FILES[request.url.path]]

    def question(request: Request) -> Response:
        return JSONResponse(rating.state(), headers={"Cache-Control": "no-store"})

    def image(request: Request) -> Response:
        given = request.path_params
        data = rating.image(given["name"], given["side"])
        if data is None:
            return Response(status_code=404)
        return Response(data, media_type="image/png", headers={"Cache-Control": "no-store"})

    async def vote(request: Request) -> Response:
        # Another site can send a form, but no JSON without permission of this server.
        if request.headers.get("content-type") != "application/json":
            return Response(status_code=415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MOST_BYTES:
                return Response(status_code=413)
        given = _parsed_vote(body)
        if given is None:
            return Response(status_code=422)
        name, answer, face = given
        try:
            return Response(status_code=204 if rating.vote(name, answer, face=face) else 409)
        except EncodeError as error:
            on_problem(str(error))
            return Response(status_code=500)

    return Starlette(
        routes=[
            *(Route(path, page) for path in _FILES),
            Route("/api/question", question),
            Route("/api/question/{name}/{side}.png", image),
            Route("/api/vote", vote, methods=["POST"]),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            # A site whose name leads to this machine must not read the page.
            Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
        ],
    )


def _parsed_vote(body: bytes) -> tuple[str, str, bool] | None:
    """Return the question, the answer and the tag of a vote; None for anything else."""
    try:
        given = json.loads(body)
        name, answer, face = given["id"], given["vote"], given["face"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    right = isinstance(name, str) and answer in ANSWERS and isinstance(face, bool)
    return (name, answer, face) if right else None
