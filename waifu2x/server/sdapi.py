"""The upscaling part of the API of AUTOMATIC1111's stable-diffusion-webui.

Fields, defaults and answers follow ``ExtrasSingleImageRequest``, ``ExtrasBatchImagesRequest``
and ``UpscalerItem`` in modules/api/models.py, and of the routes in modules/api/api.py, in
github.com/AUTOMATIC1111/stable-diffusion-webui. Krita, GIMP and Photoshop plug-ins, and bots, use
it.

Upscalers are the models, each also with its noise levels ("cunet noise 1"), "Lanczos" and "None",
which leaves the picture as it is. An unknown upscaler is an error, and so is what this server
cannot do: a second upscaler, and the restoration of faces. Addresses are never fetched.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from html import escape
from typing import Any, Final

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .. import codec
from .._record import record
from .._text import unknown
from ..errors import ArgumentError
from ..files.task import Options
from .context import Context, client_of
from .folder import new_file
from .jobs import Job
from .json_body import JsonBody
from .parameters import Choice
from .problems import Problem
from .uploads import Sink, Upload, plain_name

_NONE: Final = "None"
_LANCZOS: Final = "Lanczos"

#: Bytes of a file that become one piece of base64; a multiple of 3.
_PIECE: Final = 48 << 10

#: The largest number in a request.
_LARGEST: Final = 1_000_000

_DECIMAL: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)

#: Words for true and false.
_YES: Final = ("true", "1", "1.0", "yes", "on", "y", "t")
_NO: Final = ("false", "0", "0.0", "no", "off", "n", "f")

#: Bytes of a JSON body in addition to its pictures.
_AROUND: Final = 64 << 10


@record
class _Extras:
    """The fields of a request, without its pictures.

    size: the target (width, height), or None for a scale. crop: cut the result to the size.
    """

    upscaler: str
    scale: float
    size: tuple[int, int] | None
    crop: bool

    @property
    def html_info(self) -> str:
        """A paragraph that describes the work, as there."""
        if self.upscaler == _NONE:
            return "<p></p>"
        if self.size is None:
            parts = [f"upscale by: {self.scale:g}"]
        else:
            size = f"{self.size[0]}x{self.size[1]}"
            parts = [f"upscale to: {size}", *([f"crop to: {size}"] if self.crop else [])]
        parts.append(f"upscaler: {self.upscaler}")
        return f"<p>{escape(', '.join(f'Postprocess {part}' for part in parts))}</p>"


class Sdapi:
    """The routes below /sdapi/v1."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # One at a time bounds the memory.
        self._parsing = anyio.CapacityLimiter(1)

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/sdapi/v1/upscalers", self.upscalers, methods=["GET"]),
            Route("/sdapi/v1/extra-single-image", self.single, methods=["POST"]),
            Route("/sdapi/v1/extra-batch-images", self.batch, methods=["POST"]),
        ]

    async def upscalers(self, request: Request) -> Response:
        """Answer the names of the upscalers; paths and addresses stay private."""
        return JSONResponse(
            [
                {
                    "name": name,
                    "model_name": model,
                    "model_path": None,
                    "model_url": None,
                    "scale": scale,
                }
                for name, (model, scale) in self._names().items()
            ]
        )

    async def single(self, request: Request) -> Response:
        """Answer one picture."""
        return await self._answer(request, one=True)

    async def batch(self, request: Request) -> Response:
        """Answer several pictures, all or none."""
        return await self._answer(request, one=False)

    async def _answer(self, request: Request, *, one: bool) -> Response:
        context, client = self._context, client_of(request)
        context.workshop.reserve(client)
        places, uploads, jobs = 1, list[Upload](), list[Job]()
        try:
            limit = context.settings.max_bytes * 4 // 3 + _AROUND
            body = await context.receiver.body(request, "", limit)
            parse = _single if one else _several
            try:
                extras, uploads = await anyio.to_thread.run_sync(
                    self._parsed, body, parse, limiter=self._parsing
                )
            finally:
                body.path.unlink(missing_ok=True)
            most = context.workshop.queue.most
            if len(uploads) > most:
                raise Problem(
                    413, f"imageList holds {len(uploads)} pictures; this server takes {most}"
                )
            if len(uploads) > 1:
                context.workshop.reserve(client, len(uploads) - 1)
            places = len(uploads)
            for upload in uploads:
                choice = self._choice(extras, upload)
                jobs.append(await context.submit(request, upload, choice))
                places -= 1
            for job in jobs:
                await context.finish(request, job)
                if extras.crop and extras.size is not None and extras.upscaler != _NONE:
                    await anyio.to_thread.run_sync(
                        self._crop, job, extras.size, limiter=self._parsing
                    )
        except BaseException:
            context.workshop.queue.release(client, places)
            for job in jobs:
                context.workshop.cancel(job)
                job.remove_files()
            for upload in uploads[len(jobs) :]:
                upload.path.unlink(missing_ok=True)
            raise
        return _Pictures(extras.html_info, jobs, one=one)

    def _parsed(self, body: Upload, parse: Any) -> tuple[_Extras, list[Upload]]:
        """Parse the body, and write its pictures to files."""
        parsed = JsonBody(body.path)
        fields = parsed.value
        if not isinstance(fields, dict):
            raise Problem(422, "the body is not a JSON object")
        extras = self._extras(fields)
        sinks: list[Upload] = []
        try:
            for name, text in parse(fields):
                sinks.append(self._decoded(name, text, parsed))
        except BaseException:
            for each in sinks:
                each.path.unlink(missing_ok=True)
            raise
        return extras, sinks

    def _decoded(self, name: str, text: object, body: JsonBody) -> Upload:
        if not isinstance(text, str) or not text:
            raise ArgumentError("image is missing; it must be the picture in base64")
        sink = Sink(self._context.workshop.folder, "")
        sink.name = name
        try:
            for data in _from_base64(body.pieces(text)):
                if sink.size == 0 and data[:4] == b"PK\3\4":
                    raise Problem(415, "image is an archive; send one picture")
                sink.write(data)
            return sink.finish()
        except BaseException:
            sink.discard()
            raise

    def _names(self) -> dict[str, tuple[str | None, float]]:
        """The upscalers: the name of the model, if there is one, and its largest scale."""
        found: dict[str, tuple[str | None, float]] = {_NONE: (None, 1.0), _LANCZOS: (None, 4.0)}
        for name, model in self._context.parameters.models.items():
            scale = float(max(model.scales))
            found[name] = (name, scale)
            for level in model.noise_levels():
                found[f"{name} noise {level}"] = (name, scale)
        return found

    def _extras(self, fields: dict[str, Any]) -> _Extras:
        """Check the fields; raises `ArgumentError`."""
        upscaler = _text(fields, "upscaler_1")
        if upscaler not in self._names():
            raise ArgumentError(unknown("upscaler_1", upscaler, list(self._names())))
        second = _text(fields, "upscaler_2")
        if second not in self._names():
            raise ArgumentError(unknown("upscaler_2", second, list(self._names())))
        if second != _NONE and _number(fields, "extras_upscaler_2_visibility", 0, most=1) > 0:
            raise ArgumentError("upscaler_2 is given; this server runs one upscaler, leave it out")
        for name in ("gfpgan_visibility", "codeformer_visibility"):
            if _number(fields, name, 0, most=1) > 0:
                raise ArgumentError(f"{name} is above 0; this server restores no faces, give 0")
        mode = _number(fields, "resize_mode", 0)
        if mode not in (0, 1):
            raise ArgumentError("resize_mode must be 0, by a factor, or 1, to a size")
        scale = _number(fields, "upscaling_resize", 2)
        if scale == 0:
            raise ArgumentError("upscaling_resize is 0; it must be above 0")
        size = (_side(fields, "upscaling_resize_w"), _side(fields, "upscaling_resize_h"))
        crop = _flag(fields, "upscaling_crop", default=True)
        return _Extras(upscaler, scale, size if mode else None, crop)

    def _choice(self, extras: _Extras, upload: Upload) -> Choice:
        model = self._names()[extras.upscaler][0]
        choice = self._context.parameters.read({} if model is None else {"model": model})
        if extras.upscaler == _NONE:
            return replace(choice, options=Options(scale=1, noise=None, format="png"))
        words = extras.upscaler.rpartition(" noise ")
        noise: Any = self._context.parameters.declared["noise"].value(
            words[2] if words[1] else "auto"
        )
        options = Options(noise=noise, format="png")
        if extras.upscaler == _LANCZOS:
            options = Options(noise=None, strength=0, format="png")
        if extras.size is None:
            return replace(choice, options=replace(options, scale=extras.scale))
        with codec.opened(upload.path, self._context.settings.upscaler.limit) as (stream, _):
            header = codec.read_header(stream, self._context.settings.upscaler.limit)
        width, height = extras.size
        if header is not None and width * header.height < height * header.width:
            return replace(choice, options=replace(options, height=height))
        return replace(choice, options=replace(options, width=width))

    def _crop(self, job: Job, size: tuple[int, int]) -> None:
        """Cut the middle of the result to ``size``, as there."""
        assert job.made is not None
        width, height = job.made.size_out
        left, top = width // 2 - size[0] // 2, height // 2 - size[1] // 2
        if (width, height) == size:
            return
        if width < size[0] or height < size[1]:
            raise Problem(
                422, "upscaling_crop does not fit a picture that its EXIF rotates; rotate it first"
            )
        limit = 4 * self._context.settings.upscaler.limit
        with codec.opened(job.result, limit) as (stream, _):
            picture = codec.decode_stream(stream, job.name, limit)
        rows, columns = slice(top, top + size[1]), slice(left, left + size[0])
        picture = replace(
            picture,
            color=picture.color[rows, columns],
            alpha=None if picture.alpha is None else picture.alpha[rows, columns],
        )
        job.result.unlink()
        with new_file(job.result) as file:
            codec.encode_stream(picture, file, codec.format_named(None, "png"))


def _from_base64(pieces: Iterator[str]) -> Iterator[bytes]:
    """Decode base64 in pieces, with or without the head of a data URL."""
    first = next(pieces).lstrip()
    if first[:8].lower().startswith(("http:", "https:")):
        raise ArgumentError("image is an address; this server fetches nothing, send base64")
    held = _without_space(first.partition(",")[2] if first.startswith("data:") else first)
    try:
        for piece in pieces:
            text = held + _without_space(piece)
            # The last group may have padding.
            end = max(0, len(text) - 1) // 4 * 4
            if "=" in text[:end]:
                raise ValueError("padding before the end")
            yield base64.b64decode(text[:end], validate=True)
            held = text[end:]
        yield base64.b64decode(held, validate=True)
    except ValueError:
        raise ArgumentError("image is not base64; send the bytes of a file in base64") from None


def _without_space(text: str) -> str:
    """Drop the line ends of encoders for mail."""
    return "".join(text.split())


def _single(fields: dict[str, Any]) -> list[tuple[str, object]]:
    return [("image", fields.get("image"))]


def _several(fields: dict[str, Any]) -> list[tuple[str, object]]:
    images = fields.get("imageList")
    if not isinstance(images, list) or not images:
        raise ArgumentError("imageList is missing; it must be a list of pictures")
    if not all(isinstance(each, dict) for each in images):
        raise ArgumentError("imageList must hold objects with data and name")
    return [(plain_name(str(each.get("name", ""))), each.get("data")) for each in images]


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name, _NONE)
    if not isinstance(value, str):
        raise ArgumentError(f"{name} must be the name of an upscaler")
    return value


def _number(fields: dict[str, Any], name: str, default: float, *, most: float = _LARGEST) -> float:
    """A number from 0 to ``most``; a text that is one counts as well, as in pydantic."""
    value = fields.get(name, default)
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        value = float(value)
    # Integers of any length are compared exactly, and NaN fails.
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if not numeric or not 0 <= value <= most:
        raise ArgumentError(f"{name} must be a number from 0 to {most}")
    return float(value)


def _side(fields: dict[str, Any], name: str) -> int:
    value = _number(fields, name, 512)
    if value < 1 or not value.is_integer():
        raise ArgumentError(f"{name} must be a whole number of pixels, at least 1")
    return int(value)


def _flag(fields: dict[str, Any], name: str, *, default: bool) -> bool:
    """True or false; 0, 1 and the words that pydantic takes for them count as well."""
    word = str(fields.get(name, default)).lower()
    if word not in (*_YES, *_NO):
        raise ArgumentError(f"{name} must be true or false")
    return word in _YES


class _Pictures(StreamingResponse):
    """The results as base64 in JSON, in pieces; removes the files at the end."""

    def __init__(self, html_info: str, jobs: Sequence[Job], *, one: bool) -> None:
        super().__init__(self._pieces(html_info, one=one), media_type="application/json")
        self._jobs = jobs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            for job in self._jobs:
                job.remove_files()

    async def _pieces(self, html_info: str, *, one: bool) -> AsyncIterator[bytes]:
        begin, end = (b'"image": ', b"") if one else (b'"images": [', b"]")
        yield b'{"html_info": ' + json.dumps(html_info).encode() + b", " + begin
        for index, job in enumerate(self._jobs):
            yield b', "' if index else b'"'
            async with await anyio.open_file(job.result, "rb") as file:
                while data := await file.read(_PIECE):
                    yield base64.b64encode(data)
            yield b'"'
        yield end + b"}"
