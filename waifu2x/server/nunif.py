"""The API of nunif, as at waifu2x.udp.jp: ``POST /api``.

Fields, defaults and answers follow waifu2x/web/server.py in github.com/nagadomi/nunif:
``style`` (photo), ``noise`` (-1, none), ``scale`` (-1; 1 is 1.6x, 2 is 2x) and ``format`` (0 PNG,
1 WebP). Both formats are lossless, and the name of the result tells the method.

Differences: the style art_scan, which has a network of its own there, is refused; so is ``url``,
because this server fetches nothing for a client; a 1.6x side is rounded, not cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import ArgumentError
from ..files.task import FormatName, Options
from .context import Context, upscaled
from .parameters import Choice

_PHOTO: Final = "upconv_7_photo"

#: Values of each field, and what they mean here.
_SCALES: Final = {"-1": 1.0, "1": 1.6, "2": 2.0}
_NOISE: Final[dict[str, int | None]] = {"-1": None, "0": 0, "1": 1, "2": 2, "3": 3}
_FORMATS: Final[dict[str, FormatName]] = {"0": "png", "1": "webp"}
_STYLES: Final = ("art", "photo")

_Value = TypeVar("_Value")

#: Fields of the page of waifu2x.udp.jp that choose nothing; "download" is that of its button.
_IGNORED: Final = ("recap", "url", "download")


class Nunif:
    """The route of nunif."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """The routes."""
        return [Route("/api", self.upscale, methods=["POST"])]

    async def upscale(self, request: Request) -> Response:
        """Answer the picture."""
        context = self._context
        form = await context.receive(request, "file")
        job = await upscaled(context, request, form, self._choice)
        await context.finish(request, job)
        return context.result(job, name=_name(job.name, form.fields, job.extension))

    def _choice(self, fields: Mapping[str, str]) -> Choice:
        if fields.get("url", "").strip():
            raise ArgumentError("url is given; this server fetches nothing, send the file itself")
        for name in fields:
            if name not in (*_IGNORED, "style", "noise", "scale", "format"):
                raise ArgumentError(
                    f"field {name[:60]!r} is unknown; allowed are file, style, noise, scale and "
                    "format"
                )
        style = fields.get("style", "photo")
        if style not in _STYLES:
            raise ArgumentError(f"style is {style[:60]!r}; allowed are art and photo")
        scale = _chosen("scale", fields.get("scale", "-1"), _SCALES)
        noise = _chosen("noise", fields.get("noise", "-1"), _NOISE)
        format = _chosen("format", fields.get("format", "0"), _FORMATS)
        default = self._context.parameters.read({}).model
        model = default if style == "art" else _PHOTO
        return Choice(model, False, Options(scale=scale, noise=noise, format=format))


def _chosen(name: str, text: str, values: Mapping[str, _Value]) -> _Value:
    if text not in values:
        raise ArgumentError(f"{name} is {text[:60]!r}; allowed are {', '.join(values)}")
    return values[text]


def _name(source: str, fields: Mapping[str, str], extension: str) -> str:
    """The name of a result: its style and method, as there."""
    style, noise = fields.get("style", "photo"), fields.get("noise", "-1")
    parts = [style]
    if noise != "-1":
        parts.append(f"noise{noise}")
    if fields.get("scale", "-1") != "-1":
        parts.append("scale")
    method = "_".join(parts) if len(parts) > 1 else "none"
    return f"{PurePath(source).stem}_waifu2x_{method}{extension}"
