"""The server's own API: pictures, jobs, models, options and health."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from .. import codec
from .._text import level_text
from .._version import __version__
from ..network import registry
from .context import Context, upscaled
from .jobs import Job
from .problems import Problem
from .settings import facts

#: Seconds between two comments in a stream of events, which keep the connection open.
_ALIVE: Final = 15


class Api:
    """The native routes."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """The routes."""
        job = "/api/jobs/{id:str}"
        return [
            Route("/api/upscale", self.upscale, methods=["POST"]),
            Route(job, self.job, methods=["GET"]),
            Route(job, self.delete, methods=["DELETE"]),
            Route(f"{job}/events", self.events, methods=["GET"]),
            Route(f"{job}/result", self.result, methods=["GET"]),
            Route("/api/models", self.models, methods=["GET"]),
            Route("/api/options", self.options, methods=["GET"]),
            Route("/api/health", self.health, methods=["GET"]),
        ]

    async def upscale(self, request: Request) -> Response:
        """Answer the picture, or a job if the client prefers."""
        context = self._context
        form = await context.receive(request, "file")
        job = await upscaled(context, request, form, context.parameters.read)
        if _prefers_job(request):
            context.store.add(job)
            if await request.is_disconnected():
                # Nobody will learn the name of the job.
                context.workshop.cancel(job)
                context.store.drop(job)
            found = self._facts(job)
            headers = {"Location": found["links"]["self"], "Preference-Applied": "respond-async"}
            return JSONResponse(found, status_code=202, headers=headers)
        await context.finish(request, job)
        return context.result(job)

    async def job(self, request: Request) -> Response:
        """Answer the state of a job."""
        return JSONResponse(self._facts(self._job(request)), headers={"Cache-Control": "no-store"})

    async def delete(self, request: Request) -> Response:
        """Cancel and forget a job."""
        job = self._job(request)
        self._context.workshop.cancel(job)
        self._context.store.drop(job)
        return Response(status_code=204)

    async def result(self, request: Request) -> Response:
        """Answer the result of a job that is done."""
        job = self._job(request)
        if job.problem is not None:
            raise job.problem
        if job.status != "done":
            raise Problem(409, f"the job is {job.status}; its result comes when it is done")
        return self._context.result(job, keep=True)

    async def events(self, request: Request) -> Response:
        """Answer a stream of events, one for each change of the job, up to its end."""
        return StreamingResponse(
            self._events(self._job(request)),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _events(self, job: Job) -> AsyncIterator[str]:
        with job.watched() as changed:
            while True:
                over = job.over
                name = "progress" if job.status == "running" else job.status
                data = json.dumps(self._facts(job))
                yield f"event: {name}\ndata: {data}\n\n"
                if over:
                    return
                while not changed.is_set():
                    with anyio.move_on_after(_ALIVE):
                        await changed.wait()
                    if not changed.is_set():
                        yield ": waiting\n\n"
                changed.clear()

    async def models(self, request: Request) -> Response:
        """Answer the models that are installed."""
        parameters = self._context.parameters
        models = [
            _model(name, each, parameters.argument(name))
            for name, each in parameters.models.items()
        ]
        return JSONResponse({"models": models, "default": models[0]["name"]})

    async def options(self, request: Request) -> Response:
        """Answer the options of a request, the formats and the limits."""
        return JSONResponse(
            {
                "options": [each.facts() for each in self._context.parameters.declared.values()],
                "formats": [each.name for each in codec.OUTPUT_FORMATS],
                "limits": facts(self._context.settings),
            }
        )

    async def health(self, request: Request) -> Response:
        """Answer that the server runs, and how busy it is."""
        workshop = self._context.workshop
        return JSONResponse(
            {
                "status": "ok",
                "version": __version__,
                "queued": len(workshop.queue),
                "running": workshop.running,
            },
            headers={"Cache-Control": "no-store"},
        )

    def _job(self, request: Request) -> Job:
        return self._context.store.get(request.path_params["id"])

    def _facts(self, job: Job) -> dict[str, Any]:
        position = self._context.workshop.queue.position(job) if job.status == "queued" else None
        return self._context.store.facts(job, position, self._context.words)


def _prefers_job(request: Request) -> bool:
    """Whether the client prefers a job to a long answer (RFC 7240)."""
    words = ",".join(request.headers.getlist("prefer"))
    return re.search(r"(^|[,;\s])respond-async($|[,;\s])", words, re.IGNORECASE) is not None


def _model(name: str, model: registry.Model, argument: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "argument": argument,
        "default_scale": model.default_scale,
        "scales": list(model.scales),
        "noise_levels": [level_text(each) for each in model.noise_levels()],
        "license": model.license,
        "description": model.description,
    }
