"""Builds the application of the server."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._record import record
from ..errors import Waifu2xError
from .api import Api
from .context import Context
from .guard import Guard
from .jobs import JobStore
from .logs import RequestLog
from .nunif import Nunif
from .openapi import OpenApi
from .parameters import Parameter, Parameters
from .problems import Problem, Words
from .sdapi import Sdapi
from .settings import ServerSettings
from .suwayomi import Suwayomi
from .uploads import Receiver
from .web import SecurityHeaders, static_files
from .work import Workshop

_log = logging.getLogger(__name__)

_PAGE: Final = Path(__file__).parent / "page"

_SENTENCES: Final = {
    404: "there is nothing under this path; see /docs",
    405: "this path takes another method; see /docs",
}


@record
class Application:
    """An application and what its runner starts and stops."""

    app: ASGIApp
    workshop: Workshop
    store: JobStore


def build(settings: ServerSettings, declared: tuple[Parameter, ...], words: Words) -> Application:
    """Build the application.

    declared: the options that a request may give. words: formats an error or a note in one line.

    Raises the errors of `Workshop`.
    """
    workshop = Workshop(settings, words)
    context = Context(
        settings=settings,
        workshop=workshop,
        store=JobStore(settings.keep_seconds, settings.keep_bytes),
        receiver=Receiver(settings, workshop.folder, lambda: workshop.stopping),
        parameters=Parameters(declared, os.fspath(settings.upscaler.model), workshop.model),
        words=words,
    )
    apis = (Api(context), Nunif(context), Sdapi(context), Suwayomi(context), OpenApi(context))
    routes = [*(route for api in apis for route in api.routes()), *_page_routes()]

    async def failed(request: Request, error: Exception) -> Response:
        return context.problem(error).response()

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = _SENTENCES.get(error.status_code, str(error.detail))
        return Problem(error.status_code, detail, error.headers).response()

    app: ASGIApp = Starlette(
        routes=routes,
        exception_handlers={
            Problem: failed,
            Waifu2xError: failed,
            OSError: failed,
            HTTPException: refused,
            Exception: failed,
        },
    )
    app = SecurityHeaders(_Defects(Guard(app, settings), context))
    return Application(RequestLog(app), workshop, context.store)


class _Defects:
    """Answers an exception that nothing else handles, and logs its traceback."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app, self._context = app, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            _log.exception("%s %s failed", scope.get("method"), scope.get("path"))
            # Starlette has answered an exception of a route before.
            if not begun:
                await self._context.problem(error).response()(scope, receive, send)


def _page_routes() -> list[Route]:
    """The routes of the page."""
    files = static_files(_PAGE)

    async def file(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            raise HTTPException(404)
        return files[name]

    return [
        Route("/", file, methods=["GET"]),
        Route("/page/{name:str}", file, methods=["GET"]),
    ]
