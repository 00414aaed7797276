"""Describes the API: openapi.json (OpenAPI 3.1), and the same as a page without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from .._version import __version__
from .context import MEDIA, Context
from .parameters import Parameter

_TEMPLATE: Final = Path(__file__).parent / "page" / "docs.html"

_DESCRIPTION: Final = (
    "Upscales and denoises anime pictures. Errors are application/problem+json with one sentence; "
    "status 503 carries Retry-After."
)

_ERRORS: Final = {
    "400": "the body cannot be parsed",
    "401": "the token is missing or wrong",
    "408": "the body arrives too slowly",
    "413": "the request or the picture exceeds a limit",
    "415": "the file is no picture, or the body no form",
    "422": "an option is wrong, or the format cannot hold the result",
    "503": "the queue is full, or the server is stopping",
}

_BINARY: Final = {"type": "string", "format": "binary"}

_PICTURE: Final = {
    "description": "the picture",
    "content": {media: {"schema": _BINARY} for media in dict.fromkeys(MEDIA.values())},
    "headers": {
        "X-Waifu2x-Size": {"schema": {"type": "string"}, "description": "width and height"},
        "X-Waifu2x-Noise": {"schema": {"type": "string"}, "description": "level removed"},
        "X-Waifu2x-Notes": {"schema": {"type": "string"}, "description": "remarks, a JSON list"},
    },
}

_JOB: Final = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "status": {"enum": ["queued", "running", "done", "failed", "canceled"]},
        "position": {"type": ["integer", "null"], "description": "pictures before this one"},
        "progress": {"type": "number", "description": "0 to 1"},
        "name": {"type": "string"},
        "size_in": {"type": ["array", "null"], "items": {"type": "integer"}},
        "size_out": {"type": ["array", "null"], "items": {"type": "integer"}},
        "notes": {"type": "array", "items": {"type": "string"}},
        "error": {"type": ["object", "null"]},
        "links": {"type": "object"},
    },
}

_EXTRAS: Final = {
    "resize_mode": "0 by upscaling_resize, 1 to upscaling_resize_w and _h; default 0",
    "upscaling_resize": "factor; default 2",
    "upscaling_resize_w": "width in pixels; default 512",
    "upscaling_resize_h": "height in pixels; default 512",
    "upscaling_crop": "cut the result to the size; default true",
    "upscaler_1": "name from /sdapi/v1/upscalers; default None, which changes nothing",
}


class OpenApi:
    """The routes of the description."""

    def __init__(self, context: Context) -> None:
        self._description = describe(context.parameters.declared)
        self._page = page(self._description)

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/openapi.json", self.json, methods=["GET"]),
            Route("/docs", self.docs, methods=["GET"]),
        ]

    async def json(self, request: Request) -> Response:
        """Answer the description for programs."""
        return JSONResponse(self._description)

    async def docs(self, request: Request) -> Response:
        """Answer the description for readers."""
        return HTMLResponse(self._page)


def describe(declared: Mapping[str, Parameter]) -> dict[str, Any]:
    """The description of all routes; the command declares the options."""
    options = {name: _schema(each) for name, each in declared.items()}
    job = {"description": "the job", "content": {"application/json": {"schema": _JOB}}}
    upscale = {"200": _PICTURE, "202": {**job, "description": "a job; see Location"}}
    prefer = _parameter("Prefer", "header", "respond-async answers with a job at once")
    id = _parameter("id", "path", "of the job", required=True)
    query = [_parameter(name, "query", each["description"], each) for name, each in options.items()]
    json = {"description": "JSON", "content": {"application/json": {"schema": {}}}}
    texts = {"type": "string"}
    nunif = {
        "style": {"enum": ["art", "photo"], "default": "photo", "description": "kind of picture"},
        "noise": {"enum": ["-1", "0", "1", "2", "3"], "default": "-1", "description": "-1: none"},
        "scale": {"enum": ["-1", "1", "2"], "default": "-1", "description": "none, 1.6x, 2x"},
        "format": {"enum": ["0", "1"], "default": "0", "description": "PNG, WebP"},
    }
    extras = {name: {"description": text} for name, text in _EXTRAS.items()}
    single = {"image": {**texts, "description": "the picture in base64"}, **extras}
    batch = {"imageList": {"type": "array", "description": "objects with data and name"}, **extras}
    events = {"description": "events", "content": {"text/event-stream": {"schema": texts}}}
    paths: dict[str, Any] = {
        "/api/upscale": {"post": _route("Upscale a file", upscale, _form(options), [prefer])},
        "/api/jobs/{id}": {
            "get": _route("The state of a job", {"200": job}, parameters=[id]),
            "delete": _route(
                "Cancel and forget a job", {"204": {"description": "gone"}}, parameters=[id]
            ),
        },
        "/api/jobs/{id}/events": {
            "get": _route(
                "Events: queued, progress, done, failed, canceled", {"200": events}, parameters=[id]
            )
        },
        "/api/jobs/{id}/result": {
            "get": _route(
                "The result; 409 while the job is not done", {"200": _PICTURE}, parameters=[id]
            )
        },
        "/api/models": {"get": _route("The models that are installed", {"200": json})},
        "/api/options": {"get": _route("The options, formats and limits", {"200": json})},
        "/api/health": {"get": _route("Whether the server runs, and its load", {"200": json})},
        "/api": {"post": _route("As at waifu2x.udp.jp", {"200": _PICTURE}, _form(nunif))},
        "/sdapi/v1/upscalers": {
            "get": _route("The upscalers, as in stable-diffusion-webui", {"200": json})
        },
        "/sdapi/v1/extra-single-image": {
            "post": _route(
                "One picture, as in stable-diffusion-webui", {"200": json}, _json_body(single)
            )
        },
        "/sdapi/v1/extra-batch-images": {
            "post": _route(
                "Several pictures, as in stable-diffusion-webui", {"200": json}, _json_body(batch)
            )
        },
        "/page": {
            "post": _route(
                "A page for Suwayomi, in the same format, within 25 seconds",
                {"200": _PICTURE},
                {
                    "image/*": {"schema": _BINARY},
                    "multipart/form-data": {"schema": {"properties": {"image": _BINARY}}},
                },
                query,
            )
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "waifu2x", "version": __version__, "description": _DESCRIPTION},
        "paths": paths,
    }


def _schema(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.kind, "description": parameter.help}
    if parameter.default is not None:
        schema["default"] = parameter.default
    if parameter.choices:
        schema["examples"] = list(parameter.choices)
    return schema


def _parameter(
    name: str, where: str, text: str, schema: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    kind = (schema or {}).get("type", "string")
    return {"name": name, "in": where, "description": text, "schema": {"type": kind}, **more}


def _form(fields: Mapping[str, Any]) -> dict[str, Any]:
    file = {**_BINARY, "description": "picture, animation or comic archive"}
    schema = {"type": "object", "properties": {"file": file, **fields}, "required": ["file"]}
    return {"multipart/form-data": {"schema": schema}}


def _json_body(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": {"type": "object", "properties": dict(fields)}}}


def _route(
    summary: str,
    responses: Mapping[str, Any],
    body: Mapping[str, Any] | None = None,
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    errors = _ERRORS if body is not None else {"401": _ERRORS["401"], "404": "there is none"}
    if parameters and any(each["in"] == "path" for each in parameters):
        errors = {**errors, "410": "the job was removed to make room for later ones"}
    route: dict[str, Any] = {
        "summary": summary,
        "responses": {
            **responses,
            **{status: {"description": text} for status, text in errors.items()},
        },
    }
    if parameters:
        route["parameters"] = parameters
    if body is not None:
        route["requestBody"] = {"required": True, "content": dict(body)}
    return route


def page(description: Mapping[str, Any]) -> str:
    """The description as HTML."""
    info = description["info"]
    return Template(_TEMPLATE.read_text("utf-8")).substitute(
        title=escape(f"{info['title']} {info['version']}: API"),
        description=escape(info["description"]),
        body="\n".join(_sections(description["paths"])),
    )


def _sections(paths: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in paths.items():
        for method, route in methods.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            yield f"<p>{escape(route['summary'])}</p>"
            yield from _list("Parameters", list(_fields(route)))
            answers = [(name, each["description"]) for name, each in route["responses"].items()]
            yield from _list("Answers", answers)


def _fields(route: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for each in route.get("parameters", ()):
        yield f"{each['name']} ({each['in']})", each["description"]
    for media, content in route.get("requestBody", {}).get("content", {}).items():
        for name, each in content["schema"].get("properties", {}).items():
            default = f"; default {each['default']}" if "default" in each else ""
            yield f"{name} ({media})", each.get("description", "the file") + default


def _list(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield f"<h3>{title}</h3>\n<dl>"
        for name, text in rows:
            yield f"<dt><code>{escape(name)}</code></dt><dd>{escape(text)}</dd>"
        yield "</dl>"
